"""Pulse trains: the value, its table, and trains by formula."""

"""Losses, training sets, networks and their training."""

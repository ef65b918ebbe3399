"""Losses, training sets, trainer and evaluation of networks."""

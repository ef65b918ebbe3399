"""What data can tell: noise, Cramér-Rao bounds, bounds of second order."""

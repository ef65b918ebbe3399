"""Files, names and sidecars: the BIDS side of the program; NumPy only."""

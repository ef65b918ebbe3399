"""Figures and HTML reports; NumPy and matplotlib only."""

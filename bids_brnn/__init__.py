"""Quantitative MT and MR fingerprinting maps from BIDS data.

Importing the package is cheap: no torch, Nipype or PyBIDS is loaded until a module that needs
them is imported.
"""

__version__ = "0.1.0"

"""Field names of the workflows, written once and shared by nodes and connections."""

from __future__ import annotations

PARTS = ("real", "imag", "mag", "phase", "complex")
"""Possible parts of a series."""

PREPARED = ("coefficients", "mask", "mask_source", "reference")
"""What preparation makes of every series."""

ESTIMATED = ("maps_file", "maps")
"""What an estimator makes."""

"""Field names of the workflows, written once and shared by nodes and connections."""

from __future__ import annotations

PREPARED = ("coefficients", "mask", "mask_source", "reference")
"""What preparation makes of every series."""

SUPPLIED = ("supplied", "decisions")
"""What preparation makes of field maps, where there are any."""

ESTIMATED = ("maps_file", "maps")
"""What an estimator makes."""

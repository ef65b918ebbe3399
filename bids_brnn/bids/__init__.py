"""BIDS in and out: finding series, reading images, writing derivatives. NumPy only."""

from bids_brnn.bids.images import (
    Volume,
    read_coefficients,
)
from bids_brnn.bids.input.acquisition import Acquisition, Companions, Discovery
from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.bids.volumes import read_mask
from bids_brnn.voxels import to_volume, to_voxels

__all__ = [
    "Acquisition",
    "Companions",
    "Discovery",
    "Volume",
    "find_acquisitions",
    "read_coefficients",
    "read_mask",
    "to_volume",
    "to_voxels",
]

"""Nipype interfaces: load, call one function, save."""

from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.interfaces.fields import PrepareFields
from bids_brnn.interfaces.noise import EstimateNoise
from bids_brnn.interfaces.prepare import PrepareCoefficients
from bids_brnn.interfaces.regions import SummariseRegions
from bids_brnn.interfaces.sink import WriteMaps, WriteRegions, WriteSeries

__all__ = [
    "EstimateMaps",
    "EstimateNoise",
    "PrepareCoefficients",
    "PrepareFields",
    "SummariseRegions",
    "WriteMaps",
    "WriteRegions",
    "WriteSeries",
]

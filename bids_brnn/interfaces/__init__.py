"""Nipype interfaces: load, call one function, save."""

from bids_brnn.interfaces.align import AlignSeries
from bids_brnn.interfaces.denoise import DenoiseSeries, RemoveGibbs
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.interfaces.fields import PrepareFields
from bids_brnn.interfaces.labels import PrepareLabels
from bids_brnn.interfaces.masks import BrainMask, StripSkull, SynthesiseT1w
from bids_brnn.interfaces.motion import CorrectMotion
from bids_brnn.interfaces.noise import EstimateNoise
from bids_brnn.interfaces.prepare import PrepareCoefficients
from bids_brnn.interfaces.region_sink import WriteLabels, WriteRegions
from bids_brnn.interfaces.regions import CompareEstimators, SummariseRegions
from bids_brnn.interfaces.sink import WriteMaps, WriteSeries
from bids_brnn.interfaces.spaces import WriteSpace

__all__ = [
    "AlignSeries",
    "BrainMask",
    "CompareEstimators",
    "CorrectMotion",
    "DenoiseSeries",
    "EstimateMaps",
    "EstimateNoise",
    "PrepareCoefficients",
    "PrepareFields",
    "PrepareLabels",
    "RemoveGibbs",
    "StripSkull",
    "SummariseRegions",
    "SynthesiseT1w",
    "WriteLabels",
    "WriteMaps",
    "WriteRegions",
    "WriteSeries",
    "WriteSpace",
]

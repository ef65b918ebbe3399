"""Nipype interfaces: load, call one function, save."""

from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.interfaces.preparation.align import AlignSeries
from bids_brnn.interfaces.preparation.coefficients import PrepareCoefficients
from bids_brnn.interfaces.preparation.fields import PrepareFields
from bids_brnn.interfaces.preparation.masks import BrainMask, StripSkull, SynthesiseT1w
from bids_brnn.interfaces.preparation.motion import CorrectMotion
from bids_brnn.interfaces.preparation.noise import EstimateNoise
from bids_brnn.interfaces.preparation.steps import DenoiseSeries, RemoveGibbs
from bids_brnn.interfaces.regions.labels import PrepareLabels
from bids_brnn.interfaces.regions.statistics import CompareEstimators, SummariseRegions
from bids_brnn.interfaces.select import SelectMap
from bids_brnn.interfaces.sinks.native import WriteMaps, WriteSeries
from bids_brnn.interfaces.sinks.page import WriteForPage
from bids_brnn.interfaces.sinks.regions import WriteLabels, WriteRegions
from bids_brnn.interfaces.sinks.spaces import WriteSpace

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
    "SelectMap",
    "StripSkull",
    "SummariseRegions",
    "SynthesiseT1w",
    "WriteForPage",
    "WriteLabels",
    "WriteMaps",
    "WriteRegions",
    "WriteSeries",
    "WriteSpace",
]

"""Quantitative MT and MR fingerprinting maps from BIDS data.

Importing the package is cheap: no torch, Nipype or PyBIDS is loaded until a name that needs them
is first used. ``docs/python.md`` has an example of every name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from bids_brnn.bids.images import read_coefficients
    from bids_brnn.bids.input.discovery import find_acquisitions
    from bids_brnn.bids.output.dataset_files import write_dataset_files
    from bids_brnn.bids.volumes import read_mask
    from bids_brnn.config.run_config import RunConfig
    from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
    from bids_brnn.estimators.nlls.estimator import NllsEstimator
    from bids_brnn.estimators.registry import EstimatorEntry, register_estimator
    from bids_brnn.information.bounds import cramer_rao_bound
    from bids_brnn.maps import QualityMap, register_map
    from bids_brnn.phantom.dataset import make_dataset
    from bids_brnn.priors.mixture import Prior
    from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.signals import build_model
    from bids_brnn.signals.registry import ModelEntry, register_model
    from bids_brnn.signals.subspace import CompressedSignal, Subspace
    from bids_brnn.voxels import to_volume, to_voxels
    from bids_brnn.workflows.participant import init_participant_wf
    from bids_brnn.zoo.match import load_network

_HOMES = {
    "CompressedSignal": "signals.subspace",
    "DictionaryEstimator": "estimators.dictionary.estimator",
    "EstimatorEntry": "estimators.registry",
    "ModelEntry": "signals.registry",
    "NllsEstimator": "estimators.nlls.estimator",
    "Prior": "priors.mixture",
    "PulseSequence": "sequences.pulse_sequence",
    "QualityMap": "maps",
    "RunConfig": "config.run_config",
    "Subspace": "signals.subspace",
    "build_model": "signals",
    "cramer_rao_bound": "information.bounds",
    "find_acquisitions": "bids.input.discovery",
    "hybrid_state_train": "sequences.designs",
    "init_participant_wf": "workflows.participant",
    "jiang_like_train": "sequences.designs",
    "load_network": "zoo.match",
    "make_dataset": "phantom.dataset",
    "read_coefficients": "bids.images",
    "read_mask": "bids.volumes",
    "register_estimator": "estimators.registry",
    "register_map": "maps",
    "register_model": "signals.registry",
    "to_volume": "voxels",
    "to_voxels": "voxels",
    "write_dataset_files": "bids.output.dataset_files",
}

__all__ = [
    "CompressedSignal",
    "DictionaryEstimator",
    "EstimatorEntry",
    "ModelEntry",
    "NllsEstimator",
    "Prior",
    "PulseSequence",
    "QualityMap",
    "RunConfig",
    "Subspace",
    "build_model",
    "cramer_rao_bound",
    "find_acquisitions",
    "hybrid_state_train",
    "init_participant_wf",
    "jiang_like_train",
    "load_network",
    "make_dataset",
    "read_coefficients",
    "read_mask",
    "register_estimator",
    "register_map",
    "register_model",
    "to_volume",
    "to_voxels",
    "write_dataset_files",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

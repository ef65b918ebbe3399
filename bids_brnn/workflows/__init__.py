"""Nipype workflows, one screen each."""

from bids_brnn.system.imports import postponed

with postponed("scipy.io"):  # for files of MATLAB alone; a twentieth of what a finished run takes
    import nipype  # noqa: F401

from bids_brnn.workflows.estimation import init_estimation_wf
from bids_brnn.workflows.outputs import init_outputs_wf
from bids_brnn.workflows.participant import init_participant_wf, init_series_wf
from bids_brnn.workflows.preparation import init_preparation_wf
from bids_brnn.workflows.regions import Segmentation, init_regions_wf

__all__ = [
    "Segmentation",
    "init_estimation_wf",
    "init_outputs_wf",
    "init_participant_wf",
    "init_preparation_wf",
    "init_regions_wf",
    "init_series_wf",
]

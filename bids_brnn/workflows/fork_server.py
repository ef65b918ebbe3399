"""Imported by the fork server alone, before its first worker: it ends when the run ends.

Workers start in milliseconds from it, with what most of their steps use; torch is not among that.
Signals that the whole group gets are for the run to answer.
"""

import gc

import scipy.ndimage as _filters  # noqa: F401
import SimpleITK as _resampling  # noqa: F401

import bids_brnn.workflows.execution as _preloaded  # noqa: F401
from bids_brnn.system.processes import ENDING, die_with_parent, leave_main_thread_alone

die_with_parent()
gc.freeze()  # no worker looks for garbage in what all of them share, nor copies its pages
leave_main_thread_alone(ENDING)

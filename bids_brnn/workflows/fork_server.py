"""Imported by the fork server alone, before its first worker: it ends when the run ends.

Workers start in milliseconds from it; torch is not among what it imports. Signals that the whole
group gets are for the run to answer.
"""

import bids_brnn.workflows.execution as _preloaded  # noqa: F401
from bids_brnn.system.processes import ENDING, die_with_parent, leave_main_thread_alone

die_with_parent()
leave_main_thread_alone(ENDING)

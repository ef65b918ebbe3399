"""Values of options that depend on what the program can do."""

from __future__ import annotations

from typing import Literal

AnalysisLevel = Literal["participant", "group", "train"]
Detail = Literal["minimal", "full"]
Device = Literal["auto", "cpu", "cuda"]
Denoise = Literal["none", "mppca", "dwidenoise"]
Registration = Literal["rigid", "header"]
SkullStrip = Literal["auto", "skip"]
Ignorable = Literal["b1map", "b0map", "r1map", "t1w", "mask", "dseg"]
Preset = Literal["quick", "standard", "thorough"]
WhileTraining = Literal["wait", "reference"]
DebugMode = Literal["log", "pdb", "all"]

AUTO = "auto"
"""The program decides."""
ALL = "all"
"""All that there are, side by side."""


LOW_MEMORY_BATCH = 512
"""Voxels estimated together with ``low_mem``."""
MOST_THREADS = 8
"""Threads of one step unless asked otherwise; beyond them two series side by side use the machine
better."""
USUAL_SAMPLE = 50_000
"""Voxels that a reference is run in where all would take too long."""
MOST_MINUTES = 10
"""What all of them may take."""

PRESETS = ("quick", "standard", "thorough")
"""Budgets of a training, the smallest first."""


def modalities() -> tuple[str, ...]:
    """Values of ``--modality``: kinds of series."""
    from bids_brnn.signals.registry import series_kinds

    return (AUTO, *series_kinds())


def references() -> tuple[str, ...]:
    """Values of ``--reference``: estimators that need no training."""
    from bids_brnn.estimators import registry

    return (AUTO, "none", *registry.references())


def spectrum_models() -> tuple[str, ...]:
    """Values of ``--zspectrum-model``."""
    from bids_brnn.signals.registry import models_by_protocol

    return (AUTO, *(entry.called for entry in models_by_protocol("zspectrum")), ALL)

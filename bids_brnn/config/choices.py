"""Values of options that depend on what the program can do."""

from __future__ import annotations

AUTO = "auto"
"""The program decides."""
ALL = "all"
"""All that there are, side by side."""


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

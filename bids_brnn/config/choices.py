"""Values of options that depend on what the program can do."""

from __future__ import annotations

AUTO = "auto"
"""The program decides."""


def modalities() -> tuple[str, ...]:
    """Values of ``--modality``: kinds of series."""
    return (AUTO, "qmt", "mrf")


def references() -> tuple[str, ...]:
    """Values of ``--reference``: estimators."""
    return (AUTO, "none", "nlls", "dict")

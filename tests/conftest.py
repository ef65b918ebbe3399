"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Small tests: more threads only make them slower and noisier.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference values and real data that may lie beside a checkout."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference values or real data at {folder.name}/ beside the checkout")
    return folder

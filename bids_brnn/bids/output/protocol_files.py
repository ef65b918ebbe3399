"""Protocols as files of a data set: pulse table, basis, table of a Z-spectrum, each with its JSON.

What is written here is what ``bids/input`` reads; columns are described by the declarations that
their reader checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_brnn.bids.output.derivatives import json_bytes
from bids_brnn.bids.tables import write_table
from bids_brnn.files import write_bytes
from bids_brnn.sequences import columns, z_words
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum

BASIS_WORDS = "Real orthonormal basis, one row per sample; coefficients = basis^T signal."


def write_pulses(
    root: Path, stem: str, sequence: PulseSequence, comments: Sequence[str] | None = None
) -> Path:
    """``<stem>_rfpulses.tsv`` and what its columns mean; ``comments``: one per row."""
    table = sequence.to_table()
    if comments is not None:
        table["comment"] = [comment or "n/a" for comment in comments]
    path = root / f"{stem}_rfpulses.tsv"
    write_table(path, pd.DataFrame(table))
    write_bytes(path.with_suffix(".json"), json_bytes(columns.described()))
    return path


def write_basis(root: Path, stem: str, basis: NDArray[np.floating]) -> Path:
    """``<stem>_basis.tsv`` of a basis ``(N, R)``; nine digits keep single precision exactly."""
    path = root / f"{stem}_basis.tsv"
    names = [f"c{column + 1:02d}" for column in range(basis.shape[1])]
    write_table(path, pd.DataFrame(basis.astype(np.float64), columns=names))
    write_bytes(path.with_suffix(".json"), json_bytes({"Description": BASIS_WORDS}))
    return path


def write_spectrum(
    root: Path, stem: str, protocol: ZSpectrum, extra: Mapping[str, object] | None = None
) -> Path:
    """``<stem>_zspectrum.tsv``, and its JSON with the constants and ``extra`` keys."""
    table, constants = protocol.to_table()
    path = root / f"{stem}_zspectrum.tsv"
    write_table(path, pd.DataFrame(table))
    content = {**(extra or {}), **z_words.described(), **constants}
    write_bytes(path.with_suffix(".json"), json_bytes(content))
    return path

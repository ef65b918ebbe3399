"""Protocols of conventional qMT from ``zspectrum.tsv`` and the JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_brnn.bids.safe import read_json
from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import SequenceError
from bids_brnn.sequences.z_spectrum import ZSpectrum


def read_z_protocol(path: Path, constants: Mapping[str, Any] | None = None) -> ZSpectrum:
    """The protocol of a table; constants from its JSON (``<stem>.json``), else from ``constants``.

    Raises
    ------
    SequenceError
        Naming file, column or key, and what is missing with an example.
    ReadError, InvalidBidsError
        If a file cannot be read.
    """
    beside = path.with_suffix(".json")
    own = read_json(beside) if beside.is_file() else {}
    try:
        return ZSpectrum.from_table(
            read_columns(path), {**(constants or {}), **own}, name=path.name
        )
    except SequenceError as error:
        text = str(error)
        raise SequenceError(text if path.name in text else f"{path.name}: {text}") from error

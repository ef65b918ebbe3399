"""Protocols of conventional qMT from ``zspectrum.tsv`` and the JSON beside it."""

from __future__ import annotations

from pathlib import Path

from bids_brnn.bids.input.z_constants import (
    Statements,
    constant_columns,
    read_table_file,
)
from bids_brnn.errors import SequenceError
from bids_brnn.sequences.z_spectrum import COLUMNS, ZSpectrum


def read_z_protocol(path: Path) -> ZSpectrum:
    """The protocol of a table; constants from its JSON (``<stem>.json``) or its columns.

    What they say counts as it does in a data set, or is refused as there.

    Raises
    ------
    DataError, SequenceError
        Naming file, column or key, and what is missing with an example.
    ReadError, InvalidBidsError
        If a file cannot be read.
    """
    file = read_table_file(path)
    columns = file.table or {}
    said = Statements(path.name)
    said.add_all(file.constants, path.with_suffix(".json").name)
    constant_columns(columns, said, path.name)
    # An unknown column is refused above; labels of files tell nothing here.
    table = {key: cells for key, cells in columns.items() if key in COLUMNS}
    try:
        return ZSpectrum.from_table(table, said.values, name=path.name)
    except SequenceError as error:
        text = str(error)
        raise SequenceError(text if path.name in text else f"{path.name}: {text}") from error

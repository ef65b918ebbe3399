"""The group level: tables of all participants, and the page that shows them."""

from __future__ import annotations

import logging

from bids_brnn.app.logs import messages
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import EXIT_OK, NothingSelectedError
from bids_brnn.group.collect import GroupTable, group_tables

_LOG = logging.getLogger("bids_brnn.group")


def gather(config: RunConfig) -> int:
    """Write the tables of the group and ``group.html``; see ``docs/outputs.md``.

    Rows of participants that are run again later are replaced when this level runs again.

    Raises
    ------
    NothingSelectedError
        If there is no table to gather.
    """
    with messages(config.loudness):
        _gather(config)
    return EXIT_OK


_LONG = 100_000
"""Rows from which text takes a second to write, six times as long as Parquet."""


def _write_fast(item: GroupTable) -> None:
    """A long table as Parquet beside the TSV file; one of an earlier run goes."""
    from bids_brnn.bids.tables import write_parquet

    path = item.path.with_suffix(".parquet")
    if len(item.table) < _LONG:
        path.unlink(missing_ok=True)
    elif write_parquet(path, item.table):
        _LOG.info("%s: the same for programs", path.name)
    else:
        path.unlink(missing_ok=True)
        _LOG.info(
            "%s is long: with pip install 'bids_brnn[parquet]' it is written as Parquet too",
            item.path.name,
        )


def _gather(config: RunConfig) -> None:
    from bids_brnn.bids.grammar import ignored_names
    from bids_brnn.bids.output.derivatives import json_bytes
    from bids_brnn.bids.tables import write_table
    from bids_brnn.files import write_bytes, write_text
    from bids_brnn.group.files import absent, copies

    output_dir = config.output_dir
    chosen = (config.participant_label, config.session_label)
    notes = copies(output_dir)
    tables = list(group_tables(output_dir, *chosen, notes))
    present = {
        str(label).removeprefix("sub-")
        for item in tables
        if item.kind == "statistics"
        for label in item.table["participant_id"]
    }
    notes = [*absent(config.bids_dir, output_dir, present, *chosen), *dict.fromkeys(notes)]
    for note in notes:
        _LOG.warning("%s", note)
    if not present:
        raise NothingSelectedError(
            f"No *_scalarstats.tsv of this program under {output_dir} for the participants and "
            "sessions asked for; run the participant level with --level full first."
        )
    from bids_brnn.group.page import write_group_report  # figures need a place to write

    # Of an older version it may not know the tables that this one writes.
    write_text(output_dir / ".bidsignore", ignored_names("bidsignore"))
    for item in tables:
        write_bytes(item.path.with_suffix(".json"), json_bytes(item.columns))
        write_table(item.path, item.table)
        _LOG.info("%s: %d rows", item.path.name, len(item.table))
        _write_fast(item)
    _LOG.info("report: %s", write_group_report(output_dir, tables, notes))

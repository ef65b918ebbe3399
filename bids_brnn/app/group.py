"""The group level: tables of all participants, and the page that shows them."""

from __future__ import annotations

import logging

from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import EXIT_OK, NothingSelectedError
from bids_brnn.group.collect import find_tables, group_tables

_LOG = logging.getLogger("bids_brnn.group")


def gather(config: RunConfig) -> int:
    """Write the tables of the group and ``group.html``; see ``docs/outputs.md``.

    Rows of participants that are run again later are replaced when this level runs again.

    Raises
    ------
    NothingSelectedError
        If there is no table to gather.
    """
    from bids_brnn.bids.grammar import grammar
    from bids_brnn.bids.output.derivatives import json_bytes
    from bids_brnn.bids.tables import write_table
    from bids_brnn.files import write_bytes, write_text
    from bids_brnn.group.page import write_group_report
    from bids_brnn.workflows.execution import close_log, set_verbosity

    set_verbosity(config.verbosity)
    if not find_tables(config, "scalarstats"):
        raise NothingSelectedError(
            f"No *_scalarstats.tsv under {config.output_dir}; run the participant level with "
            "--level full first."
        )
    # Of an older version it may not know the tables that this one writes.
    ignored = "\n".join(grammar()["output"]["bidsignore"]) + "\n"
    write_text(config.output_dir / ".bidsignore", ignored)
    tables = list(group_tables(config))
    for item in tables:
        write_bytes(item.path.with_suffix(".json"), json_bytes(item.columns))
        write_table(item.path, item.table)
        _LOG.info("%s: %d rows", item.path.name, len(item.table))
    _LOG.info("report: %s", write_group_report(config.output_dir, tables))
    close_log()
    return EXIT_OK

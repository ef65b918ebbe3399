"""The methods text of a run that is not made: ``--boilerplate-only``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn import __version__
from bids_brnn.config import RunConfig

if TYPE_CHECKING:
    from bids_brnn.bids.acquisition import Discovery

_LOG = logging.getLogger("bids_brnn.report")


def write_boilerplate(
    config: RunConfig, discovery: Discovery, records: Mapping[str, Path]
) -> list[Path]:
    """Write ``CITATION.md`` for what the options would do with the series found.

    Parameters
    ----------
    config
        What was asked for.
    discovery
        Series that can be estimated.
    records
        Folder of this run's record by participant.

    Returns
    -------
    list of Path
        One page per participant, and that of all of them in ``logs/``.

    Raises
    ------
    OutputError
        If a page cannot be written.
    """
    from bids_brnn.files import write_text
    from bids_brnn.reports.methods import citation_markdown
    from bids_brnn.workflows.choice import choose_recipes

    planned = [
        (item.entities["subject"], item.kind.upper(), tuple(choose_recipes(config, item, ())))
        for item in discovery.acquisitions
    ]

    def page(rows: list[tuple[str, str, tuple[str, ...]]]) -> str:
        estimators = [name for _, _, names in rows for name in names]
        return citation_markdown([kind for _, kind, _ in rows], estimators, __version__)

    written = []
    for participant, record in records.items():
        own = [row for row in planned if row[0] == participant]
        config.to_file(record / "bids_brnn.toml")
        write_text(record / "CITATION.md", page(own))
        written.append(record / "CITATION.md")
    shared = config.output_dir / "logs" / "CITATION.md"
    write_text(shared, page(planned))
    _LOG.info("methods: %s", shared)
    return [*written, shared]

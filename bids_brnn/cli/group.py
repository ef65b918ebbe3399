"""The group level: the region tables of all participants, one under the other."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.config import RunConfig
from bids_brnn.errors import EXIT_OK, NothingSelectedError

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger("bids_brnn.group")
_KEYS = ("sub", "ses", "acq", "ce", "rec", "run", "chunk")
_NAMES = {"sub": "participant_id", "ses": "session_id"}
_WORDS = {
    "participant_id": "Participant, with sub-",
    "session_id": "Session, with ses-",
    "acq": "Label of acq- of the series",
    "ce": "Label of ce- of the series",
    "rec": "Label of rec- of the series",
    "run": "Label of run- of the series",
    "chunk": "Label of chunk- of the series",
}


def gather(config: RunConfig) -> int:
    """Write ``seg-<segmentation>_desc-<estimator>_scalarstats.tsv`` and ``group.html``.

    Rows of participants that are run again later are replaced when this level runs again.

    Raises
    ------
    NothingSelectedError
        If there is no table to gather.
    """
    from bids_brnn.bids.derivatives import json_bytes
    from bids_brnn.bids.naming import statistics_path
    from bids_brnn.bids.tables import write_table
    from bids_brnn.cli.group_report import write_group_report
    from bids_brnn.files import write_bytes
    from bids_brnn.regions import COLUMNS
    from bids_brnn.workflows.execution import close_log, set_verbosity

    set_verbosity(config.loudness)
    tables = find_tables(config)
    if not tables:
        raise NothingSelectedError(
            f"No *_scalarstats.tsv under {config.output_dir}; run the participant level with "
            "--level full first."
        )
    gathered = {key: gather_tables(paths) for key, paths in sorted(tables.items())}
    for (segmentation, estimator), table in gathered.items():
        target = statistics_path(config.output_dir, None, segmentation, estimator)
        words = {name: {"Description": text} for name, text in {**_WORDS, **COLUMNS}.items()}
        columns = {name: words[name] for name in table.columns if name in words}
        write_bytes(target.with_suffix(".json"), json_bytes(columns))
        write_table(target, table)
        n = len(tables[segmentation, estimator])
        _LOG.info("%s: %d series, %d rows", target.name, n, len(table))
    _LOG.info("report: %s", write_group_report(config.output_dir, gathered))
    close_log()
    return EXIT_OK


def find_tables(config: RunConfig) -> dict[tuple[str, str], list[Path]]:
    """Region tables of participants by segmentation and estimator."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(config.output_dir.glob("sub-*/**/anat/*_scalarstats.tsv")):
        entities = entities_of(path)
        wanted = config.participant_label
        if wanted and entities["sub"] not in wanted:
            continue
        if config.session_label and entities.get("ses") not in config.session_label:
            continue
        found[entities["seg"], entities["desc"]].append(path)
    return found


def entities_of(path: Path) -> dict[str, str]:
    """Entities of a file name, by their short names."""
    pairs = (part.partition("-") for part in path.name.split("_")[:-1])
    return {key: label for key, _, label in pairs}


def gather_tables(paths: list[Path]) -> pd.DataFrame:
    """One long table; columns that tell the series come first."""
    import pandas as pd

    from bids_brnn.bids.tables import read_table

    frames = []
    for path in paths:
        entities = entities_of(path)
        frame = read_table(path)
        for place, key in enumerate(_KEYS):
            label = entities.get(key)
            if key in _NAMES and label is not None:
                label = f"{key}-{label}"
            frame.insert(place, _NAMES.get(key, key), label)
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    # A column that no series has says nothing.
    return table.drop(columns=[key for key in ("ce", "rec", "chunk") if table[key].isna().all()])

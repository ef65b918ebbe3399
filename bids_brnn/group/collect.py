"""Region tables of all participants in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.config.run_config import RunConfig

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class GroupTable:
    """One table of the group."""

    kind: str
    """``statistics``, ``agreement``, ``group_agreement``, ``wide`` or ``quality``."""
    path: Path
    table: pd.DataFrame
    columns: Mapping[str, Mapping[str, object]]
    """What the JSON beside it says of each column."""
    segmentation: str = ""
    desc: str = ""


def group_tables(config: RunConfig) -> Iterator[GroupTable]:
    """All tables of the group."""
    from bids_brnn.bids.output.naming import quality_path, statistics_path
    from bids_brnn.group import tables as made
    from bids_brnn.group.quality import QUALITY_WORDS, quality_table

    root = config.output_dir
    by_segmentation: dict[str, dict[str, Any]] = defaultdict(dict)
    for (segmentation, desc), paths in sorted(find_tables(config, "scalarstats").items()):
        table = made.with_outliers(made.gather_tables(paths))
        by_segmentation[segmentation][desc] = table
        path = statistics_path(root, None, segmentation, desc)
        about = described(table, made.LONG_WORDS)
        yield GroupTable("statistics", path, table, about, segmentation, desc)
    for segmentation, tables in by_segmentation.items():
        table, about = made.wide_table(tables)
        path = statistics_path(root, None, segmentation, "wide")
        yield GroupTable("wide", path, table, about, segmentation, "wide")
    for (segmentation, desc), paths in sorted(find_tables(config, "agreement").items()):
        table = made.gather_tables(paths)
        path = statistics_path(root, None, segmentation, desc, suffix="agreement")
        about = described(table, made.AGREEMENT_WORDS)
        yield GroupTable("agreement", path, table, about, segmentation, desc)
        table = made.group_agreement(table)
        path = statistics_path(root, None, segmentation, f"{desc}Group", suffix="agreement")
        about = described(table, made.GROUP_AGREEMENT_WORDS)
        yield GroupTable("group_agreement", path, table, about, segmentation, desc)
    table = quality_table(root, config.participant_label, config.session_label)
    about = described(table, QUALITY_WORDS)
    yield GroupTable("quality", quality_path(root, "series"), table, about)


def described(table: pd.DataFrame, words: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Descriptions of the columns of a table; tables of other versions may have others."""
    return {name: {"Description": words[name]} for name in table.columns if name in words}


def find_tables(config: RunConfig, suffix: str) -> dict[tuple[str, str], list[Path]]:
    """Region tables of participants by segmentation and ``desc-``."""
    from bids_brnn.group.tables import entities_of

    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(config.output_dir.glob(f"sub-*/**/anat/*_{suffix}.tsv")):
        entities = entities_of(path)
        wanted = config.participant_label
        if wanted and entities["sub"] not in wanted:
            continue
        if config.session_label and entities.get("ses") not in config.session_label:
            continue
        found[entities["seg"], entities["desc"]].append(path)
    return found

"""Region tables of all participants in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.errors import BidsBrnnError

if TYPE_CHECKING:
    import pandas as pd


_TOGETHER = 200
"""Tables of participants that are put into one as they are read: each alone takes ten times the
memory of its rows."""


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


def group_tables(
    output_dir: Path,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    notes: list[str] | None = None,
) -> Iterator[GroupTable]:
    """All tables of the group.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    participants, sessions
        Labels of those that count, without ``sub-`` and ``ses-``; empty: all.
    notes
        Grows by one for each file that cannot be used.

    Yields
    ------
    GroupTable
        One after the other; nothing is written.
    """
    from bids_brnn.bids.output.naming import quality_path, statistics_path
    from bids_brnn.group import tables as made
    from bids_brnn.group.quality import quality_table, quality_words

    notes = [] if notes is None else notes
    chosen = (participants, sessions, notes)
    by_segmentation: dict[str, dict[str, Any]] = defaultdict(dict)
    for (segmentation, desc), frames in _frames(output_dir, "scalarstats", *chosen):
        table = made.with_outliers(made.joined(frames))
        by_segmentation[segmentation][desc] = table
        path = statistics_path(output_dir, None, segmentation, desc)
        about = described(table, made.LONG_WORDS)
        yield GroupTable("statistics", path, table, about, segmentation, desc)
    for segmentation, tables in by_segmentation.items():
        table, about = made.wide_table(tables)
        path = statistics_path(output_dir, None, segmentation, "wide")
        yield GroupTable("wide", path, table, about, segmentation, "wide")
    for (segmentation, desc), frames in _frames(output_dir, "agreement", *chosen):
        table = made.joined(frames)
        path = statistics_path(output_dir, None, segmentation, desc, suffix="agreement")
        about = described(table, made.AGREEMENT_WORDS)
        yield GroupTable("agreement", path, table, about, segmentation, desc)
        table = made.group_agreement(table)
        path = statistics_path(output_dir, None, segmentation, f"{desc}Group", suffix="agreement")
        about = described(table, made.GROUP_AGREEMENT_WORDS)
        yield GroupTable("group_agreement", path, table, about, segmentation, desc)
    table = quality_table(output_dir, *chosen)
    about = described(table, quality_words())
    yield GroupTable("quality", quality_path(output_dir, "series"), table, about)


def described(table: pd.DataFrame, words: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Descriptions of the columns of a table; tables of other versions may have others."""
    return {name: {"Description": words[name]} for name in table.columns if name in words}


def find_tables(
    output_dir: Path,
    suffix: str,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    notes: list[str] | None = None,
) -> dict[tuple[str, str], list[Path]]:
    """Region tables of participants by segmentation and ``desc-``; no labels: all of them."""
    from bids_brnn.group.files import participant_files
    from bids_brnn.group.tables import entities_of

    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in participant_files(output_dir, f"_{suffix}.tsv", participants, sessions, notes):
        entities = entities_of(path)
        if {"seg", "desc"} <= set(entities):
            found[entities["seg"], entities["desc"]].append(path)
        elif notes is not None:
            notes.append(f"{path.relative_to(output_dir)} is left aside: no seg- or no desc-.")
    return found


def _frames(
    output_dir: Path,
    suffix: str,
    participants: Sequence[str],
    sessions: Sequence[str],
    notes: list[str],
) -> Iterator[tuple[tuple[str, str], list[pd.DataFrame]]]:
    """Tables that can be used, by segmentation and ``desc-``."""
    import pandas as pd

    from bids_brnn.group.tables import region_frame

    found = find_tables(output_dir, suffix, participants, sessions, notes)
    for key, paths in sorted(found.items()):
        frames: list[pd.DataFrame] = []
        recent: list[pd.DataFrame] = []
        for path in paths:
            try:
                recent.append(region_frame(path))
            except BidsBrnnError as error:
                notes.append(f"left aside: {error}")
            if len(recent) == _TOGETHER:
                frames, recent = [*frames, pd.concat(recent, ignore_index=True)], []
        if frames or recent:
            yield key, [*frames, *recent]

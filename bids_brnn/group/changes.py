"""What changes from one session to the next, over participants who have both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_brnn.maps import quality_maps
from bids_brnn.reports.content import PageTable
from bids_brnn.reports.group import MIN_SUBJECTS

if TYPE_CHECKING:
    import pandas as pd

    from bids_brnn.group.collect import GroupTable

_HEADER = (
    "estimator", "regions", "acq", "region", "parameter", "unit", "sessions", "participants",
    "mean change", "95 % CI", "change, %", "sd of changes", "within-subject CV, %", "largest",
)  # fmt: skip
_QUANTILE = 0.975


def change_tables(tables: Sequence[GroupTable]) -> Iterator[PageTable]:
    """One table of the page, if any participant has two sessions or more."""
    rows = [row for item in tables if item.kind == "statistics" for row in _rows(item)]
    if rows:
        yield PageTable("Changes between sessions", _HEADER, rows)


def _rows(item: GroupTable) -> Iterator[list[str]]:
    table = item.table
    if "session_id" not in table or table["session_id"].nunique() < 2:
        return
    table = table[~table["param"].isin(list(quality_maps()))]
    for (acq, _, param), part in table.groupby(
        ["acq", "index", "param"], sort=False, dropna=False
    ):
        # Runs of one session are averaged: a participant counts once.
        wide = part.pivot_table("median", "participant_id", "session_id")
        for before, after in pairwise(sorted(wide.columns)):
            pairs = wide[[before, after]].dropna()
            if not pairs.empty:
                yield [
                    item.desc, item.segmentation, acq if isinstance(acq, str) else "",
                    str(part["name"].iloc[0]), str(param), str(part["units"].iloc[0]),
                    f"{before} to {after}", *_numbers(pairs),
                ]  # fmt: skip


def _numbers(pairs: pd.DataFrame) -> list[str]:
    """From participants ``(S, 2)``: number, change, interval, spread, and who changed most."""
    from scipy.stats import t

    first, second = pairs.to_numpy(np.float64).T
    change: Any = second - first
    n, mean = change.size, float(change.mean())
    middle = float((first + second).mean() / 2)
    percent = f"{100 * mean / middle:.3g}" if middle else ""
    spread, interval, variation = "", "n = 1", ""
    if n > 1:
        deviation = float(change.std(ddof=1))
        half = float(t.ppf(_QUANTILE, n - 1)) * deviation / np.sqrt(n)
        spread = f"{deviation:.3g}"
        interval = f"{mean - half:.3g} to {mean + half:.3g}"
        if n < MIN_SUBJECTS:
            interval += f" (n = {n}, hardly known)"
        # Standard deviation within participants from pairs: root of the mean square over 2.
        within = float(np.sqrt((change**2).mean() / 2))
        variation = f"{100 * within / abs(middle):.3g}" if middle else ""
    most = int(np.argmax(np.abs(change)))
    largest = f"{change[most]:.3g} in {pairs.index[most]}"
    return [str(n), f"{mean:.3g}", interval, percent, spread, variation, largest]

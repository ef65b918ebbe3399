"""The group page: distributions over subjects, outliers that link to their pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_brnn import __version__

if TYPE_CHECKING:
    import pandas as pd

    from bids_brnn.reports.group import Region

_KEYS = ("participant_id", "session_id", "acq", "run")
_MAX_REGIONS = 12  # a figure with more columns cannot be read


def write_group_report(output_dir: Path, tables: Mapping[tuple[str, str], pd.DataFrame]) -> Path:
    """Write ``group.html`` at the root of the output.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    tables
        Gathered region tables by (segmentation, estimator).

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from bids_brnn.files import write_text
    from bids_brnn.reports.assemble import render_group
    from bids_brnn.reports.group import distribution

    plots = []
    notes: dict[str, list[str]] = defaultdict(list)
    participants: set[str] = set()
    for (segmentation, estimator), table in sorted(tables.items()):
        participants |= set(table["participant_id"])
        panels = {str(name): regions_of(part) for name, part in table.groupby("param", sort=False)}
        panels = {name: regions for name, regions in panels.items() if regions}
        units = dict(zip(table["param"], table["units"].astype(str), strict=True))
        title = f"{estimator}, regions of {segmentation}: medians"
        if panels:
            plots.append((f"{segmentation}{estimator}", title, distribution(panels, units, title)))
        for label, words in outliers(table):
            notes[label].append(f"{estimator}: {words}")
    rows = [
        {"label": label, "page": f"{label}.html", "note": "; ".join(notes[label]) or "-"}
        for label in sorted(participants)
    ]
    page = output_dir / "group.html"
    render_group("Group", __version__, plots, rows, page, write_text)
    return page


def regions_of(table: pd.DataFrame) -> list[Region]:
    """Medians of one parameter, a :class:`Region` for each of the first regions by index."""
    from bids_brnn.reports.group import Region

    ordered = table.sort_values("index", kind="stable")
    named = list(dict.fromkeys(ordered["name"]))[:_MAX_REGIONS]
    return [
        Region(str(name), table.loc[table["name"] == name, "median"].to_numpy(np.float64))
        for name in named
    ]


def outliers(table: pd.DataFrame) -> Sequence[tuple[str, str]]:
    """Series whose median lies apart from the others: participant, and what in words."""
    from bids_brnn.reports.group import OUTLIER_Z, modified_z

    found = []
    for (parameter, region), part in table.groupby(["param", "name"], sort=False):
        scores = modified_z(part["median"].to_numpy(np.float64))
        for (_, row), score in zip(part.iterrows(), scores, strict=True):
            if abs(score) > OUTLIER_Z:
                where = " ".join(
                    str(row[key]) for key in _KEYS[1:] if key in row and isinstance(row[key], str)
                )
                words = f"{parameter} in {region} ({where + ', ' if where else ''}z = {score:.1f})"
                found.append((str(row["participant_id"]), words))
    return found

"""The group page: distributions over subjects, outliers that link to their pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_brnn import __version__

if TYPE_CHECKING:
    import pandas as pd

    from bids_brnn.group.collect import GroupTable
    from bids_brnn.reports.assemble import Plot
    from bids_brnn.reports.content import PageTable
    from bids_brnn.reports.group import Region

_KEYS = ("participant_id", "session_id", "acq", "run")
_MAX_REGIONS = 12  # a figure with more columns cannot be read
_MAX_POINTS = 40_000  # of a page, each a link; about 140 characters
_MAX_IN_REGION = 500  # more points in one column lie over each other
_MAX_SUBJECTS = 5_000  # rows; more are slow to sort in a browser, and nobody reads them
_MAX_NOTES = 6  # per subject
_MAX_ROWS = 400  # a longer table is not read on a page; the file has all
_AGREEMENT = (
    ("acq", "acq"), ("name", "region"), ("param", "parameter"), ("units", "unit"),
    ("n", "series"), ("bias", "bias"), ("bias_ci", "95 % CI"), ("loa", "limits of agreement"),
    ("ccc", "concordance"), ("ccc_ci", "95 % CI"),
    ("median_abs_diff_crb", "median |diff| / noise sd"),
)  # fmt: skip
_QUALITY = (
    ("participant_id", "subject"), ("session_id", "session"), ("acq", "acq"), ("run", "run"),
    ("estimator", "estimator"), ("mask_volume_ml", "mask, ml"), ("mask_check", "mask check"),
    ("registration_method", "registration"), ("median_snr", "SNR"),
    ("median_residual", "residual"), ("share_flagged", "flagged"), ("share_at_bound", "at bound"),
    ("share_invalid", "no estimate"), ("outliers", "apart in"),
)  # fmt: skip
_TOO_MANY = (
    "The first {:,} of {:,} rows are listed; the tables below Files have all, and each "
    "participant has a page of its own."
)
_FILES = {
    "statistics": "region statistics of all series, one under the other",
    "wide": "medians, a row per participant, session and run, a column per parameter, region and "
    "estimator: for R, pandas and SPM",
    "agreement": "agreement of both estimators in each series",
    "group_agreement": "agreement of regional means over the group",
    "quality": "quality of each series",
}

Pages = Mapping[str, Sequence[str]]
"""Names of pages by the participant that they are of, listed once: a study has many."""


def write_group_report(
    output_dir: Path, tables: Sequence[GroupTable], notes: Sequence[str] = ()
) -> Path:
    """Write ``group.html`` at the root of the output.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    tables
        Tables of the group.
    notes
        Who is missing, and what was left aside.

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
    from bids_brnn.group.changes import change_tables
    from bids_brnn.reports.assemble import GroupView, render_group

    pages = pages_in(output_dir)
    subjects = _subjects(pages, tables)
    if len(subjects) > _MAX_SUBJECTS:
        notes = [*notes, _TOO_MANY.format(_MAX_SUBJECTS, len(subjects))]
    view = GroupView(
        title="Group",
        version=__version__,
        plots=list(_plots(pages, tables)),
        subjects=subjects[:_MAX_SUBJECTS],
        tables=[*_page_tables(tables), *change_tables(tables)],
        files=[(item.path.name, _FILES[item.kind]) for item in tables],
        notes=[*notes, *_notes(tables)],
        rule=_rule(tables),
    )
    page = output_dir / "group.html"
    render_group(view, page, write_text)
    return page


def _plots(pages: Pages, tables: Sequence[GroupTable]) -> Iterator[Plot]:
    from bids_brnn.reports.group import distribution

    shown = [item for item in tables if item.kind in ("statistics", "agreement")]
    most = max(1, min(_MAX_REGIONS, int(_MAX_POINTS / (sum(map(_height, shown)) or 1))))
    for item in shown:
        column = "median" if item.kind == "statistics" else "bias"
        for acq, table in item.table.groupby("acq", dropna=False):
            label = str(acq) if isinstance(acq, str) else ""
            panels = {
                str(name): regions_of(part, column, pages, most)
                for name, part in table.groupby("param", sort=False)
            }
            units = dict(zip(table["param"], table["units"].astype(str), strict=True))
            what = "medians" if column == "median" else "mean differences"
            series = f" ({label})" if item.table["acq"].nunique(dropna=False) > 1 else ""
            n = table["name"].nunique()
            first = f", first {most} of {n} regions" if n > most else ""
            # Boxes are of all values, points of some where there are too many to be told apart.
            largest = int(table.groupby(["param", "name"]).size().max())
            if largest > _MAX_IN_REGION:
                first += f", points for {_MAX_IN_REGION} of {largest:,} values"
            title = f"{item.desc}, regions of {item.segmentation}{first}: {what}{series}"
            yield title, distribution(panels, units)


def _height(item: GroupTable) -> float:
    """Points of one region of each of the parameters of a table."""
    sizes = item.table.groupby(["acq", "param", "name"], dropna=False).size()
    return float(sizes.clip(upper=_MAX_IN_REGION).sum()) / max(item.table["name"].nunique(), 1)


def regions_of(
    table: pd.DataFrame,
    column: str = "median",
    pages: Pages | None = None,
    most: int = _MAX_REGIONS,
) -> list[Region]:
    """One column of one parameter, a :class:`Region` for each of the first regions by index.

    With ``pages`` every point knows the page of its participant. Of very many values some are
    points, see :func:`bids_brnn.reports.group.some_of`.
    """
    from bids_brnn.reports.group import Region, some_of

    ordered = table.sort_values("index", kind="stable")
    named = list(dict.fromkeys(ordered["name"]))[:most]
    found = []
    for name in named:
        part = table[table["name"] == name]
        values = part[column].to_numpy(np.float64)
        drawn = None if values.size <= _MAX_IN_REGION else some_of(values, _MAX_IN_REGION)
        points = part if drawn is None else part.iloc[drawn]
        labels = [f"{row['participant_id']}{_where(row)}" for _, row in points.iterrows()]
        links = []
        if pages is not None:
            links = [_page_of(pages, *_who(row)) for _, row in points.iterrows()]
        found.append(Region(str(name), values, labels, links, drawn))
    return found


def _who(row: pd.Series[Any]) -> tuple[str, str]:
    """Participant and session, an empty text where there is none."""
    session = row.get("session_id")
    return str(row["participant_id"]), session if isinstance(session, str) else ""


def _subjects(pages: Pages, tables: Sequence[GroupTable]) -> list[dict[str, str]]:
    """Label, session, page and remarks of each, those with remarks first."""
    notes: dict[tuple[str, str], list[str]] = defaultdict(list)
    known: set[tuple[str, str]] = set()
    for item in tables:
        if item.kind == "statistics":
            keys = [key for key in _KEYS[:2] if key in item.table]
            known |= {_who(row) for _, row in item.table[keys].drop_duplicates().iterrows()}
            for who, words in outliers(item.table):
                notes[who].append(f"{item.desc}: {words}")
        elif item.kind == "quality":
            apart = item.table[item.table["outliers"].notna()]
            for _, row in apart.iterrows():
                words = str(row["outliers"]).replace(";", ", ")
                notes[_who(row)].append(f"{row['estimator']}: {words}{_where(row)}")
    # A table without sessions speaks of all of them.
    said = {who: notes.get(who) or notes.get((who[0], ""), []) for who in known}
    return [
        {
            "label": who[0],
            "session": who[1],
            "page": _page_of(pages, *who),
            "note": _shortened(said[who]) or "-",
        }
        for who in sorted(known, key=lambda who: (not said[who], who))
    ]


def _rule(tables: Sequence[GroupTable]) -> str:
    """When a value lies apart, and how often one does by chance: rows are judged by many."""
    from bids_brnn.reports.group import MIN_SUBJECTS, OUTLIER_Z, chance_apart, outlier_limit

    most = _comparisons(tables)
    if not most:
        return f"With fewer than {MIN_SUBJECTS} series none is judged."
    few = " and ".join(f"{outlier_limit(count):.2g} for {count}" for count in (10, MIN_SUBJECTS))
    return (
        f"A value lies apart where its absolute modified z-score is above {OUTLIER_Z:g}; above "
        f"more where series are few, {few}, so that it is as rare. Up to {most:,} medians of "
        "regions are compared in a row: were they normal, chance alone would give about "
        f"{most * chance_apart():.2g} notes per row."
    )


def _comparisons(tables: Sequence[GroupTable]) -> int:
    """Most regional medians of one row that are compared with those of others."""
    from bids_brnn.maps import quality_maps

    counts: dict[object, int] = defaultdict(int)
    for item in tables:
        if item.kind == "statistics" and "modified_z" in item.table:
            judged = item.table["modified_z"].notna() & ~item.table["param"].isin(quality_maps())
            keys = [key for key in _KEYS[:2] if key in item.table]
            for who, count in item.table[judged].groupby(keys, dropna=False).size().items():
                counts[str(who)] += int(count)
    return max(counts.values(), default=0)


def _shortened(notes: Sequence[str]) -> str:
    more = len(notes) - _MAX_NOTES
    shown = "; ".join(notes[:_MAX_NOTES])
    return f"{shown}; and {more} more (column outlier of the tables)" if more > 0 else shown


def pages_in(output_dir: Path) -> Pages:
    """Pages of participants and of their sessions, by name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(output_dir.glob("sub-*.html")):
        found[path.stem.partition("_")[0]].append(path.name)
    return dict(found)


def _page_of(pages: Pages, label: str, session: str = "") -> str:
    """The report of a participant; that of a session where sessions have pages of their own."""
    there, whole = pages.get(label, ()), f"{label}.html"
    own = f"{label}_{session}.html"
    if whole in there or not there:
        return whole
    return own if own in there else there[0]


def outliers(table: pd.DataFrame) -> Sequence[tuple[tuple[str, str], str]]:
    """Series whose median lies apart from the others: who, and what, farthest first.

    Who is the participant and the session (an empty text where there is none).
    """
    from bids_brnn.group.tables import with_outliers
    from bids_brnn.maps import quality_maps

    flagged = table if "outlier" in table else with_outliers(table)
    apart = flagged[(flagged["outlier"] == 1) & ~flagged["param"].isin(list(quality_maps()))]
    found = []
    for _, row in apart.sort_values("modified_z", key=abs, ascending=False).iterrows():
        where = _where(row, f"z = {row['modified_z']:.1f}")
        found.append((_who(row), f"{row['param']} in {row['name']}{where}"))
    return found


def _where(row: pd.Series[Any], *more: str) -> str:
    """Session, acquisition and run in brackets."""
    labels = [str(row[key]) for key in _KEYS[1:] if key in row and isinstance(row[key], str)]
    inside = ", ".join([*([" ".join(labels)] if labels else []), *more])
    return f" ({inside})" if inside else ""


def _page_tables(tables: Sequence[GroupTable]) -> Iterator[PageTable]:
    from bids_brnn.reports.assemble import table_of

    columns: Sequence[tuple[str, str]]
    for item in sorted(tables, key=lambda item: item.kind != "quality"):
        if item.kind == "quality":
            title, columns = "Quality of the series", _QUALITY
        elif item.kind == "group_agreement":
            title = f"Agreement over the group: {item.desc}, regional means of {item.segmentation}"
            columns = _AGREEMENT
        else:
            continue
        name = item.path.name
        used = [(key, words) for key, words in columns if _is_shown(item.table, key)]
        shown = item.table
        if item.kind == "quality":  # what lies apart first
            shown = shown.sort_values("outliers", key=lambda words: words.isna(), kind="stable")
        if len(shown) > _MAX_ROWS:
            title += f" (first {_MAX_ROWS} of {len(shown)} rows)"
            shown = shown.head(_MAX_ROWS)
        rows = [
            {key: value for key, value in record.items() if value == value and value is not None}
            for record in shown.to_dict("records")
        ]
        yield table_of(title, used, [{str(k): v for k, v in row.items()} for row in rows], name)


def _is_shown(table: pd.DataFrame, key: str) -> bool:
    """Whether a column is there and says anything; intervals go by their lower end."""
    name = key if key in table else f"{key}_low"
    return name in table and bool(table[name].notna().any())


def _notes(tables: Sequence[GroupTable]) -> list[str]:
    """Warnings that concern all tables."""
    from bids_brnn.regions.labels import CIRCULAR

    derived = {
        item.segmentation
        for item in tables
        if item.kind == "statistics" and "maps" in set(item.table.get("region_source", ()))
    }
    return [f"{name}: {CIRCULAR}" for name in sorted(derived)]

"""Subject and group pages: figures and maps inside, text through an escaping template.

A page is one file: style, figures, maps and the viewer lie in it, nothing is loaded from anywhere,
so it opens from a mail as from a cluster's file system. It can be read without scripts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bids_brnn.reports.adequacy import adequacy_tables
from bids_brnn.reports.compare import Comparison, comparisons
from bids_brnn.reports.content import EstimatorView, PageTable, SeriesView, SubjectView
from bids_brnn.reports.embed import Fineness, colour_tables, niivue, part
from bids_brnn.reports.figures import TISSUE_COLOURS
from bids_brnn.reports.fitting import (
    MOST_BYTES,
    finenesses,
    kept,
    least,
    lowered,
    wished,
)
from bids_brnn.reports.group import MIN_SUBJECTS
from bids_brnn.reports.lights import Light, lights
from bids_brnn.reports.packing import n_maps, pack_series
from bids_brnn.reports.panels import Panel, panels
from bids_brnn.reports.protocol import bounds_table
from bids_brnn.reports.provenance import provenance, sources
from bids_brnn.reports.stored import BOUNDS_FILE

WriteText = Callable[[Path, str], None]
"""Writes text to a path so that readers see the old or the new file, never half of one."""
PAPER_ROWS = 15
"""Rows of a table that are printed: a report on paper is looked through, its files are read."""
_HERE = "<<maps>>"
"""Where the maps go; text of others is escaped and cannot hold it."""


@dataclass(frozen=True)
class Section:
    """One series of a page, ready for the template."""

    series: SeriesView
    lights: Sequence[tuple[Light, str]]
    """Each with the end of its link."""
    comparisons: Sequence[Comparison]
    panels: Sequence[Panel]
    tables: Sequence[PageTable]
    provenance: PageTable
    sources: Sequence[str]

    @property
    def size(self) -> int:
        """Bytes of its figures."""
        rows = [row for item in self.comparisons for row in item.rows]
        cells = [cell for row in rows for cell in row.cells]
        cells += [cell for panel in self.panels for cell in panel.cells]
        images = [cell.image for cell in cells] + [row.agreement for row in rows]
        images += [panel.image for panel in self.panels]
        return sum(map(len, images))

    def bare(self) -> Section:
        """The same without figures; links of lights lead to the series."""
        return replace(
            self, comparisons=(), panels=(), lights=[(light, "") for light, _ in self.lights]
        )


def render_subject(view: SubjectView, page: Path, write_text: WriteText, threads: int = 1) -> None:
    """Write ``page`` (``OUT/sub-01.html``), packing up to ``threads`` maps at a time."""
    for fineness in finenesses(view.series):
        sections = [_section(series, fineness) for series in view.series]
        text = _text(view, sections, fineness)
        room = MOST_BYTES - len(text.encode())
        if room >= wished(view.series):
            break
    shares = least(view.series)
    if room < sum(shares):
        # Even the coarsest figures are too many: the last series do without.
        sizes = [item.size for item in sections]
        count = kept(sizes, sum(sizes) + room - sum(shares))
        sections = [item if k < count else item.bare() for k, item in enumerate(sections)]
        text = _text(view, sections, fineness)
        room = MOST_BYTES - len(text.encode())
    # Maps take the room that all the rest leaves.
    in_viewer = view.series[: kept(shares, room)]
    if len(in_viewer) < len(view.series):
        text = _text(view, sections, fineness, len(in_viewer))
    before, _, after = text.partition(_HERE)
    write_text(page, before + (_volumes(in_viewer, room, threads) if after else "") + after)


def _text(
    view: SubjectView,
    sections: Sequence[Section],
    fineness: Fineness,
    in_viewer: int | None = None,
) -> str:
    """The page without the maps of the viewer, of which ``in_viewer`` series will be shown."""
    shown = len(sections) if in_viewer is None else in_viewer
    bare = [item.series.name for item in sections if not item.panels and item.series.estimators]
    unseen = [item.series.name for item in sections[shown:]]
    return _template("subject.html").render(
        view=view,
        sections=sections,
        lowered=lowered(fineness, bare, unseen),
        has_viewer=shown > 0,
        python_packages=_packages(),
        niivue=Markup(niivue() if shown else ""),  # noqa: S704 -- base64
        licences=part("vendor/LICENSES.txt") if shown else "",
        volumes=Markup(_HERE),  # noqa: S704 -- see there
    )


def _section(series: SeriesView, fineness: Fineness) -> Section:
    tables = list(adequacy_tables(series))
    # Agreement first: its figures are the last ones.
    tables += [
        table_of(title, AGREEMENT_COLUMNS, rows, file) for title, rows, file in series.agreement
    ]
    head = series.name.rpartition("_")[0]
    tables += [table for item in series.estimators for table in _region_tables(item, head)]
    if series.bounds is not None:
        tables.append(bounds_table(series.bounds)._replace(file=f"{head}_{BOUNDS_FILE}"))
    shown = [_shortened(table, fineness.rows) for table in tables if table.rows]
    figures = panels(series, fineness)
    known = {panel.name for panel in figures}
    # A light whose figure is not there leads to the series.
    rows = [(light, f"-{light.link}" if light.link in known else "") for light in lights(series)]
    origin = provenance(series), sources(series)
    return Section(series, rows, comparisons(series, fineness), figures, shown, *origin)


def _volumes(series: Sequence[SeriesView], budget: int, threads: int) -> str:
    """All maps as JSON that may stand in a page; series share the room by their voxels."""
    sizes = [int(item.mask.sum()) * n_maps(item) + 1 for item in series]
    shares = least(series)
    spare, total = budget - sum(shares), sum(sizes)
    packed = [
        pack_series(item, share + spare * size // total, threads)
        for item, share, size in zip(series, shares, sizes, strict=True)
    ]
    palette = [[int(text[k : k + 2], 16) for k in (1, 3, 5)] for text in TISSUE_COLOURS]
    content = {"series": packed, "colours": colour_tables(), "palette": palette}
    return safe_json(content)


def safe_json(content: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _packages() -> list[tuple[str, str]]:
    """Versions of what pages are made with."""
    return [(name, version(name)) for name in ("numpy", "matplotlib", "nibabel", "pillow")]


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(part), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    environment.globals["paper_rows"] = PAPER_ROWS
    environment.globals["script"] = lambda name: Markup(part(name))  # noqa: S704 -- our own files
    return environment.get_template(name)


COLUMNS = (
    ("name", "region"), ("param", "parameter"), ("units", "unit"), ("n_valid", "voxels"),
    ("mean", "mean"), ("std", "sd"), ("median", "median"), ("p25", "25 %"), ("p75", "75 %"),
    ("iqr", "IQR"), ("mean_crb_std", "noise sd"), ("share_flagged", "flagged"),
)  # fmt: skip
AGREEMENT_COLUMNS = (
    ("name", "region"), ("param", "parameter"), ("units", "unit"), ("n", "voxels"),
    ("bias", "bias"), ("bias_ci", "95 % CI"), ("sd_diff", "sd of differences"),
    ("loa", "limits of agreement"), ("ccc", "concordance"), ("ccc_ci", "95 % CI"),
    ("median_abs_diff_crb", "median |diff| / noise sd"),
)  # fmt: skip


def _region_tables(estimator: EstimatorView, head: str) -> list[PageTable]:
    """One table per segmentation; ``head`` begins the names of the files of the series."""
    groups: dict[str, list[Mapping[str, object]]] = {}
    for row in estimator.statistics:
        groups.setdefault(str(row.get("segmentation", "")), []).append(row)
    return [
        table_of(
            f"Regions: {estimator.title}{', ' * bool(name)}{name}"
            + (" (made from these maps: circular)" if _is_circular(rows) else ""),
            COLUMNS,
            rows,
            f"{head}_seg-{name}_desc-{estimator.key}_scalarstats.tsv" if name else "",
        )
        for name, rows in groups.items()
    ]


def _shortened(table: PageTable, most: int) -> PageTable:
    count = len(table.rows)
    if count <= most:
        return table
    rest = f"{table.file} has all" if table.file else "the files have all"
    title = f"{table.title} (the first of {count} rows; {rest})"
    return table._replace(title=title, rows=table.rows[:most])


def _is_circular(rows: Sequence[Mapping[str, object]]) -> bool:
    return any(row.get("region_source") == "maps" for row in rows)


def table_of(
    title: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Mapping[str, object]],
    file: str = "",
) -> PageTable:
    """A table of the page; ``x`` without a value stands for ``x_low`` to ``x_high``."""
    cells = [[_cell(row.get(key)) or _interval(row, key) for key, _ in columns] for row in rows]
    return PageTable(title, [words for _, words in columns], cells, file)


def _interval(row: Mapping[str, object], key: str) -> str:
    ends = [_cell(row.get(f"{key}_{end}")) for end in ("low", "high")]
    if not all(ends):
        return ""
    n = row.get("n")
    few = isinstance(n, int | float) and n < MIN_SUBJECTS
    return " to ".join(ends) + (f" (n = {n:g}, hardly known)" if few else "")


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


Plot = tuple[str, Sequence[Markup]]
"""Caption and the drawings under it."""


@dataclass(frozen=True)
class GroupView:
    """The page of a group."""

    title: str
    version: str
    plots: Sequence[Plot]
    subjects: Sequence[Mapping[str, str]]
    """Each with ``label``, ``session`` (or nothing), ``page`` (relative link) and ``note``."""
    tables: Sequence[PageTable] = ()
    files: Sequence[tuple[str, str]] = ()
    """Name and meaning of each table of the group."""
    notes: Sequence[str] = ()
    rule: str = ""
    """When a value lies apart, in words."""


def render_group(view: GroupView, page: Path, write_text: WriteText) -> None:
    """Write the group page."""
    write_text(page, _template("group.html").render(view=view))

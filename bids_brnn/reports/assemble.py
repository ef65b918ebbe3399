"""Subject and group pages: figures and maps inside, text through an escaping template.

A page is one file: style, figures, maps and the viewer lie in it, nothing is loaded from anywhere,
so it opens from a mail as from a cluster's file system. It can be read without scripts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bids_brnn.reports.adequacy import adequacy_tables
from bids_brnn.reports.compare import Comparison, comparisons
from bids_brnn.reports.content import EstimatorView, SeriesView, SubjectView
from bids_brnn.reports.embed import Fineness, colour_tables, niivue, part
from bids_brnn.reports.figures import TISSUE_COLOURS
from bids_brnn.reports.group import MIN_SUBJECTS
from bids_brnn.reports.lights import Light, lights
from bids_brnn.reports.packing import pack_series
from bids_brnn.reports.panels import Panel, panels
from bids_brnn.reports.protocol import precision_table
from bids_brnn.reports.provenance import provenance, sources

WriteText = Callable[[Path, str], None]
"""Writes text to a path so that readers see the old or the new file, never half of one."""
MOST_CHARACTERS = 7_600_000
"""Of a page, so that mail servers with a limit of 10 MB take it as an attachment."""
_LEAST_BUDGET = 300_000
_LARGE = 150_000
"""Voxels of a mask from which figures are no longer small."""
_FINENESS = (Fineness(), Fineness(80, 60), Fineness(70, 35))
"""For one large series, for two, for more."""
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
    """Title, header and rows of each table."""
    provenance: PageTable
    sources: Sequence[str]


def render_subject(view: SubjectView, page: Path, write_text: WriteText) -> None:
    """Write ``page`` (``OUT/sub-01.html``)."""
    fineness = _fineness(view.series)
    sections = [_section(series, fineness) for series in view.series]
    library = niivue() if sections else ""
    text = _template("subject.html").render(
        view=view,
        sections=sections,
        python_packages=_packages(),
        niivue=Markup(library),  # noqa: S704 -- base64
        licences=part("vendor/LICENSES.txt") if sections else "",
        volumes=Markup(_HERE),  # noqa: S704 -- see there
    )
    # Maps take the room that all the rest leaves.
    before, _, after = text.partition(_HERE)
    volumes = _volumes(view.series, MOST_CHARACTERS - len(text)) if after else ""
    write_text(page, before + volumes + after)


def _fineness(series: Sequence[SeriesView]) -> Fineness:
    """How finely figures are stored: several whole brains would not fit into a page else."""
    large = sum(int(item.mask.sum()) > _LARGE for item in series)
    return _FINENESS[min(max(large, 1), len(_FINENESS)) - 1]


def _section(series: SeriesView, fineness: Fineness) -> Section:
    tables = list(adequacy_tables(series))
    # Agreement first: its figures are the last ones.
    tables += [table_of(title, AGREEMENT_COLUMNS, rows) for title, rows in series.agreement]
    tables += [table for item in series.estimators for table in _region_tables(item)]
    tables.append(precision_table(series))
    shown = [table for table in tables if table[2]]
    figures = panels(series, fineness)
    known = {panel.name for panel in figures}
    # A light whose figure is not there leads to the series.
    rows = [(light, f"-{light.link}" if light.link in known else "") for light in lights(series)]
    origin = provenance(series), sources(series)
    return Section(series, rows, comparisons(series), figures, shown, *origin)


def _volumes(series: Sequence[SeriesView], budget: int) -> str:
    """All maps as JSON that may stand in a page; series share the room by their voxels."""
    sizes = [int(item.mask.sum()) * _n_maps(item) + 1 for item in series]
    total = sum(sizes) or 1
    packed = [
        pack_series(item, max(int(budget * size / total), _LEAST_BUDGET))
        for item, size in zip(series, sizes, strict=True)
    ]
    palette = [[int(text[k : k + 2], 16) for k in (1, 3, 5)] for text in TISSUE_COLOURS]
    content = {"series": packed, "colours": colour_tables(), "palette": palette}
    return safe_json(content)


def _n_maps(series: SeriesView) -> int:
    return sum(
        len(item.estimates) + len(item.uncertainties) + len(item.quality)
        for item in series.estimators
    )


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


def _region_tables(estimator: EstimatorView) -> list[PageTable]:
    """One table per segmentation."""
    groups: dict[str, list[Mapping[str, object]]] = {}
    for row in estimator.statistics:
        groups.setdefault(str(row.get("segmentation", "")), []).append(row)
    return [
        table_of(
            f"Regions: {estimator.title}{', ' * bool(name)}{name}"
            + (" (made from these maps: circular)" if _is_circular(rows) else ""),
            COLUMNS,
            rows,
        )
        for name, rows in groups.items()
    ]


def _is_circular(rows: Sequence[Mapping[str, object]]) -> bool:
    return any(row.get("region_source") == "maps" for row in rows)


def table_of(
    title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, object]]
) -> PageTable:
    """Title, header and cells; ``x`` without a value stands for ``x_low`` to ``x_high``."""
    cells = [[_cell(row.get(key)) or _interval(row, key) for key, _ in columns] for row in rows]
    return title, [words for _, words in columns], cells


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
PageTable = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, header and rows."""


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


def render_group(view: GroupView, page: Path, write_text: WriteText) -> None:
    """Write the group page."""
    write_text(page, _template("group.html").render(view=view))

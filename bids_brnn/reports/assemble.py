"""Subject and group pages: figures to SVG files, text through an escaping template.

Pages are plain HTML with inline style: no script, no network, no fonts from elsewhere, so they
open from a cluster's file system as from a web server.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import jinja2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from bids_brnn.reports import figures
from bids_brnn.reports.adequacy import adequacy_figure, adequacy_tables, compared
from bids_brnn.reports.content import EstimatorView, SeriesView, SubjectView
from bids_brnn.reports.motion import motion_figure
from bids_brnn.reports.registration import registration_check

WriteText = Callable[[Path, str], None]
"""Writes text to a path so that readers see the old or the new file, never half of one."""


@dataclass(frozen=True)
class Panel:
    """A titled figure of a page."""

    title: str
    caption: str
    image: str
    """Path relative to the page."""


@dataclass(frozen=True)
class Section:
    """One series of a page, ready for the template."""

    series: SeriesView
    panels: Sequence[Panel]
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]
    """Title, header and rows of each table."""


def render_subject(view: SubjectView, page: Path, write_text: WriteText) -> None:
    """Write ``page`` (``OUT/sub-01.html``) and its figures (``OUT/sub-01/figures/*.svg``)."""
    folder = page.parent / f"sub-{view.label}" / "figures"
    sections = []
    for series in view.series:
        panels = []
        for name, title, caption, figure in _figures(series):
            path = folder / f"{series.name}_desc-{name}_figure.svg"
            write_text(path, to_svg(figure))
            panels.append(Panel(title, caption, path.relative_to(page.parent).as_posix()))
        tables = list(adequacy_tables(series))
        # Agreement first: its figures are the last ones.
        tables += [table_of(title, AGREEMENT_COLUMNS, rows) for title, rows in series.agreement]
        tables += [table for item in series.estimators for table in _region_tables(item)]
        sections.append(Section(series, panels, [table for table in tables if table[2]]))
    write_text(page, _template("subject.html").render(view=view, sections=sections))


def to_svg(figure: Figure) -> str:
    """SVG text without time stamp and with stable ids, so that reruns are byte-identical."""
    buffer = io.StringIO()
    # No DPI above 100: the raster inside is the voxel grid, more only makes pages heavy.
    with rc_context({"svg.hashsalt": "bids_brnn", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", dpi=100, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _template(name: str) -> jinja2.Template:
    loader = jinja2.FunctionLoader(
        lambda wanted: files("bids_brnn.reports").joinpath(wanted).read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(name)


def _figures(series: SeriesView) -> list[tuple[str, str, str, Figure]]:
    """File name part, title, caption and figure of everything to show for a series."""
    found: list[tuple[str, str, str, Figure]] = []
    mask = series.mask
    if series.reference is not None:
        found.append(
            ("mask", "Mask", "Outline of the mask on the mean magnitude of the series.",
             figures.mask_outline(series.reference, mask))
        )  # fmt: skip
    if series.reference is not None and series.t1w is not None:
        how = next((words for key, words in series.facts if key == "T1w image"), "")
        found.append(
            ("registration", "Registration",
             "Series, T1w image on the grid of the series, and both in turns; the outline is that "
             f"of the mask. T1w image: {how}.",
             registration_check(series.reference, series.t1w, mask, series.voxel_size))
        )  # fmt: skip
    if series.supplied:
        found.append(
            ("supplied", "Supplied maps", _supplied_caption(series),
             figures.mosaic(series.supplied, mask, colours="RdBu_r"))
        )  # fmt: skip
    if series.motion:
        found.append(
            ("motion", "Motion between frames",
             "Position of the head in each time frame along and about the axes of the image, "
             "before correction, and framewise displacement.", motion_figure(series.motion))
        )  # fmt: skip
    for estimator in series.estimators:
        for suffix, title, views, colours in (
            ("", "", estimator.estimates, "viridis"),
            ("Std", ": standard deviation", estimator.uncertainties, "magma"),
            ("Quality", ": quality", estimator.quality, "cividis"),
        ):
            if views:
                caption = "; ".join(f"{view.name}: {view.description}" for view in views) + "."
                found.append(
                    (f"{estimator.key}{suffix}", f"{estimator.title}{title}", caption,
                     figures.mosaic(views, mask, colours=colours, from_zero=suffix == "Std"))
                )  # fmt: skip
        if estimator.estimates:
            found.append(
                (f"{estimator.key}Hist", f"{estimator.title}: distributions",
                 "Values inside the mask, by tissue; dotted: literature values at 3 T.",
                 figures.histograms(estimator.estimates, mask, series.labels, series.label_names))
            )  # fmt: skip
    models = adequacy_figure(series)
    return found + ([] if models is None else [models]) + _agreement_figures(series)


def _supplied_caption(series: SeriesView) -> str:
    """What the field maps are, how their units were read, and what values they have."""
    sentences = ["Known maps on the grid of the series, in the units of the model."]
    for view in series.supplied:
        inside = view.values[series.mask]
        inside = inside[np.isfinite(inside)]
        unit = "" if view.unit in ("1", "") else f" {view.unit}"
        said = f" ({view.description})" if view.description else ""
        if inside.size:
            low, middle, high = np.percentile(inside, [5, 50, 95])
            sentences.append(
                f"{view.name}{said}: median {middle:.3g}{unit}, 5 % to 95 % of the voxels between "
                f"{low:.3g} and {high:.3g}{unit}."
            )
    return " ".join(sentences)


def _agreement_figures(series: SeriesView) -> list[tuple[str, str, str, Figure]]:
    found = []
    # Fits by several models have a figure of their own: all pairs of them would be dozens.
    apart = {item.key for item in compared(series)[1:]}
    shown = [item for item in series.estimators if item.key not in apart]
    for first, second in combinations(shown, 2):
        others = {view.name: view for view in second.estimates}
        for view in first.estimates:
            if view.name in others:
                figure = figures.agreement(
                    view, others[view.name], series.mask, (first.key, second.key)
                )
                found.append(
                    (f"{first.key}{second.key}{view.name}",
                     f"{view.name}: {first.title} against {second.title}",
                     "Left: voxels, identity line. Right: Bland-Altman, bias and limits.", figure)
                )  # fmt: skip
    return found


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
    return " to ".join(ends) if all(ends) else ""


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


Plot = tuple[str, str, Figure]
"""File name part, caption and figure."""
PageTable = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, header and rows."""


@dataclass(frozen=True)
class GroupView:
    """The page of a group."""

    title: str
    version: str
    plots: Sequence[Plot]
    subjects: Sequence[Mapping[str, str]]
    """Each with ``label``, ``page`` (relative link) and ``note``."""
    tables: Sequence[PageTable] = ()
    files: Sequence[tuple[str, str]] = ()
    """Name and meaning of each table of the group."""
    notes: Sequence[str] = ()


def render_group(view: GroupView, page: Path, write_text: WriteText) -> None:
    """Write the group page and its figures (``figures/`` beside it)."""
    panels = []
    for name, caption, figure in view.plots:
        path = page.parent / "figures" / f"group_desc-{name}_figure.svg"
        write_text(path, to_svg(figure))
        panels.append(Panel(name, caption, path.relative_to(page.parent).as_posix()))
    write_text(page, _template("group.html").render(view=view, panels=panels))

"""Group figures: one point per series and region, which leads to its page, and which lie apart.

They are drawn as SVG elements of the page itself, so that points are links with names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from bids_brnn.reports.ticks import tick_labels

OUTLIER_Z = 3.5
"""Modified z-score above which one of very many values lies apart (Iglewicz and Hoaglin 1993)."""
MIN_SUBJECTS = 5
"""Below this many values a spread means nothing, and nothing is flagged."""


@dataclass(frozen=True)
class Region:
    """Values of one parameter in one region, one per series."""

    name: str
    values: NDArray[np.float64]
    """``(S,)``; NaN where a series has none."""
    labels: Sequence[str] = ()
    """What each value is of: participant, session, run."""
    pages: Sequence[str] = ()
    """The page of each, as a relative link."""
    drawn: NDArray[np.intp] | None = None
    """Which values are points, with ``labels`` and ``pages`` of these only; None: all of them."""


def modified_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in units of the scaled median absolute deviation.

    Parameters
    ----------
    values
        ``(S,)``; NaN stays NaN. Zero everywhere with fewer than :data:`MIN_SUBJECTS` values or
        where more than half of them are equal.
    """
    finite = np.isfinite(values)
    scores = np.where(finite, 0.0, np.nan)
    if finite.sum() < MIN_SUBJECTS:
        return scores
    middle = np.median(values[finite])
    spread = np.median(np.abs(values[finite] - middle))
    if spread > 0:
        scores[finite] = 0.6745 * (values[finite] - middle) / spread
    return scores


def outlier_limit(count: int) -> float:
    """Modified z-score that as few of ``count`` normal values exceed as :data:`OUTLIER_Z` of many.

    The median absolute deviation of few values varies: of ten normal values 1.7 of 100 exceed 3.5.
    Far out, scores are distributed like Student's t. Its degrees of freedom, fewer for odd
    numbers, where the median is one of the values, were found by simulation (3 million values for
    each of 16 numbers from 5 to 200); the share beyond the limit is that of many to a fifth.

    >>> [round(outlier_limit(count), 1) for count in (5, 10, 100, 10_000)]
    [42.9, 8.7, 3.8, 3.5]
    """
    from scipy.special import stdtrit

    freedom = 0.41 * count if count % 2 else 0.40 * count + 0.65
    return float(-stdtrit(freedom, chance_apart() / 2))


def chance_apart() -> float:
    """Share of normal values that lie apart: 1 of 2,150."""
    from scipy.special import ndtr

    return 2 * float(ndtr(-OUTLIER_Z))


def lies_apart(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values ``(S,)`` lie apart from the others; never NaN."""
    scores = np.abs(np.nan_to_num(modified_z(values)))
    return scores > outlier_limit(int(np.isfinite(values).sum()))


def some_of(values: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Which of many values are drawn: those farthest apart, and of the others every n-th by size.

    Parameters
    ----------
    values
        ``(S,)``; NaN is never drawn.
    most
        Number that is drawn at most; half of it at most for those that lie apart.

    Returns
    -------
    ndarray
        Places in ``values``, ascending.
    """
    finite = np.flatnonzero(np.isfinite(values))
    if finite.size <= most:
        return finite
    scores, far = np.abs(modified_z(values)[finite]), lies_apart(values)[finite]
    farthest = np.argsort(-scores, kind="stable")[: most // 2]
    apart = finite[farthest[far[farthest]]]
    others = finite[~far]
    others = others[np.argsort(values[others], kind="stable")]
    each = np.linspace(0, max(others.size - 1, 0), min(most - apart.size, others.size))
    return np.sort(np.concatenate([apart, others[each.round().astype(np.intp)]]))


_MANY = 60
"""Points of a column that lie side by side; more are drawn smaller, paler, and by density."""
_COLUMN, _HEIGHT, _LEFT, _TOP, _FOOT = 46, 170, 52, 24, 92
"""Pixels: width of a region, height of the axis, room for numbers, title and names of regions."""


def distribution(panels: Mapping[str, Sequence[Region]], units: Mapping[str, str]) -> list[Markup]:
    """A drawing per parameter: a column per region, a point per series, quartiles from five on."""
    return [_panel(name, units.get(name, ""), regions) for name, regions in panels.items()]


def _panel(name: str, unit: str, regions: Sequence[Region]) -> Markup:
    title = name if unit in ("1", "") else f"{name} ({unit})"
    values = np.concatenate([region.values for region in regions] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    room = 0.06 * (high - low) or abs(low) * 0.1 or 1.0
    low, high = low - room, high + room
    width = _LEFT + _COLUMN * max(len(regions), 3) + 10
    parts = [_axis(title, low, high, width)]
    rng = np.random.default_rng(0)  # sideways scatter only
    for column, region in enumerate(regions):
        parts.append(_column(region, _LEFT + (column + 0.5) * _COLUMN, low, high, rng))
    sizes = sorted({int(np.isfinite(region.values).sum()) for region in regions})
    few = " Fewer than five values: no quartiles." if sizes and sizes[0] < MIN_SUBJECTS else ""
    label = f"{title}: {len(regions)} regions, {sizes[-1] if sizes else 0} values at most.{few}"
    return Markup(  # noqa: S704 -- of escaped parts
        f'<svg role="group" aria-label="{escape(label)}" viewBox="0 0 {width:g} '
        f'{_TOP + _HEIGHT + _FOOT}" width="{width:g}" height="{_TOP + _HEIGHT + _FOOT}">'
        f"{''.join(parts)}</svg>"
    )


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * _HEIGHT


def _axis(title: str, low: float, high: float, width: float) -> str:
    ticks, labels, factor = tick_labels(low, high)
    marks = [
        f'<path d="M{_LEFT} {_y(tick, low, high):.1f}H{width - 8:g}" class="grid"/>'
        f'<text x="{_LEFT - 5}" y="{_y(tick, low, high) + 3.5:.1f}" text-anchor="end">'
        f"{escape(label)}</text>"
        for tick, label in zip(ticks, labels, strict=True)
    ]
    words = f"{title}{f' x {factor}' if factor else ''}"
    head = f'<text x="{_LEFT}" y="14" class="title">{escape(words)}</text>'
    return head + "".join(marks)


def _column(region: Region, x: float, low: float, high: float, rng: np.random.Generator) -> str:
    kept = np.flatnonzero(np.isfinite(region.values))
    apart = lies_apart(region.values)
    foot = _TOP + _HEIGHT + 12
    parts = [
        f'<text transform="translate({x + 3:.1f} {foot}) rotate(-50)" text-anchor="end">'
        f"{escape(_short(region.name))}<title>{escape(region.name)}</title></text>"
    ]
    sides = np.full(region.values.size, x)
    sides[kept] += _spread(region.values[kept]) * rng.uniform(-1, 1, kept.size)
    points = range(region.values.size) if region.drawn is None else region.drawn.tolist()
    dense = len(points) > _MANY
    for place, index in enumerate(points):
        if not np.isfinite(region.values[index]):
            continue
        side, y = sides[index], _y(float(region.values[index]), low, high)
        label = region.labels[place] if region.labels else str(index + 1)
        words = f"{label}: {region.values[index]:.4g}" + ", apart" * bool(apart[index])
        shape = (
            f'<path d="M{side:.0f} {y - 5:.1f}l5 5l-5 5l-5-5z"/>' if apart[index]
            else f'<circle cx="{side:.0f}" cy="{y:.1f}" r="{2 if dense else 3}"/>'
        )  # fmt: skip
        point = f"<title>{escape(words)}</title>{shape}"
        kind = "apart" if apart[index] else "point dense" if dense else "point"
        if region.pages:
            # Thousands of points are no stops of the tab key; the table of subjects has them.
            link = f'href="{escape(region.pages[place])}" tabindex="-1"'
            parts.append(f'<a class="{kind}" {link}>{point}</a>')
        else:
            parts.append(f'<g class="{kind}">{point}</g>')
    if kept.size >= MIN_SUBJECTS:  # over the points, which are many where it matters
        lower, middle, upper = (
            _y(float(v), low, high) for v in np.percentile(region.values[kept], [25, 50, 75])
        )
        parts.append(
            f'<rect x="{x - 14:.1f}" y="{upper:.1f}" width="28" height="{lower - upper:.1f}" '
            f'class="box"/><path d="M{x - 14:.1f} {middle:.1f}h28" class="median"/>'
        )
    return "".join(parts)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels ``(S,)`` that points may lie aside: few as they are, many as their density.

    So the width of a cloud of many points shows the distribution (sina plot, Sidiropoulos 2018).
    """
    if values.size <= _MANY or np.ptp(values) == 0:
        return np.full(values.size, 9.0)
    counts, edges = np.histogram(values, bins=max(10, round(values.size**0.5)))
    smooth = np.convolve(np.pad(counts, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, smooth.size - 1)
    found: NDArray[np.float64] = 19.0 * smooth[bins] / smooth.max()
    return found


def _short(name: str) -> str:
    """A name of a region that fits below an axis."""
    plain = name.replace("Left-", "L-").replace("Right-", "R-").replace("Cerebral-", "")
    return plain if len(plain) <= 19 else f"{plain[:18]}."

"""How a page is made to fit into a mail: figures are stored more coarsely, the more there are.

Maps of the viewer take the room that figures and tables leave. What was lowered is said in the
page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bids_brnn.reports.content import SeriesView
from bids_brnn.reports.embed import FINEST, Fineness
from bids_brnn.reports.packing import characters, n_maps

MOST_BYTES = 7_800_000
"""Of a page: below 8 MB, so that mail servers with a limit of 10 MB take it as an attachment."""
_LEAST_BYTES = 60_000
"""Of the maps of one series in the viewer; where there is less, it is left out of it."""
_WISHED_BYTES = 2_500_000
"""Of all maps: figures are made coarser before the viewer has less."""
_OTHERS = 1_200_000
"""Bytes of a page without figures and maps, about: the viewer itself."""
_WORDS = 500
"""Bytes of what is said of a map."""
_LARGE = 150_000
"""Voxels of a mask from which figures are no longer smaller for being of fewer voxels."""

LADDER: Sequence[tuple[Fineness, int]] = (
    (FINEST, 17_000),
    (Fineness(95, 75, cells=80), 72_000),
    (Fineness(80, 60, cells=60), 54_000),
    (Fineness(75, 40, cells=35, slices=5), 48_000),
    (Fineness(75, 30, cells=25, slices=4, montage=2), 35_000),
    (Fineness(75, 25, cells=20, slices=4, montage=2, rows=300), 27_000),
    (Fineness(75, 15, cells=10, slices=2, montage=1, rows=100), 10_000),
)
"""From the finest to the coarsest, with bytes of figures per map of a whole brain (measured on a
phantom of 1 mm, 1.6 million voxels, white noise). Letters can be read in all of them."""


def finenesses(series: Sequence[SeriesView]) -> Iterator[Fineness]:
    """Those that may fit, the finest first; the first one nearly always does."""
    maps = sum(n_maps(item) * min(1.0, int(item.mask.sum()) / _LARGE) for item in series)
    room = MOST_BYTES - wished(series) - _OTHERS
    likely = [fineness for fineness, size in LADDER if maps * size <= room]
    yield from likely or [LADDER[-1][0]]


def wished(series: Sequence[SeriesView]) -> int:
    """Bytes that maps of the viewer should have: all voxels, or what is enough to look at."""
    return min(_WISHED_BYTES, sum(map(_needed, series)))


def least(series: Sequence[SeriesView]) -> list[int]:
    """Bytes below which maps of each series are not shown in the viewer."""
    return [min(_LEAST_BYTES, _needed(item)) for item in series]


def _needed(series: SeriesView) -> int:
    return int(characters(series)) + _WORDS * (n_maps(series) + 10)


def kept(sizes: Sequence[int], room: int) -> int:
    """How many of the first of ``sizes`` fit into ``room``."""
    count = 0
    while count < len(sizes) and sum(sizes[: count + 1]) <= room:
        count += 1
    return count


def lowered(fineness: Fineness, bare: Sequence[str], unseen: Sequence[str]) -> str:
    """A sentence on what a page shows less of; nothing where it is the finest.

    Parameters
    ----------
    fineness
        Of its figures.
    bare, unseen
        Names of series without figures, and of those that are not in the viewer.
    """
    said = []
    if fineness != FINEST:
        said.append(
            f"figures have {fineness.dpi} dots per inch, a WebP quality of {fineness.quality} and "
            f"at most {fineness.slices} slices"
        )
        if fineness.montage != FINEST.montage:
            said.append(
                f"images in rows have a quality of {fineness.cells} and at most "
                f"{fineness.montage} slices"
            )
    if bare:
        said.append(f"there are no figures of {', '.join(bare)}")
    if unseen:
        said.append(f"the viewer does not show {', '.join(unseen)}")
    if not said:
        return ""
    return (
        f"To stay below 8 MB: {'; '.join(said)}. The maps in the output folder have everything; "
        "with --session-label each session has a page of its own."
    )

"""On which image another one lies: on the series, or on which T1-weighted image.

Labels such as ``run-1`` are counted for each kind of image by itself, so that a label which a
mask shares with a series tells nothing alone. The space that name or sidecar declare comes first,
then whether all labels agree, then the grid, then the sources; in doubt an image goes with the T1w
image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import FileName, default_filters, parse_name
from bids_brnn.bids.images import Grid, read_grid, same_grid
from bids_brnn.bids.input.declared import texts
from bids_brnn.bids.input.series import Series
from bids_brnn.bids.input.surroundings import (
    Image,
    Surroundings,
    images_of,
    labels,
    labels_of,
)
from bids_brnn.errors import BidsBrnnError, InvalidBidsError
from bids_brnn.files import file_state

SOURCES = ("Sources", "RawSources")
"""Keys that say what an image was made from; not where it lies."""


def lies_on_series(
    path: Path,
    metadata: Mapping[str, Any],
    *,
    series: Path,
    t1w: Path | None,
    anatomies: Iterable[Path],
) -> bool:
    """Whether an image lies on a series rather than on the T1w image.

    Parameters
    ----------
    path, metadata
        The image and what its sidecars hold.
    series
        An image of the series.
    t1w
        The T1w image that is used.
    anatomies
        All T1w images of the participant.
    """
    if t1w is None:
        return True
    name, own = _parsed(path), parse_name(series)
    if name is None:  # an atlas may be called anything
        return _on_grid_of(path, series) and not _on_grid_of(path, t1w)
    spaces = declared(metadata, "SpatialReference")
    if name.entities.get("space") == "T1w" or any(other.suffix == "T1w" for other in spaces):
        return False
    others = [labels(other) for item in anatomies if (other := _parsed(item)) is not None]
    own_name = labels(name) == labels(own) != {} and labels(name) not in others
    if own_name or any(_same_series(other, own) for other in spaces):
        return True
    here, there = _on_grid_of(path, series), _on_grid_of(path, t1w)
    if here != there:
        return here
    made_from = declared(metadata, *SOURCES)
    return any(_same_series(other, own) for other in made_from) and not any(
        other.suffix == "T1w" for other in made_from
    )


def could_be_of(image: Image, series: Series) -> bool:
    """Whether nothing in the name of an image says that it is not of this series."""
    own = parse_name(series.files[0])
    return image.session in (None, own.entities.get("ses")) and (
        image.labels.items() <= labels_of(series).items()
    )


def declared(metadata: Mapping[str, Any], *keys: str) -> list[FileName]:
    """Names of the images of participants that these keys of a sidecar hold."""
    said = texts(metadata, *keys)
    names = [_parsed(Path(text.replace("\\", "/").rpartition(":")[2])) for text in said]
    return [name for name in names if name is not None and "sub" in name.entities]


def _parsed(path: Path) -> FileName | None:
    try:
        return parse_name(path)
    except InvalidBidsError:  # anything may be named as a source
        return None


def _same_series(first: FileName, second: FileName) -> bool:
    return (
        first.suffix == second.suffix
        and labels(first) == labels(second)
        and first.entities.get("ses") == second.entities.get("ses")
    )


def _on_grid_of(path: Path, other: Path) -> bool:
    try:
        return same_grid(*(_grid(item, file_state(item)) for item in (path, other)))
    except BidsBrnnError:  # not downloaded, or no image: said where it is used
        return False


@lru_cache(maxsize=4096)
def _grid(path: Path, state: tuple[int, ...]) -> Grid:  # noqa: ARG001
    """Grid of an image: each is held against several others, for each series."""
    return read_grid(path)


class Heads:
    """Which raw T1w images the other images of a participant were made from.

    Parameters
    ----------
    series
        Of the participant.
    around
        Where to look; filters of the user play no part in this.
    """

    def __init__(self, series: Series, around: Surroundings) -> None:
        found = images_of(series, around, default_filters()["t1w"])
        self.images: Sequence[Image] = [image for image in found if image.is_native]
        self._notes = around.notes
        self._origins: dict[Path, frozenset[str]] = {}

    def belong(self, image: Image, t1w: Image) -> bool:
        """Whether an image lies in the space of a T1w image: both were made from the same."""
        return self.origin(image) == self.origin(t1w)

    def origin(self, image: Image) -> frozenset[str]:
        """Names of the raw T1w images that an image was made from.

        Several for an average. Where there is no raw one, a text that images which agree in
        session and labels share.
        """
        if image.path not in self._origins:
            self._origins[image.path] = frozenset([image.path.name])  # ends circular sidecars
            self._origins[image.path] = self._origin(image)
        return self._origins[image.path]

    def _origin(self, image: Image) -> frozenset[str]:
        is_t1w = image.name.suffix == "T1w"
        if is_t1w and image.dataset.is_raw:
            return frozenset([image.path.name])
        metadata = image.metadata(self._notes)
        for keys in (("SpatialReference",), SOURCES):
            said = declared(metadata, *keys)
            named = [other for other in self.images if other.name in said]
            named = [other for other in named if other.path != image.path]
            if named:
                return frozenset().union(*(self.origin(other) for other in named))
        if not is_t1w:
            for other in self.images:
                if other.dataset is image.dataset and _alike(other, image):
                    return self.origin(other)
        raw = [other for other in self.images if other.dataset.is_raw]
        made = [other for other in raw if _covers(image, other)]
        exact = [other for other in made if _alike(image, other)]
        if not exact and len(made) > 1 and not is_t1w:
            exact = [other for other in made if _on_grid_of(image.path, other.path)]
        found = exact if len(exact) == 1 else made
        if not found:
            return frozenset([f"{image.session} {sorted(image.labels.items())}"])
        return frozenset(other.path.name for other in found)


def _alike(first: Image, second: Image) -> bool:
    return first.session == second.session and first.labels == second.labels


def _covers(image: Image, raw: Image) -> bool:
    """Whether names allow that an image was made from a raw one."""
    return image.session in (None, raw.session) and image.labels.items() <= raw.labels.items()

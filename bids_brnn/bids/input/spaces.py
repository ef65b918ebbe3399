"""Spaces in which finished maps can be written, and which images lie in the T1w image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bids_brnn.bids.grammar import parse_name, series_entities
from bids_brnn.bids.images import read_grid, same_grid
from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.errors import DataError, InvalidBidsError

ANATOMICAL = "T1w"
"""Name of the space of the T1-weighted image."""


@dataclass(frozen=True)
class Space:
    """A space and how to get there."""

    name: str
    """``T1w``, ``TEMPLATE`` or ``TEMPLATE:res-LABEL``."""
    reference: Path | None
    """An image on its grid; None takes the grid of the warp in ``transform``."""
    transform: Path | None
    """From T1w to this space; None for T1w itself."""
    target_uri: str = ""
    """BIDS URI of ``reference``."""
    transform_uri: str = ""
    """BIDS URI of ``transform``."""


def find_spaces(acquisition: Acquisition, names: tuple[str, ...]) -> dict[str, Space]:
    """The spaces asked for, by name.

    Raises
    ------
    DataError
        If a series cannot be brought to one of them, with those that are possible.
    """
    about = acquisition.companions
    found: dict[str, Space] = {}
    if acquisition.t1w is not None:
        uri = acquisition.uri
        found[ANATOMICAL] = Space(ANATOMICAL, acquisition.t1w, None, uri(acquisition.t1w))
        for name, transform in about.transforms.items():
            image = about.templates.get(name)
            found[name] = Space(
                name, image, transform, uri(image) if image else "", uri(transform)
            )
        for name in (name for name in about.templates if ":" in name):
            with suppress(KeyError):  # an image in a template without a transform to it
                found[name] = replace(
                    found[name.partition(":")[0]],
                    name=name,
                    reference=about.templates[name],
                    target_uri=uri(about.templates[name]),
                )
    for name in names:
        if name not in found:
            possible = ", ".join(found) or "none, for lack of a T1w image"
            raise DataError(
                f"{acquisition.name} cannot be written in the space {name} (possible: "
                f"{possible}); give a data set with from-T1w_to-<space> transforms, and with "
                "images of that resolution, with -d, or change --output-spaces."
            )
    return {name: found[name] for name in names}


def follows_t1w(acquisition: Acquisition, path: Path) -> bool:
    """Whether a mask or label image lies in the T1w image rather than on the series.

    Its name decides: ``acq-``, ``run-`` ... of the series make it one of the series. Without such
    a name it is one of the T1w image, unless its grid is that of the series and not that of the
    T1w image.
    """
    if acquisition.t1w is None:
        return False
    own = _telling(next(iter(acquisition.parts.values())))
    with suppress(InvalidBidsError):  # an atlas may be called anything
        if set(own.items()) & set(_telling(path).items()):
            return False
    series = read_grid(next(iter(acquisition.parts.values())))
    return on_t1w(acquisition, path) or not same_grid(read_grid(path), series)


def on_t1w(acquisition: Acquisition, path: Path) -> bool:
    """Whether an image lies on the grid of the T1w image."""
    return acquisition.t1w is not None and same_grid(read_grid(path), read_grid(acquisition.t1w))


def _telling(path: Path) -> Mapping[str, str]:
    """Entities that tell one series of a session from another."""
    keys = set(series_entities()) - {"sub", "ses"}
    return {key: value for key, value in parse_name(path).entities.items() if key in keys}

"""Spaces in which finished maps can be written, and which images lie in the T1w image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_brnn.bids.images import read_grid, same_grid
from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.inheritance import metadata_of
from bids_brnn.bids.input.placement import lies_on_series
from bids_brnn.errors import BidsBrnnError, DataError
from bids_brnn.spaces import parse_space

ANATOMICAL = "T1w"
"""Name of the space of the T1-weighted image."""


@dataclass(frozen=True)
class Space:
    """A space and how to get there."""

    name: str
    """``T1w`` or ``TEMPLATE[:cohort-LABEL][:res-LABEL]``."""
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
        for name in about.templates:
            template = parse_space(name).template
            if name != template and template in found:
                found[name] = replace(
                    found[template],
                    name=name,
                    reference=about.templates[name],
                    target_uri=uri(about.templates[name]),
                )
    names = tuple(parse_space(name).name for name in names)
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

    See :func:`~bids_brnn.bids.input.placement.lies_on_series`.
    """
    about = acquisition.companions
    roots = [root for root in acquisition.links.values() if path.is_relative_to(root)]
    metadata: Mapping[str, Any] = {}
    with suppress(BidsBrnnError):  # of foreign files; noted where the file was found
        if roots:
            metadata = metadata_of(
                path, max(roots, key=lambda root: len(root.parts)), acquisition.allowed
            )
    return about.t1w is not None and not lies_on_series(
        path,
        metadata,
        series=next(iter(acquisition.parts.values())),
        t1w=about.t1w,
        anatomies=about.anatomies,
    )


def on_t1w(acquisition: Acquisition, path: Path) -> bool:
    """Whether an image lies on the grid of the T1w image."""
    return acquisition.t1w is not None and same_grid(read_grid(path), read_grid(acquisition.t1w))

"""The images of a series that its page shows: found by their names, read several at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.grammar import FileName, parse_name, series_entities
from bids_brnn.bids.images import read_grid
from bids_brnn.bids.output.naming import SUPPLIED
from bids_brnn.bids.volumes import read_volume
from bids_brnn.maps import quality_maps
from bids_brnn.parameters import FIELD_MAPS, MapItem
from bids_brnn.signals.registry import models, series_kinds
from bids_brnn.system.threads import in_threads

Images = Mapping[Path, NDArray[Any]]
"""What was read, by file."""


def read_images(paths: Sequence[Path], threads: int = 1) -> Images:
    """Images ``(X, Y, Z)`` turned as by :func:`canonical`, up to ``threads`` of them at a time."""
    return dict(zip(paths, in_threads(canonical, paths, threads), strict=True))


def files_of(folder: Path, head: str) -> Iterator[tuple[Path, FileName]]:
    """Images of one series: equal in every entity that tells series apart, in its own space."""
    telling = set(series_entities())
    wanted = dict(parse_name(f"{head}_x.nii.gz").entities)
    for path in sorted(folder.glob(f"{head}_*.nii.gz")):
        if path.name.startswith("."):
            continue
        name = parse_name(path)
        own = {key: value for key, value in name.entities.items() if key in telling}
        if own == wanted and "space" not in name.entities:
            yield path, name


def canonical(path: Path) -> NDArray[Any]:
    """A 3D image with its axes turned to right, anterior, superior."""
    grid = read_grid(path)
    values = read_volume(grid)
    orientation = nib.io_orientation(grid.affine)
    return np.asarray(nib.apply_orientation(values, orientation))


def maps_among(files: Iterable[tuple[Path, FileName]]) -> list[tuple[Path, FileName]]:
    """Those files that are maps of an estimator."""
    suffixes = _map_suffixes()
    return [
        (path, name)
        for path, name in files
        if name.suffix in suffixes and name.entities.get("desc") != SUPPLIED
    ]


def shown_among(files: Sequence[tuple[Path, FileName]]) -> list[Path]:
    """Those images that lie with the maps and are on the page, in their order."""
    others = {"T1w", "dseg", *(kind.reference_suffix for kind in series_kinds().values())}
    maps = {path for path, _ in maps_among(files)}
    return [path for path, name in files if name.suffix in others or path in maps]


def items_of(label: str = "") -> dict[str, MapItem]:
    """What maps show, in the order of the page: what is measured, then what tells of it.

    ``label`` names the model (``model-``) whose word comes first.
    """
    found: dict[str, MapItem] = {}
    for entry in sorted(models().values(), key=lambda entry: entry.label != label):
        sought = entry.sought
        derived = [item.item for name in sought.names for item in sought.maps_of(name)]
        times = [item for item in derived if item.unit == "s"]  # before the rates that they are of
        own = [parameter.item for parameter in sought]
        for item in (*times, *own, *derived):
            found.setdefault(item.name, item)
    return {**found, **{name: entry.item("") for name, entry in quality_maps().items()}}


def _map_suffixes() -> frozenset[str]:
    kinds = {kind.map_suffix for kind in series_kinds().values()}
    return frozenset(kinds | {item.suffix for item in items_of().values() if item.suffix})


def supplied_files(folder: Path, head: str) -> dict[Path, str]:
    """Known maps of a series, with the parameter that each supplies."""
    names = {field.suffix: name for name, field in FIELD_MAPS.items()}
    found = sorted(folder.glob(f"[af]*/{head}_desc-{SUPPLIED}_*.nii.gz"))
    supplied = {path: names.get(parse_name(path).suffix, "") for path in found}
    return {path: name for path, name in supplied.items() if name}


def json_of(path: Path) -> Path:
    """The sidecar of an image."""
    return path.with_name(path.name.partition(".")[0] + ".json")

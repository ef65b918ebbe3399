"""What options of ``brnn import`` say, for every kind of source."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from bids_brnn.importing.pictures import Geometry
from bids_brnn.importing.series import MAPS, Companion, given_maps

_COMMON = {
    "kind", "source", "folder", "subject", "session", "run", "label", "field_strength", "dry_run",
    "skip_bids_validation",
}  # fmt: skip


def given_options(options: argparse.Namespace) -> list[str]:
    """Options of the command line that are not those of all kinds."""
    return [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in _COMMON and value is not None and value is not False
    ]


def geometry(options: argparse.Namespace) -> Geometry:
    """Voxel size and orientation of arrays without header."""
    return Geometry(options.voxel_size, options.orientation, options.like)


def maps_of(
    options: argparse.Namespace, usual: Mapping[str, str], found: Mapping[str, Path] | None = None
) -> list[Companion]:
    """Maps of the command line, and those that lie in the source."""
    files = {
        key: getattr(options, kind.option[2:].replace("-", "_")) for key, kind in MAPS.items()
    }
    files = {key: path or (found or {}).get(key) for key, path in files.items()}
    units = {
        key: getattr(options, f"{key.lower()}_unit", None) for key in MAPS
    }  # fmt: skip
    return given_maps(files, units, usual)


def about(options: argparse.Namespace, more: Mapping[str, object]) -> dict[str, object]:
    """Keys of the sidecar."""
    strength = options.field_strength
    return {**({} if strength is None else {"MagneticFieldStrength": strength}), **more}

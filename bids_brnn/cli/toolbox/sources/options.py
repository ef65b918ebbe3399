"""What options of ``brnn import`` say, for every kind of source."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from bids_brnn.cli.toolbox.sources.arguments import value_of
from bids_brnn.importing.pictures import Geometry
from bids_brnn.importing.series import MAPS, Companion, given_maps


def geometry(options: argparse.Namespace) -> Geometry:
    """Voxel size and orientation of arrays without header."""
    return Geometry(options.voxel_size, options.orientation, options.like)


def maps_of(
    options: argparse.Namespace,
    usual: Mapping[str, str],
    notes: list[str],
    found: Mapping[str, Path] | None = None,
) -> list[Companion]:
    """Maps of the command line, and those that lie in the source.

    ``usual``: units that the format prescribes; where it prescribes that of B0, it adds that map
    to the offsets, which has the sign of BIDS the other way round.
    """
    files = {key: value_of(options, kind.option) for key, kind in MAPS.items()}
    files = {key: path or (found or {}).get(key) for key, path in files.items()}
    units = {key: getattr(options, f"{key.lower()}_unit", None) for key in MAPS}
    maps = given_maps(files, units, usual)
    sign = options.b0_sign or ("offset" if "B0" in usual else "water")
    if sign == "water":
        return maps
    turned = [one.turned if one.kind is MAPS["B0"] else one for one in maps]
    if options.b0_sign is None and any(one.kind is MAPS["B0"] for one in maps):
        notes.append(
            "the B0 map is taken as one that is added to the offsets, as its program does, and "
            "its sign is turned: BIDS has the frequency of water. If it has that already, give "
            "--b0-sign water"
        )
    return turned


def about(options: argparse.Namespace, more: Mapping[str, object]) -> dict[str, object]:
    """Keys of the sidecar."""
    strength = options.field_strength
    return {**({} if strength is None else {"MagneticFieldStrength": strength}), **more}

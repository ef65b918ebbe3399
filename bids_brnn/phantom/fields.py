"""Maps of the data set that supply parameters: B1, B0 and R1."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bids_brnn.phantom import anatomy
from bids_brnn.phantom.files import write_image
from bids_brnn.phantom.ideal import Ideal
from bids_brnn.phantom.series import SCALE, Scan, Series

RELAXOMETRY = "relaxometry"
"""Folder below ``derivatives`` of maps that another program would have made."""
NOISE = {"R1": 0.02}
"""Relative standard deviation of a supplied map; others have no noise."""


def write_fields(
    root: Path,
    inner: Path,
    stem: str,
    series: Series,
    scan: Scan,
    found: Ideal,
    rng: np.random.Generator,
) -> None:
    """The maps of ``series.fields``; those of the scanner are bound to it by ``IntendedFor``."""
    points = anatomy.points_of(scan.labels.shape, scan.affine)
    target = inner / "anat" / series.image(stem, "mag")
    shared = {"MagneticFieldStrength": 3, "IntendedFor": [f"bids::{target.as_posix()}"]}
    for parameter, name in series.fields.items():
        path = root / inner / "fmap" / f"{stem}_{name}.nii.gz"
        if parameter == "B1":
            words = {"Units": "percent", "Description": "Actual over nominal flip angle"}
            field = 100 * anatomy.transmit_field(scan.head, points)
            write_image(path, field, scan.affine, {**words, **shared})
        elif parameter == "w0":
            words = {"Units": "Hz", "Description": "Frequency of water less that of the scanner"}
            field = series.band * anatomy.off_resonance(scan.head, points) / (2 * math.pi)
            write_image(path, field, scan.affine, {**words, **shared})
            # BIDS wants the image that the field was measured with.
            magnitude = SCALE * np.abs(anatomy.scale_map(scan.head, scan.labels, points))
            beside = path.with_name(path.name.replace("_fieldmap", "_magnitude"))
            write_image(beside, magnitude, scan.affine, shared)
        else:
            folder = root / "derivatives" / RELAXOMETRY / inner / "anat"
            _write_rate(folder, f"{stem}_{name}", parameter, series, scan, found, rng)


def _write_rate(
    folder: Path,
    name: str,
    parameter: str,
    series: Series,
    scan: Scan,
    found: Ideal,
    rng: np.random.Generator,
) -> None:
    """A map of a relaxation rate with noise, and the map of its standard deviation."""
    item = series.model.parameters[parameter].item
    column = series.model.parameters.index((parameter,))[0]
    inside = scan.labels > 0
    std = found.spread[parameter]
    noisy = found.theta[:, column] + std * rng.standard_normal(std.shape)
    for label, values, words in (
        ("", noisy, item.description),
        ("Std", std, f"{item.description}: standard deviation"),
    ):
        volume = np.zeros(inside.shape)
        volume[inside] = values
        desc, _, suffix = name.rpartition("_")
        write_image(
            folder / f"{desc}{label}_{suffix}.nii.gz",
            volume,
            scan.affine,
            {"SkullStripped": True, "Units": item.unit, "Description": words},
        )

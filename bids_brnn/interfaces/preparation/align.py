"""Where a series lies in the T1-weighted image, and images of that space on the series' grid."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.bids.images import read_grid
from bids_brnn.bids.volumes import read_volume
from bids_brnn.errors import DataError
from bids_brnn.imaging.grids import on_grid, placed, save
from bids_brnn.imaging.registration import Alignment, align, by_header
from bids_brnn.imaging.resampling import write_transform
from bids_brnn.interfaces.base import Node

_LOG = logging.getLogger("bids_brnn.prepare")


class AlignSeriesInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`AlignSeries`."""

    reference = File(exists=True, mandatory=True, desc="3D magnitude image of the series")
    t1w = File(exists=True, desc="T1-weighted image; without it there is nothing to align")
    registration = traits.Enum("rigid", "header", usedefault=True, desc="how to align")
    session = traits.Str("", usedefault=True, desc="other session that the T1w image is from")
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")


class AlignSeriesOutputSpec(TraitedSpec):
    """Outputs of :class:`AlignSeries`."""

    to_series = File(exists=True, desc="ITK transform that brings T1w images to the series")
    alignment = File(exists=True, desc="JSON: what was done, empty without a T1w image")
    t1w_moved = File(exists=True, desc="the T1w image on the grid of the series")


class AlignSeries(Node):
    """Register a series to a T1-weighted image; nothing of the series is interpolated.

    >>> AlignSeries().inputs.registration
    'rigid'
    """

    input_spec = AlignSeriesInputSpec
    output_spec = AlignSeriesOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, register, save."""
        if not isdefined(self.inputs.t1w):
            return self._save(folder, by_header("there is no T1w image"), {})
        reference = read_grid(Path(self.inputs.reference))
        t1w = read_grid(Path(self.inputs.t1w))
        found = by_header("the header geometry is used, as asked for")
        if self.inputs.registration == "rigid":
            images = [read_volume(grid).astype(np.float32) for grid in (reference, t1w)]
            found = align(images[0], reference.affine, images[1], t1w.affine)
        self._check_session(found, t1w.path)
        level = logging.WARNING if found.failed else logging.INFO
        _LOG.log(level, "%s to %s: %s", self.inputs.label, t1w.path.name, found.reason)
        files = self._save(folder, found, found.record())
        moved = on_grid(placed(t1w, files["to_series"]), reference, labels=False)
        values = np.asarray(moved, dtype=np.float32)
        save(folder / "t1w.nii", values, reference.affine, reference.header)
        return files | {"t1w_moved": str(folder / "t1w.nii")}

    def _check_session(self, found: Alignment, t1w: Path) -> None:
        """Refuse to believe the headers of two sessions, between which the head has moved."""
        if not (self.inputs.session and found.doubtful):
            return
        raise DataError(
            f"{self.inputs.label}: {t1w.name} is of another session (ses-{self.inputs.session}) "
            f"and cannot be aligned by its header, but {found.reason}. Leave it out with --ignore "
            "t1w, or give a T1w image of the same session."
        )

    def _save(
        self, folder: Path, found: Alignment, record: Mapping[str, object]
    ) -> dict[str, str]:
        write_transform(found.transform, folder / "to_series.txt")
        (folder / "alignment.json").write_text(json.dumps(record), encoding="utf-8")
        return {
            "to_series": str(folder / "to_series.txt"),
            "alignment": str(folder / "alignment.json"),
        }

"""The brain mask: from the best source there is, checked, and with a record of both."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.bids.images import Grid, read_grid
from bids_brnn.bids.volumes import as_mask, read_volume
from bids_brnn.errors import DataError
from bids_brnn.imaging.grids import load, mask_on_grid, placed, save
from bids_brnn.imaging.masks import WHOLE_BRAIN, check_mask, t1_contrast
from bids_brnn.interfaces.base import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger("bids_brnn.prepare")
_LEAST = 0.3
"""Litres below which deepbet has not found the brain of a whole head."""


class BrainMaskInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`BrainMask`; the first mask of user, found, stripped, head is taken."""

    head = File(exists=True, mandatory=True, desc="mask of PrepareCoefficients, on the series")
    head_source = traits.Str(mandatory=True, desc="where it comes from, in words")
    given = traits.Bool(False, usedefault=True, desc="that mask was given by the user")
    found = File(exists=True, desc="brain mask of the data set")
    stripped = File(exists=True, desc="brain mask from StripSkull")
    stripped_source = traits.Str("", usedefault=True, desc="what was stripped, in words")
    in_t1w = traits.Bool(False, usedefault=True, desc="found or stripped lies in the T1w image")
    to_series = File(exists=True, mandatory=True, desc="from AlignSeries")
    alignment = File(exists=True, mandatory=True, desc="from AlignSeries")
    reason = traits.Str(
        "no brain mask was found", usedefault=True, desc="why there is none of the data set"
    )
    hint = traits.Str("Give one with --mask.", usedefault=True, desc="what would give one")
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")


class BrainMaskOutputSpec(TraitedSpec):
    """Outputs of :class:`BrainMask`."""

    mask = File(exists=True, desc="mask on the grid of the series")
    mask_source = traits.Str(desc="where it comes from, in words")
    record = File(exists=True, desc="JSON with the sidecar keys of mask and registration")


class BrainMask(Node):
    """Choose the mask of a series and check its size.

    >>> BrainMask().inputs.given
    False
    """

    input_spec = BrainMaskInputSpec
    output_spec = BrainMaskOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, choose, check, save."""
        inputs = self.inputs
        like = read_grid(Path(inputs.head))
        mask, method, source = self._choose(like)
        size = np.linalg.norm(like.affine[:3, :3], axis=0)
        litres = float(mask.sum() * np.prod(size)) / 1e6
        problem = "" if method == "user" else check_mask(mask, size)
        name = inputs.label or "the series"
        _LOG.info("%s: %d voxels from %s", name, mask.sum(), source)
        if method == "threshold":
            _LOG.warning(
                "%s: %s; voxels above an intensity threshold are taken, skull included. %s",
                name,
                inputs.reason,
                inputs.hint,
            )
        if problem:
            _LOG.warning("%s: check the mask: %s", name, problem)
        record: dict[str, object] = {
            "MaskMethod": method,
            "MaskVolumeLitres": round(litres, 4),
            "MaskSpace": "T1w" if inputs.in_t1w and method != "threshold" else "series",
            "MaskCheck": problem or ("not checked" if method == "user" else "passed"),
        }
        alignment = json.loads(Path(inputs.alignment).read_text(encoding="utf-8"))
        if alignment:
            record["Registration"] = alignment
        (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
        saved = save(folder / "mask.nii", mask, like.affine, like.header)
        return {
            "mask": str(saved),
            "mask_source": source,
            "record": str(folder / "record.json"),
        }

    def _choose(self, like: Grid) -> tuple[NDArray[np.bool_], str, str]:
        inputs = self.inputs
        head = np.asarray(np.asanyarray(load(inputs.head).dataobj) > 0)
        if inputs.given:
            return head, "user", inputs.head_source
        to_series = inputs.to_series if inputs.in_t1w else None
        if isdefined(inputs.found):
            path = Path(inputs.found)
            mask = mask_on_grid(placed(read_grid(path), to_series), like)
            if not mask.any():
                raise DataError(
                    f"The mask {path} does not overlap with the series; check its affine."
                )
            return mask, "found", f"the mask {path.name}"
        if isdefined(inputs.stripped):
            path = Path(inputs.stripped)
            mask = mask_on_grid(placed(read_grid(path), to_series), like)
            if mask.any():
                return mask, "deepbet", f"deepbet on {inputs.stripped_source}"
            _LOG.warning("%s: deepbet found no brain in %s", inputs.label, inputs.stripped_source)
        return head, "threshold", inputs.head_source


class StripSkullInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`StripSkull`."""

    in_file = File(exists=True, mandatory=True, desc="3D image with T1-weighted contrast")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


class StripSkullOutputSpec(TraitedSpec):
    """Outputs of :class:`StripSkull`."""

    mask = File(exists=True, desc="brain mask on the same grid; empty if no brain was found")


class StripSkull(Node):
    """Brain mask of a T1-weighted image by deepbet, on the CPU; nothing is downloaded.

    >>> StripSkull(num_threads=2).inputs.num_threads
    2
    """

    input_spec = StripSkullInputSpec
    output_spec = StripSkullOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, strip, save."""
        grid = read_grid(Path(self.inputs.in_file))
        # Of one form, whatever the file is like: deepbet reads neither odd types nor fourth axes.
        image = nibabel.Nifti1Image(read_volume(grid).astype(np.float32), grid.affine)
        mask = strip_skull(image, self.inputs.num_threads)
        litres = mask.sum() * abs(np.linalg.det(grid.affine[:3, :3])) / 1e6
        extent = np.linalg.norm(grid.affine[:3, :3], axis=0) * mask.shape
        if extent.min() >= WHOLE_BRAIN and litres < _LEAST:
            _LOG.warning("%s: deepbet found %.2f l of brain only", grid.path.name, litres)
            mask[:] = False
        return {"mask": str(save(folder / "mask.nii", mask, grid.affine, grid.header))}


def strip_skull(image: Any, num_threads: int) -> NDArray[np.bool_]:
    """Brain mask of a nibabel image; empty if deepbet finds no brain in it."""
    import torch
    from deepbet import BrainExtraction

    torch.set_num_threads(num_threads)
    try:
        _, mask, _ = BrainExtraction(no_gpu=True).run(image)
    except (AssertionError, ValueError) as error:  # what it raises without any foreground
        _LOG.debug("deepbet: %s", error)
        return np.zeros(image.shape[:3], dtype=bool)
    return as_mask(np.asanyarray(mask.dataobj).reshape(image.shape[:3]), "The mask of deepbet")


class SynthesiseT1wInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`SynthesiseT1w`."""

    maps_file = File(exists=True, mandatory=True, desc="from EstimateMaps")
    maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")


class SynthesiseT1wOutputSpec(TraitedSpec):
    """Outputs of :class:`SynthesiseT1w`."""

    out_file = File(exists=True, desc="image on the grid of the series")


class SynthesiseT1w(Node):
    """The spin-echo image (TR 0.6 s, TE 3 ms) that a T1-weighted scan of the head would give.

    >>> SynthesiseT1w().inputs.maps_file
    <undefined>
    """

    input_spec = SynthesiseT1wInputSpec
    output_spec = SynthesiseT1wOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, compute, save."""
        listed = Path(self.inputs.maps_file)
        rows = json.loads(listed.read_text(encoding="utf-8"))
        images = {
            row["name"]: load(listed.parent / row["file"])
            for row in rows
            if row["kind"] == "estimate"
        }
        values = {name: np.asanyarray(image.dataobj) for name, image in images.items()}
        first = next(iter(images.values()))
        contrast = t1_contrast(values)
        return {"out_file": str(save(folder / "t1w.nii", contrast, first.affine, first.header))}

"""Finished maps in other spaces: one interpolation from the grid of the series."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import File, isdefined, traits

from bids_brnn.bids.headers import position_codes
from bids_brnn.bids.images import Volume, read_grid
from bids_brnn.bids.input.spaces import ANATOMICAL
from bids_brnn.bids.output.derivatives import write_map, write_mask
from bids_brnn.errors import DataError
from bids_brnn.imaging.grids import load
from bids_brnn.imaging.resampling import chained, inverse, read_transform, resample, warp_grid
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.sampling import estimated_mask, sample_keys
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.interfaces.sinks.native import (
    SinkOutputSpec,
    WriteMapsInputSpec,
    decisions_of,
    flag_keys,
    grid_of,
    history_keys,
    method_keys,
    provenance_of,
    read_record,
    with_sidecars,
)
from bids_brnn.maps import with_spread
from bids_brnn.parameters import MapItem
from bids_brnn.spaces import parse_space
from bids_brnn.zoo.recipe import EstimatorRecipe

if TYPE_CHECKING:
    import SimpleITK as sitk
    from numpy.typing import NDArray

_HALF = 0.5
_NEAREST = "nearest neighbour, from the grid of the series: single voxels were estimated"


class WriteSpaceInputSpec(WriteMapsInputSpec):
    """Inputs of :class:`WriteSpace`."""

    space = traits.Str(mandatory=True, desc="space, as asked for with --output-spaces")
    target = File(exists=True, desc="image on the grid of that space; else that of the warp")
    target_uri = traits.Str("", usedefault=True, desc="BIDS URI of what tells the grid")
    to_series = File(exists=True, mandatory=True, desc="transform from AlignSeries")
    transform = File(exists=True, desc="from T1w to that space; absent for T1w itself")
    transform_uri = traits.Str("", usedefault=True, desc="its BIDS URI")


class WriteSpace(Node):
    """Write the maps of one estimator in another space, beside those on the series' own grid.

    >>> WriteSpace(space="T1w").inputs.space
    'T1w'
    """

    input_spec = WriteSpaceInputSpec
    output_spec = SinkOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load, move, write."""
        inputs = self.inputs
        root = Path(inputs.output_dir)
        recipe = EstimatorRecipe.from_file(Path(inputs.recipe))
        series = replace(SeriesRecord.from_file(Path(inputs.series)), model=recipe.model)
        mask, here = grid_of(inputs.mask)
        transform = self._transform()
        there = self._target()
        mover = Mover(mask, here.affine, there, transform)
        if not mover.mask.any():
            raise DataError(
                f"{series.name} does not overlap with the space {inputs.space}; check the "
                "transform to it."
            )
        about = self._about()
        decisions = decisions_of(series, recipe, inputs.decisions)
        source = series.companions.get("mask", inputs.mask_source)
        extra = {**read_record(inputs.record), **about}
        written = [
            write_mask(
                root, series, mover.mask, like=there, source=source, extra=extra,
                space=inputs.space,
            )
        ]  # fmt: skip
        listed = Path(inputs.maps_file)
        for row in json.loads(listed.read_text(encoding="utf-8")):
            values = np.asanyarray(load(listed.parent / row["file"]).dataobj)
            sample = estimated_mask(listed, row)
            keys = {
                **method_keys(recipe, inputs.mask_source, decisions),
                **history_keys(inputs, row.get("noise_warning", "")),
                **flag_keys(row["kind"]),
                **about,
                **(sample_keys(row) | {"Interpolation": _NEAREST} if sample is not None else {}),
            }
            provenance = provenance_of(row, series, recipe, decisions, keys)
            uris = [uri for uri in (inputs.target_uri, inputs.transform_uri) if uri]
            written.append(
                write_map(
                    root,
                    series,
                    MapItem(row["name"], row["unit"], row["suffix"], row["description"]),
                    with_spread(inputs.desc, row["kind"]),
                    # Voxels of a sample have no neighbours to interpolate with.
                    mover(values, labels=row["kind"] == "flag" or sample is not None),
                    mask=mover.mask,
                    like=there,
                    provenance=provenance.with_sources(uris),
                    space=inputs.space,
                    estimated=None
                    if sample is None
                    else mover(sample.astype(np.float32), labels=True) > 0,
                )
            )
        return {"out_files": with_sidecars(written)}

    def _transform(self) -> sitk.Transform:
        """Points of the space to points of the series."""
        to_t1w = inverse(read_transform(Path(self.inputs.to_series)))
        if not isdefined(self.inputs.transform):
            return to_t1w
        return chained(read_transform(Path(self.inputs.transform)), to_t1w)

    def _target(self) -> Volume:
        if isdefined(self.inputs.target):
            grid = read_grid(Path(self.inputs.target))
            empty = np.zeros((*grid.space, 0), np.complex64)
            return Volume(empty, grid.affine, grid.header)
        path = Path(self.inputs.transform)
        found = warp_grid(read_transform(path))
        if found is None:
            raise DataError(
                f"{path.name} has no warp whose grid could be used, and there is no image in the "
                f"space {self.inputs.space}; add one to the data set of the transform."
            )
        shape, affine = found
        header = load(self.inputs.mask).header.copy()
        qform, sform = position_codes(header)
        header["qform_code"], header["sform_code"] = qform or 1, sform or 1  # this grid is known
        return Volume(np.zeros((*shape, 0), np.complex64), affine, header)

    def _about(self) -> dict[str, object]:
        inputs = self.inputs
        keys: dict[str, object] = {
            "SpatialReference": inputs.target_uri or inputs.transform_uri or "n/a",
            "Interpolation": "linear, once, from the grid of the series; flags: nearest neighbour",
        }
        space = parse_space(inputs.space)
        if space.res:
            keys["Resolution"] = f"that of the images of {space.template} with res-{space.res}"
        if inputs.space != ANATOMICAL:
            keys["Transform"] = inputs.transform_uri
        return keys


class Mover:
    """Brings maps of one series to one grid.

    Values are weighted with whether they exist, so that the zeros around a mask and voxels
    without an estimate do not bleed into their neighbours.

    Parameters
    ----------
    mask
        ``(X, Y, Z)`` of the series.
    affine
        Of the series.
    target
        Grid to fill.
    transform
        Points of ``target`` to points of the series.
    """

    def __init__(
        self,
        mask: NDArray[np.bool_],
        affine: NDArray[np.floating[Any]],
        target: Volume,
        transform: sitk.Transform,
    ) -> None:
        x, y, z = target.data.shape[:3]
        self._from, self._inside, self._transform = affine, mask, transform
        self._shape, self._to = (x, y, z), target.affine
        self.mask: NDArray[np.bool_] = self._resampled(mask.astype(np.float32)) >= _HALF

    def _resampled(self, values: NDArray[Any], *, nearest: bool = False) -> NDArray[Any]:
        return resample(
            values,
            self._from,
            self._shape,
            self._to,
            self._transform,
            interpolation="nearest" if nearest else "linear",
        )

    def __call__(
        self, values: NDArray[np.floating[Any]], *, labels: bool = False
    ) -> NDArray[np.float32]:
        """A map ``(X, Y, Z)`` on the target grid.

        NaN inside the mask where at least half of the weight is of voxels without a value.
        ``labels`` takes the nearest voxel instead.
        """
        valid = self._inside & np.isfinite(values)
        known = np.where(valid, values, 0).astype(np.float32)
        if labels:
            share = self._resampled(valid.astype(np.float32), nearest=True)
            moved = self._resampled(known, nearest=True)
        else:
            share = self._resampled(valid.astype(np.float32))
            with np.errstate(invalid="ignore", divide="ignore"):
                moved = self._resampled(known) / share
        moved = np.where(share >= _HALF, moved, np.nan)
        return np.where(self.mask, moved, 0).astype(np.float32)

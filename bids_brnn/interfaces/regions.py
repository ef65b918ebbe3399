"""Region statistics of the maps of one estimator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
)

from bids_brnn.bids.images import read_grid
from bids_brnn.bids.tables import read_columns, write_table
from bids_brnn.errors import DataError
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.nifti import load, on_grid, save
from bids_brnn.regions import COLUMNS, Row, region_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE_MASK = "brain"
"""Segmentation of the mask itself, where there is no other."""


class SummariseRegionsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`SummariseRegions`."""

    maps_file = File(exists=True, mandatory=True, desc="from EstimateMaps")
    maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    labels = File(exists=True, desc="label image, any grid; without it the mask is one region")
    lookup = File(exists=True, desc="TSV with index and name")


class SummariseRegionsOutputSpec(TraitedSpec):
    """Outputs of :class:`SummariseRegions`."""

    table = File(exists=True, desc="TSV, a row per region and parameter")
    labels = File(exists=True, desc="labels on the grid of the series, inside the mask")


class SummariseRegions(Node):
    """One row per region and map.

    >>> SummariseRegions().inputs.labels
    <undefined>
    """

    input_spec = SummariseRegionsInputSpec
    output_spec = SummariseRegionsOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, summarise, save."""
        import pandas as pd

        image = load(self.inputs.mask)
        mask = np.asanyarray(image.dataobj) > 0
        labels, names = self._labels(mask)
        voxel_volume = float(abs(np.linalg.det(image.affine[:3, :3])))
        rows = map_rows(Path(self.inputs.maps_file), mask, labels[mask], names, voxel_volume)
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        write_table(folder / "scalarstats.tsv", table, float_format="%.6g")
        inside = np.where(mask, labels, 0).astype(np.int32)
        return {
            "table": str(folder / "scalarstats.tsv"),
            "labels": str(save(folder / "labels.nii", inside, image.affine, image.header)),
        }

    def _labels(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], dict[int, str]]:
        if not isdefined(self.inputs.labels):
            return mask.astype(np.int32), {1: WHOLE_MASK}
        path = Path(self.inputs.labels)
        values = on_grid(read_grid(path), read_grid(Path(self.inputs.mask)), labels=True)
        if not np.array_equal(values, np.rint(values)):
            raise DataError(f"{path.name} holds values that are no whole numbers; is it a dseg?")
        names = lookup_names(Path(self.inputs.lookup)) if isdefined(self.inputs.lookup) else {}
        return values.astype(np.int32), names


def map_rows(
    maps_file: Path,
    mask: NDArray[np.bool_],
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    voxel_volume: float,
) -> list[Row]:
    """Rows of all maps that ``maps_file`` lists; standard deviations become a column."""
    listed = json.loads(maps_file.read_text(encoding="utf-8"))

    def inside(row: Mapping[str, Any]) -> NDArray[np.float32]:
        return np.asanyarray(load(maps_file.parent / row["file"]).dataobj)[mask]

    spreads = {row["name"]: inside(row) for row in listed if row["kind"] == "std"}
    rows: list[Row] = []
    for row in listed:
        if row["kind"] == "estimate":
            rows += region_rows(
                inside(row),
                labels,
                names,
                parameter=row["name"],
                units=row["unit"],
                voxel_volume=voxel_volume,
                std=spreads.get(row["name"]),
            )
    return rows


def lookup_names(path: Path) -> dict[int, str]:
    """Names by label from a ``dseg.tsv``.

    Raises
    ------
    DataError
        If it has no columns ``index`` and ``name``, or an index is no whole number.
    """
    columns = read_columns(path)
    if not {"index", "name"} <= set(columns):
        raise DataError(f"{path.name} needs the columns index and name; it has {list(columns)}.")
    try:
        index = [int(cell) for cell in columns["index"]]
    except ValueError as error:
        raise DataError(f"{path.name}: index must be a whole number ({error}).") from error
    return dict(zip(index, columns["name"], strict=True))

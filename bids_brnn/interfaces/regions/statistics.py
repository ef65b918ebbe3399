"""Region statistics of the maps of one estimator, and agreement of two estimators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.bids.tables import write_records
from bids_brnn.imaging.grids import load, save
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.regions.labels import (
    WHOLE_MASK,
    lookup_names,
    read_labels,
    values_inside,
)
from bids_brnn.interfaces.sampling import estimated_mask
from bids_brnn.maps import SPREADS
from bids_brnn.regions import (
    AGREEMENT_COLUMNS,
    COLUMNS,
    Row,
    Source,
    agreement_rows,
    region_rows,
)
from bids_brnn.system.threads import in_threads
from bids_brnn.voxels import to_voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOURCES = get_args(Source)


class SummariseRegionsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`SummariseRegions`."""

    maps_file = File(exists=True, mandatory=True, desc="from EstimateMaps")
    maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    labels = File(exists=True, desc="label image, any grid; without it the mask is one region")
    lookup = File(exists=True, desc="TSV with index and name")
    source = traits.Enum("labels", *_SOURCES, usedefault=True, desc="what labels come from")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


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
        image = load(self.inputs.mask)
        mask = np.asanyarray(image.dataobj) > 0
        labels, names = self._labels(mask)
        voxel_volume = float(abs(np.linalg.det(image.affine[:3, :3])))
        rows = map_rows(
            Path(self.inputs.maps_file),
            mask,
            to_voxels(labels, mask),
            names,
            voxel_volume,
            self._source(),
            threads=self.inputs.num_threads,
        )
        inside = np.where(mask, labels, 0).astype(np.int32)
        return {
            "table": str(write_records(folder / "scalarstats.tsv", rows, COLUMNS)),
            "labels": str(save(folder / "labels.nii", inside, image.affine, image.header)),
        }

    def _source(self) -> Source:
        source: Source = self.inputs.source if isdefined(self.inputs.labels) else "mask"
        return source

    def _labels(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Mapping[int, str]]:
        if not isdefined(self.inputs.labels):
            return mask.astype(np.int32), {1: WHOLE_MASK}
        values = read_labels(Path(self.inputs.labels), Path(self.inputs.mask))
        names = lookup_names(Path(self.inputs.lookup)) if isdefined(self.inputs.lookup) else {}
        return values, names


class CompareEstimatorsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`CompareEstimators`."""

    test_file = File(exists=True, mandatory=True, desc="maps_file of the network")
    test_maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")
    reference_file = File(exists=True, mandatory=True, desc="maps_file of the reference")
    reference_maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    labels = File(exists=True, mandatory=True, desc="labels on the grid of the series")
    lookup = File(exists=True, desc="TSV with index and name")
    source = traits.Enum("labels", *_SOURCES, usedefault=True, desc="what labels come from")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


class CompareEstimatorsOutputSpec(TraitedSpec):
    """Outputs of :class:`CompareEstimators`."""

    table = File(exists=True, desc="TSV, a row per region and parameter")


class CompareEstimators(Node):
    """Agreement of two estimators, a row per region and parameter.

    >>> CompareEstimators().inputs.source
    'labels'
    """

    input_spec = CompareEstimatorsInputSpec
    output_spec = CompareEstimatorsOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, compare, save."""
        inputs = self.inputs
        mask = np.asanyarray(load(inputs.mask).dataobj) > 0
        labels = read_labels(Path(inputs.labels), Path(inputs.mask))[mask]
        names = lookup_names(Path(inputs.lookup)) if isdefined(inputs.lookup) else {}
        test = read_maps(Path(inputs.test_file), mask)
        reference = read_maps(Path(inputs.reference_file), mask)

        def rows_of(name: str) -> list[Row]:
            return agreement_rows(
                test.estimates[name],
                reference.estimates[name],
                labels,
                names,
                parameter=name,
                units=test.units[name],
                std=reference.spreads.get(name),
                flagged=_either(test.flagged, reference.flagged),
                source=inputs.source,
            )

        common = [name for name in test.ranged if name in reference.ranged]
        rows = list(chain.from_iterable(in_threads(rows_of, common, inputs.num_threads)))
        return {"table": str(write_records(folder / "agreement.tsv", rows, AGREEMENT_COLUMNS))}


@dataclass(frozen=True)
class Maps:
    """All maps of one estimator inside the mask, each ``(V,)``, by parameter."""

    estimates: Mapping[str, NDArray[np.float32]]
    spreads: Mapping[str, NDArray[np.float32]]
    units: Mapping[str, str]
    ranged: tuple[str, ...]
    """Those that are estimated within bounds: neither scale nor quality."""
    flagged: NDArray[np.bool_] | None
    estimated: NDArray[np.bool_] | None = None
    """Voxels of the sample that was estimated; all by default."""


def read_maps(maps_file: Path, mask: NDArray[np.bool_]) -> Maps:
    """Maps that ``maps_file`` (of :class:`EstimateMaps`) lists."""
    listed = json.loads(maps_file.read_text(encoding="utf-8"))
    mask = np.ascontiguousarray(mask)  # as maps are looked up by it

    def of_kind(kind: str) -> dict[str, NDArray[np.float32]]:
        return {
            row["name"]: values_inside(maps_file.parent / row["file"], mask)
            for row in listed
            if row["kind"] == kind
        }

    flags = list(of_kind("flag").values())
    sample = estimated_mask(maps_file, listed[0]) if listed else None
    return Maps(
        estimates=of_kind("estimate"),
        spreads={name: values for kind in SPREADS for name, values in of_kind(kind).items()},
        units={row["name"]: row["unit"] for row in listed},
        ranged=tuple(row["name"] for row in listed if "valid_range" in row),
        flagged=flags[0] > 0 if flags else None,
        estimated=None if sample is None else sample[mask],
    )


def map_rows(
    maps_file: Path,
    mask: NDArray[np.bool_],
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    voxel_volume: float,
    source: Source = "labels",
    *,
    threads: int = 1,
) -> list[Row]:
    """Rows of all maps that ``maps_file`` lists; standard deviations become a column."""
    maps = read_maps(maps_file, mask)

    def rows_of(name: str) -> list[Row]:
        return region_rows(
            maps.estimates[name],
            labels,
            names,
            parameter=name,
            units=maps.units[name],
            voxel_volume=voxel_volume,
            std=maps.spreads.get(name),
            flagged=maps.flagged,
            estimated=maps.estimated,
            source=source,
        )

    return list(chain.from_iterable(in_threads(rows_of, maps.estimates, threads)))


def _either(
    first: NDArray[np.bool_] | None, second: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    known = [flags for flags in (first, second) if flags is not None]
    return None if not known else np.any(known, axis=0)

"""Label images on the grid of a series, whatever they are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    File,
    InputMultiPath,
    OutputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits
from nipype.utils.filemanip import ensure_list

from bids_brnn.bids.images import read_array, read_grid
from bids_brnn.bids.input.lookup import Lookup, read_lookup
from bids_brnn.errors import DataError
from bids_brnn.files import write_text
from bids_brnn.imaging.grids import labels_on_grid, load, placed, save, share_on_grid
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.sampling import estimated_mask, sample_keys
from bids_brnn.regions import (
    TISSUE_NAMES,
    Source,
    apparent_t1,
    erode,
    labels_in,
    probability_labels,
    spread_out,
    tissue_classes,
)
from bids_brnn.voxels import to_voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE_MASK = "brain"
"""Segmentation of the mask itself, where there is no other."""

Labels = tuple["NDArray[np.int32]", dict[int, str], Source]
"""Label image ``(X, Y, Z)``, names, and what both come from."""


class PrepareLabelsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`PrepareLabels`: labels, or probabilities, or maps, or only a mask."""

    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    labels = File(exists=True, desc="label image, any grid")
    lookup = File(exists=True, desc="TSV with index and name")
    to_series = File(exists=True, desc="where labels of the T1w image lie on the series")
    must_overlap = traits.Bool(False, usedefault=True, desc="refuse labels beside the mask")
    probabilities = InputMultiPath(File(exists=True), desc="tissue probabilities, any grid")
    probability_names = traits.List(traits.Str, desc="their tissues, in the same order")
    maps_file = File(exists=True, desc="from EstimateMaps: classes are made from its T1")
    maps = InputMultiPath(File(exists=True), desc="the files it lists")
    derived_from = traits.Str("", usedefault=True, desc="estimator whose maps these are")
    whole_file = File(exists=True, desc="the same of all voxels, taken where those are a sample")
    whole_maps = InputMultiPath(File(exists=True), desc="the files it lists")
    whole_from = traits.Str("", usedefault=True, desc="estimator whose maps these are")
    supplied = InputMultiPath(
        File(exists=True), desc="maps that went into the estimate, R1.nii: its T1 comes first"
    )
    erode = traits.Range(low=0, value=0, usedefault=True, desc="layers to take off each region")


class PrepareLabelsOutputSpec(TraitedSpec):
    """Outputs of :class:`PrepareLabels`."""

    labels = File(exists=True, desc="labels on the grid of the series, inside the mask")
    lookup = File(exists=True, desc="TSV with index and name")
    source = traits.Str(desc="labels, probabilities, maps or mask")
    derived_from = traits.Str(desc="estimator whose maps made the classes, if they did")


class PrepareLabels(Node):
    """Bring regions to a series: resample or classify, then erode.

    >>> PrepareLabels(erode=1).inputs.erode
    1
    """

    input_spec = PrepareLabelsInputSpec
    output_spec = PrepareLabelsOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, resample or classify, erode, save."""
        image = load(self.inputs.mask)
        mask = np.asanyarray(image.dataobj) > 0
        labels, names, source = self._labels(mask)
        _, estimator = self._classified()
        inside = self._eroded(labels, mask, source).astype(np.int32)
        given = isdefined(self.inputs.lookup)
        lookup = read_lookup(Path(self.inputs.lookup)) if given else Lookup(names)
        present = labels_in(labels[mask])
        write_text(folder / "labels.tsv", lookup.text(present))
        return {
            "labels": str(save(folder / "labels.nii", inside, image.affine, image.header)),
            "lookup": str(folder / "labels.tsv"),
            "source": source,
            "derived_from": estimator if source == "maps" else "",
        }

    def _classified(self) -> tuple[Path, str]:
        """File that lists the maps which tell tissues, and their estimator."""
        inputs = self.inputs
        if not isdefined(inputs.maps_file):
            return Path(), ""
        rows = json.loads(Path(inputs.maps_file).read_text(encoding="utf-8"))
        if isdefined(inputs.whole_file) and any(map(sample_keys, rows)):
            return Path(inputs.whole_file), inputs.whole_from
        return Path(inputs.maps_file), inputs.derived_from

    def _eroded(
        self, labels: NDArray[Any], mask: NDArray[np.bool_], source: Source
    ) -> NDArray[Any]:
        """Labels inside the mask without the outer layers of regions.

        Classes of a sample are spread out before: alone, each of its voxels is an outer layer.
        """
        layers, sample = self.inputs.erode, None
        if source == "maps":
            listed = self._classified()[0]
            rows = json.loads(listed.read_text(encoding="utf-8"))
            sample = estimated_mask(listed, rows[0]) if rows else None
        if sample is None or not layers:
            return erode(np.where(mask, labels, 0), layers)
        return np.where(sample, erode(np.where(mask, spread_out(labels, sample), 0), layers), 0)

    def _labels(self, mask: NDArray[np.bool_]) -> Labels:
        inputs = self.inputs
        target = read_grid(Path(inputs.mask))
        to_series = inputs.to_series if isdefined(inputs.to_series) else None
        if isdefined(inputs.labels):
            values = read_labels(Path(inputs.labels), Path(inputs.mask), to_series)
            if inputs.must_overlap and not values[mask].any():
                raise DataError(
                    f"{inputs.labels} has no label inside the mask; it must lie in the scanner "
                    "coordinates of the series."
                )
            return values, {}, "labels"
        if isdefined(inputs.probabilities):
            files = zip(inputs.probability_names, inputs.probabilities, strict=True)
            shares = {
                name: share_on_grid(placed(read_grid(Path(path)), to_series), target)
                for name, path in files
            }
            return (*probability_labels(shares), "probabilities")
        if isdefined(inputs.maps_file):
            classes = np.zeros(mask.shape, dtype=np.int32)
            maps = estimates_inside(self._classified()[0], mask)
            classes[mask] = tissue_classes(apparent_t1(maps | self._supplied(mask)))
            return classes, dict(TISSUE_NAMES), "maps"
        return mask.astype(np.int32), {1: WHOLE_MASK}, "mask"

    def _supplied(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Maps ``(V,)`` that went into the estimate, by parameter."""
        files = self.inputs.supplied if isdefined(self.inputs.supplied) else []
        return {Path(path).stem: values_inside(Path(path), mask) for path in files}


class GatherFilesOutputSpec(TraitedSpec):
    """Outputs of :class:`GatherFiles`."""

    files = OutputMultiPath(File(exists=True), desc="all of them")


class GatherFiles(Node):
    """Files of several nodes as one list.

    Parameters
    ----------
    names
        One input each, a file or a list of files.

    >>> GatherFiles(["aseg", "jhu"]).inputs.aseg
    <undefined>
    """

    input_spec = DynamicTraitedSpec
    output_spec = GatherFilesOutputSpec

    def __init__(self, names: Sequence[str] = (), **inputs: Any) -> None:
        super().__init__(**inputs)
        self._names = tuple(names)
        add_traits(self.inputs, self._names)

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """The files, in the order of their names."""
        given = [getattr(self.inputs, name) for name in self._names]
        return {"files": [path for item in given for path in ensure_list(item)]}


def estimates_inside(maps_file: Path, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Estimates ``(V,)`` inside the mask by parameter, of the maps that ``maps_file`` lists."""
    listed = json.loads(maps_file.read_text(encoding="utf-8"))
    return {
        row["name"]: values_inside(maps_file.parent / row["file"], mask)
        for row in listed
        if row["kind"] == "estimate"
    }


def values_inside(path: Path, mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Values ``(V,)`` of an intermediate map inside the mask."""
    return to_voxels(np.asanyarray(load(path).dataobj), mask)


def read_labels(path: Path, target: Path, to_series: str | None = None) -> NDArray[np.int32]:
    """A label image on the grid of ``target``: the label that fills most of each voxel.

    With ``to_series`` of :class:`AlignSeries` it is an image of the T1w image.

    Raises
    ------
    DataError
        If it holds values that are no labels.
    """
    return _whole(labels_on_grid(placed(read_grid(path), to_series), read_grid(target)), path)


def label_values(path: Path) -> list[int]:
    """The labels that an image holds, without the background.

    Raises
    ------
    ReadError
        If it cannot be read.
    DataError
        If it holds values that are no labels.
    """
    return labels_in(_whole(read_array(read_grid(path)), path))


def _whole(values: NDArray[Any], path: Path) -> NDArray[np.int32]:
    if not np.array_equal(values, np.rint(values)):
        raise DataError(f"{path.name} holds values that are no whole numbers; is it a dseg?")
    if values.size and max(-float(values.min()), float(values.max())) > np.iinfo(np.int32).max:
        raise DataError(f"{path.name} holds {values.max():g}; labels end at 2147483647.")
    return values.astype(np.int32)


def lookup_names(path: Path) -> Mapping[int, str]:
    """Names by label from a ``dseg.tsv``; see :func:`~bids_brnn.bids.input.lookup.read_lookup`."""
    return read_lookup(path).names

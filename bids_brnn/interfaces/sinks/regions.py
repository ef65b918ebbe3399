"""Nodes that write label images and tables of regions into the derivative data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, traits

from bids_brnn.bids.output.derivatives import json_bytes, write_image
from bids_brnn.bids.output.naming import segmentation_path, statistics_path
from bids_brnn.bids.output.sidecars import image_sidecar
from bids_brnn.files import write_bytes
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.interfaces.sinks.native import SinkInputSpec, SinkOutputSpec, grid_of, with_sidecars
from bids_brnn.maps import flag_words
from bids_brnn.regions import AGREEMENT_COLUMNS, COLUMNS
from bids_brnn.regions.labels import CIRCULAR, CSF_ABOVE, LEAST_PROBABILITY, WM_BELOW


class WriteLabelsInputSpec(SinkInputSpec):
    """Inputs of :class:`WriteLabels`."""

    segmentation = traits.Str(mandatory=True, desc="value of seg-")
    labels = File(exists=True, mandatory=True, desc="label image on the grid of the series")
    lookup = File(exists=True, mandatory=True, desc="its TSV")
    source = traits.Str(mandatory=True, desc="what the labels come from")
    erode = traits.Int(0, usedefault=True, desc="layers of voxels that were taken off")
    derived_from = traits.Str("", usedefault=True, desc="estimator whose maps made the labels")


class WriteLabels(Node):
    """Write the label image that region tables of a series were made with."""

    input_spec = WriteLabelsInputSpec
    output_spec = SinkOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load and write."""
        inputs = self.inputs
        series = SeriesRecord.from_file(Path(inputs.series))
        root, label = Path(inputs.output_dir), inputs.segmentation
        values, like = grid_of(inputs.labels, binary=False)
        words = f"Labels of {label} on the grid of the series, inside the mask"
        sidecar = image_sidecar(
            series,
            words,
            sources=[uri for role, uri in series.companions.items() if belongs(role, label)],
            extra={
                "Manual": False,
                **region_keys(inputs.source, inputs.erode, inputs.derived_from),
            },
        )
        table = segmentation_path(root, series, label, extension=".tsv")
        write_bytes(table, Path(inputs.lookup).read_bytes())
        image = write_image(segmentation_path(root, series, label), values, like, sidecar)
        return {"out_files": with_sidecars([table, image])}


class WriteRegionsInputSpec(SinkInputSpec):
    """Inputs of :class:`WriteRegions`."""

    estimator = traits.Str(mandatory=True, desc="value of desc-")
    segmentation = traits.Str(mandatory=True, desc="value of seg-")
    table = File(exists=True, mandatory=True, desc="a table of regions")
    suffix = traits.Enum("scalarstats", "agreement", usedefault=True, desc="which table it is")
    source = traits.Str("labels", usedefault=True, desc="what the labels come from")
    erode = traits.Int(0, usedefault=True, desc="layers of voxels that were taken off")
    derived_from = traits.Str("", usedefault=True, desc="estimator whose maps made the labels")


class WriteRegions(Node):
    """Write a table of regions: statistics of one estimator, or agreement of two."""

    input_spec = WriteRegionsInputSpec
    output_spec = SinkOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load and write."""
        inputs = self.inputs
        series = SeriesRecord.from_file(Path(inputs.series))
        columns = COLUMNS if inputs.suffix == "scalarstats" else AGREEMENT_COLUMNS
        about: dict[str, Any] = {name: {"Description": words} for name, words in columns.items()}
        about |= region_keys(inputs.source, inputs.erode, inputs.derived_from)
        about["Flags"] = flag_words()
        path = statistics_path(
            Path(inputs.output_dir),
            series,
            inputs.segmentation,
            inputs.estimator,
            suffix=inputs.suffix,
        )
        write_bytes(path.with_suffix(".json"), json_bytes(about))
        write_bytes(path, Path(inputs.table).read_bytes())
        return {"out_files": with_sidecars([path])}


def belongs(role: str, segmentation: str) -> bool:
    """Whether a companion of a series is an image of this segmentation."""
    return role == f"dseg_{segmentation}" or role.startswith(f"dseg_{segmentation}_")


def region_keys(source: str, layers: int, derived_from: str) -> dict[str, object]:
    """Sidecar keys that tell how regions were made."""
    keys: dict[str, object] = {"RegionSource": source, "ErosionVoxels": layers}
    if source == "maps":
        keys["DerivedFromEstimator"] = derived_from
        keys["RegionMethod"] = (
            f"T1 of the {derived_from} maps: white matter up to {WM_BELOW:g} s, grey matter up to "
            f"{CSF_ABOVE:g} s, fluid above (limits between values of Wansapura 1999 and Stanisz "
            "2005 at 3 T). For quantitative MT the T1 of the mean rate of both pools."
        )
        keys["Warning"] = CIRCULAR
    elif source == "probabilities":
        keys["RegionMethod"] = (
            f"Voxels whose mean tissue probability is at least {LEAST_PROBABILITY:g}"
        )
    return keys

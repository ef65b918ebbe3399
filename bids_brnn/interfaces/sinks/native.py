"""Nodes that write the derivative data set. Nothing else writes there during a workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    OutputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

import bids_brnn
from bids_brnn.bids.images import Volume
from bids_brnn.bids.output.derivatives import (
    json_bytes,
    write_image,
    write_map,
    write_mask,
    write_reference,
)
from bids_brnn.bids.output.naming import (
    field_path,
    motion_path,
    t1w_path,
    transform_path,
)
from bids_brnn.bids.output.sidecars import Provenance, image_sidecar
from bids_brnn.files import write_bytes
from bids_brnn.imaging.grids import load
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.preparation.motion import motion_sidecar
from bids_brnn.interfaces.sampling import estimated_mask, sample_keys
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.maps import flag_words, with_spread
from bids_brnn.parameters import FIELD_MAPS, MapItem
from bids_brnn.signals.registry import model_entry, series_kind
from bids_brnn.system.threads import in_threads
from bids_brnn.zoo.recipe import EstimatorRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SinkInputSpec(BaseInterfaceInputSpec):
    """Inputs of all sinks."""

    series = File(exists=True, mandatory=True, desc="JSON of a SeriesRecord")
    output_dir = traits.Str(mandatory=True, desc="root of the derivative data set")


class SinkOutputSpec(TraitedSpec):
    """Outputs of all sinks."""

    out_files = OutputMultiPath(File(exists=True), desc="what was written")


class WriteSeriesInputSpec(SinkInputSpec):
    """Inputs of :class:`WriteSeries`."""

    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    mask_source = traits.Str(mandatory=True, desc="where it comes from, in words")
    reference = File(exists=True, mandatory=True, desc="mean magnitude")
    noise_level = traits.Float(desc="noise standard deviation per channel; 0 if unknown")
    noise_source = traits.Str("", usedefault=True, desc="how it was found, in words")
    noise_warning = traits.Str("", usedefault=True, desc="what contradicts it, in words")
    steps = traits.List(traits.Str, desc="what was done to the series, in words")
    record = File(exists=True, desc="JSON from BrainMask: keys of mask and registration")
    supplied = InputMultiPath(File(exists=True), desc="field maps on the grid of the series")
    decisions = traits.List(traits.Str, desc="how their units were read")
    to_series = File(exists=True, desc="transform from AlignSeries, written with a T1w image")
    t1w_moved = File(exists=True, desc="T1w image on the grid of the series")
    motion = File(exists=True, desc="TSV of CorrectMotion")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


class WriteSeries(Node):
    """Write mask, reference image and resampled field maps of a series."""

    input_spec = WriteSeriesInputSpec
    output_spec = SinkOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load and write."""
        inputs = self.inputs
        series = SeriesRecord.from_file(Path(inputs.series))
        root = Path(inputs.output_dir)
        mask, like = grid_of(inputs.mask)
        source = series.companions.get("mask", inputs.mask_source)
        reference = np.asanyarray(load(inputs.reference).dataobj)
        of_mask = {**read_record(inputs.record), **network_keys(series)}
        extra = history_keys(inputs)

        def field(path: str, decision: str) -> Path:
            about = FIELD_MAPS[Path(path).stem]
            sources = [series.companions[Path(path).stem]]
            read = f": {decision}" if decision else ""
            words = f"Supplied field map on the grid of the series{read}"
            sidecar = image_sidecar(series, words, units=about.unit, sources=sources)
            target = field_path(root, series, about.suffix)
            return write_image(target, np.asanyarray(load(path).dataobj), like, sidecar)

        supplied = inputs.supplied if isdefined(inputs.supplied) else []
        decisions = inputs.decisions or [""] * len(supplied)
        writers = [
            partial(write_mask, root, series, mask, like=like, source=source, extra=of_mask),
            partial(write_reference, root, series, reference, like=like, extra=extra),
            *(partial(field, *pair) for pair in zip(supplied, decisions, strict=True)),
        ]
        written = list(in_threads(lambda write: write(), writers, inputs.num_threads))
        if isdefined(inputs.t1w_moved):
            written += self._anatomy(series, root, like)
        if isdefined(inputs.motion):
            table = motion_path(root, series)
            write_bytes(table.with_suffix(".json"), json_bytes(motion_sidecar(series.sources)))
            write_bytes(table, Path(inputs.motion).read_bytes())
            written.append(table)
        return {"out_files": with_sidecars(written)}

    def _anatomy(self, series: SeriesRecord, root: Path, like: Volume) -> list[Path]:
        """The T1w image on the grid of the series, and the transform between the two."""
        from bids_brnn.imaging.resampling import inverse, read_transform, write_transform

        extra = {"Registration": read_record(self.inputs.record).get("Registration", "n/a")}
        sources = [series.companions["t1w"]]
        words = "T1-weighted image on the grid of the series, for checks"
        sidecar = image_sidecar(series, words, units="arbitrary", sources=sources, extra=extra)
        values = np.asanyarray(load(self.inputs.t1w_moved).dataobj)
        image = write_image(t1w_path(root, series), values, like, sidecar)
        path = transform_path(root, series, series_kind(series.kind).suffix, "T1w")
        content = {
            "Description": "Rigid transform (ITK) that brings images of the series to the T1w "
            "image: it maps points of the T1w image to points of the series",
            "Sources": [*series.sources, *sources],
            **extra,
        }
        write_bytes(path.with_suffix(".json"), json_bytes(content))
        write_transform(inverse(read_transform(Path(self.inputs.to_series))), path)
        return [image, path]


class WriteMapsInputSpec(SinkInputSpec):
    """Inputs of :class:`WriteMaps`."""

    recipe = File(exists=True, mandatory=True, desc="recipe of the estimator")
    desc = traits.Str(mandatory=True, desc="value of desc-: the estimator, or a fit by a model")
    maps_file = File(exists=True, mandatory=True, desc="from EstimateMaps")
    maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    mask_source = traits.Str(mandatory=True, desc="where it comes from, in words")
    noise_level = traits.Float(desc="noise standard deviation per channel; 0 if unknown")
    noise_source = traits.Str("", usedefault=True, desc="how it was found, in words")
    noise_warning = traits.Str("", usedefault=True, desc="what contradicts it, in words")
    steps = traits.List(traits.Str, desc="what was done to the series, in words")
    record = File(exists=True, desc="JSON from BrainMask: keys of mask and registration")
    decisions = traits.List(traits.Str, desc="how units of field maps were read")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


class WriteMaps(Node):
    """Write the maps of one estimator, each with its sidecar before it."""

    input_spec = WriteMapsInputSpec
    output_spec = SinkOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load and write."""
        inputs = self.inputs
        recipe = EstimatorRecipe.from_file(Path(inputs.recipe))
        series = replace(SeriesRecord.from_file(Path(inputs.series)), model=recipe.model)
        mask, like = grid_of(inputs.mask)
        mask = np.ascontiguousarray(mask)  # as maps are looked up by it
        decisions = decisions_of(series, recipe, inputs.decisions)
        listed = Path(inputs.maps_file)

        def write(row: Mapping[str, Any]) -> Path:
            values = np.asanyarray(load(listed.parent / row["file"]).dataobj)
            desc = with_spread(inputs.desc, row["kind"])
            extra = {
                **method_keys(recipe, inputs.mask_source, decisions),
                **history_keys(inputs, row.get("noise_warning", "")),
                **flag_keys(row["kind"]),
                **sample_keys(row),
            }
            provenance = provenance_of(row, series, recipe, decisions, extra)
            item = MapItem(row["name"], row["unit"], row["suffix"], row["description"])
            return write_map(
                Path(inputs.output_dir),
                series,
                item,
                desc,
                values,
                mask=mask,
                like=like,
                provenance=provenance,
                estimated=estimated_mask(listed, row),
            )

        rows = json.loads(listed.read_text(encoding="utf-8"))
        written = list(in_threads(write, rows, inputs.num_threads))
        return {"out_files": with_sidecars(written)}


def grid_of(path: str, *, binary: bool = True) -> tuple[NDArray[Any], Volume]:
    """Values of an intermediate image, and its grid as writers want it."""
    image = load(path)
    values = np.asanyarray(image.dataobj)
    like = Volume(np.zeros((*values.shape, 0), np.complex64), image.affine, image.header)
    return (values > 0 if binary else values), like


def read_record(path: Any) -> dict[str, Any]:
    """The record of mask and registration, empty if there is none."""
    return json.loads(Path(path).read_text(encoding="utf-8")) if isdefined(path) else {}


def with_sidecars(paths: list[Path]) -> list[str]:
    """Paths and those of their sidecars, so that a lost sidecar is noticed too."""
    sidecars = [path.with_name(path.name.partition(".")[0] + ".json") for path in paths]
    return [str(path) for path in dict.fromkeys([*paths, *sidecars]) if path.is_file()]


def provenance_of(
    row: Mapping[str, Any],
    series: SeriesRecord,
    recipe: EstimatorRecipe,
    decisions: Mapping[str, str],
    extra: Mapping[str, object],
) -> Provenance:
    """What went into the map of a row of ``maps.json``."""
    valid = row.get("valid_range")
    # The T1w image went in only where it told the mask.
    left_out = ("dseg_",) if extra.get("MaskSpace") == "T1w" else ("dseg_", "t1w")
    unheard = {name for name in FIELD_MAPS if name not in recipe.supplied}
    return Provenance(
        sources=[
            uri
            for role, uri in series.companions.items()
            if not role.startswith(left_out) and role.removesuffix("_std") not in unheard
        ],
        b1_source=b1_source(recipe, decisions),
        valid_range=None if valid is None else (valid[0], valid[1]),
        weights_name=Path(recipe.weights).stem or "n/a",
        weights_sha256=recipe.weights_sha256 or "n/a",
        loss=recipe.loss,
        extra={**extra, **(network_facts(series, recipe, row) if recipe.weights else {})},
    )


def network_facts(
    series: SeriesRecord, recipe: EstimatorRecipe, row: Mapping[str, Any]
) -> dict[str, Any]:
    """Sidecar keys of a map of a network: its training, and what to beware of."""
    found = {
        "WeightsCard": Path(recipe.weights).name,
        "WeightsTraining": dict(recipe.training),
        "WeightsWarning": series.network_warning,
        "QualityWarning": series.network_marks.get(str(row["name"]), ""),
    }
    return {key: words for key, words in found.items() if words}


def decisions_of(series: SeriesRecord, recipe: EstimatorRecipe, decisions: Any) -> dict[str, str]:
    """How the field maps that an estimator uses were read, by parameter.

    ``decisions`` are those of all field maps of the series, in the order of these.
    """
    if not isdefined(decisions):
        return {}
    names = [name for name in FIELD_MAPS if name in series.companions]
    read = dict(zip(names, decisions, strict=True))
    return {name: read[name] for name in recipe.supplied}


def b1_source(recipe: EstimatorRecipe, decisions: Mapping[str, str]) -> str:
    """Where the flip angle scale comes from, for the sidecar."""
    if "B1" in recipe.supplied:
        return decisions["B1"]
    parameters = model_entry(recipe.model).parameters
    if "B1" not in parameters.names:
        return "n/a"
    estimated = parameters["B1"].role != "supplied"
    return "estimated" if estimated else "none, flip angles taken as nominal"


def network_keys(series: SeriesRecord) -> dict[str, object]:
    """Sidecar keys of the mask that tell of networks, for the page of the participant."""
    notes = [*filter(None, [series.network_warning]), *series.network_notes]
    return {"NetworkNotes": notes} if notes else {}


def history_keys(inputs: Any, noise_warning: str = "") -> dict[str, object]:
    """Sidecar keys that tell what was found and done before estimation.

    ``noise_warning`` is what the estimate added to it: how its residual contradicts the sidecar.
    """
    warning = inputs.noise_warning or noise_warning
    level = inputs.noise_level if isdefined(inputs.noise_level) else 0.0
    return {
        "NoiseStandardDeviation": float(f"{level:.6g}") if level > 0 else "n/a",
        "NoiseSource": inputs.noise_source or "n/a",
        **({"NoiseWarning": warning} if warning else {}),
        "PreparationSteps": list(inputs.steps) if isdefined(inputs.steps) else [],
        **read_record(inputs.record),
    }


def flag_keys(kind: str) -> dict[str, object]:
    """Sidecar keys of a flag map: what its bits mean."""
    return {"Flags": flag_words()} if kind == "flag" else {}


def method_keys(
    recipe: EstimatorRecipe, mask_source: str, decisions: Mapping[str, str]
) -> dict[str, object]:
    """Sidecar keys that tell how a map was made."""
    return {
        "Estimator": recipe.estimator,
        "EstimatorOptions": dict(recipe.estimator_options),
        "SequenceDigest": recipe.sequence.digest,
        "RecipeDigest": recipe.digest,
        "MaskSource": mask_source,
        "FieldMaps": list(decisions.values()),
        "SoftwareVersion": bids_brnn.__version__,
    }

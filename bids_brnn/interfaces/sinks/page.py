"""The node that writes what the page of a participant tells of protocol and Z-spectra.

It stands apart from the writer of pages, as it needs PyTorch and compiled kernels: workers have
loaded them to make the maps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import File, InputMultiPath, isdefined, traits

from bids_brnn.bids.output.derivatives import json_bytes
from bids_brnn.bids.output.naming import bounds_path, spectra_path
from bids_brnn.estimators.registry import estimators
from bids_brnn.files import write_bytes, write_text
from bids_brnn.imaging.grids import load
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.bounds import bounds_of
from bids_brnn.interfaces.estimate import MAPS_FILE
from bids_brnn.interfaces.sampling import estimated_mask
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.interfaces.sinks.native import (
    SinkInputSpec,
    SinkOutputSpec,
    grid_of,
    with_sidecars,
)
from bids_brnn.interfaces.spectra import spectra_of
from bids_brnn.reports.stored import bounds_as_table, spectra_as_table
from bids_brnn.zoo.recipe import EstimatorRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray


class WriteForPageInputSpec(SinkInputSpec):
    """Inputs of :class:`WriteForPage`."""

    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    coefficients = File(exists=True, desc="data that were estimated from, of a Z-spectrum")
    descs = traits.List(traits.Str, mandatory=True, desc="values of desc-")
    recipes = InputMultiPath(File(exists=True), mandatory=True, desc="their recipes")
    maps = InputMultiPath(
        File(exists=True), mandatory=True, desc="maps.json of each, in this order, and their files"
    )
    supplied = InputMultiPath(File(exists=True), desc="known maps on the grid of the series")


class WriteForPage(Node):
    """Write bounds of the protocol, and of a Z-spectrum data and fits of some voxels."""

    input_spec = WriteForPageInputSpec
    output_spec = SinkOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load, compute, write."""
        inputs = self.inputs
        series = SeriesRecord.from_file(Path(inputs.series))
        listed = [path for path in map(Path, inputs.maps) if path.name == MAPS_FILE]
        fits = {
            desc: _Fit(EstimatorRecipe.from_file(Path(recipe)), path)
            for desc, recipe, path in zip(inputs.descs, inputs.recipes, listed, strict=True)
        }
        files = inputs.supplied if isdefined(inputs.supplied) else []
        supplied = {Path(path).stem: _values(Path(path)) for path in files}
        mask, _ = grid_of(inputs.mask)
        own = next((fit for fit in fits.values() if fit.recipe.model == series.model), None)
        tables = []
        if own is not None:
            ordered = [fits[desc] for desc in estimators() if desc in fits]
            snr = [values for fit in ordered for values in fit.maps("snr").values()]
            ratios = [values[mask].astype(np.float64) for values in snr]
            bounds = bounds_of(series, own.recipe, ratios, list(supplied))
            if bounds is not None:
                tables.append((bounds_path, bounds_as_table(bounds)))
        if isdefined(inputs.coefficients):
            spectra = spectra_of(
                series.name,
                np.asanyarray(load(inputs.coefficients).dataobj).real,
                np.logical_and.reduce(
                    [mask, *(part for fit in fits.values() for part in fit.run)]
                ),
                {desc: (fit.recipe, fit.maps()) for desc, fit in fits.items()},
                supplied,
            )
            if spectra is not None:
                tables.append((spectra_path, spectra_as_table(spectra)))
        written = []
        for path_of, (about, text) in tables:
            path = path_of(Path(inputs.output_dir), series)
            write_bytes(path.with_suffix(".json"), json_bytes(about))
            write_text(path, text)
            written.append(path)
        return {"out_files": with_sidecars(written)}


@dataclass(frozen=True)
class _Fit:
    """Maps of one estimator."""

    recipe: EstimatorRecipe
    listed: Path
    """``maps.json``."""

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Of the list."""
        found: Sequence[Mapping[str, Any]] = json.loads(self.listed.read_text(encoding="utf-8"))
        return found

    @property
    def run(self) -> list[NDArray[np.bool_]]:
        """The voxels it was run in, where these are a sample."""
        found = estimated_mask(self.listed, self.rows[0]) if self.rows else None
        return [] if found is None else [found]

    def maps(self, name: str = "") -> dict[str, NDArray[np.floating]]:
        """Estimates ``(X, Y, Z)`` by name; all of them, or one."""
        return {
            row["name"]: _values(self.listed.parent / row["file"])
            for row in self.rows
            if row["kind"] == "estimate" and name in ("", row["name"])
        }


def _values(path: Path) -> NDArray[np.floating]:
    """Values of an image, which stay in the file until they are asked for."""
    found: NDArray[np.floating] = np.asanyarray(load(path).dataobj)
    return found

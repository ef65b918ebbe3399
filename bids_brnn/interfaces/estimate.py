"""From coefficients to maps."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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

from bids_brnn.config.choices import ALL
from bids_brnn.estimators.registry import NETWORK
from bids_brnn.estimators.run import naming, run_estimator
from bids_brnn.imaging.grids import load, save
from bids_brnn.imaging.noise_level import ODD, SOURCES, contradiction, unexplained
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.remarks import (
    check_any,
    say_on_bound,
    say_unlike,
    say_without_spread,
)
from bids_brnn.interfaces.sampling import draw_sample, sample_row
from bids_brnn.interfaces.voxels import Voxels, positions, voxels_of
from bids_brnn.maps import Beside
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.system.threads import in_threads
from bids_brnn.zoo.recipe import EstimatorRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_brnn.estimators.base import Estimate, Estimator
    from bids_brnn.estimators.maps import NamedMap
    from bids_brnn.estimators.network.estimator import NetworkEstimator
    from bids_brnn.parameters import ParameterSet

MAPS_FILE = "maps.json"
_LOG = logging.getLogger("bids_brnn.estimate")


class EstimateMapsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`EstimateMaps`."""

    coefficients = File(exists=True, mandatory=True, desc="complex NIfTI (x, y, z, values)")
    mask = File(exists=True, mandatory=True, desc="mask on the same grid")
    recipe = File(exists=True, mandatory=True, desc="JSON of an EstimatorRecipe")
    suffix = traits.Str(mandatory=True, desc="suffix of quality maps: QMTmap, MRFmap ...")
    supplied = InputMultiPath(File(exists=True), desc="known maps on the same grid")
    supplied_names = traits.List(traits.Str, desc="their parameter names, in the same order")
    spread = InputMultiPath(
        File(exists=True), desc="standard deviations of known maps, on the same grid"
    )
    spread_names = traits.List(traits.Str, desc="their parameter names, in the same order")
    noise_std = traits.Float(desc="noise standard deviation per channel, for weights and spread")
    noise_level = traits.Float(
        0.0, usedefault=True, desc="noise per channel for the SNR map; 0: residual of each voxel"
    )
    check_noise = traits.Bool(
        False, usedefault=True, desc="noise_std is declared, and the residual is to be compared"
    )
    check_level = traits.Bool(
        False, usedefault=True, desc="noise_level is of the images alone; compare the residual"
    )
    noise_source = traits.Str(
        SOURCES["frames"], usedefault=True, desc="how noise_level was found; only frames tell it"
    )
    reference_voxels = traits.Str(
        ALL, usedefault=True, desc="voxels to estimate: a number, auto or all"
    )
    strata = InputMultiPath(File(exists=True), desc="label images on the same grid for a sample")
    seed = traits.Int(1, usedefault=True, desc="of the draw of a sample")
    device = traits.Enum("auto", "cpu", "cuda", usedefault=True, desc="where to compute")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="read by the scheduler")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")
    batch_size = traits.Range(low=1, nohash=True, desc="voxels estimated together")
    cache_dir = traits.Str(nohash=True, desc="folder of dictionaries, shared by participants")
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")


class EstimateMapsOutputSpec(TraitedSpec):
    """Outputs of :class:`EstimateMaps`."""

    maps_file = File(exists=True, desc="JSON: name, unit, file ... of every map")
    maps = OutputMultiPath(File(exists=True), desc="one NIfTI per map; NaN where none")
    name = traits.Str(desc="name of the estimator, for desc-")


class EstimateMaps(Node):
    """Estimate parameters in every voxel of a mask, with any estimator.

    >>> node = EstimateMaps(num_threads=2)
    >>> node.inputs.device
    'auto'
    """

    input_spec = EstimateMapsInputSpec
    output_spec = EstimateMapsOutputSpec
    # A killed estimation goes on from its checkpoint instead of an emptied folder.
    _can_resume = True

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, estimate, save."""
        from bids_brnn.estimators.maps import named_maps, signal_to_noise

        inputs = self.inputs
        grid = load(inputs.coefficients)
        whole = np.asanyarray(load(inputs.mask).dataobj) > 0
        recipe = EstimatorRecipe.from_file(Path(inputs.recipe))
        estimator = recipe.build(
            Path(inputs.cache_dir) if isdefined(inputs.cache_dir) else None,
            block_size=inputs.batch_size if isdefined(inputs.batch_size) else None,
        )
        mask = self._sample(recipe, estimator, whole)
        voxels = voxels_of(inputs, recipe, mask)
        data = voxels.data
        label = inputs.label or estimator.name
        with naming(label):
            estimator, sigma, further = self._noise_of(recipe, estimator, voxels)
            estimate = run_estimator(
                estimator,
                data,
                voxels.known,
                sigma,
                folder / "checkpoint.safetensors",
                label,
                spread=voxels.spread,
                **further,
            )
        check_any(estimate, estimator.parameters)
        fitted = _fitted(recipe, estimator)
        warning = self._contradiction(recipe, estimate, data, estimator.parameters, fitted)
        if not warning:
            say_unlike(inputs.label, estimate)
            say_on_bound(inputs.label, estimate, estimator.parameters)
        say_without_spread(inputs.label, recipe, estimator.parameters, self._noise_std())
        rows: list[dict[str, Any]] = []
        about = sample_row(
            folder, mask, whole, grid.affine, seed=inputs.seed, by_region=bool(self._strata())
        )
        ratio = signal_to_noise(
            estimate,
            data,
            estimator.parameters,
            inputs.noise_level,
            amplitude=recipe.amplitude,
            weights=_weights(recipe, data),
            fitted=fitted,
        )
        beside = self._beside(recipe, estimate, data, estimator.parameters)
        made = named_maps(estimate, estimator.parameters, inputs.suffix, ratio, beside)
        mask = np.ascontiguousarray(mask)

        def saved(item: NamedMap) -> list[dict[str, Any]]:
            return save_map(folder, item, mask, grid.affine)

        for found in in_threads(saved, made, inputs.num_threads):
            rows.extend(found)
        if warning:
            about["noise_warning"] = warning
        rows = [{**row, **about} for row in rows]
        (folder / MAPS_FILE).write_text(json.dumps(rows, indent=1), encoding="utf-8")
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
        return {
            "maps_file": str(folder / MAPS_FILE),
            "maps": [str(folder / file) for file in files_of(rows)],
            "name": estimator.name,
        }

    def _contradiction(
        self,
        recipe: EstimatorRecipe,
        estimate: Estimate,
        data: Tensor,
        parameters: ParameterSet,
        fitted: int,
    ) -> str:
        """How the residual contradicts the noise that is known without it, in words."""
        from bids_brnn.estimators.maps import residual_sigma
        from bids_brnn.estimators.series_noise import LEAST_FREEDOM
        from bids_brnn.information.noise import degrees_of_freedom

        # The residual of few values per voxel is mostly that of too many parameters.
        free = len(parameters.columns("estimated", "nuisance"))
        degrees = degrees_of_freedom(recipe.amplitude, fitted, free)
        inputs = self.inputs
        if not (inputs.check_noise or self._images_tell()) or degrees < LEAST_FREEDOM:
            return ""
        by_voxel = residual_sigma(
            estimate,
            data,
            parameters,
            amplitude=recipe.amplitude,
            weights=_weights(recipe, data),
            fitted=fitted,
        )
        told = float(by_voxel.nanmedian())
        if inputs.check_noise:
            source = "the residual of the estimate (noise and what the model does not explain)"
            warning = contradiction(inputs.noise_std, told, source)
            if warning and told > inputs.noise_std:
                warning += f"; if it is right, {ODD}"
        else:
            warning = unexplained(inputs.noise_level, told)
        if warning:
            _LOG.warning("%s: %s", inputs.label, warning)
        return warning

    def _strata(self) -> list[str]:
        return list(self.inputs.strata) if isdefined(self.inputs.strata) else []

    def _sample(
        self, recipe: EstimatorRecipe, estimator: Estimator, whole: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """The voxels to estimate: all, or the sample that was asked for."""
        inputs = self.inputs

        def run(mask: NDArray[np.bool_]) -> object:
            voxels = voxels_of(inputs, recipe, mask)
            able, sigma, further = self._noise_of(recipe, estimator, voxels)
            return able.estimate(voxels.data, voxels.known or None, sigma=sigma, **further)

        label = inputs.label or estimator.name
        return draw_sample(inputs.reference_voxels, whole, self._strata(), inputs.seed, run, label)

    def _noise_of(
        self,
        recipe: EstimatorRecipe,
        estimator: Estimator,
        voxels: Voxels,
    ) -> tuple[Estimator, float | Tensor | None, dict[str, Any]]:
        """Estimator, noise for weights and spread, and further arguments.

        Where the noise is not declared, that of a network is what the residuals of the series
        tell; where it is, they tell how it varies over space.
        """
        declared = self._noise_std()
        at = positions(voxels.mask, voxels.data)
        unmixing: Any = estimator if recipe.estimator_options.get("csf_fraction") else None
        further: dict[str, Any] = {} if unmixing is None else {"places": at}
        if recipe.estimator != NETWORK:
            return estimator, declared, further
        from bids_brnn.estimators.network.series import noise_of_network

        network = cast("NetworkEstimator", estimator if unmixing is None else unmixing.base)
        found = noise_of_network(network, voxels.data, voxels.known, at)
        if found is None:
            return estimator, declared, further
        if declared is None:
            adapted: Any = replace(network, freedom=found.freedom)
            if unmixing is not None:
                adapted = replace(unmixing, base=adapted)
            if self._images_tell():
                # What a model leaves of other signals is no noise, however much there is of it.
                further["test_noise"] = found.near(self.inputs.noise_level)
            return adapted, found.sigma, further
        return estimator, declared, {**further, "test_noise": found.near(declared)}

    def _images_tell(self) -> bool:
        """Whether the images tell the noise without the model; that of air is another one."""
        inputs = self.inputs
        is_of_frames = inputs.noise_source == SOURCES["frames"]
        return bool(inputs.check_level and inputs.noise_level > 0 and is_of_frames)

    def _noise_std(self) -> float | None:
        """What is known of the noise other than by the residual."""
        given = self.inputs.noise_std
        return float(given) if isdefined(given) and given > 0 else None

    def _beside(
        self, recipe: EstimatorRecipe, estimate: Estimate, data: Tensor, parameters: ParameterSet
    ) -> Beside:
        """What the images of a Z-spectrum tell beside; says how many are near the noise."""
        level = self._noise_std() or self.inputs.noise_level
        from bids_brnn.estimators.maps import noise_share

        if not isinstance(recipe.sequence, ZSpectrum):
            return Beside(noise_share=noise_share(data, level, recipe.amplitude))
        from bids_brnn.estimators.images import beside_images, rician_words

        beside = beside_images(estimate, data, parameters, recipe.sequence, level)
        words = rician_words(beside)
        if words:
            _LOG.warning("%s: %s", self.inputs.label, words)
        return beside


def _fitted(recipe: EstimatorRecipe, estimator: Estimator) -> int:
    """Values per voxel that a residual is of: a network takes coefficients of time frames."""
    if recipe.estimator == NETWORK:
        return cast("NetworkEstimator", estimator).model.n_samples
    return recipe.n_values


def _weights(recipe: EstimatorRecipe, like: Tensor) -> Tensor | None:
    """Averages ``(N,)`` of each measurement."""
    given = recipe.sequence.weights if isinstance(recipe.sequence, ZSpectrum) else None
    return None if given is None else like.real.new_tensor(given)


def files_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of all files that rows of ``maps.json`` name."""
    named = [row[key] for key in ("file", "sample_file") for row in rows if key in row]
    return list(dict.fromkeys(named))


def save_map(
    folder: Path, item: NamedMap, mask: NDArray[np.bool_], affine: NDArray[Any]
) -> list[dict[str, Any]]:
    """Write a map, and its standard deviation if there is one; a row of ``maps.json`` for each."""
    rows = []
    for kind, values in ((item.kind, item.values), (item.std_kind, item.std)):
        if values is None:
            continue
        inside = values.detach().cpu().numpy().astype(np.float32)
        volume = np.full(mask.shape, np.nan, dtype=np.float32, order="F")  # as in the file
        volume[mask] = inside
        file = f"{item.item.name}_{kind}.nii"
        save(folder / file, volume, affine)
        row: dict[str, Any] = {
            "name": item.item.name,
            "unit": item.item.unit,
            "suffix": item.item.suffix,
            "description": item.item.description,
            "display": item.item.display,
            "kind": kind,
            "file": file,
        }
        if item.bounds is not None and kind == "estimate":
            row["valid_range"] = list(item.bounds)
        rows.append(row)
    return rows

"""Optional steps that change the noise: denoising and removal of Gibbs ringing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, TraitedSpec, traits

from bids_brnn.imaging.denoising import denoise, patch_extent
from bids_brnn.imaging.grids import load, save
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.preparation.mrtrix import find_tool, run_on_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger("bids_brnn.prepare")
_CHANGED = "the noise is no longer white, and standard deviations"


class StepInputSpec(BaseInterfaceInputSpec):
    """What every step on a series takes."""

    coefficients = File(exists=True, mandatory=True, desc="complex NIfTI (x, y, z, values)")
    steps = traits.List(traits.Str, desc="what was done before, in words")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")


class StepOutputSpec(TraitedSpec):
    """What every step on a series gives."""

    coefficients = File(exists=True, desc="complex64 NIfTI on the same grid")
    steps = traits.List(traits.Str, desc="what was done before, and this")


class DenoiseSeriesInputSpec(StepInputSpec):
    """Inputs of :class:`DenoiseSeries`."""

    method = traits.Enum(
        "mppca", "dwidenoise", usedefault=True, desc="built in, or the command of MRtrix3"
    )


class DenoiseSeries(Node):
    """Denoise by principal components of patches; before anything is interpolated.

    >>> DenoiseSeries().inputs.method
    'mppca'
    """

    input_spec = DenoiseSeriesInputSpec
    output_spec = StepOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, denoise, save."""
        inputs = self.inputs
        image = load(inputs.coefficients)
        data = np.asanyarray(image.dataobj)
        extent = patch_extent(data.shape, data.shape[3])
        size = " x ".join(map(str, extent))
        if inputs.method == "mppca":
            found = denoise(data, extent)
            values = found.values
            words = (
                f"denoised by principal components of patches (MP-PCA, {size} voxels, "
                f"{found.n_kept:.1f} of {data.shape[3]} components kept on average)"
            )
        else:
            program = find_tool("dwidenoise", "--denoise dwidenoise")
            options = ("-extent", ",".join(map(str, extent)))
            values = run_on_array(
                program, _finite(data), folder, *options, num_threads=inputs.num_threads
            )
            values = np.where(np.isfinite(data), values, data)
            words = f"denoised by dwidenoise of MRtrix3 (MP-PCA, {size} voxels)"
        step = f"{words}: {_CHANGED} describe the data before it"
        return finish(folder / "denoised.nii", values, image, step, inputs)


class RemoveGibbs(Node):
    """Remove Gibbs ringing in the plane of the first two axes, with mrdegibbs of MRtrix3.

    >>> RemoveGibbs().inputs.num_threads
    1
    """

    input_spec = StepInputSpec
    output_spec = StepOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, process real and imaginary part, save."""
        inputs = self.inputs
        program = find_tool("mrdegibbs", "--degibbs")
        image = load(inputs.coefficients)
        data = np.asanyarray(image.dataobj)
        values = np.zeros(data.shape, dtype=np.complex64)
        for part in ("real", "imag"):
            old = np.ascontiguousarray(getattr(_finite(data), part), dtype=np.float32)
            if old.any():
                new = run_on_array(program, old, folder, num_threads=inputs.num_threads)
                setattr(values, part, new)
        values = np.where(np.isfinite(data), values, data)
        step = (
            "Gibbs ringing removed by mrdegibbs of MRtrix3 in the plane of the first two axes "
            "(made for Cartesian sampling of the whole k-space; real and imaginary part one by "
            f"one): {_CHANGED} are approximate"
        )
        return finish(folder / "degibbs.nii", values, image, step, inputs)


def _finite(data: NDArray[Any]) -> NDArray[np.complex64]:
    return np.where(np.isfinite(data), data, 0).astype(np.complex64)


def finish(
    path: Path, values: NDArray[Any], image: Any, step: str, inputs: Any
) -> dict[str, object]:
    """Save what a step made, say what it was, and give the outputs of the step."""
    _LOG.warning("%s: %s", inputs.label, step)
    save(path, values.astype(np.complex64), image.affine, image.header)
    return {"coefficients": str(path), "steps": [*(inputs.steps or []), step]}

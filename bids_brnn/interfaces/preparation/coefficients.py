"""From the parts of a series to complex coefficients, a mask and a reference image."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.bids.images import Volume, read_coefficients, read_grid
from bids_brnn.bids.volumes import grid_like, read_mask
from bids_brnn.errors import DataError
from bids_brnn.imaging.grids import mask_on_grid, save
from bids_brnn.imaging.masks import threshold_mask
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.preparation.meanwhile import module_list, read_meanwhile
from bids_brnn.system.threads import in_threads
from bids_brnn.voxels import slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_brnn.bids.input.acquisition import Acquisition

PARTS = ("real", "imag", "mag", "phase", "complex")
_LOG = logging.getLogger("bids_brnn.prepare")


class PrepareCoefficientsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`PrepareCoefficients`: real and imag, mag and phase, mag, or complex."""

    real = File(exists=True, desc="real part (x, y, z, values)")
    imag = File(exists=True, desc="imaginary part")
    mag = File(exists=True, desc="magnitude")
    phase = File(exists=True, desc="phase, rad")
    complex = File(exists=True, desc="complex NIfTI")
    user_mask = File(exists=True, desc="mask on the grid of the series; wins")
    mask = File(exists=True, desc="brain mask in the same scanner coordinates")
    head_only = traits.Bool(False, usedefault=True, desc="a later step masks the brain")
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")
    modules = module_list()


class PrepareCoefficientsOutputSpec(TraitedSpec):
    """Outputs of :class:`PrepareCoefficients`."""

    coefficients = File(exists=True, desc="complex64 NIfTI (x, y, z, values)")
    mask = File(exists=True, desc="mask on the same grid")
    mask_source = traits.Str(desc="where the mask comes from, in words")
    reference = File(exists=True, desc="mean magnitude (x, y, z), for registration")


@dataclass(frozen=True)
class _Parts:
    """What :func:`read_coefficients` reads of an acquisition."""

    parts: Mapping[str, Path]
    shape: tuple[int, ...]
    representation: str = "time"


class PrepareCoefficients(Node):
    """Combine the parts of a series; values are never interpolated.

    >>> PrepareCoefficients().inputs.user_mask
    <undefined>
    """

    input_spec = PrepareCoefficientsInputSpec
    output_spec = PrepareCoefficientsOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, combine, save."""
        parts = {
            name: Path(getattr(self.inputs, name))
            for name in PARTS
            if isdefined(getattr(self.inputs, name))
        }
        threads = self.inputs.num_threads
        volume = read_meanwhile(lambda: read_parts(parts, threads), self.inputs.modules)
        with ThreadPoolExecutor(1) as pool:

            def saved(name: str, array: NDArray[Any]) -> str:
                return str(save(folder / f"{name}.nii", array, volume.affine, volume.header))

            # Gigabytes, copied by the system while this thread and others compute.
            coefficients = pool.submit(saved, "coefficients", volume.data)
            reference = mean_magnitude(volume.data, threads)
            mask, source = self._mask(volume, reference)
            files = {"coefficients": coefficients.result()}
        if not self.inputs.head_only:
            _LOG.info("%s: %d voxels from %s", self.inputs.label, mask.sum(), source)
        if volume.n_invalid:
            _LOG.info("%s: %d voxels are not finite", self.inputs.label, volume.n_invalid)
        files |= {"mask": saved("mask", mask), "reference": saved("reference", reference)}
        return {**files, "mask_source": source}

    def _mask(
        self, volume: Volume, reference: NDArray[np.float32]
    ) -> tuple[NDArray[np.bool_], str]:
        if isdefined(self.inputs.user_mask):
            path = Path(self.inputs.user_mask)
            return read_mask(path, volume), f"the mask {path.name} given"
        if isdefined(self.inputs.mask):
            path = Path(self.inputs.mask)
            return overlapping_mask(path, volume), f"the mask {path.name}"
        log = _LOG.debug if self.inputs.head_only else _LOG.warning
        log(
            "%s: no brain mask was found; voxels above an intensity threshold are taken, skull "
            "included.",
            self.inputs.label,
        )
        mask = threshold_mask(reference)
        if not mask.any():
            raise DataError("No voxel is brighter than the background; is the series empty?")
        return mask, "an intensity threshold"


def mean_magnitude(data: NDArray[np.complex64], threads: int = 1) -> NDArray[np.float32]:
    """Mean of the magnitudes ``(X, Y, Z)`` of ``(X, Y, Z, N)``, one image at a time."""
    mean = np.empty(data.shape[:3], dtype=np.float32, order="F")

    def average(part: slice) -> None:
        total = np.zeros_like(mean[..., part])
        for frame in range(data.shape[3]):
            total += np.abs(data[..., part, frame])
        mean[..., part] = total / np.float32(data.shape[3])

    list(in_threads(average, slabs(data.shape), threads))
    return mean


def read_parts(parts: Mapping[str, Path], threads: int = 1) -> Volume:
    """Complex values of a series from its part files, up to ``threads`` of them at a time.

    Raises
    ------
    DataError
        If the parts do not make a series.
    """
    if set(parts) not in ({"real", "imag"}, {"mag", "phase"}, {"mag"}, {"complex"}):
        raise DataError(
            f"A series needs real and imag, mag and phase, mag, or complex; got "
            f"{' and '.join(parts) or 'nothing'}."
        )
    shapes = {path: read_grid(path).shape for path in parts.values()}
    if len(set(shapes.values())) > 1:
        words = ", ".join(f"{path.name} is {shape}" for path, shape in shapes.items())
        raise DataError(f"{words}. All parts must have one shape and affine.")
    shape = next(iter(shapes.values()))
    if len(shape) != 4:
        # A complex NIfTI of one slice may have lost an axis of length one at its end only.
        raise DataError(
            f"{next(iter(shapes)).name} has shape {shape}; (x, y, z, values) is needed."
        )
    return read_coefficients(cast("Acquisition", _Parts(parts, shape)), threads)


def overlapping_mask(path: Path, volume: Volume) -> NDArray[np.bool_]:
    """A mask on the grid of a series, brought there if it lies on another one."""
    mask = mask_on_grid(read_grid(path), grid_like(path, volume))
    if not mask.any():
        raise DataError(f"The mask {path} does not overlap with the series; check its affine.")
    return mask

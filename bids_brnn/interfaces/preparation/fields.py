"""Supplied field maps: to the grid of the series and to the units of the models."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    OutputMultiPath,
    TraitedSpec,
    traits,
)

from bids_brnn.bids.images import read_grid
from bids_brnn.errors import DataError
from bids_brnn.imaging.grids import load, on_grid, save
from bids_brnn.interfaces.base import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger("bids_brnn.prepare")
_FRACTION = ("1", "ratio", "fraction")
_PERCENT = ("percent", "%")
_UNKNOWN = ("", "arbitrary", "n/a")


class PrepareFieldsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`PrepareFields`; the lists have one order."""

    fields = InputMultiPath(File(exists=True), mandatory=True, desc="B1 and B0 maps, 3D")
    names = traits.List(traits.Enum("B1", "w0"), mandatory=True, desc="what each supplies")
    units = traits.List(traits.Str, mandatory=True, desc="Units of each sidecar, or empty")
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")


class PrepareFieldsOutputSpec(TraitedSpec):
    """Outputs of :class:`PrepareFields`."""

    supplied = OutputMultiPath(File(exists=True), desc="on the grid of the series, model units")
    decisions = traits.List(traits.Str, desc="which units were read, for the sidecar")


class PrepareFields(Node):
    """Bring field maps to a series: linear resampling, then scaling.

    >>> PrepareFields(names=["B1"]).inputs.names
    ['B1']
    """

    input_spec = PrepareFieldsInputSpec
    output_spec = PrepareFieldsOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, resample, scale, save."""
        inputs = self.inputs
        target = read_grid(Path(inputs.mask))
        mask = np.asanyarray(load(inputs.mask).dataobj) > 0
        files, decisions = [], []
        for text, name, units in zip(inputs.fields, inputs.names, inputs.units, strict=True):
            path = Path(text)
            values = np.asarray(on_grid(read_grid(path), target, labels=False), dtype=np.float64)
            scale, decision = field_scale(name, units, values[mask], path.name)
            _LOG.info("%s: read as %s", path.name, decision)
            scaled = (values * scale).astype(np.float32)
            saved = save(folder / f"{name}.nii", scaled, target.affine, target.header)
            files.append(str(saved))
            decisions.append(f"{path.name}, {decision}")
        return {"supplied": files, "decisions": decisions}


def field_scale(
    name: str, units: str, values: NDArray[np.float64], file: str
) -> tuple[float, str]:
    """Factor to the unit of the models (B1: 1; w0: rad/s), and the unit that was read.

    Parameters
    ----------
    name
        ``B1`` or ``w0``.
    units
        ``Units`` of the sidecar. For B1, absent or arbitrary units are told from the median.
    values
        Values inside the mask.
    file
        For messages.

    Raises
    ------
    DataError
        If the units cannot be told.
    """
    text = units.strip().lower()
    if name == "w0":
        factors = {"hz": 2 * math.pi, "rad/s": 1.0}
        if text not in factors:
            raise DataError(f'{file}: Units is "{units}"; write "Hz" or "rad/s" in its sidecar.')
        return factors[text], units
    if text in _PERCENT:
        return 0.01, "percent"
    if text in _FRACTION:
        return 1.0, "fraction"
    if text not in _UNKNOWN:
        raise DataError(f'{file}: Units is "{units}"; write "percent" or "1" in its sidecar.')
    finite = values[np.isfinite(values)]
    median = float(np.median(finite)) if finite.size else math.nan
    if 50 <= median <= 160:
        return 0.01, "percent (by its median)"
    if 0.5 <= median <= 1.6:
        return 1.0, "fraction (by its median)"
    raise DataError(
        f'{file}: median {median:.3g} inside the mask, Units "{units}"; neither percent nor '
        'fraction. Write Units ("percent" or "1") in its sidecar.'
    )

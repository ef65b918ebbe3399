"""Supplied field maps: to the grid of the series and to the units of the models."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, TraitedSpec, traits

from bids_brnn.bids.images import read_grid
from bids_brnn.errors import DataError
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.nifti import load, on_grid, save

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger("bids_brnn.prepare")
_FRACTION = ("1", "ratio", "fraction")
_PERCENT = ("percent", "%")
_UNKNOWN = ("", "arbitrary", "n/a")


class PrepareFieldInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`PrepareField`."""

    field = File(exists=True, mandatory=True, desc="B1 or B0 map, 3D")
    name = traits.Enum("B1", "w0", mandatory=True, desc="parameter it supplies")
    units = traits.Str("", usedefault=True, desc="Units of its sidecar")
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")


class PrepareFieldOutputSpec(TraitedSpec):
    """Outputs of :class:`PrepareField`."""

    field = File(exists=True, desc="map on the grid of the series, in units of the model")
    decision = traits.Str(desc="which units were read, for the sidecar")


class PrepareField(Node):
    """Bring a field map to a series: linear resampling, then scaling.

    >>> PrepareField(name="B1").inputs.units
    ''
    """

    input_spec = PrepareFieldInputSpec
    output_spec = PrepareFieldOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, resample, scale, save."""
        path = Path(self.inputs.field)
        target = read_grid(Path(self.inputs.mask))
        mask = np.asanyarray(load(self.inputs.mask).dataobj) > 0
        values = np.asarray(on_grid(read_grid(path), target, labels=False), dtype=np.float64)
        scale, decision = field_scale(self.inputs.name, self.inputs.units, values[mask], path.name)
        _LOG.info("%s: read as %s", path.name, decision)
        scaled = (values * scale).astype(np.float32)
        return {
            "field": str(
                save(folder / f"{self.inputs.name}.nii", scaled, target.affine, target.header)
            ),
            "decision": f"{path.name}, {decision}",
        }


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

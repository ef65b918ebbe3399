"""Four models of the Z-spectrum by spoiled gradient echo, as they are in use.

All give ``Mzf`` before the excitation in the cyclic steady state, where the equilibrium of both
pools is 1 (or over that without MT pulse, for images that come so). They differ in how the MT
pulse acts:

- Ramani: a continuous field of equal mean power over the repetition time (Ramani, Magn Reson
  Imaging 2002;20:721);
- Yarnykh: a continuous field of equal power over the pulse, delays, excitation (Yarnykh and Yuan,
  NeuroImage 2004;23:409);
- Sled-Pike CW and RP: the free pool is saturated at once, by Bloch's equations of the shaped
  pulse; the semi-solid pool by a continuous field, or by a rectangular pulse of the width at half
  maximum (Sled and Pike, Magn Reson Med 2001;46:923).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import DataError, SequenceError
from bids_brnn.parameters import Z_SPECTRUM, ParameterSet
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.around import Passing
from bids_brnn.signals.base import Array, SignalModel
from bids_brnn.signals.threads import kernel_threads
from bids_brnn.signals.two_pools.z_spectrum.absorption import LINES, NEAR, line_table
from bids_brnn.signals.two_pools.z_spectrum.free_pool import pulse_saturation
from bids_brnn.signals.two_pools.z_spectrum.from_arrays import FromArrays
from bids_brnn.signals.two_pools.z_spectrum.pieces import in_pieces
from bids_brnn.signals.two_pools.z_spectrum.saturation_table import (
    SaturationTable,
    saturation_table,
)


@dataclass(frozen=True, eq=False)
class ZModel(FromArrays):
    """What the four models share; a ``SignalModel``.

    Parameters
    ----------
    sequence
        The protocol.
    lineshape
        ``super-lorentzian``, ``lorentzian`` or ``gaussian``.
    """

    sequence: ZSpectrum
    lineshape: str = "super-lorentzian"
    kind: ClassVar[int]
    """In :mod:`.rate_kernel`."""

    def __post_init__(self) -> None:
        if not isinstance(self.sequence, ZSpectrum):
            raise SequenceError("this model describes Z-spectra, not trains of RF pulses")
        if self.lineshape not in LINES:
            raise DataError(
                f'line shape "{self.lineshape}" is unknown; use one of {", ".join(LINES)}'
            )

    @cached_property
    def parameters(self) -> ParameterSet:
        """Those of two pools; R1 and fields are not told by the data, they come from maps."""
        return Z_SPECTRUM

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return self.sequence.n_samples

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """See :func:`bids_brnn.signals.base.arrays_of`."""
        return self.simulate(theta, self.factors(theta), derivatives=derivatives)

    def simulate(self, theta: Array, left: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """Signals ``(V, N)`` and derivatives ``(V, N, 8)`` of sets ``(V, 8)`` within bounds.

        ``left``: what pulses leave of the free pool, see :meth:`factors`.
        """
        signal = np.empty((len(theta), self.n_samples))
        slopes = np.empty((len(theta) if derivatives else 0, *signal.shape[1:], theta.shape[1]))

        def run(rows: slice) -> None:
            from bids_brnn.signals.two_pools.z_spectrum.rate_kernel import rate_spectra

            parts = (left[rows], self.sequence.normalised, signal[rows], slopes[rows])
            arguments: list[Any] = [self.kind, theta[rows], *self._constants, *parts]
            rate_spectra(*arguments)

        in_pieces(len(theta), kernel_threads(), run)
        return signal, slopes

    @cached_property
    def _constants(self) -> tuple[Any, ...]:
        """Protocol and line as the kernel reads them."""
        scan, table = self.sequence, line_table(self.lineshape)
        near = NEAR if self.lineshape == "super-lorentzian" else -1.0
        timing = (scan.pulse.power / self.spread, self.driven, scan.mt_delay, self.rest)
        protocol = np.array([*timing, scan.flip_angle, near, table.low, table.high, table.per])
        pulses = np.stack([scan.mt_flip_angle, scan.offset], axis=-1)
        return pulses, protocol, table.values, table.rises

    def normalised(self) -> Self:
        """The model of images that are divided by that without MT pulse."""
        return replace(self, sequence=replace(self.sequence, normalised=True))

    @property
    @abstractmethod
    def spread(self) -> float:
        """Time over which the power of the MT pulse is spread, s."""

    @property
    def driven(self) -> float:
        """Time that the kernel passes in one step under this power, s."""
        return self.spread

    @property
    def rest(self) -> float:
        """Time without any field that follows, s."""
        return self.sequence.rest

    def factors(self, theta: Array) -> Array:  # noqa: ARG002
        """What pulses leave of the free pool at once, ``(V, N, 4)`` of sets ``(V, 8)``.

        With derivatives by B1, the shift of the offset (Hz) and R2f. Without rows in models that
        know nothing of it.
        """
        return np.empty((0, self.n_samples, 4))


@dataclass(frozen=True, eq=False)
class Ramani(ZModel):
    """Continuous field of equal mean power."""

    kind = 0

    @property
    def spread(self) -> float:
        """All of the time."""
        return self.sequence.repetition_time


@dataclass(frozen=True, eq=False)
class Yarnykh(ZModel):
    """Continuous field for the duration of the pulse, then delay, excitation and recovery."""

    kind = 1

    @property
    def spread(self) -> float:
        """The pulse."""
        return self.sequence.pulse.duration


@dataclass(frozen=True, eq=False)
class _SledPike(ZModel):
    def factors(self, theta: Array) -> Array:
        """By Bloch's equations of the shaped pulse, tabulated where that pays."""
        scan = self.sequence
        R2f, w0, B1 = (torch.from_numpy(theta[:, column, None]) for column in (2, 6, 7))
        shift = -w0 / (2 * math.pi)
        if self._table is not None:
            return self._table.at(B1, shift, R2f).stacked()
        nominal = torch.from_numpy(scan.offset)
        angles = torch.from_numpy(scan.mt_flip_angle)
        found = pulse_saturation(B1 * angles, nominal + shift, R2f, scan.pulse, nominal).stacked()
        found[..., 1] *= scan.mt_flip_angle
        return found

    def for_voxels(self, known: Mapping[str, Tensor]) -> Callable[[Tensor], SignalModel]:
        """The model of voxels whose B1 and w0 are known: their part of the table once for all."""
        table = self._table
        if table is None or not {"B1", "w0"} <= set(known):
            return lambda _: self
        lines = table.lines(known["B1"][:, None], -known["w0"][:, None] / (2 * math.pi))
        return lambda rows: _AtFields(self, table, lines, rows.cpu().numpy())

    @cached_property
    def _table(self) -> SaturationTable | None:
        protocol = self.sequence
        w0, B1, R2f = (self.parameters[name] for name in ("w0", "B1", "R2f"))
        reach = max(abs(w0.lower), abs(w0.upper)) / (2 * math.pi)
        return saturation_table(
            protocol.pulse,
            tuple(protocol.mt_flip_angle.tolist()),
            tuple(protocol.offset.tolist()),
            ((B1.lower, B1.upper), (-reach, reach), (R2f.lower, R2f.upper)),
        )


@dataclass(frozen=True, eq=False)
class SledPikeCW(_SledPike):
    """Instantaneous saturation of the free pool, a continuous field on the semi-solid one."""

    kind = 2

    @property
    def spread(self) -> float:
        """All of the time."""
        return self.sequence.repetition_time


@dataclass(frozen=True, eq=False)
class SledPikeRP(_SledPike):
    """Instantaneous saturation of the free pool amid a rectangular pulse on the semi-solid one."""

    kind = 3

    @property
    def spread(self) -> float:
        """The pulse."""
        return self.sequence.pulse.half_width

    @property
    def driven(self) -> float:
        """Half of the pulse."""
        return self.spread / 2

    @property
    def rest(self) -> float:
        """From pulse to pulse."""
        return self.sequence.repetition_time - self.spread


@dataclass(frozen=True, eq=False)
class _AtFields(FromArrays, Passing):
    """A model at the known B1 and w0 of some voxels; its derivatives by both are not all."""

    model: _SledPike
    table: SaturationTable
    lines: NDArray[np.float64]
    """``(V, N, most)``, see :meth:`.SaturationTable.lines`."""
    rows: NDArray[np.int64]
    """Voxels of the parameter sets."""
    silent: ClassVar[tuple[str, ...]] = ("B1", "w0")
    """See :func:`bids_brnn.signals.base.silent_of`."""

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """As of the model."""
        R2f = torch.from_numpy(theta[:, 2, None])
        left = self.table.along(self.lines, self.rows, R2f).stacked()
        return self.model.simulate(theta, left, derivatives=derivatives)

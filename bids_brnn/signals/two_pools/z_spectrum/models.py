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
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from bids_brnn.errors import DataError, SequenceError
from bids_brnn.parameters import Z_SPECTRUM, ParameterSet
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.base import (
    check_basis,
    check_parameters,
    samplewise_derivatives,
)
from bids_brnn.signals.two_pools.z_spectrum.absorption import LINES, absorption
from bids_brnn.signals.two_pools.z_spectrum.free_pool import (
    continuous_rate,
    pulse_saturation,
)
from bids_brnn.signals.two_pools.z_spectrum.pools import Pools
from bids_brnn.signals.two_pools.z_spectrum.saturation_table import (
    SaturationTable,
    saturation_table,
)

_FAR = 1e4
"""Hz."""


@dataclass(frozen=True)
class Scan:
    """Protocol and fields of some tissues, ``(..., N)`` each."""

    angle: Tensor
    """Flip angle of the MT pulse, rad."""
    offset: Tensor
    """Hz, from the water line."""
    excitation: Tensor
    """rad."""
    scale: Tensor
    """Actual over nominal flip angles."""
    shift: Tensor
    """Hz: offset less its nominal value."""
    R2f: Tensor
    T2s: Tensor


@dataclass(frozen=True, eq=False)
class ZModel(ABC):
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

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` with zero imaginary part, or coefficients ``(..., R)``."""
        check_parameters(theta, self.parameters)
        check_basis(basis, self.n_samples)
        wide = theta.to(torch.float64)[..., None]
        signal = self._signal(wide)
        if self.sequence.normalised:
            signal = signal / self._unsaturated(wide)
        return self._seen(signal, theta, basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)``."""
        check_parameters(theta, self.parameters)
        check_basis(basis, self.n_samples)
        wide = theta.to(torch.float64)  # the steady state is a ratio of small numbers
        signal, slopes = samplewise_derivatives(self._signal, wide, self.n_samples)
        if self.sequence.normalised:
            whole, whole_slopes = samplewise_derivatives(self._unsaturated, wide, 1)
            signal = signal / whole
            slopes = (slopes - signal[..., None] * whole_slopes) / whole[..., None]
        found = self._seen(slopes.mT, theta, basis).mT
        return self._seen(signal, theta, basis), found

    @staticmethod
    def _seen(values: Tensor, like: Tensor, basis: Tensor | None) -> Tensor:
        """Real values ``(..., N)`` as the complex ones of a signal, through the basis."""
        real = values.to(like.dtype)
        signal = torch.complex(real, torch.zeros_like(real))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def scan(self, wide: Tensor) -> Scan:
        """Protocol and fields of parameter sets ``(..., P, N)``, or ``(..., P, 1)``."""
        _, _, R2f, _, _, T2s, w0, B1 = wide.unbind(-2)
        protocol = self.sequence
        shift = -w0 / (2 * math.pi)
        return Scan(
            angle=B1 * wide.new_tensor(protocol.mt_flip_angle),
            offset=wide.new_tensor(protocol.offset) + shift,
            excitation=B1 * protocol.flip_angle,
            scale=B1,
            shift=shift,
            R2f=R2f,
            T2s=T2s,
        )

    def _signal(self, wide: Tensor) -> Tensor:
        """``Mzf`` before the excitation ``(..., N)`` of parameters ``(..., P, N)``."""
        scan = self.scan(wide)
        return self.saturated(_pools(wide), scan, self.left(scan))

    def _unsaturated(self, wide: Tensor) -> Tensor:
        """The same without MT pulse ``(..., 1)`` of parameters ``(..., P, 1)``."""
        _, _, R2f, _, _, T2s, _, B1 = wide.unbind(-2)
        none = torch.zeros_like(B1)
        far = none + _FAR  # without power no offset matters
        scan = Scan(none, far, B1 * self.sequence.flip_angle, B1, none, R2f, T2s)
        return self.saturated(_pools(wide), scan, torch.ones_like(B1))

    def normalised(self) -> Self:
        """The model of images that are divided by that without MT pulse."""
        return replace(self, sequence=replace(self.sequence, normalised=True))

    @abstractmethod
    def saturated(self, pools: Pools, scan: Scan, left: Tensor | None) -> Tensor:
        """``Mzf`` before the excitation; ``left`` is what a pulse leaves of the free pool."""

    def left(self, scan: Scan) -> Tensor | None:  # noqa: ARG002
        """What a pulse leaves of the free pool at once, in models that know of that."""
        return None

    def rate(self, scan: Scan, time: float) -> Tensor:
        """Saturation rate (1/s) of the semi-solid pool by the power of the pulse over ``time``."""
        power = scan.angle**2 * self.sequence.pulse.power / time
        return math.pi * power * absorption(scan.offset, scan.T2s, self.lineshape)


def _pools(wide: Tensor) -> Pools:
    m0s, R1f, _, Rx, R1s, _, _, _ = wide.unbind(-2)
    return Pools(m0s, R1f, R1s, Rx)


@dataclass(frozen=True, eq=False)
class Ramani(ZModel):
    """Continuous field of equal mean power."""

    def saturated(
        self,
        pools: Pools,
        scan: Scan,
        left: Tensor | None,  # noqa: ARG002
    ) -> Tensor:
        """Steady state of both pools."""
        time = self.sequence.repetition_time
        power = scan.angle**2 * self.sequence.pulse.power / time
        free = continuous_rate(power, scan.offset, scan.R2f)
        return pools.steady(free, self.rate(scan, time))[0]


@dataclass(frozen=True, eq=False)
class Yarnykh(ZModel):
    """Continuous field for the duration of the pulse, then delay, excitation and recovery."""

    def saturated(
        self,
        pools: Pools,
        scan: Scan,
        left: Tensor | None,  # noqa: ARG002
    ) -> Tensor:
        """Cyclic steady state before the excitation."""
        protocol, none = self.sequence, torch.zeros_like(scan.offset * pools.m0s)
        time = protocol.pulse.duration
        power = scan.angle**2 * protocol.pulse.power / time
        free = continuous_rate(power, scan.offset, scan.R2f)
        recovery = pools.step(protocol.rest, none, none)
        recovery = recovery.free_pool_times(torch.cos(scan.excitation))
        pulse = pools.step(time, free, self.rate(scan, time))
        return recovery.then(pulse).then(pools.step(protocol.mt_delay, none, none)).cyclic()


@dataclass(frozen=True, eq=False)
class _SledPike(ZModel):
    def left(self, scan: Scan) -> Tensor | None:
        """By Bloch's equations of the shaped pulse, tabulated where that pays."""
        table = self._table
        if table is not None:
            return table.at(scan.scale, scan.shift, scan.R2f).attached()
        nominal = torch.from_numpy(self.sequence.offset)
        at = (scan.angle, scan.offset, scan.R2f)
        return pulse_saturation(*at, self.sequence.pulse, nominal).attached()

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
class SledPikeRP(_SledPike):
    """Instantaneous saturation of the free pool amid a rectangular pulse on the semi-solid one."""

    def saturated(self, pools: Pools, scan: Scan, left: Tensor | None) -> Tensor:
        """Cyclic steady state at the middle of the pulse."""
        protocol, none = self.sequence, torch.zeros_like(scan.offset * pools.m0s)
        width = protocol.pulse.half_width
        assert left is not None
        half = pools.step(width / 2, none, self.rate(scan, width))
        rest = pools.step(protocol.repetition_time - width, none, none)
        first = half.free_pool_times(left * torch.cos(scan.excitation))
        return left * first.then(rest).then(half).cyclic()


@dataclass(frozen=True, eq=False)
class SledPikeCW(_SledPike):
    """Instantaneous saturation of the free pool, a continuous field on the semi-solid one."""

    def saturated(self, pools: Pools, scan: Scan, left: Tensor | None) -> Tensor:
        """Cyclic steady state at the pulse."""
        protocol, none = self.sequence, torch.zeros_like(scan.offset * pools.m0s)
        time = protocol.repetition_time
        assert left is not None
        cycle = pools.step(time, none, self.rate(scan, time))
        return left * cycle.free_pool_times(left).cyclic()

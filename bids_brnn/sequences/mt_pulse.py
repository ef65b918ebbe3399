"""Envelopes of the MT pulses of conventional qMT; times in s, frequencies in Hz."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError

Shape = Literal["HARD", "GAUSSIAN", "GAUSSHANN", "SINC", "SINCHANN", "SINCGAUSS", "FERMI"]
"""Pulse shapes of BIDS (``MTPulseShape``)."""
_SINC_LOBES = 4.0  # time-bandwidth product where no bandwidth is given
_FERMI = 33.81  # durations per width of the edge: the pulse ends at 60 dB
_GAUSS = 7.434  # durations per standard deviation where no bandwidth is given
_QUADRATURE = 400
_LEAST_AREA = 1e-6  # of that of a rectangle


@dataclass(frozen=True)
class MTPulse:
    """Envelope of an MT pulse.

    Parameters
    ----------
    shape
        One of :data:`Shape`.
    duration
        s.
    bandwidth
        Hz: full width at half maximum of the spectrum of a Gaussian; time-bandwidth product over
        duration of a sinc. By default what scanners use.

    Raises
    ------
    SequenceError
        For an unknown shape, or a duration or bandwidth that is not positive.
    """

    shape: Shape
    duration: float
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise SequenceError(
                f'MTPulseShape is "{self.shape}"; use one of {", ".join(get_args(Shape))}'
            )
        for name in ("duration", "bandwidth"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise SequenceError(f"the {name} of the MT pulse is {value:g}; it must be above 0")
        with np.errstate(all="ignore"):
            area = abs(self.area)
        if not area / self.duration > _LEAST_AREA:
            told = "" if self.bandwidth is None else f" and a bandwidth of {self.bandwidth:g} Hz"
            raise SequenceError(
                f"a {self.shape} MT pulse of {self.duration:g} s{told} has no area; correct its "
                "duration (s) and bandwidth (Hz)"
            )

    def envelope(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Amplitude at ``times`` (s, from the start of the pulse), 1 at most."""
        centred = np.asarray(times) - self.duration / 2
        return _ENVELOPES[self.shape](centred, self)

    @cached_property
    def _nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, w = _legendre()
        return self.duration * (x + 1) / 2, self.duration * w / 2

    @cached_property
    def area(self) -> float:
        """Integral of the envelope, s."""
        times, weights = self._nodes
        return float(weights @ self.envelope(times))

    @cached_property
    def power(self) -> float:
        """Integral of the squared envelope over the squared integral, 1/s.

        The mean of ``w1^2`` over a time ``T`` is the squared flip angle times this over ``T``.
        """
        times, weights = self._nodes
        return float(weights @ self.envelope(times) ** 2) / self.area**2

    @cached_property
    def half_width(self) -> float:
        """Full width at half maximum of the squared envelope, s."""
        if self.shape == "HARD":
            return self.duration
        half = np.linspace(0, self.duration / 2, 20001)
        power = self.envelope(self.duration / 2 + half) ** 2
        below = int(np.argmax(power < 0.5 * power[0]))
        if below == 0:
            return self.duration
        step = (power[below - 1] - 0.5 * power[0]) / (power[below - 1] - power[below])
        return 2 * float(half[below - 1] + step * (half[1] - half[0]))


@cache
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on -1 to 1; they take 0.1 s, and a search for a pulse asks 50 times."""
    return np.polynomial.legendre.leggauss(_QUADRATURE)


def _hard(t: NDArray[np.float64], pulse: MTPulse) -> NDArray[np.float64]:  # noqa: ARG001
    return np.ones_like(t)


def _gaussian(t: NDArray[np.float64], pulse: MTPulse) -> NDArray[np.float64]:
    variance = (pulse.duration / _GAUSS) ** 2
    if pulse.bandwidth is not None:
        variance = 2 * math.log(2) / (math.pi * pulse.bandwidth) ** 2
    return np.asarray(np.exp(-(t**2) / (2 * variance)))


def _sinc(t: NDArray[np.float64], pulse: MTPulse) -> NDArray[np.float64]:
    product = _SINC_LOBES if pulse.bandwidth is None else pulse.bandwidth * pulse.duration
    return np.asarray(np.sinc(product * t / pulse.duration))


def _hann(t: NDArray[np.float64], pulse: MTPulse) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.cos(2 * np.pi * t / pulse.duration)))


def _fermi(t: NDArray[np.float64], pulse: MTPulse) -> NDArray[np.float64]:
    edge = pulse.duration / _FERMI
    plateau = (pulse.duration - 13.81 * edge) / 2
    return np.asarray(1 / (1 + np.exp((np.abs(t) - plateau) / edge)))


_ENVELOPES: Mapping[str, Callable[[NDArray[np.float64], MTPulse], NDArray[np.float64]]] = {
    "HARD": _hard,
    "GAUSSIAN": _gaussian,
    "GAUSSHANN": lambda t, pulse: _gaussian(t, pulse) * _hann(t, pulse),
    "SINC": _sinc,
    "SINCHANN": lambda t, pulse: _sinc(t, pulse) * _hann(t, pulse),
    "SINCGAUSS": lambda t, pulse: _sinc(t, pulse) * _gaussian(t, pulse),
    "FERMI": _fermi,
}

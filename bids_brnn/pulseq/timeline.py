"""What a sequence plays, as plain arrays: RF pulses, samples and the moments of its gradients."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ROUNDING = 1e-9  # s; rasters are microseconds
_FLAT = 1e-3
"""Relative spread of amplitude below which a pulse is rectangular; files hold six digits."""
_SHAPE_POINTS = 65


@dataclass(frozen=True, eq=False)
class Waveform:
    """One RF pulse without its place: complex amplitude in intervals of constant value."""

    amplitude: NDArray[np.complex128]
    """``(K,)`` Hz: rotation frequency over a turn."""
    width: Array
    """``(K,)`` s."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.width.sum())

    @cached_property
    def area(self) -> complex:
        """Flip angle (rad) and phase of a pulse whose phase is constant, on resonance."""
        return complex(2 * math.pi * (self.amplitude @ self.width))

    @cached_property
    def is_real(self) -> bool:
        """Whether its phase is constant up to its sign, so that rotations add up."""
        peak = np.abs(self.amplitude).max()
        if abs(self.area) < 1e-9 * peak * self.duration:
            return False
        turned = self.amplitude * cmath.exp(-1j * cmath.phase(self.area))
        return bool(np.abs(turned.imag).max() <= _FLAT * peak)

    @cached_property
    def is_rectangular(self) -> bool:
        """Whether its amplitude is constant."""
        return self.is_real and bool(np.ptp(np.abs(self.amplitude)) <= _FLAT * np.abs(
            self.amplitude).max())  # fmt: skip

    @cached_property
    def profile(self) -> Array:
        """Amplitude over its mean ``(65,)`` at equal parts of the duration: the shape alone."""
        times = np.cumsum(self.width) - self.width / 2
        at = (np.arange(_SHAPE_POINTS) + 0.5) / _SHAPE_POINTS * self.duration
        turned = (self.amplitude * cmath.exp(-1j * cmath.phase(self.area))).real
        mean = abs(self.area) / (2 * math.pi * self.duration)
        shape: Array = np.interp(at, times, turned) / mean
        return shape

    def after(self, scale: float = 1.0) -> tuple[float, float]:
        """Longitudinal and transverse magnetization that it makes of equilibrium, on resonance.

        ``scale`` is B1. Rotations as quaternions of SU(2), without relaxation.
        """
        a, b = 1 + 0j, 0j
        for amplitude, width in zip(self.amplitude.tolist(), self.width.tolist(), strict=True):
            angle = 2 * math.pi * abs(amplitude) * width * scale
            half = cmath.exp(1j * cmath.phase(amplitude)) * math.sin(angle / 2)
            cosine = math.cos(angle / 2)
            step = -1j * half
            a, b = cosine * a - step.conjugate() * b, step * a + cosine * b
        return abs(a) ** 2 - abs(b) ** 2, 2 * abs(a) * abs(b)


@dataclass(frozen=True)
class Pulse:
    """An RF pulse as it was played."""

    centre: float
    """s from the start."""
    phase: float
    """rad, at its centre."""
    use: str
    """As Pulseq names it; ``undefined`` where the file does not say."""
    shape: Waveform
    off_resonance: float
    """Hz."""


@dataclass(frozen=True, eq=False)
class Readout:
    """Samples of one analogue-to-digital conversion."""

    times: Array
    """s."""
    phases: Array
    """rad: of the receiver at each sample."""
    off_resonance: float
    """Hz."""


@dataclass(frozen=True, eq=False)
class Ramp:
    """Pieces of one gradient axis between which amplitude is linear; none overlap."""

    start: Array
    """``(K,)`` s."""
    width: Array
    """``(K,)`` s."""
    first: Array
    """``(K,)`` Hz/m."""
    last: Array
    """``(K,)`` Hz/m."""

    @cached_property
    def _before(self) -> Array:
        areas = self.width * (self.first + self.last) / 2
        return np.concatenate([[0.0], np.cumsum(areas)])

    def moment(self, times: Array) -> Array:
        """Moment (1/m) from the start to each time."""
        if not self.start.size:
            return np.zeros_like(times)
        index = np.searchsorted(self.start, times, side="right") - 1
        inside = np.maximum(index, 0)
        width = self.width[inside]
        passed = np.clip(times - self.start[inside], 0, width)
        slope = (self.last - self.first)[inside] / np.maximum(width, 1e-12)
        partial = passed * (self.first[inside] + slope * passed / 2)
        found: Array = np.where(index < 0, 0.0, self._before[inside] + partial)
        return found


@dataclass(frozen=True, eq=False)
class Timeline:
    """All of a sequence."""

    pulses: Sequence[Pulse]
    readouts: Sequence[Readout]
    gradients: tuple[Ramp, Ramp, Ramp]
    duration: float
    """s."""

    def moments(self, times: Array) -> Array:
        """Moments ``(..., 3)``, 1/m, from the start to each time."""
        return np.stack([ramp.moment(np.asarray(times)) for ramp in self.gradients], axis=-1)

    def is_on(self, begin: float, end: float) -> bool:
        """Whether any gradient is on between two times."""
        for ramp in self.gradients:
            # One that begins where a pulse ends is not on with it, however sums are rounded.
            ends = ramp.start + ramp.width
            hit = (ramp.start < end - _ROUNDING) & (ends > begin + _ROUNDING)
            if hit.any() and np.abs([ramp.first[hit], ramp.last[hit]]).max() > 0:
                return True
        return False

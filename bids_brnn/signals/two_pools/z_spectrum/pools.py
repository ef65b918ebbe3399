"""Longitudinal magnetization of two exchanging pools: rates, equilibrium and steps in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pools:
    """Rates of the two pools (1/s), shapes broadcast against each other.

    ``M = (Mzf, Mzs)`` with equilibrium ``(1 - m0s, m0s)``.
    """

    m0s: Tensor
    R1f: Tensor
    R1s: Tensor
    Rx: Tensor

    @property
    def to_free(self) -> Tensor:
        """Rate constant from the semi-solid to the free pool, ``kr``."""
        return self.Rx * (1 - self.m0s)

    @property
    def to_solid(self) -> Tensor:
        """Rate constant from the free to the semi-solid pool, ``kf``."""
        return self.Rx * self.m0s

    def steady(self, Wf: Tensor, Ws: Tensor) -> tuple[Tensor, Tensor]:
        """Magnetization under constant saturation rates (1/s) of both pools."""
        free, solid = self.R1f + self.to_solid + Wf, self.R1s + self.to_free + Ws
        determinant = free * solid - self.to_solid * self.to_free
        up = self.R1f * (1 - self.m0s)
        us = self.R1s * self.m0s
        return (
            (up * solid + us * self.to_free) / determinant,
            (us * free + up * self.to_solid) / determinant,
        )

    def step(self, time: float, Wf: Tensor, Ws: Tensor) -> Step:
        """What ``time`` (s) under constant saturation rates does."""
        a, d = -(self.R1f + self.to_solid + Wf), -(self.R1s + self.to_free + Ws)
        b, c = self.to_free, self.to_solid
        mean, half = (a + d) / 2, (a - d) / 2
        # Eigenvalues are real: b c >= 0. The root stays away from 0, where it has no derivative.
        root = torch.sqrt((half**2 + b * c).clamp_min(1e-12))
        decay = torch.exp(mean * time)
        even, odd = decay * torch.cosh(root * time), decay * torch.sinh(root * time) / root
        ff, ss, fs, sf = even + odd * half, even - odd * half, odd * b, odd * c
        f, s = self.steady(Wf, Ws)
        return Step(ff, fs, sf, ss, f - ff * f - fs * s, s - sf * f - ss * s)


@dataclass(frozen=True)
class Step:
    """``M -> A M + g``: four elements of ``A``, two of ``g``."""

    ff: Tensor
    fs: Tensor
    sf: Tensor
    ss: Tensor
    f: Tensor
    s: Tensor

    def then(self, later: Step) -> Step:
        """One step, then another."""
        return Step(
            later.ff * self.ff + later.fs * self.sf,
            later.ff * self.fs + later.fs * self.ss,
            later.sf * self.ff + later.ss * self.sf,
            later.sf * self.fs + later.ss * self.ss,
            later.ff * self.f + later.fs * self.s + later.f,
            later.sf * self.f + later.ss * self.s + later.s,
        )

    def free_pool_times(self, factor: Tensor) -> Step:
        """The same with the magnetization of the free pool multiplied before it."""
        return Step(self.ff * factor, self.fs, self.sf * factor, self.ss, self.f, self.s)

    def cyclic(self) -> Tensor:
        """``Mzf`` that the step leads back to itself."""
        determinant = (1 - self.ff) * (1 - self.ss) - self.fs * self.sf
        return ((1 - self.ss) * self.f + self.fs * self.s) / determinant

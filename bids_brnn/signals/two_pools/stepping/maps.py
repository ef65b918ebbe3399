"""Affine maps of the steps of a pulse train for the generalized Bloch model.

Two ways through an RF pulse of finite duration, which test each other:

- *exact*: matrix exponential of the generator of both pools;
- *split*: the generator is the sum of a large part, RF and precession, whose solution is known in
  closed form (rotation of the free pool about a tilted axis, 2 x 2 Bloch equation of the
  semi-solid pool), and a small part, relaxation and exchange. The large part is cut into a few
  rotations and the small part acts between them, in portions whose places and weights are those
  of Gauss-Lobatto quadrature: the error of first order in the small part then falls with a high
  power of the flip angle per pulse, where equal cuts give the second power only (McLachlan, BIT
  1995;35:258). The two outer portions merge with the waiting times.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.signals.two_pools.pulses.lineshapes import Lineshape
from bids_brnn.signals.two_pools.pulses.low_rank import PulseMaps
from bids_brnn.signals.two_pools.pulses.saturation import (
    Saturation,
    remaining_fraction,
    saturation_table,
)
from bids_brnn.signals.two_pools.stepping import operators as bloch
from bids_brnn.signals.two_pools.stepping.operators import State, TwoPools
from bids_brnn.signals.two_pools.stepping.plan import CRUSH, ROTATE, SPOIL, TrainPlan

Array = NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """Cut of one pulse: portions of relaxation before, between and after the rotations."""

    largest_flip: float
    portions: tuple[float, ...]
    rotations: tuple[float, ...]


def _lobatto(largest_flip: float, portions: tuple[float, ...], nodes: tuple[float, ...]) -> Rule:
    rotations = tuple(b - a for a, b in itertools.pairwise(nodes))
    return Rule(largest_flip, portions, rotations)


_FOUR, _FIVE = (1 - 5**-0.5) / 2, (1 - (3 / 7) ** 0.5) / 2
RULES = (
    _lobatto(0.03, (1 / 2, 1 / 2), (0, 1)),
    _lobatto(0.3, (1 / 6, 4 / 6, 1 / 6), (0, 1 / 2, 1)),
    _lobatto(1.0, (1 / 12, 5 / 12, 5 / 12, 1 / 12), (0, _FOUR, 1 - _FOUR, 1)),
    _lobatto(
        1.8,
        (1 / 20, 49 / 180, 32 / 90, 49 / 180, 1 / 20),
        (0, _FIVE, 1 / 2, 1 - _FIVE, 1),
    ),
    _lobatto(  # the four-point rule on each half
        math.inf,
        (1 / 24, 5 / 24, 5 / 24, 1 / 12, 5 / 24, 5 / 24, 1 / 24),
        (0, _FOUR / 2, (1 - _FOUR) / 2, 1 / 2, (1 + _FOUR) / 2, 1 - _FOUR / 2, 1),
    ),
)
"""Chosen by nominal flip angle (rad): relative error of the signal of a train below 1e-5."""


class _Pulses(NamedTuple):
    """Some steps of a plan as tensors ``(n, 1)``."""

    flip: Tensor
    duration: Tensor
    half: Tensor
    increment: Tensor
    before: Tensor
    after: Tensor
    echo: Tensor


class _Semisolid(NamedTuple):
    """What acts on the semi-solid pool during each pulse, ``(B, n, 1)``."""

    w1: Tensor
    R2s: Tensor
    rate: Tensor


@dataclass(frozen=True, eq=False)
class TrainSteps:
    """Builds the maps; their values depend on the parameters, their layout on the plan only."""

    plan: TrainPlan
    saturation: Saturation
    exact: bool
    maps: PulseMaps
    """Of the steps with RF, train after train: ``rho`` for the generalized Bloch model, else the
    negative logarithm of what the pulse leaves."""

    @classmethod
    def build(
        cls,
        plan: TrainPlan,
        saturation: Saturation,
        lineshape: Lineshape,
        *,
        exact: bool,
        T2s_range: Range,
        B1_range: Range,
    ) -> TrainSteps:
        """Tabulate what the pulses do to the semi-solid pool over ranges of T2s and B1."""

        def effective_rate(T2s: Array, duration: Array, flip: Array) -> Array:
            return saturation_table(lineshape).rho(duration / T2s, flip)

        def exponent(T2s: Array, duration: Array, flip: Array) -> Array:
            return -np.log(remaining_fraction(saturation, T2s, duration, flip, lineshape))

        function = effective_rate if saturation == "gbloch" else exponent
        on = plan.flip > 0
        maps = PulseMaps.fit(function, plan.duration[on], plan.flip[on], T2s_range, B1_range)
        return cls(plan, saturation, exact, maps)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """``(trains, steps)``: -2 waiting, -1 crushed or spoiled, else the rule of the pulse."""
        limits = [rule.largest_flip for rule in RULES]
        groups = np.searchsorted(limits, self.plan.flip)
        groups[self.plan.kind != ROTATE] = -2
        # Without RF a crusher still destroys transverse magnetization.
        groups[np.isin(self.plan.kind, (CRUSH, SPOIL))] = -1
        return groups

    def __call__(self, theta: Tensor, steps: slice) -> Tensor:
        """Maps ``(B, trains, steps, 5, 5)`` on (xf, yf, zf, zs, 1) from sample to sample.

        ``theta`` is ``(B, 8)`` in the order (m0s, R1f, R2f, Rx, R1s, T2s, w0, B1).
        """
        groups = self._groups[:, steps]
        built, places = [], []
        for group in np.unique(groups):
            chosen = np.zeros_like(self._groups, dtype=bool)
            chosen[:, steps] = groups == group
            matrix = bloch.affine_map(self._step(theta, int(group), chosen))
            built.append(matrix.expand(theta.shape[0], -1, 5, 5))
            places.append(np.flatnonzero(groups == group))
        order = torch.as_tensor(np.argsort(np.concatenate(places)), device=theta.device)
        result: Tensor = torch.cat(built, dim=1)[:, order].unflatten(1, groups.shape)
        return result

    def _step(self, theta: Tensor, group: int, chosen: NDArray[np.bool_]) -> State:
        m0s, R1f, R2f, Rx, R1s, _, w0, B1 = theta[:, :, None, None].unbind(1)
        pools = TwoPools(m0s, R1f, R2f, Rx, R1s, w0)
        pulses = self._pulses(chosen, theta)
        state = bloch.unit_states(theta)
        if group == -2:
            time = pulses.before + pulses.after
            state = bloch.turn(state, w0 * time - pulses.increment)
            return bloch.relax(state, pools, time)
        semisolid = self._semisolid(theta[:, 5], theta[:, 7], chosen, pulses)
        portions = (0.0,) if group == -1 or self.exact else RULES[group].portions
        before, after = pulses.before - pulses.half, pulses.after - pulses.half
        state = bloch.turn(state, w0 * before - pulses.increment)
        state = bloch.relax(state, pools, before + portions[0] * pulses.duration)
        if group == -1:
            left = bloch.saturate(
                state._replace(zs=torch.ones_like(B1)), *semisolid, pulses.duration
            )
            state = bloch.crush(state, B1 * pulses.flip, left.zs, pulses.echo)
        elif self.exact:
            state = _exponential(state, pools, B1, pulses, semisolid)
        else:
            state = _split(state, pools, B1, pulses, semisolid, RULES[group])
        state = bloch.relax(state, pools, after + portions[-1] * pulses.duration)
        return bloch.turn(state, w0 * after)

    def _pulses(self, chosen: NDArray[np.bool_], like: Tensor) -> _Pulses:
        plan = self.plan
        columns = [
            plan.flip,
            plan.duration,
            plan.half,
            plan.increment,
            plan.before,
            plan.after,
            plan.kind == CRUSH,
        ]
        table = like.real.new_tensor(np.stack([column[chosen] for column in columns], axis=0))
        return _Pulses(*table[:, :, None])

    def _semisolid(
        self, T2s: Tensor, B1: Tensor, chosen: NDArray[np.bool_], pulses: _Pulses
    ) -> _Semisolid:
        on = self.plan.flip > 0
        rows = np.where(on, np.cumsum(on).reshape(on.shape) - 1, -1)[chosen]
        weights = T2s.new_tensor(self.maps.weights[rows] * (rows >= 0)[:, None])
        values = (self.maps.features(T2s, B1) @ weights.mT)[..., None]
        none = torch.zeros_like(values)
        duration = torch.where(pulses.duration > 0, pulses.duration, 1.0)
        if self.saturation == "gbloch":
            w1 = B1[:, None, None] * pulses.flip / duration
            return _Semisolid(w1, values / T2s[:, None, None], none)
        return _Semisolid(none, none, values / duration)


def _exponential(
    state: State, pools: TwoPools, B1: Tensor, pulses: _Pulses, semisolid: _Semisolid
) -> State:
    w1 = B1 * pulses.flip / pulses.duration
    generator = bloch.pulse_generator(pools, w1, semisolid.R2s, semisolid.w1, semisolid.rate)
    propagator = torch.linalg.matrix_exp(generator[..., 0, :, :] * pulses.duration[..., None])
    return State(*(propagator @ torch.stack(torch.broadcast_tensors(*state), dim=-2)).unbind(-2))


def _split(
    state: State,
    pools: TwoPools,
    B1: Tensor,
    pulses: _Pulses,
    semisolid: _Semisolid,
    rule: Rule,
) -> State:
    w1 = B1 * pulses.flip / pulses.duration
    for number, part in enumerate(rule.rotations):
        if number > 0:
            state = bloch.relax(state, pools, rule.portions[number] * pulses.duration)
        time = part * pulses.duration
        state = bloch.nutate(state, w1, pools.w0, time)
        state = bloch.saturate(state, *semisolid, time)
    return state

"""Which T2s and B1 a pulse train allows, and errors that name the pulse that forbids others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bids_brnn.errors import BidsBrnnError, ParameterError, SequenceError
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.two_pools.pulses.saturation import RATE_LIMIT, TAU_RANGE, Saturation
from bids_brnn.signals.two_pools.stepping.plan import TrainPlan

Range = tuple[float, float]

_SLACK = 1e-6  # float32 round-off at a bound is not an error


@dataclass(frozen=True, eq=False)
class PulseDomain:
    """Ranges of T2s and B1 in which every pulse of a plan has its saturation tabulated."""

    plan: TrainPlan
    saturation: Saturation
    T2s_range: Range
    B1_range: Range

    @classmethod
    def narrow(
        cls, plan: TrainPlan, saturation: Saturation, parameters: ParameterSet
    ) -> PulseDomain:
        """Narrow the bounds of T2s and B1 to what the pulses of ``plan`` allow.

        Raises
        ------
        SequenceError
            If a pulse does not even allow the start values, naming it and the limit.
        """
        T2s, B1 = parameters["T2s"], parameters["B1"]
        whole = cls(plan, saturation, (T2s.lower, T2s.upper), (B1.lower, B1.upper))
        whole._check(T2s.start, B1.start, "", SequenceError)
        on = plan.flip > 0
        longest, shortest = plan.duration[on].max(initial=0), plan.duration[on].min(initial=1)
        strongest = plan.flip.max(initial=0)
        return cls(
            plan,
            saturation,
            (max(T2s.lower, longest / TAU_RANGE[1]), min(T2s.upper, shortest / TAU_RANGE[0])),
            (B1.lower, min(B1.upper, whole.flip_limit / strongest if strongest else B1.upper)),
        )

    @property
    def flip_limit(self) -> float:
        """Largest actual flip angle, rad."""
        return RATE_LIMIT if self.saturation == "gbloch" else math.inf

    def check(self, T2s: Tensor, B1: Tensor) -> None:
        """Refuse values ``(rows,)`` outside the domain of a pulse.

        Raises
        ------
        ParameterError
            Naming row, pulse and limit.
        """
        if T2s.numel() == 0:
            return
        # No NumPy here: the model may be inside a torch transform. NaN and infinity have their
        # own error.
        finite = torch.isfinite(T2s) & torch.isfinite(B1)
        T2s = torch.where(finite, T2s, sum(self.T2s_range) / 2).detach()
        B1 = torch.where(finite, B1, sum(self.B1_range) / 2).detach()
        for row in {int(T2s.argmin()), int(T2s.argmax()), int(B1.argmax())}:
            where = f" in row {row + 1}"
            self._check(float(T2s[row]), float(B1[row]), where, ParameterError)

    def _check(
        self, T2s: float, B1: float, where: str, error: Callable[[str], BidsBrnnError]
    ) -> None:
        plan = self.plan
        if not len(self._extreme):
            return
        strongest, shortest, longest = self._extreme
        angle = float(plan.flip.flat[strongest]) * B1
        if angle > self.flip_limit * (1 + _SLACK):
            raise error(
                f"{self._name(strongest)} has flip angle x B1 = {math.degrees(angle):.4g} degrees "
                f"with B1 = {B1:g}{where}; above the limit of "
                f"{math.degrees(self.flip_limit):.4g} degrees the linear approximation of the "
                "generalized Bloch model does not exist; lower the flip angle or B1, or use "
                "bids_brnn.signals.two_pools.reference"
            )
        low, high = TAU_RANGE
        for pulse in (shortest, longest) if T2s > 0 else ():  # not positive: refused elsewhere
            duration = float(plan.duration.flat[pulse])
            ratio = duration / T2s
            if not low * (1 - _SLACK) <= ratio <= high * (1 + _SLACK):
                raise error(
                    f"{self._name(pulse)} lasts {duration:g} s, {ratio:.4g} times "
                    f"T2s = {T2s:g} s{where}; its saturation is known for "
                    f"{low:g} ... {high:g} times T2s"
                )

    @cached_property
    def _extreme(self) -> tuple[int, ...]:
        """Pulses: of the largest flip angle, the shortest, the longest; none if there are none."""
        plan = self.plan
        on = plan.flip > 0
        if not on.any():
            return ()
        shortest = np.argmin(np.where(on, plan.duration, np.inf))
        longest = np.argmax(np.where(on, plan.duration, -np.inf))
        return int(np.argmax(plan.flip)), int(shortest), int(longest)

    def _name(self, step: int) -> str:
        train = step // self.plan.n_steps + 1
        return f"RF pulse {self.plan.pulse.flat[step] + 1} of train {train}"

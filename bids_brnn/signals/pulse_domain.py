"""Which T2s and B1 a pulse train allows, and errors that name the pulse that forbids others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import BidsBrnnError, ParameterError, SequenceError
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.saturation import RATE_LIMIT, TAU_RANGE, Saturation
from bids_brnn.signals.train_plan import TrainPlan

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
        whole._check(np.array([T2s.start]), np.array([B1.start]), SequenceError)
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
        self._check(
            T2s.detach().cpu().double().numpy(), B1.detach().cpu().double().numpy(), ParameterError
        )

    def _check(
        self,
        T2s: NDArray[np.float64],
        B1: NDArray[np.float64],
        error: Callable[[str], BidsBrnnError],
    ) -> None:
        plan = self.plan
        on = plan.flip > 0
        if not on.any() or not T2s.size:
            return
        strongest = np.unravel_index(int(np.argmax(plan.flip)), plan.flip.shape)
        row = int(np.nanargmax(np.nan_to_num(B1)))
        angle = float(plan.flip[strongest] * B1[row])
        if angle > self.flip_limit * (1 + _SLACK):
            raise error(
                f"{self._name(strongest)} has flip angle x B1 = {math.degrees(angle):.4g} degrees "
                f"with B1 = {B1[row]:g} in row {row + 1}; above the limit of "
                f"{math.degrees(self.flip_limit):.4g} degrees the linear approximation of the "
                "generalized Bloch model does not exist; lower the flip angle or B1, or use "
                "bids_brnn.signals.reference"
            )
        for pick, values, worst in ((np.argmin, T2s, np.nanmax), (np.argmax, T2s, np.nanmin)):
            # Shortest pulse with the longest T2s, longest pulse with the shortest.
            duration = np.where(on, plan.duration, np.inf if pick is np.argmin else -np.inf)
            place = np.unravel_index(int(pick(duration)), plan.flip.shape)
            value = float(worst(values))
            self._check_ratio(place, float(plan.duration[place]), value, error)

    def _check_ratio(
        self,
        place: tuple[np.intp, ...],
        duration: float,
        T2s: float,
        error: Callable[[str], BidsBrnnError],
    ) -> None:
        ratio = duration / T2s if T2s > 0 else math.nan  # other values have their own error
        low, high = TAU_RANGE
        if ratio < low * (1 - _SLACK) or ratio > high * (1 + _SLACK):
            raise error(
                f"{self._name(place)} lasts {duration:g} s, {ratio:.4g} times T2s = {T2s:g} s; "
                f"its saturation is known for {low:g} ... {high:g} times T2s"
            )

    def _name(self, place: tuple[np.intp, ...]) -> str:
        return f"RF pulse {self.plan.pulse[place] + 1} of train {place[0] + 1}"

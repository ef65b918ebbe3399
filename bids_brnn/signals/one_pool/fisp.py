"""MR fingerprinting with FISP: extended phase graph with unbalanced gradients.

The sequence is gradient-spoiled, not RF-spoiled: one fixed moment per repetition advances every
configuration by one order. Off-resonance does not change the magnitude of the signal and its
phase is constant for a constant echo time, so that the complex M0 takes it up.
Weigel 2015, 10.1002/jmri.24619; Jiang 2015, 10.1002/mrm.25559. Theory: ``docs/theory/mrf.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import RELAXATION, ParameterSet
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.base import check_basis
from bids_brnn.signals.one_pool import compiled, recursion
from bids_brnn.signals.one_pool.orders import OrderTable
from bids_brnn.signals.one_pool.train import PulseTrain, cut_trains

_STATE_NUMBERS = 2**22
"""Numbers in one component of the state: bounds the memory of the readable path (~200 MB)."""


@dataclass(frozen=True, eq=False)
class EpgFisp:
    """FISP signal at M0 = 1 as a function of R1, R2 and B1; a ``SignalModel``.

    Parameters
    ----------
    sequence
        ``gradient`` is ``dephasing`` for every excitation; a leading ``inversion`` pulse without
        readout prepares, its time to the next pulse being the inversion time; ``start`` is
        ``thermal`` or ``inversion``. Pulses act instantaneously.
    n_states
        Configuration orders that are kept: a number, ``"all"`` (exact), or ``"auto"``: as many as
        the T2 of each row needs, so that the relative L2 error of the signal stays below 1e-5 in
        single and 1e-10 in double precision (``OrderTable``).
    inversion_efficiency
        ``Mz`` after over before an inversion pulse, times -1. Inversion pulses are taken as
        adiabatic: B1 scales excitations only.
    slice_profile
        Flip angle over nominal in sub-slices of equal thickness; their signals are averaged.
    method
        ``"compiled"``: CPU, RF phases that differ by multiples of pi, no autograd; ``"torch"``:
        anything; ``"auto"``: compiled where that is possible.

    The phase of the receiver follows that of each RF pulse. For constant RF phase the signal is
    purely imaginary, negative where the magnetization before the pulse is positive.
    """

    sequence: PulseSequence
    n_states: int | Literal["auto", "all"] = "auto"
    inversion_efficiency: float = 1.0
    slice_profile: Sequence[float] | None = None
    method: Literal["auto", "torch", "compiled"] = "auto"

    def __post_init__(self) -> None:
        states = self.n_states
        if states not in ("auto", "all") and (not isinstance(states, int) or states < 1):
            raise ParameterError(f'n_states = {states}: use "auto", "all" or a number above 0')
        if self.method not in ("auto", "torch", "compiled"):
            raise ParameterError(f'method = {self.method}: use "auto", "torch" or "compiled"')
        if not 0 <= self.inversion_efficiency <= 1:
            raise ParameterError(
                f"inversion_efficiency = {self.inversion_efficiency:g} is outside [0, 1]"
            )
        if self.slice_profile is not None and (
            not len(self.slice_profile)
            or not all(math.isfinite(factor) and factor >= 0 for factor in self.slice_profile)
        ):
            raise ParameterError("slice_profile needs one finite factor >= 0 per sub-slice")
        self._trains  # noqa: B018  # an unfit sequence is refused here, not at the first voxel

    @property
    def parameters(self) -> ParameterSet:
        """R1, R2 and B1."""
        return RELAXATION

    @property
    def n_samples(self) -> int:
        """Number of samples of all trains."""
        return self.sequence.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or, with ``basis``, coefficients ``(..., R)``."""
        return self._run(theta, basis, derivatives=False)[0]

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, 3)`` with respect to R1, R2, B1."""
        result = self._run(theta, basis, derivatives=True)
        return result[0], torch.movedim(result[1:], 0, -1)

    @cached_property
    def _trains(self) -> tuple[PulseTrain, ...]:
        return cut_trains(
            self.sequence, model="FISP", gradient="dephasing", starts=("thermal", "inversion")
        )

    @cached_property
    def _single(self) -> OrderTable:
        return self._measure(torch.float32)

    @cached_property
    def _double(self) -> OrderTable:
        return self._measure(torch.float64)

    def _measure(self, dtype: torch.dtype) -> OrderTable:
        return OrderTable.measure(self._trains, self.inversion_efficiency, self._factors, dtype)

    @property
    def _factors(self) -> tuple[float, ...]:
        return (1.0,) if self.slice_profile is None else tuple(map(float, self.slice_profile))

    def _run(self, theta: Tensor, basis: Tensor | None, *, derivatives: bool) -> Tensor:
        """``(1 or 4, ..., N or R)``."""
        check_basis(basis, self.n_samples)
        rows = theta.reshape(-1, theta.shape[-1])
        needed = self._needed(rows)
        options: dict[str, Any] = {
            "inversion_efficiency": self.inversion_efficiency,
            "basis": basis,
            "derivatives": derivatives,
        }
        if self._compiles(rows):
            result = compiled.simulate(self._trains, rows, needed, self._factors, **options)
        else:
            result = self._readable(rows, needed, options)
        return result.reshape(len(result), *theta.shape[:-1], result.shape[-1])

    def _compiles(self, rows: Tensor) -> bool:
        possible = compiled.usable(self._trains, rows)
        if self.method == "compiled" and not possible:
            raise ParameterError(
                'method "compiled" needs float32 or float64 values on the CPU, without autograd, '
                'and RF phases that differ by multiples of 180 degrees; use "auto"'
            )
        return possible and self.method != "torch"

    def _needed(self, rows: Tensor) -> Tensor:
        """Orders of each row; they depend on that row alone."""
        if self.n_states == "auto":
            table = self._double if rows.dtype == torch.float64 else self._single
            return table.lookup(rows[:, recursion.R2].detach())
        exact = max(train.n_orders for train in self._trains)
        wanted = exact if self.n_states == "all" else min(self.n_states, exact)
        return torch.full((len(rows),), wanted, dtype=torch.int64, device=rows.device)

    def _readable(self, rows: Tensor, needed: Tensor, options: dict[str, Any]) -> Tensor:
        """Rows that share a number of orders go together, in blocks of bounded size."""
        order, parts = [], []
        for n_states in torch.unique(needed).tolist() or [1]:
            index = torch.nonzero(needed == n_states)[:, 0]
            state = n_states * (4 if options["derivatives"] else 1) * len(self._factors)
            for block in torch.split(index, max(1, _STATE_NUMBERS // state)):
                order.append(block)
                parts.append(self._average(rows[block], n_states, options))
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts, dim=1)[:, torch.argsort(torch.cat(order))]

    def _average(self, rows: Tensor, n_states: int, options: dict[str, Any]) -> Tensor:
        """``(1 or 4, rows, N or R)``: mean over sub-slices."""
        factors = rows.new_tensor(self._factors)
        scale = torch.ones_like(factors)[:, None, None].repeat(1, 1, rows.shape[1])
        scale[:, 0, recursion.B1] = factors
        fine = (rows * scale).reshape(-1, rows.shape[-1])
        total = recursion.simulate(self._trains, fine, n_states, **options)
        total = total.reshape(len(total), len(factors), len(rows), total.shape[-1])
        if options["derivatives"]:
            chain = rows.new_ones((4, len(factors), 1, 1))
            chain[recursion.B1 + 1, :, 0, 0] = factors
            total = total * chain
        return total.mean(1)

"""How many configuration orders a row needs: measured on the train itself, by T2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bids_brnn.signals.one_pool import compiled, recursion
from bids_brnn.signals.one_pool.train import PulseTrain

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Relative L2 error of the signal that ``n_states="auto"`` stays below, by precision."""
_EDGES = tuple(0.0125 * 2.0 ** (step / 2) for step in range(17))  # s; to 3.2 s, exact beyond
_TEST_T1 = (0.0, 5.0, 10.0)  # s, where longer than T2
_TEST_B1 = (0.4, 1.6)  # bounds of the parameter
_MARGIN = 0.5
"""Share of the tolerance that may be used where it is measured."""
_GROWTH = 1.15


@dataclass(frozen=True)
class OrderTable:
    """Orders that suffice for T2 up to each edge; all orders above the last edge.

    The contribution of orders above ``K`` must climb and descend ``K`` repetitions as transverse
    magnetization, so it falls at least like ``exp(-2 K TR / T2)``; how much smaller it is depends
    on the flip angles. Therefore the error is measured with this train, against all orders, at
    the upper edge of each T2 range; the largest over T1 and B1 counts. Long T1 needs up to a
    third more orders than short T1; B1 hardly matters, low values need slightly more.
    """

    edges: tuple[float, ...]
    """T2, s, increasing."""
    orders: tuple[int, ...]
    """One more than ``edges``; the last is exact."""

    @classmethod
    def measure(
        cls,
        trains: Sequence[PulseTrain],
        inversion_efficiency: float,
        slice_factors: Sequence[float],
        dtype: torch.dtype,
    ) -> OrderTable:
        """Find small numbers of orders with an error below :data:`TOLERANCE` of ``dtype``."""
        tolerance = _MARGIN * TOLERANCE[dtype]
        exact = max(train.n_orders for train in trains)
        theta = _test_rows(max(slice_factors)).to(dtype)
        of_edge = len(theta) // len(_EDGES)

        def signals(theta: Tensor, orders: Tensor) -> Tensor:
            return _signals(trains, theta, orders, inversion_efficiency)

        truth = signals(theta, torch.full((len(theta),), exact))
        norm = truth.norm(dim=-1).clamp_min(1e-30)
        candidates = torch.tensor(_candidates(exact))
        # The error falls with the orders: the first candidate that suffices is bisected for.
        low = torch.zeros(len(_EDGES), dtype=torch.int64)
        high = torch.full_like(low, len(candidates) - 1)
        while bool((is_open := low < high).any()):
            middle = (low + high) // 2
            rows = is_open.repeat_interleave(of_edge)
            found = signals(theta[rows], candidates[middle].repeat_interleave(of_edge)[rows])
            error = (found - truth[rows]).norm(dim=-1) / norm[rows]
            suffices = torch.zeros_like(is_open)
            suffices[is_open] = error.reshape(-1, of_edge).amax(1) < tolerance
            high = torch.where(is_open & suffices, middle, high)
            low = torch.where(is_open & ~suffices, middle + 1, low)
        orders = torch.cummax(candidates[high], dim=0).values.tolist()
        return cls(_EDGES, (*orders, exact))

    def lookup(self, r2: Tensor) -> Tensor:
        """Orders for each R2 (1/s); anything that is not a decay gets all orders."""
        t2 = torch.where(r2 > 0, 1 / r2, torch.inf).to(torch.float64)
        edges = torch.tensor(self.edges, dtype=torch.float64, device=r2.device)
        orders = torch.tensor(self.orders, dtype=torch.int64, device=r2.device)
        return orders[torch.bucketize(t2, edges)]


def _test_rows(largest_factor: float) -> Tensor:
    rows = [
        (1 / max(t1, t2), 1 / t2, b1 * largest_factor)
        for t2 in _EDGES
        for t1 in _TEST_T1
        for b1 in _TEST_B1
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _candidates(exact: int) -> list[int]:
    """Numbers of orders that are tried, the largest exact."""
    found = [4]
    while found[-1] < exact:
        found.append(max(found[-1] + 2, int(found[-1] * _GROWTH)))
    return [*(orders for orders in found if orders < exact), exact]


def _signals(
    trains: Sequence[PulseTrain], theta: Tensor, orders: Tensor, inversion_efficiency: float
) -> Tensor:
    """``(rows, N)``; ``orders`` ``(rows,)``."""
    options: dict[str, Any] = {
        "inversion_efficiency": inversion_efficiency,
        "basis": None,
        "derivatives": False,
    }
    if compiled.usable(trains, theta):
        return compiled.simulate(trains, theta, orders, (1.0,), **options)[0]
    parts = [
        recursion.simulate(trains, theta[orders == n_states], n_states, **options)[0]
        for n_states in orders.unique().tolist()
    ]
    return torch.cat(parts)[orders.argsort(stable=True).argsort()]

"""Values between the atoms: from a table of signals, and from the model where that is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.atoms import Dictionary, Tangents
from bids_brnn.estimators.dictionary.descent import descend, needs_exact
from bids_brnn.estimators.dictionary.refine import Explained, better_of, explain, step
from bids_brnn.estimators.dictionary.taylor import TaylorTable
from bids_brnn.signals.base import SignalModel

_LONG = 0.015
"""Step after which another one follows: its error is about its square."""
_NEARLY_NONE = 1e-6
_MOST_STEPS = 5
"""Exact steps at most; more than two are taken where a parameter is all but invisible."""


@dataclass(frozen=True)
class Voxels:
    """Data of norm 1 and the atom that matches each best."""

    data: Tensor
    """``(V, R)`` complex."""
    outside: Tensor
    """``(V,)``: squared norm of the data outside the subspace."""
    index: Tensor
    """``(V,)``: the best atom."""
    match: Tensor
    """``(V,)``: its ``|<d, y>|``."""
    target: Tensor
    """``(V, P)``: its parameters, with what is known."""

    def rows(self, index: Tensor) -> Voxels:
        """Some of them."""
        return Voxels(
            self.data[index], self.outside[index], self.index[index], self.match[index],
            self.target[index],
        )  # fmt: skip


@dataclass(frozen=True)
class Refined:
    """Estimate ``(V, P)``, its signal ``(V, R)`` and its derivatives ``(V, R, P)``."""

    theta: Tensor
    signal: Tensor
    derivatives: Tensor

    def put(self, index: Tensor, other: Refined) -> None:
        """Replace some of them."""
        self.theta[index] = other.theta
        self.signal[index] = other.signal
        self.derivatives[index] = other.derivatives


@dataclass(frozen=True)
class Refiner:
    """How voxels of one dictionary come from the best atom to the value between atoms."""

    model: SignalModel
    dictionary: Dictionary
    tangents: Tangents
    table: TaylorTable | None
    free: list[int]
    turns: int
    """As ``DictionaryEstimator.refine``."""

    @property
    def _exact(self) -> SignalModel:
        return self.dictionary.model(self.model)

    def atoms(self, voxels: Voxels, *, with_std: bool) -> Refined:
        """The atoms as they are; derivatives are empty without need."""
        signal = self.dictionary.coefficients[voxels.index]
        derivatives = self.tangents.of(voxels.index) if with_std else signal[..., None]
        return Refined(voxels.target, signal, derivatives)

    def between(self, voxels: Voxels, noise: Callable[[Explained], Tensor]) -> Refined:
        """Between the atoms; ``noise`` tells it ``(V,)`` from what is explained."""
        if self.table is None:
            return self._from_atoms(voxels)
        found = descend(self.table, self.model.parameters, self.free, voxels.target, voxels.data)
        result = Refined(found.theta, found.signal, found.derivatives)
        explained = explain(voxels.data, voxels.outside, found.signal)
        share = noise(explained) / (explained.m0.abs() * found.signal.norm(dim=-1))
        doubtful = needs_exact(found, share)
        rest = torch.nonzero(~found.served)[:, 0]
        if len(rest):
            result.put(rest, self._from_atoms(voxels.rows(rest)))
        if voxels.data.dtype == torch.complex128:
            doubtful = found.served  # who computes in double precision wants the digits
        doubtful = torch.nonzero(doubtful & found.served)[:, 0]
        if len(doubtful):
            part = self._corrected(self.table, voxels.rows(doubtful), found.theta[doubtful])
            result.put(doubtful, part)
        if self.turns > 1:
            result = self._stepped(voxels, result, self.turns - 1)
        return result

    def _from_atoms(self, voxels: Voxels) -> Refined:
        """Steps from the atom along its tangents, and on exact signals."""
        kind = voxels.match.dtype
        start = Refined(
            self.dictionary.theta[voxels.index].to(kind),
            self.dictionary.coefficients[voxels.index],
            self.tangents.of(voxels.index),
        )
        return self._stepped(voxels, start, self.turns, first=True)

    def _corrected(self, table: TaylorTable, voxels: Voxels, theta: Tensor) -> Refined:
        """A step on the exact signals and derivatives at ``theta``; long ones are repeated."""
        moved, length = self._tangential(table, voxels, theta)
        rows = torch.arange(len(theta), device=theta.device)
        for _ in range(_MOST_STEPS - 1):
            rows = rows[length > _LONG]
            if len(rows) == 0:
                break
            further, length = self._tangential(table, voxels.rows(rows), moved.theta[rows])
            moved.put(rows, further)
        return moved

    def _tangential(
        self, table: TaylorTable, voxels: Voxels, theta: Tensor
    ) -> tuple[Refined, Tensor]:
        """Where one step leads, and its length ``(V,)`` as a share of the values.

        What is there follows from what is known at ``theta``: the signal along the tangent, its
        derivatives by the difference that the table tells.
        """
        signal, derivatives = self._exact.linearize(theta)
        here = Refined(theta, signal, derivatives)
        # Close to the solution, damping would only slow what is hardly visible.
        moved = self._step(voxels, here, theta, damping=_NEARLY_NONE)
        shift = (moved - theta).to(signal.dtype)
        change = table.derivatives(moved) - table.derivatives(theta)
        after = signal + ((derivatives + change / 2) @ shift[..., None])[..., 0]
        before = explain(voxels.data, voxels.outside, signal).match
        better = explain(voxels.data, voxels.outside, after).match >= before * (
            1 - 4 * torch.finfo(before.dtype).eps
        )
        found = Refined(
            torch.where(better[:, None], moved, theta),
            torch.where(better[:, None], after, signal),
            torch.where(better[:, None, None], derivatives + change, derivatives),
        )
        return found, ((found.theta - theta) / theta).abs()[:, self.free].amax(-1)

    def _step(self, voxels: Voxels, here: Refined, target: Tensor, **options: float) -> Tensor:
        return step(
            self.model.parameters, self.free, here.theta, target, voxels.data, here.signal,
            here.derivatives, **options,
        )  # fmt: skip

    def _stepped(
        self, voxels: Voxels, here: Refined, turns: int, *, first: bool = False
    ) -> Refined:
        """Gauss-Newton steps on exact signals, none of which lowers the match.

        ``first``: ``here`` are atoms, which may differ from ``voxels.target`` in what is known.
        """
        model = self._exact
        match = voxels.match
        if not first:
            match = explain(voxels.data, voxels.outside, here.signal).match
        for turn in range(turns):
            back = voxels.target if first and turn == 0 else here.theta
            moved = self._step(voxels, here, voxels.target if first else here.theta)
            signal, derivatives = model.linearize(moved)
            explained = explain(voxels.data, voxels.outside, signal)
            worse = torch.nonzero(~(explained.match >= match))[:, 0]
            if len(worse):
                moved[worse], signal[worse], derivatives[worse], _ = better_of(
                    model,
                    (moved[worse], signal[worse], derivatives[worse]),
                    voxels.data[worse],
                    voxels.outside[worse],
                    back[worse],
                )
                explained = explain(voxels.data, voxels.outside, signal)
            here, match = Refined(moved, signal, derivatives), explained.match
        return here

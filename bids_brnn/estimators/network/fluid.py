"""Least squares of fluid, whose signal changes within a few rad/s of off-resonance.

The magnetisation of fluid lives longer than a pulse train: chi-squared has a valley every few
rad/s, and the estimate of a network lies in one of them, rarely in the deepest. But it is near:
atoms of a free pool alone around its off-resonance, which know their derivatives, are matched with
the data; least squares begin at the best, and again in the neighbouring valleys. Atoms of all
off-resonances are for what is left. Four parameters of one pool cost a few exact signals of a few
hundredths of a millisecond, so that nothing else needs to be asked of fluid first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import torch
from torch import Tensor

from bids_brnn.estimators.network.descent import Descent
from bids_brnn.estimators.network.fluid_points import fluid_points, joined, mirrored
from bids_brnn.estimators.network.lowest import Rounds, Task
from bids_brnn.estimators.network.usual import Linearize, atoms_at
from bids_brnn.estimators.nlls.starts import Candidates, Starts
from bids_brnn.parameters import ParameterSet

_CELL, _MOST_CELLS = 60.0, 64
"""rad/s: width of a cell of off-resonance, and how many there are at most. A voxel is matched with
its own cell and the next ones: of the fluids of qmt-demo nine in ten lie there at SNR 40."""
_ATOMS, _FEW = 3072, 1024
"""Of a cell that is looked into, and of each where all are. 1000 take .02 to .06 s of CPU, once;
more of them leave fewer voxels, but what is left is cheaper to search again."""
_NEAR, _ANYWHERE, _ALL_OVER = 16, 256, 2048
"""Atoms from which one step tells what least squares may leave: near what the network tells,
of all off-resonances, and of these for the few that are left."""
_APART, _MORE_APART = 16, 32
"""Of these, starts that are apart in off-resonance or B1."""
_POINTS = 2**18
"""Starts that are compared together, at most: bounds the memory of a mask of nothing else."""
_SPACING = 1.25
"""Times 2 pi over the duration of the train: where the next valley is; pulses hold precession
back. Minima of qmt-demo are 1.23 to 1.27 apart; 1.15 is half a valley off at the fifth."""
_BESIDE = ((-1, 0.0), (1, 0.0))
_WIDELY, _FARTHER = (
    tuple((k, B1) for k in range(-most, most + 1) for B1 in (-0.045, -0.022, 0.0, 0.022, 0.045))
    for most in (7, 12)
)
"""Valleys beside that where least squares end: how many of them away, and differences of B1."""
_BRIEFLY: Rounds = ((0, 2), (10, 1))
_FIRST: Rounds = ((0, 4), (3, 2), (10, 1))
_LAST: Rounds = ((2, 8), (3, 4), (8, 1))
_HOPS: Rounds = ((0, 16), (3, 4), (8, 1))
"""Of races between such points, the longer the fewer voxels are left. With twice as many
points in the last two a tenth more minima are found, for half as much time again of voxels that
are no fluid."""
SLOW = 2.0
"""1/s: R2 below which an estimate is one of fluid."""
_ALL = -1
"""In the place of the number of a cell."""
_LOCK = Lock()


def found_fluid(parameters: ParameterSet, theta: Tensor, below: float = SLOW) -> Tensor:
    """Where estimates ``(v, P)`` of a signal that depends on off-resonance are those of fluid.

    ``below`` (1/s): R2 of what counts as such.
    """
    names = parameters.names
    rates = [c for c, name in enumerate(names) if name in ("R2", "R2f") and "w0" in names]
    return (theta[:, rates] < below).any(-1)


@dataclass(frozen=True, eq=False)
class Fluid:
    """Fluid of a signal model, or of its free pool; atoms are simulated where they are asked for.

    All parameters are those of the free pool, in its order.
    """

    linearize: Linearize
    """The signal ``(v, R)`` at M0 = 1 and its derivatives ``(v, R, F)``."""
    parameters: ParameterSet
    columns: tuple[int, ...]
    """``F``: where its parameters stand among those of the voxels."""
    empty: tuple[int, ...]
    """Columns of the voxels that are 0 in fluid: the fraction of the other pool."""
    folds: bool
    """Whether the signal at an off-resonance is the conjugate of that at its opposite."""
    duration: float | None
    """s, of a train that is repeated; None where that is not known."""

    def least(self, task: Task, theta: Tensor, *, thorough: bool = True) -> tuple[Tensor, Tensor]:
        """Chi-squared ``(v,)`` of what least squares leaves, and where ``(v, P)``.

        Parameters
        ----------
        task
            The voxels; data of unit norm.
        theta
            ``(v, P)``: estimates of a network; values of what is not free.
        thorough
            Whether the few that are still above the limit are worth as many steps as all others.
        """
        descent = Descent(self, task, theta)
        everywhere = torch.arange(len(theta), device=theta.device)
        descent.from_starts(self._near(descent, everywhere), everywhere)
        descent.beside(_BESIDE, _BRIEFLY)
        self._race_anywhere(descent, descent.above(), _ANYWHERE, _APART, _FIRST)
        descent.beside(_WIDELY, _FIRST)
        if thorough:
            self._race_anywhere(descent, descent.worth(), _ALL_OVER, _MORE_APART, _LAST)
            descent.beside(_FARTHER, _HOPS)
        return descent.least, self._found(descent, theta)

    def least_beside(self, task: Task, theta: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`least`, from ``theta`` and the valleys beside it alone."""
        descent = Descent(self, task, theta)
        descent.from_here()
        descent.beside(_FARTHER, _HOPS)
        return descent.least, self._found(descent, theta)

    def least_here(self, task: Task, theta: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`least`, from ``theta`` alone."""
        descent = Descent(self, task, theta)
        descent.from_here()
        return descent.least, self._found(descent, theta)

    def _found(self, descent: Descent, theta: Tensor) -> Tensor:
        best = theta.clone()
        best[:, list(self.empty)] = 0.0
        best[:, list(self.columns)] = descent.best.to(best.dtype)
        return best

    def fitted(self, task: Task) -> int:
        """How many of its parameters are free."""
        return len(set(self.columns) & set(task.free))

    @cached_property
    def turning(self) -> int:
        """Column of off-resonance."""
        return self.parameters.index(("w0",))[0]

    @property
    def valley(self) -> float | None:
        """rad/s: from one minimum to the next."""
        return None if self.duration is None else _SPACING * 2 * math.pi / self.duration

    @cached_property
    def _range(self) -> tuple[float, float, int]:
        """From where to where there are cells (rad/s), and how many."""
        item = self.parameters["w0"]
        low = 0.0 if self.folds else item.lower
        number = math.ceil((item.upper - low) / _CELL)
        return low, item.upper, max(1, min(number, _MOST_CELLS))

    @cached_property
    def _known(self) -> dict[tuple[int, torch.device], Candidates]:
        return {}

    def cell(self, number: int, device: torch.device) -> Candidates:
        """Atoms of a cell, counted from the lowest off-resonance.

        They are kept: 2 MB for each cell that is looked into, with 15 coefficients.
        """
        with _LOCK:  # once, however many threads ask
            if (number, device) not in self._known:
                self._known[number, device] = self._simulated(number, device, _ATOMS)
            return self._known[number, device]

    def _simulated(self, number: int, device: torch.device, atoms: int) -> Candidates:
        """The first atoms of a cell; fewer are spread as evenly."""
        low, high, n = self._range
        span = (low + number * (high - low) / n, low + (number + 1) * (high - low) / n)
        points = fluid_points(self.parameters, atoms, span, seed=1 + number)
        return atoms_at(self.linearize, self.parameters, points.to(device))[0]

    def around(self, number: int, device: torch.device) -> Candidates:
        """Atoms of a cell and its neighbours, which are not kept together.

        Where signals fold, those beyond the last cells are mirror images.
        """
        parts = []
        for other in range(number - 1, number + 2):
            if 0 <= other < self._range[2]:
                parts.append(self.cell(other, device))
            elif self.folds:
                parts.append(mirrored(self.cell(number, device), self.turning))
        return joined(parts)

    def _all(self, device: torch.device) -> Candidates:
        """Few atoms of each cell, of all off-resonances; they are kept."""
        with _LOCK:
            if (_ALL, device) not in self._known:
                numbers = range(self._range[2])
                cells = joined([self._simulated(n, device, _FEW) for n in numbers])
                parts = [cells, mirrored(cells, self.turning)] if self.folds else [cells]
                self._known[_ALL, device] = joined(parts)
            return self._known[_ALL, device]

    def _near(self, descent: Descent, rows: Tensor) -> Starts:
        """Starts of ``rows`` around the off-resonance that the network tells."""
        low, high, number = self._range
        data, turn = descent.task.data[rows], descent.told[rows]
        back = (turn < 0) if self.folds else torch.zeros_like(turn, dtype=torch.bool)
        data = torch.where(back[:, None], data.conj().resolve_conj(), data)
        value = turn.abs() if self.folds else turn
        cells = ((value - low) / (high - low) * number).long().clamp(0, number - 1)
        unit = descent.unit.new_zeros((len(data), _NEAR, len(self.columns)))
        cost = descent.least.new_full((len(data), _NEAR), torch.inf)
        for cell in cells.unique().tolist():
            here = (cells == cell).nonzero()[:, 0]
            known = descent.known(rows[here])
            if self.turning in known:
                opposite = 1 - known[self.turning]
                known[self.turning] = torch.where(back[here], opposite, known[self.turning])
            starts = self.around(cell, data.device).starts(data[here], known, _NEAR)
            some = starts.cost.shape[1]
            unit[here, :some], cost[here, :some] = starts.unit, starts.cost
        unit[back, :, self.turning] = 1 - unit[back, :, self.turning]
        return Starts(unit, cost)

    def _race_anywhere(
        self, descent: Descent, rows: Tensor, n: int, kept: int, rounds: Rounds
    ) -> None:
        """Least squares of ``rows`` from ``kept`` of their ``n`` best starts anywhere."""
        for part in rows.split(max(1, _POINTS // n)) if len(rows) else ():
            data = descent.task.data[part]
            starts = self._all(data.device).starts(data, descent.known(part), n)
            descent.from_apart(starts, part, kept, rounds)

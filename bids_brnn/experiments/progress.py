"""How far a training is, and how long it will take: one fraction over all of its parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.make import ERRORS, SURROGATE, Progress
from bids_brnn.learning.networks import build_network, count_weights
from bids_brnn.learning.run import Row

_SIMULATED = 0.05
"""Share of the whole that the simulation is taken to be: 2 to 10 % were measured."""
_SMALL, _SMALLER = 1.5, 3.6
"""Time for each multiplication of the network of errors and of the surrogate, over that of the
network itself (CPU, presets ``standard`` and ``thorough``): they are small, and passing numbers
takes its time."""
_FIRST = "simulation"
_SOONEST = 0.02
"""Fraction of the whole after which its speed is known."""


@dataclass(frozen=True)
class State:
    """Where a training is."""

    phase: str
    fraction: float
    """Of the whole, 0 to 1."""
    left: float | None
    """s; None where it is too early to tell."""

    @property
    def words(self) -> str:
        """For the log."""
        text = f"{self.phase}, {100 * self.fraction:.0f} %"
        return text if self.left is None else f"{text}, about {duration(self.left)} left"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(40), duration(200), duration(5000)
    ('40 s', '3 min', '1.4 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass
class Meter:
    """Turns reports of the parts into one fraction; work is counted in multiplications."""

    experiment: Experiment
    report: Callable[[State], None]
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _first: float | None = field(init=False, default=None)
    _phase: str = field(init=False, default="")
    _told: float = field(init=False, default=0.0)
    _done: dict[str, float] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._began = self.clock()
        stages = self.experiment.training.stages
        weights = count_weights(build_network(self.experiment.spec, seed=0))
        self._per_step = [stage.batch * stage.realisations * weights for stage in stages]
        training = sum(
            stage.steps * cost for stage, cost in zip(stages, self._per_step, strict=True)
        )
        imitating = {"batch": 1024, **SURROGATE, **self.experiment.surrogate}
        learning = {"batch": 2048, **ERRORS, **self.experiment.errors}
        surrogate = _SMALLER * self._beside(imitating)
        errors = self._beside(learning) + learning["steps"] * 2048 * weights / 3
        errors *= _SMALL
        rest = training + surrogate + errors
        self._share = {
            "training": (1 - _SIMULATED) * training / rest,
            "surrogate": (1 - _SIMULATED) * surrogate / rest,
            "errors": (1 - _SIMULATED) * errors / rest,
        }
        self._total = training
        self._steps = {"surrogate": int(imitating["steps"]), "errors": int(learning["steps"])}

    def _beside(self, options: dict[str, int]) -> float:
        inner = options["width"] * options["width"] * 2 * options["blocks"]
        return float(options["steps"] * options["batch"] * inner)

    def progress(self) -> Progress:
        """What :func:`make_models` reports to."""
        return Progress(self._simulated, self._trained, self._imitated, self._learnt)

    def _simulated(self, done: int, total: int) -> None:
        self._tell(_FIRST, _SIMULATED * done / total)

    def _trained(self, _name: str, row: Row) -> None:
        done, left = 0.0, int(row["step"])
        for stage, cost in zip(self.experiment.training.stages, self._per_step, strict=True):
            done += min(stage.steps, left) * cost
            left = max(0, left - stage.steps)
        self._tell("training", self._share["training"] * done / self._total)

    def _imitated(self, step: int, _error: float) -> None:
        part = min(1.0, step / self._steps["surrogate"])
        self._tell("surrogate of the signal", self._share["surrogate"] * part)

    def _learnt(self, step: int, _loss: float) -> None:
        before = 1 - self._share["errors"]  # also where parts of it were kept, and said nothing
        part = min(1.0, step / self._steps["errors"])
        self._tell("errors of the network", self._share["errors"] * part, before)

    def _tell(self, phase: str, done: float, before: float = 0.0) -> None:
        """``done`` of the whole is by this phase; surrogates are fitted while networks train."""
        with self._lock:
            now = self.clock()
            self._done[phase] = done
            if phase != _FIRST:
                self._done[_FIRST] = _SIMULATED
            fraction = max(self._told, before + done, sum(self._done.values()))
            self._told = fraction = min(1.0, fraction)
            # A training that is resumed does not begin at 0; what the simulation took tells
            # nothing of the rest.
            if self._first is None or (self._phase == _FIRST and phase != _FIRST):
                self._first, self._began = fraction, now
            self._phase = phase
            gone = fraction - self._first
            left = None
            if gone > _SOONEST and now > self._began and phase != _FIRST:
                left = (now - self._began) * (1 - fraction) / gone
            self.report(State(phase, fraction, left))

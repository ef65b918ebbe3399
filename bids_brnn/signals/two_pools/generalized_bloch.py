"""Quantitative magnetization transfer with the generalized Bloch model.

Two pools of spins under trains of rectangular RF pulses; the semi-solid pool follows the
generalized Bloch equation (doi 10.1002/mrm.29071) in its linear approximation: an effective
transverse rate per pulse. Theory and conventions: ``docs/theory/qmt.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.parameters import QMT, MapItem, Parameter, ParameterSet
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.base import check_basis, check_parameters
from bids_brnn.signals.two_pools.kernel.layout import FREE_POOL
from bids_brnn.signals.two_pools.kernel.run import simulate_compiled
from bids_brnn.signals.two_pools.pulses.lineshapes import lineshape as find_lineshape
from bids_brnn.signals.two_pools.pulses.saturation import Saturation
from bids_brnn.signals.two_pools.stepping.domain import PulseDomain
from bids_brnn.signals.two_pools.stepping.maps import TrainSteps
from bids_brnn.signals.two_pools.stepping.plan import TrainPlan
from bids_brnn.signals.two_pools.stepping.scan import linearized_signal, signal

if TYPE_CHECKING:
    from bids_brnn.signals.two_pools.free_pool import FreePool
    from bids_brnn.signals.two_pools.kernel.plan import KernelPlan

Method = Literal["auto", "exact", "split", "compiled"]

_ROWS_CPU, _ROWS_CUDA = 256, 2**14  # parameter sets at a time: bounds the memory

_R1A = Parameter(
    MapItem(
        "R1a",
        "1/s",
        "QMTmap",
        "Apparent longitudinal relaxation rate, common to both pools",
        (0.1, 1.5),
    ),
    0.05,
    10.0,
    0.6,
    "estimated",
)


@dataclass(frozen=True, eq=False)
class GeneralizedBloch:
    """Signal of a two-pool tissue at M0 = 1; a ``SignalModel``.

    Parameters
    ----------
    sequence
        Pulse trains with ``balanced``, ``crusher`` or ``spoiler`` gradients per pulse. A sample is
        demodulated with the phase of the pulse before it.
    saturation
        ``gbloch``, or for comparison ``graham`` (single-frequency approximation) or ``sled``.
    method
        ``exact``: matrix exponentials; ``split``: operator splitting in PyTorch, on any device;
        ``compiled``: vector code for the CPU, and ``split`` where it does not apply; ``auto``: as
        ``compiled``.
    apparent_R1
        One longitudinal rate ``R1a`` for both pools in place of ``R1f`` and ``R1s``.
    lineshape
        Line of the semi-solid pool: ``super-lorentzian``, ``lorentzian`` or ``gaussian``.

    Raises
    ------
    SequenceError
        For trains the model cannot simulate, naming the pulse and the limit.
    """

    sequence: PulseSequence
    saturation: Saturation = "gbloch"
    method: Method = "auto"
    apparent_R1: bool = False
    lineshape: str = "super-lorentzian"

    def __post_init__(self) -> None:
        for field, kind in (("method", Method), ("saturation", Saturation)):
            if getattr(self, field) not in get_args(kind):
                raise DataError(
                    f'{field} "{getattr(self, field)}" is unknown; '
                    f"use one of {', '.join(get_args(kind))}"
                )
        find_lineshape(self.lineshape)
        _ = self.domain  # refuses what cannot be simulated

    @cached_property
    def plan(self) -> TrainPlan:
        """The trains as steps from sample to sample."""
        return TrainPlan.from_sequence(self.sequence)

    @cached_property
    def domain(self) -> PulseDomain:
        """Ranges of T2s and B1 that the pulses allow."""
        return PulseDomain.narrow(self.plan, self.saturation, QMT)

    @cached_property
    def full_parameters(self) -> ParameterSet:
        """The eight parameters of the two pools, with bounds that suit the sequence."""
        times = self.sequence.repetition_time
        limit = math.pi / float(np.median(times[times > 0]))
        (T2s_low, T2s_high), (B1_low, B1_high) = self.domain.T2s_range, self.domain.B1_range
        return (
            QMT.replace("w0", lower=-limit, upper=limit)
            .replace("T2s", lower=T2s_low, upper=T2s_high)
            .replace("B1", lower=B1_low, upper=B1_high)
        )

    @cached_property
    def parameters(self) -> ParameterSet:
        """Names, bounds and roles of ``theta``; w0 within +-pi/TR (TR: the median)."""
        full = self.full_parameters
        if not self.apparent_R1:
            return full
        return ParameterSet(
            tuple(_R1A if item.name == "R1f" else item for item in full if item.name != "R1s")
        )

    @property
    def n_samples(self) -> int:
        """Samples of all trains, train after train."""
        return self.sequence.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)`` with a basis ``(N, R)``.

        Raises
        ------
        ParameterError
            For values outside the bounds, naming parameter, row and value, or the pulse that
            does not allow them.
        """
        signal, _ = self._simulate(theta, basis, derivatives=False)
        return signal

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal like :meth:`__call__` and its derivatives ``(..., N or R, P)``."""
        signal, slopes = self._simulate(theta, basis, derivatives=True)
        assert slopes is not None
        return signal, slopes

    def _simulate(
        self, theta: Tensor, basis: Tensor | None, *, derivatives: bool
    ) -> tuple[Tensor, Tensor | None]:
        flat = theta.reshape(-1, theta.shape[-1])
        names = self.parameters.names
        if flat.shape[-1] == len(names):
            T2s, B1 = (flat[:, names.index(name)] for name in ("T2s", "B1"))
            self.domain.check(T2s, B1)
        check_parameters(flat, self.parameters)
        check_basis(basis, self.n_samples)
        expand = flat.new_tensor(self._expansion) if self.apparent_R1 else None
        pools = flat if expand is None else flat @ expand.mT
        signal, slopes = simulate(self, pools, basis, derivatives=derivatives)
        signal = signal.reshape(*theta.shape[:-1], signal.shape[-1])
        if slopes is None:
            return signal, None
        if expand is not None:
            slopes = slopes @ expand.to(slopes.dtype)
        return signal, slopes.reshape(*signal.shape, theta.shape[-1])

    def free_pool(self) -> FreePool | None:
        """See :func:`bids_brnn.signals.base.free_pool_of`."""
        from bids_brnn.signals.two_pools.free_pool import FreePool

        return FreePool(self) if self.full_parameters["m0s"].lower == 0 else None

    @cached_property
    def _expansion(self) -> NDArray[np.float64]:
        """``(8, P)``: the eight parameters of the pools from those of the model."""
        aliases = {"R1f": "R1a", "R1s": "R1a"} if self.apparent_R1 else {}
        return np.array(
            [
                [float(aliases.get(pool, pool) == name) for name in self.parameters.names]
                for pool in QMT.names
            ]
        )

    @cached_property
    def kernel_plan(self) -> KernelPlan | None:
        """The trains as the compiled kernel reads them; None if it does not cover them."""
        from bids_brnn.signals.two_pools.kernel.plan import KernelPlan

        if self.saturation != "gbloch":
            return None
        shape = find_lineshape(self.lineshape)
        return KernelPlan.build(self.plan, self.domain.T2s_range, self.domain.B1_range, shape)

    def steps(self, *, exact: bool) -> TrainSteps:
        """Builder of the maps from sample to sample."""
        return self._exact_steps if exact else self._split_steps

    @cached_property
    def _exact_steps(self) -> TrainSteps:
        return self._build(exact=True)

    @cached_property
    def _split_steps(self) -> TrainSteps:
        return self._build(exact=False)

    def _build(self, *, exact: bool) -> TrainSteps:
        return TrainSteps.build(
            self.plan,
            self.saturation,
            find_lineshape(self.lineshape),
            exact=exact,
            T2s_range=self.domain.T2s_range,
            B1_range=self.domain.B1_range,
        )


def simulate(
    model: GeneralizedBloch,
    theta: Tensor,
    basis: Tensor | None,
    *,
    derivatives: bool,
    solid: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Run the implementation that suits ``model.method`` and the device of ``theta``.

    Parameters
    ----------
    model
        Model with its sequence.
    theta
        All eight parameters, checked, ``(B, 8)``.
    basis
        ``(N, R)`` or None.
    derivatives
        Whether derivatives are wanted.
    solid
        Whether there is a semi-solid pool; without it ``m0s`` must be 0, and derivatives are
        those by :data:`~bids_brnn.signals.two_pools.kernel.layout.FREE_POOL`.

    Returns
    -------
    signal, derivatives
        ``(B, N or R)`` and ``(B, N or R, 8 or 4)`` or None.
    """
    if model.method in ("auto", "compiled") and theta.device.type == "cpu":
        result = simulate_compiled(
            model.kernel_plan, theta, basis, derivatives=derivatives, solid=solid
        )
        if result is not None:
            return result
    values, slopes = _in_torch(model, theta, basis, derivatives=derivatives)
    if slopes is not None and not solid:
        slopes = slopes[..., QMT.index(FREE_POOL)]
    return values, slopes


def _in_torch(
    model: GeneralizedBloch, theta: Tensor, basis: Tensor | None, *, derivatives: bool
) -> tuple[Tensor, Tensor | None]:
    steps, start = model.steps(exact=model.method == "exact"), _start(model.plan)
    own = None if basis is None else basis.to(theta.device)
    signals, slopes = [], []
    for rows in theta.split(_ROWS_CUDA if theta.is_cuda else _ROWS_CPU):
        if derivatives:
            values, change = linearized_signal(steps, start, model.plan, rows, own)
            slopes.append(change)
        else:
            values = signal(steps, start, model.plan, rows, own)
        signals.append(values)
    return torch.cat(signals), torch.cat(slopes) if derivatives else None


def _start(plan: TrainPlan) -> Callable[[Tensor], Tensor]:
    """Equilibrium, or equilibrium with the free pool inverted: (xf, yf, zf, zs, 1)."""
    sign = -1.0 if plan.start == "inversion" else 1.0

    def state(theta: Tensor) -> Tensor:
        m0s = theta[:, 0]
        none = torch.zeros_like(m0s)
        return torch.stack([none, none, sign * (1 - m0s), m0s, none + 1], dim=-1)

    return state

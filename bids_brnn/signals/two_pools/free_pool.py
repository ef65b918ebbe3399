"""Tissue without a semi-solid pool, as fluid is: one pool, four parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from bids_brnn.parameters import QMT, ParameterSet
from bids_brnn.signals.base import check_basis, check_parameters
from bids_brnn.signals.two_pools.generalized_bloch import simulate
from bids_brnn.signals.two_pools.kernel.layout import FREE_POOL

if TYPE_CHECKING:
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch


@dataclass(frozen=True, eq=False)
class FreePool:
    """Signal of the free pool alone at M0 = 1; a ``SignalModel``.

    That of :class:`~bids_brnn.signals.two_pools.generalized_bloch.GeneralizedBloch` at
    ``m0s = 0``, where exchange and the semi-solid pool have no effect, in half of the time.
    """

    model: GeneralizedBloch
    """The two pools."""

    @property
    def sequence(self) -> PulseSequence:
        """The pulse trains."""
        return self.model.sequence

    @cached_property
    def parameters(self) -> ParameterSet:
        """Relaxation rates (``R1a`` in place of ``R1f`` where they are one), w0 and B1."""
        own = self.model.parameters
        kept = ("R1a", *FREE_POOL[1:]) if self.model.apparent_R1 else FREE_POOL
        return ParameterSet(tuple(own[name] for name in kept))

    @property
    def n_samples(self) -> int:
        """Samples of all trains, train after train."""
        return self.model.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)`` with a basis ``(N, R)``.

        Raises
        ------
        ParameterError
            For values outside the bounds, naming parameter and row.
        """
        return self._simulate(theta, basis, derivatives=False)[0]

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal like :meth:`__call__` and its derivatives ``(..., N or R, 4)``."""
        signal, slopes = self._simulate(theta, basis, derivatives=True)
        assert slopes is not None
        return signal, slopes

    def _simulate(
        self, theta: Tensor, basis: Tensor | None, *, derivatives: bool
    ) -> tuple[Tensor, Tensor | None]:
        flat = theta.reshape(-1, theta.shape[-1])
        check_parameters(flat, self.parameters)
        check_basis(basis, self.n_samples)
        # Of the other pool nothing matters but that it is empty.
        full = self.model.full_parameters
        pools = full.start(flat).clamp(*full.bounds(flat)).repeat(len(flat), 1)
        pools[:, QMT.index(("m0s",))] = 0.0
        pools[:, QMT.index(FREE_POOL)] = flat
        signal, slopes = simulate(self.model, pools, basis, derivatives=derivatives, solid=False)
        signal = signal.reshape(*theta.shape[:-1], signal.shape[-1])
        if slopes is None:
            return signal, None
        return signal, slopes.reshape(*signal.shape, len(FREE_POOL))

"""The Z-spectrum of two generalized Bloch pools through the shaped, off-resonant MT pulse.

What the published models approximate: the free pool obeys Bloch's equations and the semi-solid
pool the generalized Bloch equation (Asslaender et al., Magn Reson Med 2022, doi
10.1002/mrm.29071), both with exchange and ``R1``, during the pulse with its true envelope and
offset. Nothing transverse survives the pulse or the readout. The excitation turns the free pool
at its start, by ``cos(B1 FlipAngle)`` at every frequency, and saturates the semi-solid pool as a
rectangular pulse of its duration does (a duration of 0 means: not). Signal: ``Mzf`` before the
excitation, in the cyclic steady state, as in the other models. How it is
computed: ``docs/theory/zspectrum.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import SequenceError
from bids_brnn.parameters import Z_SPECTRUM, ParameterSet
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.around import Passing
from bids_brnn.signals.base import Array, SignalModel
from bids_brnn.signals.threads import kernel_threads
from bids_brnn.signals.two_pools.pulses.lineshapes import lineshape as find_lineshape
from bids_brnn.signals.two_pools.z_spectrum.from_arrays import FromArrays
from bids_brnn.signals.two_pools.z_spectrum.models import Yarnykh
from bids_brnn.signals.two_pools.z_spectrum.pieces import in_pieces
from bids_brnn.signals.two_pools.z_spectrum.tables import Tables


@dataclass(frozen=True, eq=False)
class GBlochZ(FromArrays):
    """Generalized Bloch model of the Z-spectrum; a ``SignalModel``.

    Parameters
    ----------
    sequence
        The protocol.
    lineshape
        ``super-lorentzian``, ``lorentzian`` or ``gaussian``.
    saturating_excitation
        Whether the excitation saturates the semi-solid pool too, as a rectangular pulse of its
        duration; the published models leave that out (1e-3 of the signal in white matter).

    Raises
    ------
    SequenceError
        For a train of RF pulses.
    DataError
        For an unknown line shape.
    """

    sequence: ZSpectrum
    lineshape: str = "super-lorentzian"
    saturating_excitation: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.sequence, ZSpectrum):
            raise SequenceError("this model describes Z-spectra, not trains of RF pulses")
        find_lineshape(self.lineshape)

    def __getstate__(self) -> dict[str, Any]:
        # Tables are made again where they are needed, and hold a lock.
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def parameters(self) -> ParameterSet:
        """Those of two pools; R1 and fields are not told by the data, they come from maps."""
        return Z_SPECTRUM

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return self.sequence.n_samples

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """See :func:`bids_brnn.signals.base.arrays_of`."""
        return self.simulate(theta, derivatives=derivatives, n_threads=kernel_threads())

    def normalised(self) -> Self:
        """The model of images that are divided by that without MT pulse."""
        return replace(self, sequence=replace(self.sequence, normalised=True))

    @cached_property
    def tables(self) -> Tables:
        """What the pulses do; grows with the B1 and w0 that are asked for."""
        return Tables(self.sequence, find_lineshape(self.lineshape), self.parameters)

    @cached_property
    def _excited(self) -> NDArray[np.float64]:
        return self.tables.excitation() if self.saturating_excitation else np.ones((1, 1, 1, 1))

    def rough(self) -> SignalModel:
        """That of a continuous field for the duration of the pulse."""
        return Yarnykh(self.sequence, self.lineshape)

    def for_voxels(self, known: Mapping[str, Tensor]) -> Callable[[Tensor], SignalModel]:
        """The model of voxels whose B1 and w0 are known: their part of the tables once for all."""
        if not {"B1", "w0"} <= set(known):
            return lambda _: self
        B1, w0 = (
            np.ascontiguousarray(known[name].detach().double().cpu().numpy())
            for name in ("B1", "w0")
        )
        fields = self._at_fields(B1, w0)
        return lambda rows: AtFields(self, fields, rows.cpu().numpy())

    def _at_fields(self, B1: NDArray[np.float64], w0: NDArray[np.float64]) -> _Fields:
        from bids_brnn.signals.two_pools.z_spectrum.z_kernel import at_fields

        tables = self.tables  # of Python 3.12 on, two threads that ask first get one each
        where = tables.locate(B1, w0, kernel_threads())
        layout, boxes, data = tables.flat()
        p = layout[:, 0]
        sizes = (layout[:, 3] + 2 * layout[:, 7]) * (1 + p + p * (p + 1) // 2)
        lines = np.empty((*where.shape, int(sizes.max(initial=0))))
        work = np.empty((7, max(_largest(layout, self._excited.shape)[1], 64)))
        at_fields(B1, w0, where, layout, boxes, data, work, lines)
        return _Fields(where, lines, (layout, boxes, data))

    def simulate(
        self,
        theta: NDArray[np.float64],
        *,
        derivatives: bool,
        n_threads: int = 1,
        at: AtFields | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Signals ``(V, N)`` and derivatives ``(V, N, 8)`` of sets ``(V, 8)`` within bounds.

        Without ``derivatives`` the second has no rows. ``at``: tables at the B1 and w0 of these
        sets; derivatives by both are then 0.
        """
        from bids_brnn.signals.two_pools.z_spectrum.z_kernel import z_spectra

        if at is None:
            tables = self.tables
            where = tables.locate(theta[:, 7], theta[:, 6], n_threads)
            layout, boxes, data = tables.flat()
            lines, place = np.empty((0, 0, 0)), np.zeros(len(theta), np.int64)
        else:
            where, place = at.fields.where[at.rows], at.rows
            (layout, boxes, data), lines = at.fields.tables, at.fields.lines
        constants, sizes = self._constants, _largest(layout, self._excited.shape)
        signal = np.empty(where.shape)
        slopes = np.empty((len(theta) if derivatives else 0, where.shape[1], theta.shape[1]))

        def run(rows: slice) -> None:
            tables = (lines, place[rows], layout, boxes, data, *constants, *sizes)
            arguments: list[Any] = [theta[rows], where[rows], *tables, signal[rows], slopes[rows]]
            z_spectra(*arguments)

        in_pieces(len(theta), n_threads, run)
        return signal, slopes

    @cached_property
    def _constants(self) -> tuple[Any, ...]:
        """Ranges of the tables, timing and excitation, as the kernel reads them."""
        protocol, tables = self.sequence, self.tables
        B1_low, B1_high, w0_low, w0_high = tables.box
        durations = (
            protocol.pulse.duration,
            protocol.mt_delay,
            protocol.excitation_duration + protocol.rest,
        )
        box = (
            (B1_low + B1_high) / 2,
            (B1_high - B1_low) / 2,
            (w0_low + w0_high) / 2,
            (w0_high - w0_low) / 2,
        )
        return (
            tables.ranges.centres,
            np.array(durations),
            float(protocol.flip_angle),
            self._excited.ravel(),
            np.array(self._excited.shape[:3]),
            np.array(box),
            bool(protocol.normalised),
        )


@dataclass(frozen=True, eq=False)
class _Fields:
    """Tables of some voxels at their B1 and w0."""

    where: NDArray[np.int64]
    """``(V, N)``: panels."""
    lines: NDArray[np.float64]
    """``(V, N, most)``: Chebyshev coefficients in the third variable."""
    tables: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
    """Those that the panels are counted in."""


@dataclass(frozen=True, eq=False)
class AtFields(FromArrays, Passing):
    """A model at the known B1 and w0 of some voxels, by which it has no derivatives (0)."""

    model: GBlochZ
    fields: _Fields
    rows: NDArray[np.int64]
    """Voxels of the parameter sets."""
    silent: ClassVar[tuple[str, ...]] = ("B1", "w0")
    """See :func:`bids_brnn.signals.base.silent_of`."""

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """As of the model."""
        threads = kernel_threads()
        return self.model.simulate(theta, derivatives=derivatives, n_threads=threads, at=self)


def _largest(layout: NDArray[np.int64], excited: tuple[int, ...]) -> tuple[int, int]:
    """Largest basis, and largest part of a table behind its first variable."""
    p = layout[:, 0]
    m = 1 + p + p * (p + 1) // 2
    parts = [layout[:, 2] * layout[:, 3] * m, layout[:, 6] * layout[:, 7] * m]
    return int(p.max(initial=1)), max(int(np.max(parts, initial=0)), int(np.prod(excited[1:])))

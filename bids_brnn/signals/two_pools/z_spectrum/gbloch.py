"""The Z-spectrum of two generalized Bloch pools through the shaped, off-resonant MT pulse.

What the published models approximate: the free pool obeys Bloch's equations and the semi-solid
pool the generalized Bloch equation (Asslaender et al., Magn Reson Med 2022, doi
10.1002/mrm.29071), both with exchange and ``R1``, during the pulse with its true envelope and
offset. Nothing transverse survives the pulse or the readout. The excitation turns the free pool
at its start, by ``cos(B1 FlipAngle)`` at every frequency, and saturates the semi-solid pool as a
rectangular pulse of its duration does. Signal: ``Mzf`` before the excitation, in the cyclic steady
state, as in the other models. How it is computed: ``docs/theory/zspectrum.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import SequenceError
from bids_brnn.parameters import Z_SPECTRUM, ParameterSet
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.base import check_basis, check_parameters
from bids_brnn.signals.two_pools.pulses.lineshapes import lineshape as find_lineshape
from bids_brnn.signals.two_pools.z_spectrum.panels import Tables


@dataclass(frozen=True, eq=False)
class GBlochZ:
    """Generalized Bloch model of the Z-spectrum; a ``SignalModel``.

    Parameters
    ----------
    sequence
        The protocol.
    lineshape
        ``super-lorentzian``, ``lorentzian`` or ``gaussian``.

    Raises
    ------
    SequenceError
        For a train of RF pulses.
    DataError
        For an unknown line shape.
    """

    sequence: ZSpectrum
    lineshape: str = "super-lorentzian"

    def __post_init__(self) -> None:
        if not isinstance(self.sequence, ZSpectrum):
            raise SequenceError("this model describes Z-spectra, not trains of RF pulses")
        find_lineshape(self.lineshape)

    @cached_property
    def parameters(self) -> ParameterSet:
        """Those of two pools; R1 and fields are not told by the data, they come from maps."""
        return Z_SPECTRUM

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return self.sequence.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` with zero imaginary part, or coefficients ``(..., R)``."""
        return self.linearize(theta, basis)[0]

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)``."""
        check_parameters(theta, self.parameters)
        check_basis(basis, self.n_samples)
        flat = theta.detach().reshape(-1, theta.shape[-1]).double().cpu().numpy()
        values, slopes = self._simulate(np.ascontiguousarray(flat))
        shape = (*theta.shape[:-1], self.n_samples)
        signal = torch.from_numpy(values).to(theta).reshape(shape)
        change = torch.from_numpy(slopes).to(theta).reshape(*shape, theta.shape[-1])
        signal = torch.complex(signal, torch.zeros_like(signal))
        change = torch.complex(change, torch.zeros_like(change))
        if basis is None:
            return signal, change
        project = basis.conj().to(signal)
        return signal @ project, torch.einsum("...np,nr->...rp", change, project)

    def normalised(self) -> Self:
        """The model of images that are divided by that without MT pulse."""
        return replace(self, sequence=replace(self.sequence, normalised=True))

    @cached_property
    def tables(self) -> Tables:
        """What the pulses do; grows with the B1 and w0 that are asked for."""
        return Tables(self.sequence, find_lineshape(self.lineshape), self.parameters)

    @cached_property
    def _excited(self) -> NDArray[np.float64]:
        return self.tables.excitation()

    def _simulate(
        self, theta: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from bids_brnn.signals.two_pools.z_spectrum.z_kernel import z_spectra

        protocol, tables, excited = self.sequence, self.tables, self._excited
        where = tables.locate(theta[:, 7], theta[:, 6])
        layout, boxes, data = tables.flat()
        signal = np.empty(where.shape)
        slopes = np.empty((*where.shape, theta.shape[1]))
        low1, high1, low2, high2 = tables.box
        z_spectra(
            theta,
            where,
            layout,
            boxes,
            data,
            tables.ranges.centres,
            np.array([protocol.pulse.duration, protocol.mt_delay,
                      protocol.excitation_duration + protocol.rest]),
            protocol.flip_angle,
            excited.ravel(),
            excited.shape,
            np.array([(low1 + high1) / 2, (high1 - low1) / 2, (low2 + high2) / 2,
                      (high2 - low2) / 2]),
            protocol.normalised,
            *_largest(layout, excited.shape),
            signal,
            slopes,
        )  # fmt: skip
        return signal, slopes


def _largest(layout: NDArray[np.int64], excited: tuple[int, ...]) -> tuple[int, int]:
    """Largest basis, and largest part of a table behind its first variable."""
    if not len(layout):
        return 1, int(np.prod(excited[1:]))
    p = layout[:, 0]
    m = 1 + p + p * (p + 1) // 2
    parts = np.stack([layout[:, 2] * layout[:, 3] * m, layout[:, 6] * layout[:, 7] * m])
    return int(p.max()), max(int(parts.max()), int(np.prod(excited[1:])))

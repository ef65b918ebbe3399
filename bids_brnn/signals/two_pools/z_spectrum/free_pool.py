"""What a shaped, off-resonant MT pulse does to the free pool alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.sequences.mt_pulse import MTPulse

_LEAST, _MOST, _PER_CYCLE = 96, 4096, 3
"""Steps of a pulse, and for each turn of the offset."""


@dataclass(frozen=True)
class Saturation:
    """``Mz`` after over before a pulse, ``(..., N)``, with its derivatives."""

    value: Tensor
    slopes: tuple[Tensor, Tensor, Tensor]
    """By angle (1/rad), offset (1/Hz) and R2f (s), or by what was given in their places."""

    def stacked(self) -> NDArray[np.float64]:
        """Value and slopes ``(..., N, 4)``."""
        found: NDArray[np.float64] = torch.stack([self.value, *self.slopes], -1).numpy()
        return found


def pulse_saturation(
    angle: Tensor, offset: Tensor, R2f: Tensor, pulse: MTPulse, nominal: Tensor
) -> Saturation:
    """Saturation of spins with transverse relaxation only.

    Bloch's equations in steps of constant amplitude: exact rotation about the effective field,
    with half of the relaxation before and after it. The scheme is symmetric, its error is even in
    the step: two step sizes give the value at step zero to the fourth order (1e-6).

    Parameters
    ----------
    angle, offset, R2f
        ``(..., N)``: flip angle on resonance (rad), Hz, 1/s.
    pulse
        The envelope.
    nominal
        ``(N,)`` Hz: offsets by which the steps are chosen, so that they do not depend on voxels.
    """
    wide = torch.broadcast_tensors(angle, offset, R2f)
    given = [values.detach().double().cpu().numpy().reshape(-1, len(nominal)) for values in wide]
    found = np.empty((*given[0].shape, 4))
    for column, turns in enumerate(nominal.abs().tolist()):
        n = int(min(max(_LEAST, _PER_CYCLE * turns * pulse.duration), _MOST))
        values = [np.ascontiguousarray(part[:, column]) for part in given]
        coarse, fine = (_stepped(values, pulse, steps) for steps in (n, 2 * n))
        found[:, column] = (4 * fine - coarse) / 3
    tensors = torch.from_numpy(found).to(wide[0]).reshape(*wide[0].shape, 4).unbind(-1)
    return Saturation(tensors[0], (tensors[1], tensors[2], tensors[3]))


def _stepped(values: Sequence[NDArray[np.float64]], pulse: MTPulse, n: int) -> NDArray[np.float64]:
    from bids_brnn.signals.two_pools.z_spectrum.saturation_kernel import saturate

    shares = pulse.envelope((np.arange(n) + 0.5) * pulse.duration / n)
    out = np.empty((len(values[0]), 4))
    angle, offset, R2f = values
    saturate(angle, offset, R2f, shares / shares.sum(), pulse.duration / n, out)
    return out

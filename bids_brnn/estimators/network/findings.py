"""What a network and its surrogate find of voxels, before it is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bids_brnn.estimators.network.forward import Forward
from bids_brnn.estimators.network.nuisances import least_squares_scale, refine_nuisances
from bids_brnn.signals.base import Amplitude, SignalModel


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of ``v`` voxels once they are estimated; data have unit norm."""

    coefficients: Tensor
    """``(v, R)`` complex, in the basis of training."""
    theta: Tensor
    """``(v, P)``."""
    m0: Tensor
    """``(v,)`` complex."""
    rest: Tensor
    """``(v,)``: norm of what the surrogate leaves of the data."""
    sigma: Tensor
    """``(v,)``: noise per channel; 0 where it is not known."""
    inputs: Tensor
    """``(v, I)``: of the network."""
    features: Tensor
    """``(v, F)``: of the error network."""
    free: tuple[int, ...]
    """Columns of ``theta`` that are not known."""


def joined(parts: Sequence[Findings]) -> Findings:
    """The voxels of ``parts``, one after the other; all have the same columns free."""
    if len(parts) == 1:
        return parts[0]
    names = [item.name for item in fields(Findings) if item.name != "free"]
    together = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Findings(**together, free=parts[0].free)


def find(
    forward: Forward,
    surrogate: SignalModel,
    unit: tuple[Tensor, Tensor],
    known: Mapping[int, Tensor],
    noise: Tensor,
    amplitude: Amplitude,
    *,
    steps: int,
    half: bool,
) -> Findings:
    """Parameters by the network, then nuisances and M0 by the surrogate.

    Parameters
    ----------
    forward, surrogate
        The network, and the signal that it knows.
    unit
        Coefficients ``(v, R)`` of unit norm in the basis of training, and their norms ``(v,)``.
    known
        Values ``(v,)`` by column.
    noise
        ``(v,)``: standard deviation per channel, 0 where it is not known.
    amplitude
        What is unknown of M0.
    steps, half
        Of :func:`~bids_brnn.estimators.network.nuisances.refine_nuisances`.
    """
    coefficients, size = unit
    theta, inputs, features = forward(coefficients, known)
    parameters = surrogate.parameters
    nuisances = [c for c in parameters.columns("nuisance") if c not in known]
    theta, signal = refine_nuisances(
        surrogate, coefficients, theta, nuisances, steps=steps, half=half
    )
    m0, rest = least_squares_scale(signal, coefficients, amplitude)
    sigma = (noise.to(size.dtype) / size).float()
    free = tuple(c for c in parameters.columns("estimated", "nuisance") if c not in known)
    return Findings(coefficients, theta, m0, rest, sigma, inputs, features, free)

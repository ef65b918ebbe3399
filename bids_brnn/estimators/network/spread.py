"""Standard deviations of network estimates, at a relative noise of 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bids_brnn.information.bounds import covariance
from bids_brnn.signals.base import Amplitude, SignalModel


def propagated(forward: Callable[[Tensor], Tensor], coefficients: Tensor) -> Tensor:
    """Noise of standard deviation 1 per channel, through the Jacobian of the network.

    Parameters
    ----------
    forward
        From coefficients ``(v, R)`` to outputs ``(v, O)``; rows must be independent.
    coefficients
        Where to linearize.

    Returns
    -------
    Tensor
        ``(v, O)``: norm of the gradient with respect to all noise channels.
    """
    channels = torch.view_as_real(coefficients).detach().requires_grad_()
    with torch.enable_grad():
        outputs = forward(torch.view_as_complex(channels))
        columns = [
            torch.autograd.grad(outputs[:, column].sum(), channels, retain_graph=True)[0]
            for column in range(outputs.shape[-1])
        ]
    return torch.stack([column.square().sum((-1, -2)).sqrt() for column in columns], dim=-1)


def bounded(
    model: SignalModel, theta: Tensor, free: Sequence[int], amplitude: Amplitude = "complex"
) -> Tensor:
    """Root of the Cramer-Rao bound ``(v, len(free))`` at M0 = 1 and noise of sd 1 per channel."""
    signal, derivatives = model.linearize(theta)
    matrix = covariance(signal, derivatives[..., list(free)], amplitude)
    return matrix.diagonal(dim1=-2, dim2=-1).to(theta).sqrt()


def moved_by(
    forward: Callable[[Mapping[int, Tensor]], Tensor],
    known: Mapping[int, Tensor],
    spread: Mapping[int, Tensor],
    outputs: Sequence[int],
) -> list[Tensor]:
    """What one standard deviation of each supplied value changes, itself included ``(v, P)``.

    Half of the difference of the estimates above and below.

    Parameters
    ----------
    forward
        From supplied values by column of theta to theta ``(v, P)``.
    known, spread
        Supplied values ``(v,)``, and standard deviations of some of them.
    outputs
        Columns that the network returns.
    """
    changes = []
    for column, std in spread.items():
        step = std.float()
        above, below = (
            forward({**known, column: known[column] + sign * step}) for sign in (1, -1)
        )
        change = torch.zeros_like(above)
        change[:, list(outputs)] = (above - below)[:, list(outputs)] / 2
        change[:, list(known)] = 0
        change[:, column] = step
        changes.append(change)
    return changes


def with_causes(own: Tensor, columns: Sequence[int], moved: Sequence[Tensor], n: int) -> Tensor:
    """Covariance ``(v, n, n)`` of all parameters: ``own`` of ``columns``, and of each cause."""
    rows = torch.tensor(list(columns), device=own.device)
    found = own.new_zeros((len(own), n, n))
    found[:, rows[:, None], rows] = own
    for change in moved:
        found += change[:, :, None] * change[:, None, :]
    return found


def with_spread(std: Tensor, moved: Sequence[Tensor]) -> Tensor:
    """Deviations ``(v, P)`` that include what each of several causes changes, ``(v, P)`` each."""
    for change in moved:
        std = (std.square() + change.square()).sqrt()
    return std

"""Nuisances of a network estimate by a Gauss-Newton step on the signal model.

A network spends its weights on the parameters of interest. Off-resonance and B1 only serve the
signal at the estimate, hence M0 and the residual; given the other parameters they are a small
least-squares problem that starts close to its solution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bids_brnn.information.bounds import project_out_scale
from bids_brnn.signals.base import Amplitude, SignalModel

_DAMPING = 1e-3
_SCAN = 41
"""Values between the bounds, for :func:`scanned`: 45 rad/s apart in a train with TR 3.5 ms."""
SPACING = 1 / (_SCAN - 1)
"""Of these values, of the range."""
_TOGETHER = 128
"""Voxels that are scanned together: 5000 signals, which stay in the cache of a processor."""
_VALLEYS = 2
"""Valleys of a column that are worth a try."""
_STEP = 1e-3
"""Of difference quotients, of the range of the parameter: their error, half of it times the
curvature, and the round-off of float32 are both near 1e-3 of the slope."""


def least_squares_scale(
    signal: Tensor, data: Tensor, amplitude: Amplitude = "complex"
) -> tuple[Tensor, Tensor]:
    """M0 ``(v,)`` and norm of the residual ``(v,)`` of signals ``(v, R)`` at M0 = 1.

    Of real signals and data M0 is real.
    """
    if amplitude == "one":
        m0 = torch.ones_like(data[:, 0])
    else:
        m0 = (signal.conj() * data).sum(-1) / (signal.abs() ** 2).sum(-1)
    return m0, (data - m0[:, None] * signal).abs().square().sum(-1).sqrt()


def refine_nuisances(
    model: SignalModel,
    data: Tensor,
    theta: Tensor,
    columns: Sequence[int],
    *,
    steps: int,
    half: bool = False,
) -> tuple[Tensor, Tensor]:
    """Parameters ``(v, P)`` with better values in ``columns``, and their signals ``(v, R)``.

    Other columns stay as they are. A step is taken only where it lowers the residual of ``data``
    ``(v, R)``, and stays within the bounds of the model's parameters. With ``half`` derivatives
    may be those of bfloat16, which cost less than quotients.
    """
    chosen = list(columns)
    with torch.no_grad():
        if not chosen or steps == 0:
            return theta, model(theta).to(data.dtype)
        lower, upper = (bound[chosen] for bound in model.parameters.bounds(theta))
        for _ in range(steps):
            if half:
                signal, slopes = slopes_along(model, theta, chosen, half=True)
            else:
                signal, slopes = _linearize(model, theta, chosen)
            m0, rest = least_squares_scale(signal, data)
            # In units of the parameter ranges: off-resonance and B1 differ by a thousand.
            jacobian = project_out_scale(signal, slopes) * m0[:, None, None] * (upper - lower)
            error = (data - m0[:, None] * signal)[..., None]
            step = _damped_step(jacobian, error) * (upper - lower)
            trial = theta.clone()
            trial[:, chosen] = (theta[:, chosen] + step).clamp(lower, upper)
            moved = model(trial).to(data.dtype)
            better = (least_squares_scale(moved, data)[1] < rest)[:, None]
            theta = torch.where(better, trial, theta)
            signal = torch.where(better, moved, signal)
    return theta, signal


def scanned(
    model: SignalModel,
    data: Tensor,
    theta: Tensor,
    column: int,
    nuisances: Sequence[int],
    *,
    half: bool = False,
    within: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Parameters ``(v, K, P)`` in the best valleys of ``column``, the best one first.

    Signals of balanced trains change within a few rad/s of off-resonance, so that a step from the
    value of a network may end in a neighbouring valley. From each of many values between the
    bounds one step of all ``nuisances`` is taken. Also returned are the norms ``(v, K)`` of what
    is left of ``data`` ``(v, R)``, to first order; infinite where there are fewer valleys. With
    ``half`` derivatives may be those of bfloat16; with ``within`` values are no further than that
    from ``theta``.
    """
    parts = [
        _scanned(model, values, at, column, list(nuisances), half, within)
        for values, at in zip(data.split(_TOGETHER), theta.split(_TOGETHER), strict=True)
    ]
    points, rest = (torch.cat(part) for part in zip(*parts, strict=True))
    beside = torch.nn.functional.pad(rest, (1, 1), value=torch.inf)
    valley = (rest <= beside[:, :-2]) & (rest < beside[:, 2:])
    least, places = torch.where(valley, rest, torch.inf).topk(_VALLEYS, dim=1, largest=False)
    rows = torch.arange(len(theta), device=theta.device)[:, None]
    return points[rows, places], least


def _scanned(
    model: SignalModel,
    data: Tensor,
    theta: Tensor,
    column: int,
    chosen: list[int],
    half: bool,
    within: float | None,
) -> tuple[Tensor, Tensor]:
    """Parameters ``(v, _SCAN, P)`` after the step, and norms ``(v, _SCAN)`` of what is left."""
    lower, upper = model.parameters.bounds(theta)
    shares = torch.linspace(0, 1, _SCAN, device=theta.device)
    places = torch.lerp(lower[column], upper[column], shares)
    if within is not None:
        near = theta[:, column, None] + within * (2 * shares - 1)
        places = near.clamp(lower[column], upper[column])
    trial = theta[:, None].repeat(1, _SCAN, 1)
    trial[..., column] = places
    with torch.no_grad():
        # The signal at an off-resonance is the conjugate of that at its opposite.
        even = within is None and bool(lower[column] == -upper[column])
        folds = getattr(model, "conjugate", False) and even
        side = trial[:, _SCAN // 2 :] if folds else trial
        signal, slopes = slopes_along(model, side.flatten(0, 1), chosen, half=half)
        signal = signal.unflatten(0, side.shape[:2])
        slopes = slopes.unflatten(0, side.shape[:2])
        if folds:
            sign = slopes.real.new_tensor([-1.0 if c == column else 1.0 for c in chosen])
            signal = torch.cat([signal[:, 1:].flip(1).conj(), signal], dim=1)
            slopes = torch.cat([slopes[:, 1:].flip(1).conj() * sign, slopes], dim=1)
        signal, slopes = signal.flatten(0, 1), slopes.flatten(0, 1)
        wide = data[:, None].expand(-1, _SCAN, -1).flatten(0, 1)
        m0, _ = least_squares_scale(signal, wide)
        span = (upper - lower)[chosen]
        jacobian = project_out_scale(signal, slopes) * m0[:, None, None] * span
        error = (wide - m0[:, None] * signal)[..., None]
        trial = trial.flatten(0, 1)
        start = trial[:, chosen]
        trial[:, chosen] = (start + _damped_step(jacobian, error) * span).clamp(
            lower[chosen], upper[chosen]
        )
        step = ((trial[:, chosen] - start) / span).to(jacobian.dtype)[..., None]
        rest = (error - jacobian @ step)[..., 0].abs().square().sum(-1).sqrt()
    return trial.unflatten(0, (-1, _SCAN)), rest.unflatten(0, (-1, _SCAN))


def slopes_along(
    model: SignalModel, theta: Tensor, columns: list[int], *, half: bool = False
) -> tuple[Tensor, Tensor]:
    """Signal and derivatives: those of a model that gives some columns cheaply, or quotients.

    With ``half`` the derivatives may be those of bfloat16.
    """
    own = getattr(model, "along", None)
    if own is None:
        return _linearize(model, theta, columns)
    found: tuple[Tensor, Tensor] = own(theta, columns, half=half)
    return found


def _damped_step(jacobian: Tensor, error: Tensor) -> Tensor:
    """Gauss-Newton step ``(v, columns)``, 0 where the normal equations are singular."""
    gradient = (jacobian.mH @ error).real[..., 0]
    normal = (jacobian.mH @ jacobian).real
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    tiny = torch.finfo(gradient.dtype).tiny
    step, _ = torch.linalg.solve_ex(
        normal + torch.diag_embed(_DAMPING * diagonal + tiny), gradient
    )
    return torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)


def _linearize(model: SignalModel, theta: Tensor, columns: list[int]) -> tuple[Tensor, Tensor]:
    """Signal ``(v, R)`` and difference quotients ``(v, R, len(columns))``, in one evaluation.

    Quotients, because they cost half of forward derivatives: a step that is only taken where it
    lowers the residual needs no more precision than the width of the step gives.
    """
    shifted = [theta]
    lower, upper = model.parameters.bounds(theta)
    for column in columns:
        # Away from zero, where a model that is folded in off-resonance may have a kink.
        width = _STEP * (upper - lower)[column]
        step = torch.where(theta[:, column] < 0, -width, width)
        inside = (theta[:, column] + step >= lower[column]) & (
            theta[:, column] + step <= upper[column]
        )
        moved = theta.clone()
        moved[:, column] += torch.where(inside, step, -step)
        shifted.append(moved)
    signal, *others = model(torch.cat(shifted)).chunk(len(shifted))
    slopes = [
        (other - signal) / (moved - theta)[:, column, None]
        for other, moved, column in zip(others, shifted[1:], columns, strict=True)
    ]
    return signal, torch.stack(slopes, dim=-1)

"""The four models in tensors: formulas as published, derivatives by automatic differentiation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bids_brnn.signals.two_pools.z_spectrum.absorption import LINES, NEAR
from bids_brnn.signals.two_pools.z_spectrum.free_pool import pulse_saturation
from bids_brnn.signals.two_pools.z_spectrum.models import ZModel


def linearize(model: ZModel, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Signal ``(V, N)`` and derivatives ``(V, N, 8)`` of a model of another implementation."""
    scan = model.sequence
    wide = theta[..., None].expand(*theta.shape, scan.n_samples).clone().requires_grad_()
    signal = _signal(model, wide, torch.from_numpy(scan.mt_flip_angle))
    if scan.normalised:
        signal = signal / _signal(model, wide, torch.zeros(scan.n_samples).double())
    (slopes,) = torch.autograd.grad(signal.sum(), wide)
    return signal.detach(), slopes.mT


def _signal(model: ZModel, wide: Tensor, nominal: Tensor) -> Tensor:
    scan, pulse = model.sequence, model.sequence.pulse
    m0s, R1f, R2f, Rx, R1s, T2s, w0, B1 = wide.unbind(-2)
    rates = (m0s, R1f, Rx, R1s)
    angle, offset = B1 * nominal, torch.from_numpy(scan.offset) - w0 / (2 * math.pi)
    cosine, none = torch.cos(B1 * scan.flip_angle), torch.zeros_like(m0s)

    def solid(time: float) -> Tensor:
        f = offset.abs()
        if model.lineshape == "super-lorentzian":
            f = torch.where(f <= NEAR, 1140.0 + 1.6e-4 * f**2, f)
        line = T2s * LINES[model.lineshape](2 * math.pi * f * T2s)
        return math.pi * angle**2 * pulse.power / time * line

    def free(time: float) -> Tensor:
        away = ((2 * math.pi * offset) ** 2).clamp_min(1e-6)
        return angle**2 * pulse.power / time * R2f / away

    def left() -> Tensor:
        found = pulse_saturation(angle, offset, R2f, pulse, torch.from_numpy(scan.offset))
        total = found.value
        for slope, here in zip(found.slopes, (angle, offset, R2f), strict=True):
            total = total + slope * (here - here.detach())
        return total

    name, whole = type(model).__name__, scan.repetition_time
    if name == "Ramani":
        matrix, source = generator(*rates, free(whole), solid(whole))
        return -torch.linalg.solve(matrix, source)[..., 0]
    if name == "Yarnykh":
        time = pulse.duration
        delay = step(scan.mt_delay, *rates, none, none)
        parts = [turned(step(scan.rest, *rates, none, none), cosine),
                 step(time, *rates, free(time), solid(time)), delay]  # fmt: skip
        return cyclic(parts)
    kept = left()
    if name == "SledPikeCW":
        return kept * cyclic([turned(step(whole, *rates, none, solid(whole)), kept)])
    width = pulse.half_width
    half = step(width / 2, *rates, none, solid(width))
    parts = [turned(half, kept * cosine), step(whole - width, *rates, none, none), half]
    return kept * cyclic(parts)


def generator(
    m0s: Tensor, R1f: Tensor, Rx: Tensor, R1s: Tensor, Wf: Tensor, Ws: Tensor
) -> tuple[Tensor, Tensor]:
    """``dM/dt = A M + b``: ``(..., 2, 2)`` and ``(..., 2)``."""
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    rows = [torch.stack([-R1f - kf - Wf, kr], -1), torch.stack([kf, -R1s - kr - Ws], -1)]
    return torch.stack(rows, -2), torch.stack([R1f * (1 - m0s), R1s * m0s], -1)


def step(time: float, *rates: Tensor) -> Tensor:
    """``(..., 3, 3)``: what acts on ``(M, 1)`` in a time."""
    matrix, source = generator(*rates)
    top = torch.cat([matrix, source[..., None]], -1)
    return torch.linalg.matrix_exp(time * torch.nn.functional.pad(top, (0, 0, 0, 1)))


def turned(matrix: Tensor, factor: Tensor) -> Tensor:
    """A step before which the free pool is multiplied by a factor."""
    one = torch.ones_like(factor)
    return matrix * torch.stack([factor, one, one], -1)[..., None, :]


def cyclic(parts: list[Tensor]) -> Tensor:
    """``Mzf`` that steps in a row lead back to itself."""
    whole = parts[0]
    for part in parts[1:]:
        whole = part @ whole
    system = torch.eye(2, dtype=whole.dtype) - whole[..., :2, :2]
    return torch.linalg.solve(system, whole[..., :2, 2])[..., 0]

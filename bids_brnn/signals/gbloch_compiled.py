"""Where the generalized Bloch model hands tensors to the compiled kernel, and where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bids_brnn.signals.gbloch_plan import KernelPlan


def simulate_compiled(
    plan: KernelPlan | None, theta: Tensor, basis: Tensor | None, *, derivatives: bool
) -> tuple[Tensor, Tensor | None] | None:
    """Signal and derivatives by the compiled kernel, or None where it does not apply.

    It does not for tensors on other devices or of other precision than float32 and float64, inside
    automatic differentiation (it has its own derivatives), for complex bases, and for trains and
    off-resonances outside its domain (see :class:`~bids_brnn.signals.gbloch_plan.KernelPlan`).

    Parameters
    ----------
    plan
        The pulse trains; None if the kernel does not cover them.
    theta
        All eight parameters, checked, ``(B, 8)``.
    basis
        ``(N, R)`` or None.
    derivatives
        Whether derivatives are wanted.
    """
    if plan is None or not _plain(theta) or (basis is not None and not _plain(basis)):
        return None
    values = theta.numpy()
    if not plan.covers(values):
        return None
    from bids_brnn.signals.gbloch_kernel import simulate

    signal, slopes = simulate(
        plan, values, None if basis is None else basis.numpy(), derivatives=derivatives
    )
    return torch.from_numpy(signal), None if slopes is None else torch.from_numpy(slopes)


def _plain(tensor: Tensor) -> bool:
    """Real numbers in main memory that nothing differentiates."""
    if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
        return False
    if tensor.requires_grad or torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None:
        return False
    try:
        tensor.numpy()
    except RuntimeError:  # inside a transform of torch.func
        return False
    return True

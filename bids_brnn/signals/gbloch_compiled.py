"""Where the generalized Bloch model hands tensors to the compiled kernel, and where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bids_brnn.signals.two_pools.kernel.plan import KernelPlan

_PRECISIONS = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def simulate_compiled(
    plan: KernelPlan | None,
    theta: Tensor,
    basis: Tensor | None,
    *,
    derivatives: bool,
    n_threads: int | None = None,
) -> tuple[Tensor, Tensor | None] | None:
    """Signal and derivatives by the compiled kernel, or None where it does not apply.

    It does not for tensors on other devices or of other precision than float32 and float64, inside
    automatic differentiation (it has its own derivatives), and for trains and off-resonances
    outside its domain (see :class:`~bids_brnn.signals.two_pools.kernel.plan.KernelPlan`).

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
    n_threads
        Default: ``torch.get_num_threads()``, so that one setting governs both.
    """
    if (
        plan is None
        or theta.is_complex()
        or not _plain(theta)
        or (basis is not None and not _plain(basis))
    ):
        return None
    values = theta.resolve_neg().numpy()
    if not plan.covers(values):
        return None
    from bids_brnn.signals.two_pools.kernel.run import simulate

    columns = None
    if basis is not None:
        columns = (
            torch.cat([basis.real, basis.imag], dim=1)
            if basis.is_complex()
            else basis.resolve_neg()
        )
    matrix = None if columns is None else columns.numpy()
    threads = n_threads or torch.get_num_threads()
    found = simulate(plan, values, matrix, derivatives=derivatives, n_threads=threads)
    signal, slopes = (None if part is None else torch.from_numpy(part) for part in found)
    assert signal is not None
    if basis is not None and basis.is_complex():
        signal = _recombine(signal)
        slopes = None if slopes is None else _recombine(slopes)
    return signal, slopes


def _recombine(coefficients: Tensor) -> Tensor:
    """``s @ conj(U)`` from ``s @ [Re U, Im U]`` along the second axis."""
    real, imaginary = coefficients.chunk(2, dim=1)
    return real - 1j * imaginary


def _plain(tensor: Tensor) -> bool:
    """Numbers in main memory that nothing differentiates."""
    if tensor.device.type != "cpu" or tensor.dtype not in _PRECISIONS:
        return False
    if tensor.requires_grad or torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None:
        return False
    try:
        tensor.resolve_conj().resolve_neg().numpy()
    except RuntimeError:  # inside a transform of torch.func
        return False
    return True

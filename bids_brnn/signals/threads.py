"""How many threads compiled signals may use: those of PyTorch, or what others leave idle."""

from __future__ import annotations

import threading

import torch

_own = threading.local()


def let_kernels_use(threads: int) -> None:
    """Say how many threads compiled signals may use that the calling thread asks for."""
    _own.threads = threads


def kernel_threads() -> int:
    """Threads for compiled signals: of :func:`let_kernels_use`, else those of PyTorch.

    The number of PyTorch's decides on the order of its sums; compiled signals have the same bytes
    with any number.
    """
    return int(getattr(_own, "threads", 0)) or torch.get_num_threads()

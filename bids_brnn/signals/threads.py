"""How many threads compiled signals may use: those of PyTorch, or what others leave idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

_own = threading.local()


@dataclass
class Shared:
    """Threads that workers share: those without work are for the compiled signals of others."""

    threads: int
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The calling thread is a worker that has work."""
        self._count(1)
        _own.shared = self
        try:
            yield
        finally:
            _own.shared = None
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._busy += more

    @property
    def each(self) -> int:
        """Threads for each worker that has work at this moment."""
        return max(1, self.threads // max(1, self._busy))


def kernel_threads() -> int:
    """Threads for compiled signals: of a worker its share, elsewhere those of PyTorch.

    The number of PyTorch's decides on the order of its sums; compiled signals have the same bytes
    with any number.
    """
    shared: Shared | None = getattr(_own, "shared", None)
    return torch.get_num_threads() if shared is None else shared.each

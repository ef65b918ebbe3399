"""Parameter sets piece by piece, on several threads where there are many."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

PIECE = 512
"""Parameter sets of one thread at a time."""


def in_pieces(n: int, n_threads: int, run: Callable[[slice], None]) -> None:
    """Call ``run`` for all rows of ``n``; it must release the GIL to gain by threads."""
    if n_threads <= 1 or n <= PIECE:
        run(slice(0, n))  # each call passes the lock of the interpreter to another thread
        return
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(run, [slice(k, k + PIECE) for k in range(0, n, PIECE)]))

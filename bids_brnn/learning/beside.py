"""Work of a training that another thread does meanwhile: the next draw, or the surrogate.

Products of matrices as small as these gain little from a second thread (1.3 times), drawing noise
gains nothing: two things at once make use of two cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_T = TypeVar("_T")


@contextmanager
def beside(
    device: torch.device, *, share: int = 1
) -> Iterator[tuple[Callable[[Callable[[], _T]], Callable[[], _T]], threading.Event]]:
    """A function that starts work on a thread of its own, and returns one that waits for it.

    Where there is one thread, or another device, work is done when it is waited for.

    Parameters
    ----------
    device
        Of the training.
    share
        Threads of PyTorch that the calling thread gives up meanwhile.

    Yields
    ------
    tuple
        That function, and an event which is set when the block is left: work that takes long
        should end then.
    """
    threads, left = torch.get_num_threads(), threading.Event()
    if device.type != "cpu" or threads < 2:
        yield lambda work: work, left
        return
    pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
    pool.submit(int).result()  # part of that setting holds for all threads: first there, then here
    torch.set_num_threads(max(1, threads - share))
    try:
        yield lambda work: pool.submit(work).result, left
    finally:
        left.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@contextmanager
def one_ahead(items: Iterator[_T], device: torch.device) -> Iterator[Iterator[_T]]:
    """The same items; each is made by another thread while the one before is being used."""

    def following(
        start: Callable[[Callable[[], _T | None]], Callable[[], _T | None]],
    ) -> Iterator[_T]:
        coming = start(lambda: next(items, None))
        while (item := coming()) is not None:
            coming = start(lambda: next(items, None))
            yield item

    with beside(device) as (start, _):
        yield following(start)

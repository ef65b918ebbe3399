"""How threads of numerical libraries behave, said before these are loaded; threads for files."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLICY = "OMP_WAIT_POLICY"


def let_threads_sleep() -> None:
    """Have threads that wait for each other sleep, unless the user says otherwise.

    OpenMP's wait by spinning. On a machine that does anything else they then take the very
    processor from the thread that they wait for: with busy cores small products of PyTorch on two
    threads took four times the processor time, and as much longer. Sleeping costs some
    microseconds each time.
    """
    os.environ.setdefault(_POLICY, "PASSIVE")


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Results in the order of the items, made by some threads; with one, by that which asks.

    For reading and writing of files, whose compression leaves Python to other threads. No more
    than one result for each thread waits, as each may be an image.
    """
    if threads <= 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

"""Blocks of voxels on several cores, in order, a few of them ahead of what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from bids_brnn.signals.threads import Shared

Block = TypeVar("Block")
Result = TypeVar("Result")

_AHEAD = 2
"""Blocks per thread that may be done or under way before they are asked for: bounds the memory."""
_SHARES = 4
_CUTS = 4
"""Blocks that few voxels are cut into where these must not depend on the number of threads. (Of a
real slice sixteen take twice the time of two: exact signals of few take as long as of many.)
"""


def block_length(n: int, most: int, least: int, threads: int, shares: int = _SHARES) -> int:
    """Voxels of a block: at most ``most``, and few enough that no thread waits long at the end.

    Few voxels are cut into ``shares`` blocks per thread, but into none of fewer than ``least``,
    whose time is not what the voxels take. Blocks are of one size, and as many for each thread.
    """
    if threads <= 1:
        return most
    count = min(shares * threads, n // least)
    if count > threads:
        count -= count % threads
    count = max(count, -(-n // most), 1)
    if count > threads:
        count = -(-count // threads) * threads
    return min(most, max(least, -(-n // count)))


def threads_for(device: torch.device) -> int:
    """Threads that may work at a time: those of PyTorch, or one beside another device."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def in_order(voxels: torch.Tensor, n: int, length: int) -> tuple[torch.Tensor, ...]:
    """Rising indices ``voxels`` of ``n`` voxels, in blocks of those within ``length`` places."""
    edges = torch.arange(0, n, length, device=voxels.device)[1:]
    return voxels.tensor_split(torch.searchsorted(voxels, edges).cpu())


def cut(voxels: torch.Tensor, n: int, most: int, least: int) -> tuple[torch.Tensor, ...]:
    """Rising indices ``voxels`` of ``n`` voxels, in blocks that do not depend on the threads.

    What is computed together decides on the last bit of some voxels.
    """
    return in_order(voxels, n, block_length(n, most, min(least, most), _CUTS, 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread: sums of a long product are in one order whatever was allowed.

    Matrix products share out their inner dimension among threads where there is much of it, and
    rounding then depends on their number.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def ahead(
    work: Callable[[Block], Result], blocks: Sequence[Block], threads: int
) -> Iterator[Callable[[int], Result]]:
    """A function that returns the result of block ``number``, to be asked in rising order.

    Each of ``threads`` works on a block of its own, and PyTorch uses one thread in it: so many
    are busy and no more. Threads without a block work for compiled signals of the others.

    Parameters
    ----------
    work
        What is done of a block; must be safe on several threads.
    blocks
        All of them.
    threads
        1: everything happens when it is asked for, in the thread that asks.
    """
    if threads <= 1:
        yield lambda number: work(blocks[number])
        return
    found: dict[int, Future[Result]] = {}
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    shared = Shared(threads)

    def done(block: Block) -> Result:
        with shared.working():
            return work(block)

    def get(number: int) -> Result:
        for later in range(number, min(number + _AHEAD * threads, len(blocks))):
            if later not in found:
                found[later] = pool.submit(done, blocks[later])
        return found.pop(number).result()

    before = torch.get_num_threads()
    try:
        yield get
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # part of that setting holds for all threads

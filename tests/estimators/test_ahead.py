"""Blocks on several threads come in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from bids_brnn.estimators.ahead import ahead, block_length
from bids_brnn.signals.threads import kernel_threads


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_few_blocks_are_ahead():
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.002 * (number % 3))
        return 10 * number

    with ahead(work, range(20), 2) as result:
        assert [result(0), result(1)] == [0, 10]
        assert max(started) <= 1 + 4
        assert [result(number) for number in range(2, 20)] == [10 * n for n in range(2, 20)]
    assert sorted(started) == list(range(20))


def test_one_thread_works_where_it_is_asked():
    here = threading.get_ident()
    with ahead(lambda _: threading.get_ident(), range(3), 1) as result:
        assert {result(0), result(1)} == {here}


def test_pytorch_uses_one_thread_in_each_and_its_setting_comes_back():
    torch.set_num_threads(3)
    with ahead(lambda _: torch.get_num_threads(), range(6), 3) as result:
        assert {result(number) for number in range(6)} == {1}
    assert torch.get_num_threads() == 3


def test_an_error_in_a_block_arrives_and_later_blocks_are_given_up():
    done: list[int] = []

    def work(number: int) -> int:
        if number == 1:
            raise ValueError("block 1")
        done.append(number)
        return number

    with pytest.raises(ValueError, match="block 1"), ahead(work, range(100), 2) as result:
        for number in range(100):
            result(number)
    assert len(done) < 10


@pytest.mark.parametrize(("n", "threads"), [(10, 1), (10, 4), (19_213, 2), (10**6, 8)])
def test_blocks_are_no_larger_than_asked_and_keep_all_threads_busy(n, threads):
    length = block_length(n, 4096, 512, threads)
    assert 1 <= length <= 4096
    assert threads == 1 or length == 512 or -(-n // length) >= 4 * threads


@pytest.mark.parametrize("n", [1, 4100, 4101, 8191, 20_001, 10**6 + 1])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_last_block_is_no_crumb_that_takes_a_round_of_its_own(n, threads):
    length = block_length(n, 16_384, 2048, threads, 2)
    blocks = -(-n // length)
    assert blocks <= threads or blocks % threads == 0
    assert blocks == 1 or n - (blocks - 1) * length >= length - blocks


@pytest.mark.parametrize(("blocks", "each"), [(1, 5), (2, 2), (3, 1), (5, 1)])
def test_threads_without_a_block_are_for_compiled_signals(blocks, each):
    torch.set_num_threads(2)
    together = threading.Barrier(blocks)

    def work(_: int) -> int:
        together.wait(10)
        found = kernel_threads()
        together.wait(10)
        return found

    with ahead(work, range(blocks), 5) as result:
        assert {result(number) for number in range(blocks)} == {each}
    assert kernel_threads() == 2


def test_the_last_block_has_the_threads_of_those_that_are_done():
    over = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            return 0
        over.wait(10)
        while kernel_threads() < 2:  # until the other worker has put its block away
            time.sleep(0.001)
        return kernel_threads()

    with ahead(work, range(2), 2) as result:
        result(0)
        over.set()
        assert result(1) == 2

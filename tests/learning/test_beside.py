"""Two threads change the time of a training, never what it learns or what a failure leaves."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from bids_brnn.learning.beside import beside, one_ahead
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.error_network import train_error_network
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.networks import NetworkSpec, build_network
from bids_brnn.learning.seeds import seeded
from bids_brnn.learning.trainer import train
from bids_brnn.tensor_files import read_tensors

CPU = torch.device("cpu")
STAGE = Stage(Loss("mse-crb", mirrored=False), 40, 128, learning_rate=3e-3, warmup=5)
REDUCED = Stage(Loss("bias-reduced"), 20, 64, 4, learning_rate=1e-3)
CONFIG = TrainingConfig(
    (STAGE, REDUCED), snr_range=(20.0, 20.0), precision="float32", averaging=0.9, report_every=20
)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """PyTorch has so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_items_come_in_order_and_are_made_elsewhere(threads):
    makers: list[str] = []

    def items():
        for number in range(5):
            makers.append(threading.current_thread().name)
            yield number

    with one_ahead(items(), CPU) as following:
        assert list(following) == list(range(5))
        assert torch.get_num_threads() == max(1, threads - 1)
    here = threading.current_thread().name
    assert (set(makers) == {here}) == (threads == 1)
    assert torch.get_num_threads() == threads


def test_what_goes_wrong_elsewhere_is_raised_here(threads):
    def items():
        yield 1
        raise ValueError("the second one")

    with pytest.raises(ValueError, match="the second one"), one_ahead(items(), CPU) as following:
        list(following)
    assert torch.get_num_threads() == threads


def test_long_work_is_told_that_nobody_waits_for_it():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    ended = threading.Event()

    def work(left: threading.Event) -> None:
        assert left.wait(60)
        ended.set()

    try:
        with pytest.raises(KeyError), beside(CPU, share=0) as (start, left):
            assert torch.get_num_threads() == 2
            start(lambda: work(left))
            time.sleep(0.01)
            raise KeyError
        assert ended.is_set()
    finally:
        torch.set_num_threads(before)


def _trained(line, folder, count, steps=None):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        network = build_network(
            NetworkSpec(2, ("slope",), normalisation="first", width=16, blocks=1)
        )
        parameters = line.model.parameters
        train(
            network, line.data, parameters, CONFIG, checkpoint=folder / "checkpoint",
            max_steps=steps,
        )  # fmt: skip
        if steps is not None:
            return network, None
        errors = train_error_network(
            network.requires_grad_(False), line.data, parameters, CONFIG, ["slope"], width=8,
            blocks=1, steps=20, batch=64,
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    return network, errors


def test_a_second_thread_does_not_change_one_bit(line, tmp_path):
    """Two threads: one trains, one draws. Also where a training stopped and went on."""
    folders = [tmp_path / name for name in ("one", "two", "resumed")]
    for folder in folders:
        folder.mkdir()
    alone, beside_it = (_trained(line, folders[n], n + 1) for n in (0, 1))
    _trained(line, folders[2], 2, steps=50)  # within the second stage
    resumed = _trained(line, folders[2], 2)
    for other in (beside_it, resumed):
        for one, two in zip(alone, other, strict=True):
            for key, value in one.state_dict().items():
                assert torch.equal(value, two.state_dict()[key]), key
    states = [read_tensors(folder / "checkpoint")["rng"] for folder in folders]
    assert all(torch.equal(states[0], state) for state in states)


def test_weights_depend_on_the_seed_whatever_other_threads_make():
    def made(seed):
        with seeded(seed):
            time.sleep(0.001)
            return torch.rand(3)

    expected = {seed: made(seed) for seed in range(8)}
    found = {}
    workers = [
        threading.Thread(target=lambda seed=seed: found.update({seed: made(seed)}))
        for seed in expected
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in expected)

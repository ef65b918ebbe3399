"""What is estimated does not depend on how many threads were allowed, to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.estimator import _normalise
from bids_brnn.estimators.network import distrust
from bids_brnn.estimators.network import estimator as network
from bids_brnn.estimators.network.scaling import unit_coefficients
from bids_brnn.information.noise import add_noise
from bids_brnn.priors import tissue_set
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.zoo.recipe import EstimatorRecipe

THREADS = (1, 2, 3, 8)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def alike(work: Callable[[], tuple[Tensor, ...]]) -> None:
    found = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        found.append(work())
        assert torch.get_num_threads() == threads
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("work", [_normalise, unit_coefficients])
def test_long_series_are_compressed_alike(work):
    rng = torch.Generator().manual_seed(1)
    # Of sizes at which products share out their inner dimension among threads.
    data = torch.randn(1000, 1000, dtype=torch.complex64, generator=rng)
    basis = torch.randn(1000, 10, dtype=torch.complex64, generator=rng)
    alike(lambda: work(data, basis))


def test_maps_of_a_network_and_what_its_residuals_tell_of_noise_are_alike(monkeypatch):
    monkeypatch.setattr(network, "_LEAST", 16)  # as many blocks as of a whole brain
    estimator = EstimatorRecipe.of_network("mrf-jiang", jiang_like_train(), None).build()
    rng = torch.Generator().manual_seed(2)
    theta = tissue_set(estimator.parameters, "GM", 200, rng=rng).float()
    data = add_noise(estimator.exact(theta).to(torch.complex64), 40.0, rng=rng)
    # Some voxels that no estimate explains: they are what is tested together.
    data[::9] += 0.1 * data[::9].abs().mean() * torch.randn(23, data.shape[1], generator=rng)
    supplied = {"B1": theta[:, estimator.parameters.index(("B1",))[0]]}
    cut = []
    whole = network.ahead

    def ahead(work, blocks, threads):
        cut.append([len(block) for block in blocks])
        return whole(work, blocks, threads)

    monkeypatch.setattr(network, "ahead", ahead)

    def work() -> tuple[Tensor, ...]:
        found = estimator.estimate(data, supplied, sigma=1 / 40)
        maps = (found.theta, found.std, found.m0, found.residual, *found.quality.values())
        return *maps, estimator.residual_energy(data, supplied, sigma=1 / 40)

    alike(work)
    # Which voxels are together decides on the last bit of a few of a whole brain.
    assert all(sizes == cut[0] for sizes in cut)
    assert len(cut[0]) == 4
    # Maps and residuals: a network on several threads errs otherwise in the last bit, too.
    assert len(cut) == 2 * len(THREADS)


def test_one_search_serves_all_threads_that_ask_first(monkeypatch):
    def search(*parts: object) -> object:
        time.sleep(0.05)  # others ask meanwhile
        return object()

    monkeypatch.setattr(distrust, "Search", search)
    found = EstimatorRecipe.of_network("mrf-jiang", jiang_like_train(), None).build()._distrust
    with ThreadPoolExecutor(4) as pool:
        searches = list(pool.map(lambda _: found._search, range(4)))
    assert len(set(searches)) == 1

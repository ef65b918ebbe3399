"""A sample of a mask: exact size, a share of each region, the same voxels again."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.regions.sampling import LEAST_OF_REGION, stratified_sample

V = 20_000
RNG = np.random.default_rng(4)
TISSUE = RNG.choice(4, V, p=[0.1, 0.5, 0.38, 0.02])
SIDE = RNG.choice(3, V, p=[0.2, 0.4, 0.4])


@pytest.mark.parametrize("n", [1, 7, 999, 5000, V])
@pytest.mark.parametrize("labels", [[], [TISSUE], [TISSUE, SIDE], [np.zeros(V, int)]])
def test_there_are_exactly_as_many_voxels_as_asked_for(labels, n):
    assert stratified_sample(labels, V, n, 1).sum() == n


def test_each_combination_of_regions_has_its_share():
    n = 5000
    chosen = stratified_sample([TISSUE, SIDE], V, n, 1)
    for tissue in (1, 2):  # large: the least of a region is below their share
        for side in range(3):
            inside = (tissue == TISSUE) & (side == SIDE)
            share = inside.mean() * n
            # What every region has at least moves the shares of the others a little.
            assert chosen[inside].sum() == pytest.approx(share, rel=0.03, abs=2)


def test_a_small_region_is_not_lost():
    few = np.where(np.arange(V) < 150, 5, TISSUE)
    few[200:230] = 6
    chosen = stratified_sample([few], V, 2000, 1)
    assert chosen[few == 5].sum() >= LEAST_OF_REGION
    assert chosen[few == 6].all()


def test_many_regions_do_not_take_more_than_half():
    many = np.arange(V) // 20 + 1  # 1000 regions
    sizes = np.bincount(many[stratified_sample([many], V, 4000, 1)], minlength=1001)[1:]
    assert sizes.min() >= 2
    assert sizes.max() <= 6  # 2 of each region first, its share of the other 2000, and one


def test_the_seed_alone_decides_which():
    first = stratified_sample([TISSUE], V, 500, 1)
    assert np.array_equal(first, stratified_sample([TISSUE], V, 500, 1))
    assert not np.array_equal(first, stratified_sample([TISSUE], V, 500, 2))


def test_voxels_are_drawn_at_random_within_a_region():
    chosen = stratified_sample([np.ones(V, int)], V, 2000, 1)
    place = np.flatnonzero(chosen) / V
    # The mean of 2000 uniform numbers has a standard deviation of 0.0065.
    assert place.mean() == pytest.approx(0.5, abs=0.026)
    assert np.histogram(place, 4)[0].min() > 400

"""Data that cannot tell a parameter are refused; such as tell it ever so weakly are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.information.told import check_told
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.zoo.recipe import EstimatorRecipe


def spectrum(rows, **changes):
    """The usual protocol with some of its measurements."""
    usual = usual_protocol()
    protocol = replace(
        usual, mt_flip_angle=usual.mt_flip_angle[rows], offset=usual.offset[rows], **changes
    )
    return ObservedR1(build_model("yarnykh", protocol))


@pytest.mark.parametrize("rows", [[0, 1], [0, 1, 2], [0, 1, 3, 8]])
def test_fewer_images_than_unknowns_are_refused(rows):
    with pytest.raises(DataError, match=rf"cannot tell .*, {len(rows)}, are too few"):
        check_told(spectrum(rows), "z")


def test_as_many_images_as_unknowns_may_do():
    check_told(spectrum([0, 1, 3, 8, 12]), "z")
    # M0 is no unknown where images come divided.
    check_told(spectrum([1, 3, 8, 12], normalised=True), "z")


def test_repeats_count_once():
    with pytest.raises(DataError, match="or too much alike"):
        check_told(spectrum([0, 0, 1, 1, 2, 2, 3, 3]), "z")


def test_what_is_told_weakly_is_not_refused():
    # Nothing below 7 kHz: at an SNR of 100 the bound of R2f is ten times its value or more.
    check_told(spectrum([0, 4, 5, 6, 10, 11, 12]), "z")


def test_one_frame_and_two_coefficients_are_refused():
    train = jiang_like_train(200)
    model = build_model("fisp", train)
    check_told(model, "train")
    theta = torch.tensor([[1.2, 12.0, 1.0], [0.7, 10.0, 1.0]], dtype=torch.float64)
    one = Subspace.from_signals(model(theta), 1)
    with pytest.raises(DataError, match="R1, R2: values per voxel, 1, are"):
        check_told(CompressedSignal(model, one), "train")


def test_no_map_is_made_of_what_cannot_be_told():
    train = hybrid_state_train(n_pulses=30)
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(train.n_samples, 4)))[0]
    recipe = EstimatorRecipe(estimator="nlls", model="gbloch", sequence=train, basis=basis)
    with pytest.raises(DataError, match="voxel, 4, are too few for 8 parameters and M0"):
        recipe.build()

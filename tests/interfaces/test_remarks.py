"""What the log says of maps."""

from dataclasses import replace

import pytest
import torch

from bids_brnn.estimators.base import Estimate
from bids_brnn.interfaces.remarks import say_on_bound, say_unlike, say_without_spread
from bids_brnn.maps import MapItem
from bids_brnn.parameters import Parameter, ParameterSet
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.zoo.recipe import EstimatorRecipe


@pytest.mark.parametrize(("unlike", "is_said"), [(3, True), (2, False)])
def test_where_most_voxels_are_like_nothing_that_the_network_knows(caplog, unlike, is_said):
    nothing = torch.zeros(4)
    distance = torch.where(torch.arange(4) < unlike, 2.0, 0.5)
    estimate = Estimate(nothing[:, None], nothing, nothing, quality={"distance": distance})
    with caplog.at_level("WARNING", "bids_brnn"):
        say_unlike("s", estimate)
    assert ("s: 75 % of the voxels lie outside of what the network" in caplog.text) is is_said


@pytest.mark.parametrize(("ends", "words"), [(3, "75 % of the voxels a lies on a bound"), (2, "")])
def test_where_most_voxels_end_on_a_bound(caplog, ends, words):
    item = MapItem("a", "1", "", "a")
    parameters = ParameterSet((Parameter(item, 0.0, 2.0, 1.0, "estimated"),))
    theta = torch.where(torch.arange(4) < ends, 2.0, 0.5)[:, None]
    with caplog.at_level("WARNING", "bids_brnn"):
        say_on_bound("s", Estimate(theta, torch.zeros(4), torch.zeros(4)), parameters)
    assert words in caplog.text
    assert bool(caplog.text) is bool(words)


@pytest.mark.parametrize(
    ("images", "noise", "is_said"), [(5, None, True), (5, 2.0, False), (6, None, False)]
)
def test_why_there_are_no_standard_deviations(caplog, images, noise, is_said):
    usual = usual_protocol()
    rows = [0, 1, 3, 8, 12, 5][:images]
    few = replace(usual, mt_flip_angle=usual.mt_flip_angle[rows], offset=usual.offset[rows])
    recipe = EstimatorRecipe("nlls", "ramani", few, supplied=("R1", "B1", "w0"), magnitude=True)
    with caplog.at_level("WARNING", "bids_brnn"):
        say_without_spread("s", recipe, recipe.build_model().parameters, noise)
    assert ("standard deviations are missing" in caplog.text) is is_said

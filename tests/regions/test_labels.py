"""Regions: erosion, probabilities, and classes from T1."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_brnn.errors import DataError
from bids_brnn.regions import apparent_t1, erode, labels_in, probability_labels, tissue_classes


def test_erosion_is_binary_erosion_of_each_label():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (3, 3, 3)), np.ones((5, 5, 5), int))
    for layers in (1, 2):
        found = erode(labels, layers)
        for label in (1, 2):
            expected = ndimage.binary_erosion(labels == label, iterations=layers, border_value=1)
            np.testing.assert_array_equal(found == label, expected)


def test_a_single_slice_is_eroded_in_its_plane():
    labels = np.zeros((7, 7, 1), int)
    labels[1:6, 1:6] = 4
    found = erode(labels, 1)
    assert (found > 0).sum() == 9
    assert found[3, 3, 0] == 4
    assert erode(found, 2).sum() == 0


def test_touching_regions_both_lose_their_border():
    labels = np.repeat([1, 1, 1, 2, 2, 2], 4).reshape(6, 4, 1)
    assert erode(labels, 1)[:, 0, 0].tolist() == [1, 1, 0, 0, 2, 2]
    np.testing.assert_array_equal(erode(labels, 0), labels)


def test_a_voxel_belongs_to_a_tissue_that_fills_it():
    shares = {
        "WM": np.array([[[0.9, 0.5, 0.1, 0.79]]]),
        "GM": np.array([[[0.1, 0.5, 0.8, 0.21]]]),
        "lesion": np.array([[[0.0, 0.0, 0.1, 0.0]]]),
    }
    labels, names = probability_labels(shares)
    assert labels.ravel().tolist() == [2, 0, 1, 0]
    assert names == {1: "GM", 2: "WM", 4: "lesion"}


def test_probabilities_are_no_percentages():
    with pytest.raises(DataError, match="0 to 1 is needed"):
        probability_labels({"GM": np.full((1, 1, 1), 90.0)})


def test_published_tissues_are_told_apart():
    """Both published pairs of T1 values fall into their classes, and so does fluid."""
    white, grey, fluid = [0.832, 1.084], [1.331, 1.820], [4.16]
    values = np.array([*white, *grey, *fluid, np.nan])
    assert tissue_classes(values).tolist() == [2, 2, 1, 1, 3, 0]


def test_t1_is_that_of_the_mean_rate():
    maps = {"m0s": np.array([0.2]), "R1f": np.array([0.5]), "R1s": np.array([3.0])}
    assert apparent_t1(maps)[0] == pytest.approx(1 / (0.8 * 0.5 + 0.2 * 3.0))
    assert apparent_t1({"R1": np.array([2.0, 0.0])})[0] == 0.5
    assert np.isnan(apparent_t1({"R1": np.array([2.0, 0.0])})[1])
    with pytest.raises(DataError, match="no T1"):
        apparent_t1({"T2s": np.array([1e-5])})


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.uint64, np.float32])
@pytest.mark.parametrize("highest", [100, 2**20])
def test_labels_that_occur_are_found_however_large(kind, highest):
    labels = np.asfortranarray(np.zeros((4, 5, 6), kind))
    labels[1, 2:4], labels[3, 0, 5] = 7, min(highest, 255 if kind is np.uint8 else highest)
    assert labels_in(labels) == [int(label) for label in np.unique(labels) if label]
    assert labels_in(-labels.astype(np.int64)) == [-int(labels.max()), -7]
    assert labels_in(labels[:0]) == []

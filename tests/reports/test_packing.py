import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from bids_brnn.reports import assemble
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView, Spectra
from bids_brnn.reports.packing import pack_series

AFFINE = np.array([[2.0, 0, 0, -9], [0, 2, 0, -8], [0, 0, 3, 4], [0, 0, 0, 1]])


def make(shape=(20, 22, 12), n_maps=3):
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, bool)
    mask[3:-4, 2:-3, 1:-1] = True
    maps = [
        MapView(f"p{k}", "1/s", "words", rng.lognormal(0, 4, shape).astype(np.float32), None, "f")
        for k in range(n_maps)
    ]
    flags = MapView("flags", "1", "flags", rng.choice([0.0, 2, 128, 130], shape), None, "f")
    maps[0].values[5, 5, 5] = np.nan
    item = EstimatorView("nlls", "Fit", maps, maps, [flags])
    return SeriesView("s", "QMT", rng.random(shape), mask, [item], affine=AFFINE,
                      file_affine=AFFINE, voxel_size=(2.0, 2.0, 3.0))  # fmt: skip


def values_of(item):
    planes = np.frombuffer(zlib.decompress(base64.b64decode(item["data"])), np.uint8)
    high, middle, low = planes.reshape(3, -1).astype(np.uint32)
    return (high << 24 | middle << 16 | low << 8).view(np.float32).astype(float)


def places_of(packed):
    """Indices of the files of the voxels that are in the page."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed["mask"])), np.uint8)
    n = int(np.prod(packed["shape"]))
    inside = np.unpackbits(raw, count=n, bitorder="little").astype(bool)
    index = np.array(np.unravel_index(np.flatnonzero(inside), packed["shape"], order="F"))
    matrix = np.array(packed["to_file"]) @ np.array(packed["affine"])
    return np.rint(matrix[:3, :3] @ index + matrix[:3, 3:]).astype(int)


@pytest.mark.parametrize("budget", [10_000_000, 20_000, 9_000])
def test_values_are_those_of_the_voxels_that_the_page_names(budget):
    series = make()
    packed = pack_series(series, budget)
    places = tuple(places_of(packed))
    assert series.mask[places].all()
    for item, view in zip(packed["maps"][:3], series.estimators[0].estimates, strict=True):
        found, expected = values_of(item), view.values[places]
        # Never beyond what the page says, for values over thirty powers of e.
        np.testing.assert_allclose(found, expected, rtol=packed["rounding"])
    (flags,) = (item for item in packed["maps"] if item["name"] == "flags")
    np.testing.assert_array_equal(values_of(flags), series.estimators[0].quality[0].values[places])
    if budget == 10_000_000:
        assert packed["step"] == [1, 1, 1]
        assert len(places[0]) == series.mask.sum()
    else:
        assert np.prod(packed["step"]) > 1


def test_a_small_budget_is_kept():
    for budget in (60_000, 30_000, 8_000):
        packed = pack_series(make((40, 44, 24), 4), budget)
        assert len(json.dumps(packed)) <= budget


def test_spectra_of_fewer_voxels_where_there_is_no_room_for_all():
    rng = np.random.default_rng(2)
    voxels = np.argwhere(make().mask)[:200]
    data = rng.random((200, 30))
    spectra = Spectra(voxels, np.full(30, 1e3), np.full(30, 400.0), data, {"nlls": 2 * data})
    packed = pack_series(replace(make(), spectra=spectra), 40_000)
    assert len(json.dumps(packed)) <= 40_000
    kept = packed["spectra"]
    n = len(kept["voxels"])
    assert 10 < n < 200
    places = [voxels.tolist().index(voxel) for voxel in kept["voxels"]]
    found = values_of({"data": kept["fitted"]["nlls"]}).reshape(n, 30)
    np.testing.assert_allclose(found, 2 * data[places], rtol=packed["rounding"])


def test_an_empty_mask_and_a_map_without_values_are_packed():
    series = make()
    series.mask[:] = False
    packed = pack_series(series, 100_000)
    assert values_of(packed["maps"][0]).size == 0


def test_json_cannot_end_its_element():
    text = assemble.safe_json({"a": "</script><script>alert(1)</script>&"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><script>alert(1)</script>&"}

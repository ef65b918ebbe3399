"""Labels on the grid of a series, from every kind of source, and the tables made with them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from bids_brnn.bids.images import read_grid
from bids_brnn.errors import DataError
from bids_brnn.imaging import grids as nifti
from bids_brnn.imaging.grids import labels_on_grid, on_grid, share_on_grid
from bids_brnn.interfaces import CompareEstimators, PrepareLabels, SummariseRegions

SHAPE = (6, 8, 1)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def image(path, values, affine=AFFINE):
    nibabel.Nifti1Image(values, affine, dtype=values.dtype).to_filename(path)
    return str(path)


@pytest.fixture
def mask(tmp_path):
    values = np.ones(SHAPE, np.uint8)
    values[0] = 0
    return image(tmp_path / "mask.nii", values)


@pytest.fixture
def fine():
    """A grid of 1 mm that fills exactly the same space as the series of 2 x 2 x 4 mm."""
    affine = np.eye(4)
    affine[:3, 3] = [-0.5, -0.5, -1.5]
    return (12, 16, 4), affine


def prepare(tmp_path, monkeypatch, **inputs):
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.chdir(folder)
    result = PrepareLabels(**inputs).run().outputs
    return np.asanyarray(nibabel.load(result.labels).dataobj), result


def test_an_atlas_on_another_grid(tmp_path, monkeypatch, mask, fine):
    shape, affine = fine
    values = np.zeros(shape, np.int16)
    values[:, 8:] = 7
    path = image(tmp_path / "atlas.nii.gz", values, affine)
    (tmp_path / "atlas.tsv").write_text("index\tname\tcolor\n7\tfront\t#ff0000\n")
    labels, result = prepare(
        tmp_path, monkeypatch, mask=mask, labels=path, lookup=str(tmp_path / "atlas.tsv")
    )
    assert result.source == "labels"
    assert labels.dtype == np.int32
    assert not labels[0].any()
    assert (labels[1:, 4:] == 7).all()
    assert not labels[:, :4].any()
    assert Path(result.lookup).read_text() == "index\tname\tcolor\n7\tfront\t#ff0000\n"


def test_labels_without_a_table_are_called_by_their_numbers(tmp_path, monkeypatch, mask, fine):
    shape, affine = fine
    values = np.full(shape, 7, np.int16)
    values[:, 8:] = 12
    path = image(tmp_path / "atlas.nii.gz", values, affine)
    _, result = prepare(tmp_path, monkeypatch, mask=mask, labels=path)
    assert Path(result.lookup).read_text() == "index\tname\n7\t7\n12\t12\n"


def test_erosion_counts_the_border_of_the_mask(tmp_path, monkeypatch, mask, fine):
    shape, affine = fine
    path = image(tmp_path / "atlas.nii.gz", np.full(shape, 7, np.int16), affine)
    labels, _ = prepare(tmp_path, monkeypatch, mask=mask, labels=path, erode=1)
    # Row 0 is outside the mask; beyond the image nothing is known, so nothing is taken off.
    assert not labels[:2].any()
    assert (labels[2:] == 7).all()


def test_an_atlas_beside_the_series_is_refused(tmp_path, monkeypatch, mask):
    far = AFFINE.copy()
    far[0, 3] = 500
    path = image(tmp_path / "atlas.nii.gz", np.ones(SHAPE, np.int16), far)
    with pytest.raises(DataError, match="no label inside the mask"):
        prepare(tmp_path, monkeypatch, mask=mask, labels=path, must_overlap=True)


def test_a_voxel_takes_the_label_that_fills_most_of_it(tmp_path, mask, fine, monkeypatch):
    shape, affine = fine
    values = np.zeros(shape, np.int16)
    values[3:9] = 1000  # voxel 1 to the half, 2 and 3 whole, 4 to the half
    values[2, :, :1] = 1000  # now five eighths of voxel 1
    path = tmp_path / "atlas.nii.gz"
    image(path, values, affine)
    target = read_grid(tmp_path / "mask.nii")
    found = labels_on_grid(read_grid(path), target)
    # Background and label fill voxel 4 equally: the smaller value.
    assert found[:, 3, 0].tolist() == [0, 1000, 1000, 1000, 0, 0]
    monkeypatch.setattr(nifti, "_MOST_POINTS", 1)  # one slice at a time
    np.testing.assert_array_equal(labels_on_grid(read_grid(path), target), found)


def test_labels_no_finer_than_the_series_go_by_the_nearest(tmp_path, mask):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (4, 5, 2)).astype(np.int16)
    path = tmp_path / "coarse.nii.gz"
    image(path, values, np.diag([3.0, 3.0, 4.0, 1.0]))
    grids = read_grid(path), read_grid(tmp_path / "mask.nii")
    np.testing.assert_array_equal(labels_on_grid(*grids), on_grid(*grids, labels=True))


def test_probabilities_are_averaged_over_a_voxel(tmp_path, mask, fine):
    """A tissue border inside a voxel gives the share, not the value at the centre."""
    shape, affine = fine
    values = np.zeros(shape, np.float32)
    values[:5] = 1  # 2 1/2 voxels of the series
    path = tmp_path / "label-GM_probseg.nii.gz"
    image(path, values, affine)
    found = share_on_grid(read_grid(path), read_grid(tmp_path / "mask.nii"))
    # Linear interpolation between points that coincide with voxels: exact.
    np.testing.assert_allclose(found[:, 2, 0], [1, 1, 0.5, 0, 0, 0], atol=1e-6)


def test_probabilities_make_tissues(tmp_path, monkeypatch, mask, fine):
    shape, affine = fine
    grey = np.zeros(shape, np.float32)
    grey[:5] = 1
    paths = [
        image(tmp_path / "gm.nii.gz", grey, affine),
        image(tmp_path / "wm.nii.gz", 1 - grey, affine),
    ]
    labels, result = prepare(
        tmp_path, monkeypatch, mask=mask, probabilities=paths, probability_names=["GM", "WM"]
    )
    assert result.source == "probabilities"
    assert labels[:, 3, 0].tolist() == [0, 1, 0, 2, 2, 2]


def maps_file(folder, shift=0.0):
    """Maps of T1 0.9 and 1.6 s in the two halves, as EstimateMaps lists them."""
    folder.mkdir()
    rate = np.full(SHAPE, 1 / 0.9, np.float32)
    rate[:, 4:] = 1 / 1.6
    rate += np.float32(shift)
    rows = []
    for name, kind, values in (
        ("R1", "estimate", rate),
        ("R1", "std", np.full(SHAPE, 0.02, np.float32)),
        ("M0", "estimate", rate),
        ("flags", "flag", (rate > 1).astype(np.float32)),
    ):
        image(folder / f"{name}_{kind}.nii", values)
        row = {"name": name, "unit": "1/s", "kind": kind, "file": f"{name}_{kind}.nii"}
        rows.append(row | ({"valid_range": [0.1, 20]} if name == "R1" and not len(rows) else {}))
    (folder / "maps.json").write_text(json.dumps(rows))
    return str(folder / "maps.json"), [str(path) for path in sorted(folder.glob("*.nii"))]


def test_classes_from_the_maps(tmp_path, monkeypatch, mask):
    file, maps = maps_file(tmp_path / "maps")
    labels, result = prepare(tmp_path, monkeypatch, mask=mask, maps_file=file, maps=maps)
    assert result.source == "maps"
    assert (labels[1:, :4] == 2).all()
    assert (labels[1:, 4:] == 1).all()


def test_tables_of_one_and_of_two_estimators(tmp_path, monkeypatch, mask):
    file, maps = maps_file(tmp_path / "first", shift=0.05)
    other, others = maps_file(tmp_path / "second")
    _, labels = prepare(tmp_path, monkeypatch, mask=mask, maps_file=other, maps=others)
    regions = {"mask": mask, "labels": labels.labels, "lookup": labels.lookup, "source": "maps"}
    table = SummariseRegions(maps_file=file, maps=maps, **regions).run().outputs.table
    rows = pd.read_csv(table, sep="\t", na_values="n/a").set_index(["param", "name"])
    assert set(rows.index.get_level_values("param")) == {"R1", "M0"}  # flags are no quantity
    assert rows.loc[("R1", "WM"), "mean"] == pytest.approx(1 / 0.9 + 0.05, rel=1e-5)
    assert rows["share_flagged"].to_dict()["R1", "WM"] == 1
    assert rows["share_flagged"].to_dict()["R1", "GM"] == 0
    assert set(rows["region_source"]) == {"maps"}
    compare = CompareEstimators(
        test_file=file, test_maps=maps, reference_file=other, reference_maps=others, **regions
    )
    rows = pd.read_csv(compare.run().outputs.table, sep="\t", na_values="n/a").set_index("name")
    assert set(rows["param"]) == {"R1"}  # neither scale nor quality
    # Single precision of the two maps.
    assert rows.loc["mask", "bias"] == pytest.approx(0.05, rel=1e-4)
    assert rows.loc["GM", "median_abs_diff_crb"] == pytest.approx(2.5, rel=1e-4)

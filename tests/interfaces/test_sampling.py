"""A reference in a sample of the voxels: when, which, and what its maps then hold."""

from __future__ import annotations

import json
import logging

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.interfaces import sampling
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.interfaces.regions.labels import PrepareLabels
from bids_brnn.interfaces.regions.statistics import map_rows, read_maps
from bids_brnn.interfaces.sampling import draw_sample, estimated_mask
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.zoo.recipe import EstimatorRecipe

SHAPE = (8, 9, 1)
MASK = np.ones(SHAPE, bool)
MASK[0] = False


class Clock:
    """Time in which only estimating passes, at a rate of voxels per second."""

    def __init__(self, rate):
        self.now, self.rate, self.runs = 0.0, rate, []

    def monotonic(self):
        return self.now

    def run(self, mask):
        self.runs.append(int(mask.sum()))
        self.now += self.runs[-1] / self.rate


@pytest.fixture
def clock(monkeypatch):
    def at(rate):
        made = Clock(rate)
        monkeypatch.setattr(sampling, "time", made)
        return made

    return at


BRAIN = np.ones((60, 50, 40), bool)  # 120,000 voxels


def test_all_voxels_are_taken_where_that_is_soon_done(clock, caplog):
    quick = clock(201.0)
    with caplog.at_level(logging.INFO, "bids_brnn"):
        assert draw_sample("auto", BRAIN, [], 1, quick.run, "x nlls") is BRAIN
    assert len(quick.runs) == 2  # the first loads and compiles
    assert not caplog.records


def test_a_sample_is_taken_where_all_would_take_long_and_that_is_said(clock, caplog):
    slow = clock(199.0)
    with caplog.at_level(logging.INFO, "bids_brnn"):
        assert draw_sample("auto", BRAIN, [], 1, slow.run, "x nlls").sum() == 50_000
    (said,) = caplog.messages
    assert said.startswith("x nlls: all would take 10 min at 199 voxels/s")
    assert "50000 of 120000 voxels" in said
    assert "(seed 1)" in said


@pytest.mark.parametrize(("wanted", "n"), [("all", 120_000), ("5000", 5000), ("900000", 120_000)])
def test_what_is_asked_for_is_not_measured(clock, wanted, n):
    slow = clock(1.0)
    assert draw_sample(wanted, BRAIN, [], 1, slow.run, "x").sum() == n
    assert not slow.runs


def test_few_voxels_are_never_measured(clock):
    slow = clock(1e-3)
    assert draw_sample("auto", MASK, [], 1, slow.run, "x") is MASK
    assert not slow.runs


def test_labels_of_another_grid_are_refused(write_nifti):
    path = write_nifti("wrong.nii", np.ones((3, 3, 1), np.int16))
    with pytest.raises(DataError, match=r"wrong\.nii has shape \(3, 3, 1\)"):
        draw_sample("5", MASK, [str(path)], 1, lambda mask: None, "x")


def fingerprints():
    recipe = EstimatorRecipe("dict", "fisp", jiang_like_train(40), supplied=("B1",))
    return recipe, {"B1": 1.0}, [1.1, 12.0, 1.0]


def trains():
    train = hybrid_state_train(n_pulses=40)
    recipe = EstimatorRecipe("nlls", "gbloch", train, estimator_options={"n_starts": 1})
    return recipe, {}, [0.2, 0.6, 13.0, 17.0, 3.0, 12e-6, 0.0, 1.0]


def spectra():
    recipe = EstimatorRecipe(
        "nlls", "ramani", usual_protocol(), supplied=("R1", "B1", "w0"), magnitude=True
    )
    known = {"R1": 1.1, "B1": 1.0, "w0": 0.0}
    return recipe, known, [0.13, 1.1, 35.0, 15.0, 1.0, 11.5e-6, 0.0, 1.0]


@pytest.fixture(params=[fingerprints, spectra, trains])
def case(request, write_nifti, tmp_path):
    recipe, known, theta = request.param()
    signal = recipe.build_model()(torch.tensor([theta]).double())[0].numpy()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((*SHAPE, len(signal), 2)) @ [1, 1j]
    noise = noise.real if recipe.magnitude else noise
    data = signal + 0.02 * np.abs(signal).max() * noise
    data[3, 3] = 0  # a voxel that cannot be estimated
    files = {
        "coefficients": str(write_nifti("c.nii", data.astype(np.complex64))),
        "mask": str(write_nifti("m.nii", MASK)),
        "recipe": str(recipe.to_file(tmp_path / "r.json")),
        "suffix": "QMTmap",
    }
    if known:
        files["supplied_names"] = list(known)
        files["supplied"] = [
            str(write_nifti(f"{name}.nii", np.full(SHAPE, value, np.float32)))
            for name, value in known.items()
        ]
    labels = np.where(np.arange(9)[:, None] < 2, 4, 9) * np.ones(SHAPE, int)
    return files, str(write_nifti("labels.nii", labels.astype(np.int16)))


def estimated(folder, files, **options):
    folder.mkdir()
    EstimateMaps(**files, **options).run(cwd=str(folder))
    rows = json.loads((folder / "maps.json").read_text())
    maps = {row["file"]: nibabel.load(folder / row["file"]).get_fdata() for row in rows}
    return rows, maps


def test_a_sample_holds_the_estimates_of_all_voxels_and_nothing_elsewhere(case, tmp_path):
    files, labels = case
    _, whole = estimated(tmp_path / "all", files)
    options = {"reference_voxels": "20", "strata": [labels], "seed": 3}
    rows, maps = estimated(tmp_path / "some", files, **options)
    inside = estimated_mask(tmp_path / "some" / "maps.json", rows[0])
    assert inside.sum() == 20
    assert not inside[~MASK].any()
    assert all(row["sample"]["EstimatedVoxels"] == 20 for row in rows)
    assert rows[0]["sample"]["RandomSeed"] == 3
    for file, values in maps.items():
        assert np.isnan(values[~inside]).all(), file
        # Voxels are independent of each other but for the rounding of sums in blocks.
        np.testing.assert_allclose(values[inside], whole[file][inside], rtol=2e-3, err_msg=file)
    assert np.isfinite(maps["flags_flag.nii"][inside]).all()


class TestTables:
    @pytest.fixture
    def sampled(self, write_nifti, tmp_path):
        """A map in 4 of 64 voxels, of which one is flagged; the same of all voxels."""
        for folder, inside in (("some", np.zeros(SHAPE, bool)), ("all", MASK.copy())):
            if folder == "some":
                inside[2, 2:6] = True
            (tmp_path / folder).mkdir()
            maps = {
                "R1": np.where(inside, 1 / 1.6, np.nan),
                "flags": np.where(inside, 0.0, np.nan),
            }
            maps["flags"][2, 2] = 2.0
            rows = [
                {"name": name, "unit": "1/s", "kind": "flag" if name == "flags" else "estimate",
                 "file": f"{name}.nii"} for name in maps
            ]  # fmt: skip
            for name, values in maps.items():
                write_nifti(f"{folder}/{name}.nii", values.astype(np.float32))
            if folder == "some":
                write_nifti("some/sample.nii", inside)
                about = {"sample": {"EstimatedVoxels": 4}, "sample_file": "sample.nii"}
                rows = [{**row, **about} for row in rows]
            (tmp_path / folder / "maps.json").write_text(json.dumps(rows))
        return tmp_path / "some" / "maps.json", tmp_path / "all" / "maps.json"

    def test_shares_refer_to_voxels_that_were_estimated(self, sampled):
        labels = np.ones(int(MASK.sum()), np.int32)
        (row,) = map_rows(sampled[0], MASK, labels, {1: "one"}, 1.0)
        assert (row["n_voxels"], row["n_valid"], row["share_flagged"]) == (63, 4, 0.25)
        assert read_maps(sampled[1], MASK).estimated is None

    @pytest.mark.parametrize("listed", [0, 1])
    def test_tissues_are_told_by_maps_of_all_voxels(self, sampled, write_nifti, tmp_path, listed):
        mask = str(write_nifti("m.nii", MASK))
        (tmp_path / "node").mkdir()
        files = {"maps_file": str(sampled[listed]), "whole_file": str(sampled[1])}
        found = PrepareLabels(mask=mask, **files, derived_from="dict", whole_from="brnn")
        outputs = found.run(cwd=str(tmp_path / "node")).outputs
        assert outputs.derived_from == ("brnn", "dict")[listed]
        assert (nibabel.load(outputs.labels).get_fdata()[MASK] > 0).all()

    def test_layers_are_taken_off_regions_not_off_single_voxels(self, write_nifti, tmp_path):
        """Every second voxel of two halves: all are left but for those where the halves meet."""
        shape = (10, 12, 1)
        sample = np.indices(shape).sum(0) % 2 == 0
        white = np.indices(shape)[1] < 6
        rate = np.where(white, 1 / 0.9, 1 / 1.6)
        write_nifti("R1.nii", np.where(sample, rate, np.nan).astype(np.float32))
        write_nifti("sample.nii", sample)
        row = {"name": "R1", "unit": "1/s", "kind": "estimate", "file": "R1.nii",
               "sample": {}, "sample_file": "sample.nii"}  # fmt: skip
        (tmp_path / "maps.json").write_text(json.dumps([row]))
        (tmp_path / "node").mkdir()
        mask = str(write_nifti("m.nii", np.ones(shape, bool)))
        maps = {"maps_file": str(tmp_path / "maps.json"), "derived_from": "dict"}
        found = PrepareLabels(mask=mask, **maps, erode=1).run(cwd=str(tmp_path / "node")).outputs
        labels = nibabel.load(found.labels).get_fdata()
        assert not labels[~sample].any()
        inner = sample & (np.abs(np.indices(shape)[1] - 5.5) > 2)
        assert np.array_equal(labels[inner], np.where(white, 2, 1)[inner])
        assert (labels[:, 5:7][sample[:, 5:7]] == 0).any()

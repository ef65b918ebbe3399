"""Maps of an estimator as files, and what is said while it works."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError, TemporaryError, UsageError
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.maps import FLAGS, flags, named_maps
from bids_brnn.estimators.nlls.results import CONVERGED, INVALID, ITERATION_LIMIT, RESOLVED
from bids_brnn.estimators.run import duration, progress_logger, run_estimator, to_device
from bids_brnn.interfaces import estimate as module
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.parameters import QMT, RELAXATION
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.zoo.recipe import EstimatorRecipe


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.2, "3 s"), (99.4, "99 s"), (130, "2 min"), (5940, "99 min"), (7500, "2 h 05 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_progress_names_rate_and_time_left_and_is_not_chatty(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, "bids_brnn")
    report = progress_logger("sub-01")
    for second in range(1, 31):
        now[0] = float(second)
        report(10 * second, 1000)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "sub-01: 100 of 1000 voxels (10 %), 10 voxels/s, 90 s left",
        "sub-01: 200 of 1000 voxels (20 %), 10 voxels/s, 80 s left",
        "sub-01: 300 of 1000 voxels (30 %), 10 voxels/s, 70 s left",
    ]


def test_a_device_that_is_absent_is_refused_and_auto_falls_back(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    voxels = np.ones((2, 3), np.complex64)
    with pytest.raises(UsageError, match="no CUDA device"):
        to_device(voxels, "cuda", 1)
    assert to_device(voxels, "auto", 1).device.type == "cpu"


def test_threads_are_those_of_the_node():
    before = torch.get_num_threads()
    try:
        to_device(np.ones((1, 1), np.complex64), "cpu", 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@dataclass
class Fake:
    """An estimator with neither progress nor checkpoint."""

    parameters = RELAXATION
    name: str = "fake"
    error: Exception | None = None
    seen: list = field(default_factory=list)

    def estimate(self, data, supplied=None, *, sigma=None):
        self.seen.append((data.shape, supplied, sigma))
        if self.error:
            raise self.error
        n = len(data)
        return Estimate(torch.ones(n, 3), torch.ones(n, dtype=torch.complex64), torch.zeros(n))


def test_options_that_an_estimator_lacks_are_not_passed(tmp_path):
    fake = Fake()
    run_estimator(fake, torch.ones(4, 2, dtype=torch.complex64), {}, 0.5, tmp_path / "c", "x")
    assert fake.seen == [((4, 2), None, 0.5)]


def test_a_full_device_is_worth_another_try(tmp_path):
    fake = Fake(error=torch.cuda.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(TemporaryError, match="--device cpu") as refusal:
        run_estimator(fake, torch.ones(1, 2, dtype=torch.complex64), {}, None, tmp_path / "c", "x")
    assert refusal.value.exit_code == 75


def result(parameters, **quality):
    n = 2
    theta = torch.full((n, len(parameters)), 2.0)
    return Estimate(
        theta,
        torch.tensor([3 + 4j, 1j]),
        torch.tensor([0.1, 0.2]),
        std=torch.full_like(theta, 0.4),
        quality={name: torch.ones(n) for name in quality},
    )


def test_maps_of_fingerprinting():
    maps = {item.item.name: item for item in named_maps(
        result(RELAXATION, match=1), RELAXATION, "MRFmap"
    )}  # fmt: skip
    assert list(maps) == ["R1", "T1", "R2", "T2", "M0", "match", "flags"]
    assert maps["T1"].item.suffix == "T1map"
    assert maps["T1"].values.tolist() == [0.5, 0.5]
    # sd(1/R) = sd(R) / R^2
    assert maps["T1"].std.tolist() == pytest.approx([0.1, 0.1])
    assert maps["T1"].bounds == (1 / 20.0, 1 / 0.1)
    assert maps["M0"].values.tolist() == [5.0, 1.0]


def test_maps_of_qmt_leave_nuisances_out():
    maps = {item.item.name: item for item in named_maps(
        result(QMT, distance=1), QMT, "QMTmap"
    )}  # fmt: skip
    estimated = ["m0s", "R1f", "R2f", "Rx", "R1s", "T2s"]
    assert list(maps) == [*estimated, "M0", "relres", "distance", "flags"]
    assert {maps[name].item.suffix for name in ("m0s", "relres", "distance")} == {"QMTmap"}
    assert maps["relres"].values.tolist() == pytest.approx([0.1, 0.2])


def test_flags_add_up_the_reasons_for_doubt():
    start = [item.start for item in QMT]
    theta = torch.tensor([start] * 7, dtype=torch.float64)
    theta[1, 0] = torch.nan
    theta[2, 2] = QMT["R2f"].upper
    theta[6, QMT.index(["w0"])[0]] = QMT["w0"].lower  # a nuisance on its bound tells as much
    quality = {
        # 1 and 2: converged; 3: iteration limit; 0: not estimated
        "stop": torch.tensor([CONVERGED, INVALID, RESOLVED, ITERATION_LIMIT, CONVERGED] + [1] * 2),
        "distance": torch.tensor([0.5, torch.nan, 1.0, 0.5, 1.5, 0.5, 0.5]),
        "match": torch.tensor([0.99, torch.nan, 0.9, 0.99, 0.99, 0.8, 0.99]),
    }
    ones = torch.ones(7, dtype=torch.float64)
    found = flags(Estimate(theta, ones.to(torch.complex128), 0.1 * ones, quality=quality), QMT)
    assert found.tolist() == [0, 1, 2, 4, 8, 16, 2]
    assert sum(FLAGS) == 31


@pytest.fixture
def inputs(tmp_path, write_nifti):
    train = jiang_like_train(30)
    recipe = EstimatorRecipe("dict", "fisp", train, supplied=("B1",))
    rng = np.random.default_rng(0)
    data = rng.standard_normal((2, 3, 1, 30)) + 1j * rng.standard_normal((2, 3, 1, 30))
    return {
        "coefficients": write_nifti("c.nii", data.astype(np.complex64)),
        "mask": write_nifti("m.nii", np.ones((2, 3, 1), bool)),
        "recipe": recipe.to_file(tmp_path / "r.json"),
        "supplied": [str(write_nifti("b1.nii", np.ones((2, 3, 1), np.float32)))],
        "supplied_names": ["B1"],
        "suffix": "MRFmap",
    }


def run(tmp_path, inputs, **changes):
    values = {
        name: value if isinstance(value, list) else str(value)
        for name, value in {**inputs, **changes}.items()
    }
    (tmp_path / "node").mkdir()
    return EstimateMaps(**values).run(cwd=str(tmp_path / "node")).outputs


def test_files_are_listed_with_what_they_are(tmp_path, inputs):
    outputs = run(tmp_path, inputs)
    assert outputs.name == "dict"
    rows = json.loads((tmp_path / "node" / "maps.json").read_text())
    assert [f"{tmp_path / 'node' / row['file']}" for row in rows] == outputs.maps
    (row,) = (row for row in rows if (row["name"], row["kind"]) == ("T2", "std"))
    assert (row["unit"], row["suffix"]) == ("s", "T2map")
    assert nibabel.load(tmp_path / "node" / row["file"]).shape == (2, 3, 1)
    assert not (tmp_path / "node" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("coefficients", (2, 3, 1, 29), r"29.* values per voxel"),
        ("mask", (2, 3, 2), "its mask is"),
        ("supplied", (2, 3, 2), "bring the map to the grid"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(tmp_path, inputs, write_nifti, name, shape, words):
    kind = np.complex64 if name == "coefficients" else np.float32
    path = write_nifti("wrong.nii", np.ones(shape, kind))
    value = [str(path)] if name == "supplied" else path
    with pytest.raises(DataError, match=words):
        run(tmp_path, inputs, **{name: value})


def test_an_empty_mask_is_refused(tmp_path, inputs, write_nifti):
    with pytest.raises(DataError, match="is empty"):
        run(tmp_path, inputs, mask=write_nifti("none.nii", np.zeros((2, 3, 1), bool)))


def test_threads_and_labels_do_not_make_another_result():
    one = EstimateMaps(num_threads=1, label="a").inputs.get_hashval(hash_method="content")[1]
    two = EstimateMaps(num_threads=4, label="b").inputs.get_hashval(hash_method="content")[1]
    gpu = EstimateMaps(device="cuda").inputs.get_hashval(hash_method="content")[1]
    assert one == two
    assert one != gpu

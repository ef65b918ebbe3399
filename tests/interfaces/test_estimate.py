"""Maps of an estimator as files, and what is said while it works."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.maps import as_voxels, named_maps
from bids_brnn.estimators.nlls.results import CONVERGED, INVALID, ITERATION_LIMIT, RESOLVED
from bids_brnn.imaging.noise_level import SOURCES
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.maps import flag_values, flags
from bids_brnn.parameters import QMT, RELAXATION
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.zoo.recipe import EstimatorRecipe


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
    estimate = Estimate(theta, ones.to(torch.complex128), 0.1 * ones, quality=quality)
    found = flag_values(as_voxels(estimate, QMT))
    assert found.tolist() == [0, 1, 2, 4, 8, 16, 2]
    assert sum(flag.bit for flag in flags()) == 31 + 64 + 128 + 256


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


@pytest.mark.parametrize(("level", "words"), [(0.1, "times more"), (0.9, ""), (3.0, "times less")])
def test_a_declared_noise_level_is_compared_with_the_residual(tmp_path, inputs, level, words):
    # The data are noise of 1 per channel, of which a match explains little.
    (tmp_path / "node").mkdir()
    files = {k: v if isinstance(v, list) else str(v) for k, v in inputs.items()}
    EstimateMaps(**files, noise_std=level, check_noise=True).run(cwd=str(tmp_path / "node"))
    rows = json.loads((tmp_path / "node" / "maps.json").read_text())
    assert all(words in row.get("noise_warning", "") for row in rows)
    assert any("noise_warning" in row for row in rows) == bool(words)
    assert all(("if it is right, the images" in row.get("noise_warning", "")) == (level < 0.5)
               for row in rows)  # fmt: skip


@pytest.mark.parametrize(
    ("level", "is_odd"), [(0.1, True), (0.9, False), (3.0, False), (0.0, False)]
)
def test_noise_that_the_images_tell_is_compared_with_the_residual(tmp_path, inputs, level, is_odd):
    (tmp_path / "node").mkdir()
    files = {k: v if isinstance(v, list) else str(v) for k, v in inputs.items()}
    EstimateMaps(**files, noise_level=level, check_level=True).run(cwd=str(tmp_path / "node"))
    rows = json.loads((tmp_path / "node" / "maps.json").read_text())
    said = "the images are not what model and table say"
    assert all((said in row.get("noise_warning", "")) is is_odd for row in rows)


def test_noise_of_air_is_not_compared_with_a_residual_inside_the_head(tmp_path, inputs):
    (tmp_path / "node").mkdir()
    files = {k: v if isinstance(v, list) else str(v) for k, v in inputs.items()}
    node = EstimateMaps(**files, noise_level=0.1, check_level=True, noise_source=SOURCES["air"])
    node.run(cwd=str(tmp_path / "node"))
    assert "noise_warning" not in (tmp_path / "node" / "maps.json").read_text()


def test_maps_without_a_value_are_refused(tmp_path, inputs):
    files = {k: v if isinstance(v, list) else str(v) for k, v in inputs.items()}
    image = nibabel.load(files["coefficients"])
    empty = np.zeros(image.shape, np.complex64)
    nibabel.save(nibabel.Nifti1Image(empty, image.affine), tmp_path / "empty.nii")
    files["coefficients"] = str(tmp_path / "empty.nii")
    (tmp_path / "node").mkdir()
    with pytest.raises(DataError, match=r"None of the \d+ voxels can be estimated"):
        EstimateMaps(**files, label="sub-01_acq-a_MRF").run(cwd=str(tmp_path / "node"))


class TestZSpectra:
    """From magnitudes on disk to maps with their spread."""

    @pytest.fixture
    def spectrum(self, tmp_path, write_nifti):
        protocol = usual_protocol()
        recipe = EstimatorRecipe(
            "nlls", "ramani", protocol, supplied=("R1", "B1", "w0"), spreads=("R1",),
            magnitude=True,
        )  # fmt: skip
        theta = torch.tensor([[0.13, 1.1, 35.0, 15.0, 1.0, 11.5e-6, 0.0, 1.0]]).double()
        signal = 800 * recipe.build_model()(theta)[0].numpy()
        rng = np.random.default_rng(0)
        data = np.tile(signal.real, (3, 4, 1, 1)) + 2.0 * rng.standard_normal((3, 4, 1, 13))
        data[2, 3, 0, 1] = 5.0
        maps = {"R1": 1.1, "B1": 1.0, "w0": 0.0}
        return {
            "coefficients": write_nifti("z.nii", data.astype(np.complex64)),
            "mask": write_nifti("m.nii", np.ones((3, 4, 1), bool)),
            "recipe": recipe.to_file(tmp_path / "z.json"),
            "supplied": [
                str(write_nifti(f"{name}.nii", np.full((3, 4, 1), value, np.float32)))
                for name, value in maps.items()
            ],
            "supplied_names": list(maps),
            "suffix": "QMTmap",
        }

    def test_maps_are_parameters_what_follows_and_what_images_tell(
        self, tmp_path, spectrum, caplog
    ):
        outputs = EstimateMaps(**spectrum, noise_std=2.0, noise_level=2.0)
        (tmp_path / "node").mkdir()
        outputs.run(cwd=str(tmp_path / "node"))
        rows = {
            (row["name"], row["kind"]): row
            for row in json.loads((tmp_path / "node" / "maps.json").read_text())
        }
        estimates = ["m0s", "F", "R1f", "R2f", "T2f", "Rx", "kr", "kf", "T2s"]
        assert [name for name, kind in rows if kind == "std"] == estimates
        beside = ["M0", "relres", "snr", "chi2", "MTR", "flags"]
        assert [name for name, kind in rows if kind != "std"] == [*estimates, *beside]
        assert {rows[name, "estimate"]["unit"] for name in ("kr", "kf", "R1f")} == {"1/s"}
        assert rows["MTR", "estimate"]["description"].endswith("650 degrees at 2000 Hz")
        chi2 = nibabel.load(tmp_path / "node" / "chi2_estimate.nii").get_fdata()
        assert 0.3 < np.median(chi2) < 2.5  # 8 degrees of freedom, 12 voxels
        flags = nibabel.load(tmp_path / "node" / "flags_flag.nii").get_fdata()
        assert int(flags[2, 3, 0]) & 64
        assert not (flags.astype(int).ravel()[:-1] & 64).any()
        assert "1 of 12 voxels have a magnitude below 5 noise standard deviations" in caplog.text

    def test_the_spread_of_a_supplied_map_widens_the_estimate(
        self, tmp_path, spectrum, write_nifti
    ):
        stds = []
        for number, name in enumerate(["", "R1"]):
            folder = tmp_path / f"node{number}"
            folder.mkdir()
            extra = {}
            if name:
                path = write_nifti("std.nii", np.full((3, 4, 1), 0.1, np.float32))
                extra = {"spread": [str(path)], "spread_names": [name]}
            EstimateMaps(**spectrum, **extra, noise_std=2.0).run(cwd=str(folder))
            stds.append(nibabel.load(folder / "m0s_std.nii").get_fdata())
        assert (stds[1] > stds[0]).mean() > 0.9

    def test_without_a_known_noise_there_is_no_chi_squared(self, tmp_path, spectrum):
        (tmp_path / "node").mkdir()
        EstimateMaps(**spectrum).run(cwd=str(tmp_path / "node"))
        rows = json.loads((tmp_path / "node" / "maps.json").read_text())
        assert "chi2" not in {row["name"] for row in rows}

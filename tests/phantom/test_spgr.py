"""The phantom's series of conventional qMT: files, truth, and what least squares make of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.parameters import QMT
from bids_brnn.phantom import anatomy, make_dataset
from bids_brnn.phantom.ideal import ideal
from bids_brnn.phantom.spgr import MODEL, conventional_tissue, observed_rate
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals import build_model, model_entry
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

SHAPE = (16, 20, 1)
SIGMA = 10.0  # 1000 over (5/3 of 60)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spgr") / "ds"
    return make_dataset(path, n_participants=1, kinds=("spgr",), shape=SHAPE)


@pytest.fixture(scope="module")
def read(dataset):
    """Everything from files, as any other program would: truth, bound and images by voxel."""
    truth = dataset / "derivatives" / "truth" / "sub-01"
    stem = "sub-01_acq-spgr"
    label = model_entry(MODEL).label
    labels = _load(truth / "anat" / f"{stem}_desc-truth_dseg.nii.gz")

    def values(name: str, desc: str = "truth") -> np.ndarray:
        if name == "B1":
            path = truth / "fmap" / f"{stem}_desc-{desc}_TB1map.nii.gz"
        elif name == "R1":
            path = truth / "anat" / f"{stem}_desc-{desc}_R1map.nii.gz"
        else:
            name = f"{stem}_model-{label}_param-{name}_desc-{desc}_QMTmap.nii.gz"
            path = truth / "anat" / name
        return _load(path)[labels > 0].astype(float)

    return labels, values


def _load(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def _model(dataset: Path) -> ObservedR1:
    return ObservedR1(build_model(MODEL, read_z_protocol(dataset / "acq-spgr_zspectrum.tsv")))


def _theta(values) -> torch.Tensor:
    return torch.from_numpy(np.stack([values(name) for name in OBSERVED_R1.names], axis=-1))


def test_file_list(dataset):
    names = {p.relative_to(dataset).as_posix() for p in (dataset / "sub-01").rglob("*.nii.gz")}
    assert names == {
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-spgr_part-mag_QMT.nii.gz",
        "sub-01/fmap/sub-01_acq-spgr_TB1map.nii.gz",
        "sub-01/fmap/sub-01_acq-spgr_fieldmap.nii.gz",
        "sub-01/fmap/sub-01_acq-spgr_magnitude.nii.gz",
    }
    roots = {p.name for p in dataset.iterdir() if p.is_file() and p.name.startswith("acq-")}
    assert roots == {"acq-spgr_QMT.json", "acq-spgr_zspectrum.json", "acq-spgr_zspectrum.tsv"}
    relaxometry = dataset / "derivatives" / "relaxometry" / "sub-01" / "anat"
    assert {p.name for p in relaxometry.glob("*.nii.gz")} == {
        "sub-01_desc-vfa_R1map.nii.gz", "sub-01_desc-vfaStd_R1map.nii.gz",
    }  # fmt: skip


@pytest.mark.parametrize("inner", ["", "derivatives/truth", "derivatives/relaxometry"])
def test_validator_finds_no_error(dataset, inner):
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is not installed")
    program = str(Path(sys.executable).with_name("bids-validator-deno"))
    shown = subprocess.run(
        [program, "--format", "json", dataset / inner], capture_output=True, text=True
    )
    issues = json.loads(shown.stdout)["issues"]["issues"]
    assert [i["code"] for i in issues if i.get("severity") == "error"] == []


def test_protocol_comes_back_from_its_files(dataset):
    assert read_z_protocol(dataset / "acq-spgr_zspectrum.tsv").digest == demo_protocol().digest


def test_images_are_magnitudes_of_the_signal_of_the_truth_with_rician_noise(dataset, read):
    labels, values = read
    signal = _model(dataset)(_theta(values)).real.numpy()
    path = dataset / "sub-01" / "anat" / "sub-01_acq-spgr_part-mag_QMT.nii.gz"
    image = _load(path)
    assert image.shape == (*SHAPE, demo_protocol().n_samples)
    assert image.min() >= 0
    sigma = json.loads((dataset / "acq-spgr_QMT.json").read_text())["NoiseStandardDeviation"]
    assert sigma == pytest.approx(SIGMA)
    voxels = image[labels > 0].astype(float)
    m0 = (signal * voxels).sum(-1) / (signal**2).sum(-1)
    rest = voxels - m0[:, None] * signal
    # A real M0 takes one of twelve values; images are above SNR 10, where magnitudes have the
    # spread of Gaussian noise within sigma / (4 SNR) = 0.03; and five standard errors.
    n = rest.size
    spread = np.sqrt((rest**2).sum() / (n * 11 / 12))
    assert spread == pytest.approx(sigma, rel=0.03 / 4 + 5 / np.sqrt(2 * n))
    # Rayleigh noise in the background: mean square 2 sigma^2, exponentially distributed.
    outside = image[labels == 0]
    square = (outside.astype(float) ** 2).mean()
    assert square == pytest.approx(2 * sigma**2, rel=5 / np.sqrt(outside.size))


def test_supplied_maps_are_those_of_the_truth(dataset, read):
    labels, values = read
    fmap = dataset / "sub-01" / "fmap" / "sub-01_acq-spgr"
    b1 = _load(Path(f"{fmap}_TB1map.nii.gz"))[labels > 0] / 100
    np.testing.assert_allclose(b1, values("B1"), rtol=1e-6)
    b0 = _load(Path(f"{fmap}_fieldmap.nii.gz"))[labels > 0] * 2 * np.pi
    np.testing.assert_allclose(b0, values("w0"), rtol=1e-5, atol=1e-4)
    anat = dataset / "derivatives" / "relaxometry" / "sub-01" / "anat" / "sub-01_desc-vfa"
    rate = _load(Path(f"{anat}_R1map.nii.gz"))
    std = _load(Path(f"{anat}Std_R1map.nii.gz"))
    assert (rate[labels == 0] == 0).all()
    score = (rate[labels > 0] - values("R1")) / std[labels > 0]
    assert abs(score.mean()) < 5 / np.sqrt(score.size)
    assert score.std() == pytest.approx(1, abs=5 / np.sqrt(2 * score.size))
    for path, unit in (
        (f"{fmap}_TB1map.json", "percent"),
        (f"{fmap}_fieldmap.json", "Hz"),
        (f"{anat}_R1map.json", "1/s"),
        (f"{anat}Std_R1map.json", "1/s"),
    ):
        assert json.loads(Path(path).read_text())["Units"] == unit


def test_observed_rate_is_the_slow_eigenvalue_and_gives_back_the_free_pool():
    rng = np.random.default_rng(1)
    m0s, R1f, Rx, R1s = rng.uniform([0.01, 0.2, 5, 0.5], [0.3, 1.5, 40, 4], (20, 4)).T
    found = observed_rate(m0s, R1f, Rx, R1s)
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    matrices = np.moveaxis(np.array([[R1f + kf, -kr], [-kf, R1s + kr]]), -1, 0)
    np.testing.assert_allclose(found, np.linalg.eigvals(matrices).real.min(-1), rtol=1e-12)
    model = OBSERVED_R1.derived[[item.item.name for item in OBSERVED_R1.derived].index("R1f")]
    back = model.function(*(torch.from_numpy(x) for x in (found, m0s, Rx, R1s)))
    np.testing.assert_allclose(back.numpy(), R1f, rtol=1e-9)


def test_derived_maps_follow_from_the_truth(read):
    _, values = read
    m0s, Rx = values("m0s"), values("Rx")
    for name, expected in (
        ("F", m0s / (1 - m0s)),
        ("kf", Rx * m0s),
        ("kr", Rx * (1 - m0s)),
        ("T2f", 1 / values("R2f")),
    ):
        np.testing.assert_allclose(values(name), expected, rtol=1e-5)
    assert (values("R1s") == 1).all()
    rate, free = values("R1"), values("R1f")
    kf, kr = Rx * m0s, Rx * (1 - m0s)
    np.testing.assert_allclose(free, rate - kf * (1 - rate) / (1 - rate + kr), rtol=1e-5)
    # d F = d m0s / (1 - m0s)^2
    expected = values("m0s", "truthStd") / (1 - m0s) ** 2
    np.testing.assert_allclose(values("F", "truthStd"), expected, rtol=1e-4)


def test_the_bound_is_met_by_least_squares_with_noisy_data_and_noisy_r1():
    """Noise and error of R1 drawn many times for one voxel; estimates from the truth by Newton."""
    model = ObservedR1(build_model(MODEL, demo_protocol()))
    head = anatomy.draw_head(QMT, np.random.default_rng(2))
    labels, points = np.array([2], dtype=np.uint8), np.array([[-0.3, 0.1, 0.0]])
    fields = {"w0": np.array([60.0]), "B1": np.array([0.95])}
    theta = np.stack(
        [
            fields[name] if name in fields else conventional_tissue(head, name, labels, points)
            for name in OBSERVED_R1.names
        ],
        axis=-1,
    )
    n, sigma, error = 600, 1e-3, 0.004  # small: to first order, as the bound is
    found = ideal(model, theta, np.array([sigma]), {"R1": np.array([error])})
    rng = torch.Generator().manual_seed(3)
    truth = torch.from_numpy(theta).expand(n, -1)
    data = model(truth).real
    data = data + sigma * torch.randn(data.shape, generator=rng, dtype=torch.float64)
    free = OBSERVED_R1.columns("estimated")
    guess = truth.clone()
    guess[:, 1] += error * torch.randn(n, generator=rng, dtype=torch.float64)
    for _ in range(2):
        signal, slopes = (part.real for part in model.linearize(guess))
        full = torch.cat([signal[..., None], slopes[..., free]], dim=-1)
        scale = full.square().sum(-2, keepdim=True).sqrt()
        step = torch.linalg.lstsq(full / scale, (data - signal)[..., None]).solution[..., 0]
        guess[:, free] += (step / scale[:, 0])[:, 1:]
    score = (guess - truth)[:, free].numpy() / found.std[:, free]
    # Standard error of a standard deviation from n draws; second order of 1 % of the values.
    np.testing.assert_allclose(score.std(0), 1, atol=5 / np.sqrt(2 * n) + 0.01)
    alone = ideal(model, theta, np.array([sigma]), {})
    assert (found.std[:, free] >= alone.std[:, free]).all()
    assert found.std[0, 0] > 1.05 * alone.std[0, 0]
    np.testing.assert_allclose(
        found.std**2, np.diagonal(found.covariance, axis1=1, axis2=2), rtol=1e-9
    )


def test_its_files_do_not_depend_on_other_series_nor_they_on_it(tmp_path):
    options = {"n_participants": 1, "shape": (8, 10, 1), "mrf_train": jiang_like_train(20)}
    trees = {}
    for kinds in (("mrf",), ("spgr",), ("mrf", "spgr")):
        root = make_dataset(tmp_path / "-".join(kinds), kinds=kinds, **options)
        files = [p for p in root.rglob("*.nii.gz") if "fmriprep" not in str(p)]
        trees[kinds] = {p.relative_to(root).as_posix(): p.read_bytes() for p in files}
    both = trees["mrf", "spgr"]
    assert trees["mrf",].items() <= both.items()
    ours = {name: data for name, data in trees["spgr",].items() if "T1w" not in name}
    assert ours.items() <= both.items()

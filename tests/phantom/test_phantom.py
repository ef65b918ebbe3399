"""The phantom: anatomy, files, truth and the comparison with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_brnn.bids.tables import read_columns, read_numbers
from bids_brnn.errors import DataError, NoSeriesError, OutputError, ReadError
from bids_brnn.parameters import QMT
from bids_brnn.phantom import anatomy, compare_with_truth, make_dataset
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model
from bids_brnn.signals.subspace import CompressedSignal, Subspace

SHAPE = (16, 20, 1)
SNR = 80.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(
        tmp_path_factory.mktemp("phantom") / "ds",
        shape=SHAPE,
        sessions=("1", "2"),
        n_participants=1,
        snr=SNR,
        qmt_train=hybrid_state_train(n_pulses=60),
        mrf_train=jiang_like_train(60),
        qmt_rank=9,
    )


def _load(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def _errors(folder: Path) -> list[str]:
    shown = subprocess.run(
        [str(Path(sys.executable).with_name("bids-validator-deno")), "--format", "json", folder],
        capture_output=True,
        text=True,
    )
    issues = json.loads(shown.stdout)["issues"]["issues"]
    return [f"{i['code']} {i.get('location')}" for i in issues if i.get("severity") == "error"]


@pytest.mark.parametrize("inner", ["", "derivatives/truth", "derivatives/fmriprep"])
def test_validator_finds_no_error(dataset, inner):
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is not installed")
    assert _errors(dataset / inner) == []


def test_validator_would_see_a_broken_data_set(dataset, tmp_path):
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is not installed")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1"}')
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "anat" / "sub-01_QMT.json").write_text("{}")
    assert _errors(tmp_path)


def test_file_list(dataset):
    names = {p.name for p in (dataset / "sub-01" / "ses-2").rglob("*.nii.gz")}
    assert names == {
        "sub-01_ses-2_T1w.nii.gz",
        "sub-01_ses-2_TB1map.nii.gz",
        "sub-01_ses-2_acq-fisp_part-mag_MRF.nii.gz",
        "sub-01_ses-2_acq-fisp_part-phase_MRF.nii.gz",
        "sub-01_ses-2_acq-hsfp_part-imag_QMT.nii.gz",
        "sub-01_ses-2_acq-hsfp_part-real_QMT.nii.gz",
    }
    roots = {p.name for p in dataset.iterdir() if p.is_file()}
    assert roots == {
        ".bidsignore", "README.md", "dataset_description.json", "participants.json",
        "participants.tsv", "acq-hsfp_QMT.json", "acq-hsfp_basis.json", "acq-hsfp_basis.tsv",
        "acq-hsfp_rfpulses.json", "acq-hsfp_rfpulses.tsv", "acq-fisp_MRF.json",
        "acq-fisp_rfpulses.json", "acq-fisp_rfpulses.tsv",
    }  # fmt: skip


def test_images_hold_the_signal_of_the_truth_plus_white_noise(dataset):
    """Read everything back from files only, as any other program would."""
    sequence = PulseSequence.from_table(
        read_columns(dataset / "acq-hsfp_rfpulses.tsv"), start="antiperiodic"
    )
    basis = Subspace(torch.as_tensor(read_numbers(dataset / "acq-hsfp_basis.tsv")))
    model = CompressedSignal(build_model("gbloch", sequence), basis)
    stem = "sub-01_ses-1_acq-hsfp"
    anat = dataset / "sub-01" / "ses-1" / "anat"
    truth = dataset / "derivatives" / "truth" / "sub-01" / "ses-1"
    labels = _load(truth / "anat" / f"{stem}_desc-truth_dseg.nii.gz")
    theta = []
    for name in QMT.names:
        middle = "" if name == "B1" else f"_model-genbloch_param-{name}"
        folder, suffix = ("fmap", "TB1map") if name == "B1" else ("anat", "QMTmap")
        path = truth / folder / f"{stem}{middle}_desc-truth_{suffix}.nii.gz"
        theta.append(_load(path)[labels > 0])
    signal = model(torch.as_tensor(np.stack(theta, -1)).double()).numpy()
    data = _load(anat / f"{stem}_part-real_QMT.nii.gz") + 1j * _load(
        anat / f"{stem}_part-imag_QMT.nii.gz"
    )
    voxels = data[labels > 0]
    m0 = (signal.conj() * voxels).sum(-1) / (np.abs(signal) ** 2).sum(-1)
    rest = voxels - m0[:, None] * signal
    sigma = json.loads((dataset / "acq-hsfp_QMT.json").read_text())["NoiseStandardDeviation"]
    assert sigma == pytest.approx(1000 / SNR)
    # One complex unknown per voxel takes one of nine coefficients; five standard errors.
    n = rest.size
    spread = np.sqrt((np.abs(rest) ** 2).sum() / (2 * n * 8 / 9))
    assert spread == pytest.approx(sigma, rel=5 / np.sqrt(2 * n))
    background = data[labels == 0]
    assert background.real.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * background.size))
    assert 0.6 < np.abs(m0[np.isin(labels[labels > 0], (2, 41))]).mean() / 1000 < 0.9


def test_fingerprinting_frames_are_magnitude_and_phase_with_units(dataset):
    anat = dataset / "sub-01" / "ses-1" / "anat"
    name = "sub-01_ses-1_acq-fisp_part-{}_MRF"
    magnitude = _load(anat / f"{name.format('mag')}.nii.gz")
    phase = _load(anat / f"{name.format('phase')}.nii.gz")
    assert magnitude.shape == phase.shape == (*SHAPE, 60)
    assert magnitude.min() >= 0
    assert 3.0 < np.abs(phase).max() <= np.pi + 1e-6
    assert magnitude.dtype == phase.dtype == np.float32
    sidecar = json.loads((anat / f"{name.format('phase')}.json").read_text())
    assert sidecar["Units"] == "rad"
    b1 = _load(dataset / "sub-01" / "ses-1" / "fmap" / "sub-01_ses-1_TB1map.nii.gz")
    assert 60 < b1.min() < 100 < b1.max() < 120  # percent


def test_equal_arguments_give_equal_bytes_and_another_seed_does_not(tmp_path):
    options = {"n_participants": 1, "kinds": ("mrf",), "shape": (8, 10, 1)}
    options["mrf_train"] = jiang_like_train(20)
    trees = []
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        root = make_dataset(tmp_path / folder, seed=seed, **options)
        files = sorted(p for p in root.rglob("*") if p.is_file())
        trees.append({p.relative_to(root).as_posix(): p.read_bytes() for p in files})
    assert trees[0] == trees[1]
    assert trees[0].keys() == trees[2].keys()
    changed = {name for name in trees[0] if trees[0][name] != trees[2][name]}
    assert "sub-01/anat/sub-01_acq-fisp_part-mag_MRF.nii.gz" in changed
    assert "sub-01/anat/sub-01_T1w.nii.gz" in changed


def test_sessions_share_the_anatomy_but_not_the_fields(dataset):
    truth = dataset / "derivatives" / "truth" / "sub-01"
    first, second = (
        {
            "labels": _load(
                truth / f"ses-{s}/anat/sub-01_ses-{s}_acq-hsfp_desc-truth_dseg.nii.gz"
            ),
            "B1": _load(truth / f"ses-{s}/fmap/sub-01_ses-{s}_acq-hsfp_desc-truth_TB1map.nii.gz"),
        }
        for s in "12"
    )
    np.testing.assert_array_equal(first["labels"], second["labels"])
    assert np.abs(first["B1"] - second["B1"]).max() > 0.005


def test_heads_differ_and_every_tissue_is_there():
    affine = anatomy.affine_of((32, 40, 2), 5.0)
    points = anatomy.points_of((32, 40, 2), affine)
    np.testing.assert_allclose(points.mean((0, 1, 2)), 0, atol=1e-12)
    maps = []
    for seed in (1, 2):
        head = anatomy.draw_head(QMT, np.random.default_rng(seed))
        labels = anatomy.label_map(head, points)
        counts = {label: int((labels == label).sum()) for label in anatomy.LABELS}
        assert min(counts.values()) >= 8, counts
        assert int((labels == 0).sum()) > 500
        maps.append(labels)
    assert (maps[0] != maps[1]).mean() > 0.02
    left = maps[0][points[..., 0] < 0]
    assert set(np.unique(left)) <= {0, 2, 3, 4, 10, 24, 41, 42, 43, 49}
    assert np.isin(left, (2, 3, 4, 10)).sum() > 5 * np.isin(left, (41, 42, 43, 49)).sum()


def test_parameters_vary_within_tissue_but_not_in_fluid():
    points = anatomy.points_of((32, 40, 2), anatomy.affine_of((32, 40, 2), 5.0))
    head = anatomy.draw_head(QMT, np.random.default_rng(3))
    labels = anatomy.label_map(head, points)
    inside = labels > 0
    pool = anatomy.parameter_map(head, "m0s", labels[inside], points[inside])
    tissue = anatomy.tissue_map(labels[inside])
    white = pool[tissue == "WM"]
    assert 0.01 < white.std() / white.mean() < 0.1
    assert white.mean() == pytest.approx(0.2, rel=0.15)
    assert (pool[tissue == "CSF"] == 1e-3).all()


def test_tissue_fractions_sum_to_the_brain():
    affine = anatomy.affine_of((16, 20, 2), 5.0)
    head = anatomy.draw_head(QMT, np.random.default_rng(3))
    from bids_brnn.phantom.dataset import tissue_fraction

    total = sum(tissue_fraction(head, (16, 20, 2), affine, t) for t in ("WM", "GM", "CSF"))
    labels = anatomy.label_map(head, anatomy.points_of((16, 20, 2), affine))
    assert total.max() == 1
    assert ((total >= 0.5) == (labels > 0)).mean() > 0.95
    assert ((total > 0) & (total < 1)).any()


def _copy_truth(dataset: Path, outputs: Path, change) -> None:
    root = dataset / "derivatives" / "truth"
    for path in root.rglob("*_desc-truth_*map.nii.gz"):
        bound = path.with_name(path.name.replace("desc-truth", "desc-truthStd"))
        if not bound.exists():
            continue
        image = nib.load(path)
        values = change(_load(path).astype(float), _load(bound).astype(float))
        target = outputs / path.relative_to(root)
        target = target.with_name(target.name.replace("desc-truth", "desc-nlls"))
        target.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), target)


def test_comparison_measures_bias_and_spread(dataset, tmp_path):
    rng = np.random.default_rng(0)
    _copy_truth(
        dataset,
        tmp_path,
        lambda truth, std: truth + std * (0.5 + 2 * rng.standard_normal(std.shape)),
    )
    rows = compare_with_truth(dataset, tmp_path)
    assert {row.estimator for row in rows} == {"nlls"}
    assert {row.tissue for row in rows} == {"WM", "GM", "CSF"}
    parameters = {row.parameter for row in rows}
    assert {"m0s", "R1f", "R2f", "Rx", "R1s", "T2s", "R1", "R2", "T1", "T2"} == parameters
    scores = np.array([[row.bias_to_bound, row.spread_to_bound, row.n] for row in rows])
    error = 5 * 2 / np.sqrt(scores[:, 2])  # also more than 5 standard errors of the spread
    assert (np.abs(scores[:, 0] - 0.5) < error).all()
    assert (np.abs(scores[:, 1] - 2) < error).all()
    assert max(row.outliers for row in rows) < 0.1
    assert 0 < np.mean([row.outliers for row in rows]) < 0.05  # P(|0.5 + 2 n| > 5) = 0.015
    row = rows[0]
    assert row.bias == pytest.approx(100 * (row.estimate - row.truth) / row.truth)
    assert row.n_invalid == 0
    assert row.series in ("acq-hsfp", "acq-fisp")


def test_comparison_counts_failures_and_needs_something_to_compare(dataset, tmp_path):
    def broken(truth, _std):
        values = truth.copy()
        values[8, 10, 0] = np.nan
        return values

    _copy_truth(dataset, tmp_path, broken)
    rows = compare_with_truth(dataset, tmp_path)
    assert sum(row.n_invalid for row in rows) == 2 * 10  # both sessions, ten maps
    assert max(abs(row.bias) for row in rows) < 1e-4
    with pytest.raises(NoSeriesError, match="no map"):
        compare_with_truth(dataset, tmp_path / "empty")


def test_maps_of_other_data_are_not_compared(dataset, tmp_path):
    _copy_truth(dataset, tmp_path, lambda truth, _std: truth[1:])
    with pytest.raises(DataError, match="a map of other data"):
        compare_with_truth(dataset, tmp_path)
    for path in tmp_path.rglob("*_desc-nlls_*.nii.gz"):
        path.write_bytes(b"no image")
    with pytest.raises(ReadError, match="is not a NIfTI image"):
        compare_with_truth(dataset, tmp_path)


def test_maps_that_are_turned_or_in_another_unit_are_not_compared(dataset, tmp_path):
    _copy_truth(dataset, tmp_path, lambda truth, _std: truth)
    path = next(tmp_path.rglob("*_desc-nlls_T1map.nii.gz"))
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    sidecar.write_text('{"Units": "s"}')
    assert compare_with_truth(dataset, tmp_path)
    sidecar.write_text('{"Units": "ms"}')
    with pytest.raises(DataError, match=r"is in .ms. and its truth in .s. "):
        compare_with_truth(dataset, tmp_path)
    sidecar.unlink()
    image = nib.load(path)
    turned = image.affine @ np.diag([-1.0, 1, 1, 1])
    nib.save(nib.Nifti1Image(image.get_fdata()[::-1].astype(np.float32), turned), path)
    with pytest.raises(DataError, match="does not lie where its truth does"):
        compare_with_truth(dataset, tmp_path)


def test_a_mask_of_another_grid_is_refused(dataset, tmp_path):
    _copy_truth(dataset, tmp_path, lambda truth, _std: truth)
    path = next(tmp_path.rglob("*_desc-nlls_T1map.nii.gz"))
    head = path.name.partition("_desc-")[0]
    mask = nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))
    nib.save(mask, path.with_name(f"{head}_desc-brain_mask.nii.gz"))
    with pytest.raises(DataError, match="has 3x3x3 voxels, its truth"):
        compare_with_truth(dataset, tmp_path)


def test_impossible_requests_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="not an empty folder"):
        make_dataset(tmp_path)
    for options in ({"n_participants": 0}, {"kinds": ("dwi",)}, {"kinds": ()}, {"snr": 0}):
        with pytest.raises(DataError, match="a phantom needs"):
            make_dataset(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()

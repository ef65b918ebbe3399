"""The node that brings time frames to one position."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.imaging.motion import COLUMNS, move
from bids_brnn.interfaces import CorrectMotion
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals import build_model
from bids_brnn.zoo.recipe import EstimatorRecipe

N = 200
SHAPE = (30, 32, 1)


@pytest.fixture(scope="module")
def recipe():
    return EstimatorRecipe(
        estimator="dict", model="fisp", sequence=jiang_like_train(N), supplied=("B1",)
    )


@pytest.fixture
def moved(write_nifti, affine):
    """Two tissues in a disc, shifted by one and a half voxels after 120 frames; and the mask."""
    rows = torch.tensor([[1 / 0.85, 1 / 0.06, 1.0], [1 / 4.0, 1 / 1.5, 1.0]], dtype=torch.float64)
    signals = build_model("fisp", jiang_like_train(N))(rows).numpy()
    x, y = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")

    def soft(radius):
        return 1 / (1 + np.exp((radius - 1) / 0.08))

    disc, core = soft(np.hypot(x / 0.75, y / 0.7)), soft(np.hypot((x - 0.2) / 0.25, y / 0.3))
    tissues = np.stack([disc * (1 - core), disc * core], -1)[:, :, None] * 1000
    data = (tissues @ signals).astype(np.complex64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shift = np.array([3.0, 0, 0, 0, 0, 0])
    data[..., 120:] = move(data[..., 120:], -shift, spacing, np.zeros(3), order=3)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(data.shape) + 1j * rng.standard_normal(data.shape)
    path = write_nifti("data.nii", (data + 10 * noise).astype(np.complex64))
    return path, write_nifti("mask.nii", disc[:, :, None] > 0.5)


def run(node, folder, monkeypatch):
    folder.mkdir()
    monkeypatch.chdir(folder)
    return node.run(cwd=str(folder)).outputs


def test_the_table_tells_the_shift_and_the_frames_lose_it(recipe, moved, tmp_path, monkeypatch):
    path, mask = moved
    node = CorrectMotion(
        coefficients=str(path),
        mask=str(mask),
        recipe=str(recipe.to_file(tmp_path / "r.json")),
        noise_level=10.0,
        window=20,
    )
    outputs = run(node, tmp_path / "run", monkeypatch)
    lines = Path(outputs.motion).read_text().splitlines()
    assert lines[0].split("\t") == [*COLUMNS, "framewise_displacement"]
    assert len(lines) == 1 + N
    assert lines[1].endswith("\tn/a")
    trans_x = np.array([float(line.split("\t")[0]) for line in lines[1:]])
    assert trans_x[120:].mean() - trans_x[:120].mean() == pytest.approx(3, abs=0.3)
    files = (path, outputs.coefficients)
    before, after = (np.asanyarray(nibabel.load(file).dataobj) for file in files)
    assert jump(after) < 0.4 * jump(before)
    reference = np.asanyarray(nibabel.load(outputs.reference).dataobj)
    np.testing.assert_allclose(reference, np.abs(after).mean(-1), rtol=1e-4)
    (said,) = outputs.steps
    assert "10 windows of 20 frames" in said
    assert "interpolated" in said


def jump(data):
    """How far the mass of late frames lies from that of early frames, in voxels."""
    x = np.arange(SHAPE[0])

    def place(frames):
        # Squares less those of air, which noise alone makes.
        power = (np.abs(data[..., frames]) ** 2).mean(-1)
        profile = np.clip(power - np.median(power[:3]), 0, None).sum((1, 2))
        return float((profile * x).sum() / profile.sum())

    return abs(place(slice(100, 120)) - place(slice(120, 140)))


def test_coefficients_are_refused(moved, tmp_path, monkeypatch):
    path, mask = moved
    train = jiang_like_train(N)
    basis = np.eye(N)[:, :4]
    recipe = EstimatorRecipe(estimator="dict", model="fisp", sequence=train, basis=basis)
    node = CorrectMotion(
        coefficients=str(path), mask=str(mask), recipe=str(recipe.to_file(tmp_path / "r.json"))
    )
    with pytest.raises(DataError, match="sums over all frames"):
        run(node, tmp_path / "run", monkeypatch)

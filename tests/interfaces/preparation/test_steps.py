"""Steps that change the noise: what they return, and what they say of themselves."""

from __future__ import annotations

import shutil
import stat

import nibabel
import numpy as np
import pytest

from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError, UsageError
from bids_brnn.interfaces import DenoiseSeries, RemoveGibbs
from bids_brnn.interfaces.preparation.mrtrix import run_on_array
from bids_brnn.reports.preparation import step_methods
from bids_brnn.workflows.steps import check_tools, step_nodes

FLIPPED = np.array([[0, -2.0, 0, 9], [-2.0, 0, 0, 5], [0, 0, 3.0, 1], [0, 0, 0, 1]])


@pytest.fixture
def smooth(write_nifti):
    """A low-rank complex series in noise, on a grid whose axes are swapped and flipped."""
    rng = np.random.default_rng(4)
    x, y = np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 14), indexing="ij")
    basis = np.linalg.qr(rng.standard_normal((10, 2)))[0].T
    clean = (np.stack([np.sin(2 * x), np.exp(y)], -1) @ basis)[:, :, None] * (60 + 40j)
    noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
    path = write_nifti("data.nii", (clean + 3 * noise).astype(np.complex64), FLIPPED)
    return path, clean


def run(interface, folder, monkeypatch):
    folder.mkdir()
    monkeypatch.chdir(folder)
    return interface.run(cwd=str(folder)).outputs


def error(values, clean):
    return np.sqrt(np.mean(np.abs(values - clean) ** 2) / 2)


@pytest.mark.parametrize("method", ["mppca", "dwidenoise"])
def test_denoising_helps_and_says_what_it_breaks(method, smooth, tmp_path, monkeypatch, caplog):
    if method == "dwidenoise" and shutil.which("dwidenoise") is None:
        pytest.skip("dwidenoise of MRtrix3 is not installed")
    path, clean = smooth
    node = DenoiseSeries(coefficients=str(path), method=method, steps=["earlier"], label="it")
    outputs = run(node, tmp_path / "run", monkeypatch)
    image = nibabel.load(outputs.coefficients)
    values = np.asanyarray(image.dataobj)
    np.testing.assert_allclose(image.affine, FLIPPED, atol=1e-5)
    assert values.dtype == np.complex64
    # 2 components of 10 values in 25 voxels carry about a third of the noise.
    assert error(values, clean) < 0.6 * 3
    earlier, said = outputs.steps
    assert earlier == "earlier"
    assert "denoised" in said
    assert "standard deviations describe the data before it" in said
    assert "it: denoised" in caplog.text
    assert step_methods({"PreparationSteps": [said]}) == [method]


def test_ringing_is_removed_from_both_parts(write_nifti, tmp_path, monkeypatch):
    if shutil.which("mrdegibbs") is None:
        pytest.skip("mrdegibbs of MRtrix3 is not installed")
    # A box seen through a quarter of k-space, with another phase in each value.
    box = np.zeros((128, 128))
    box[40:90, 50:86] = 1
    spectrum = np.fft.fftshift(np.fft.fft2(box))[32:96, 32:96]
    ringing = np.fft.ifft2(np.fft.ifftshift(spectrum)) / 4
    shown = ringing.real[:, :, None, None] * np.exp(1j * np.array([0.3, 2.0]))
    path = write_nifti("data.nii", (100 * shown).astype(np.complex64), FLIPPED)
    outputs = run(RemoveGibbs(coefficients=str(path)), tmp_path / "run", monkeypatch)
    values = np.asanyarray(nibabel.load(outputs.coefficients).dataobj)
    flat = (slice(24, 40), slice(28, 40))
    before = np.abs(np.abs(100 * shown[flat]) - 100).max()
    after = np.abs(np.abs(values[flat]) - 100).max()
    assert after < 0.5 * before
    np.testing.assert_allclose(np.angle(values[30, 34, 0]), [0.3, 2.0], atol=0.02)
    assert "Cartesian" in outputs.steps[0]
    assert step_methods({"PreparationSteps": outputs.steps}) == ["degibbs"]


@pytest.mark.parametrize(
    ("options", "program"),
    [({"denoise": "dwidenoise"}, "dwidenoise"), ({"degibbs": True}, "mrdegibbs")],
)
def test_a_missing_program_is_said_at_the_start(options, program, tmp_path, monkeypatch):
    folders = {name: tmp_path / name for name in ("bids_dir", "output_dir", "work_dir")}
    monkeypatch.setenv("PATH", str(tmp_path))
    check_tools(RunConfig(**folders, denoise="mppca"))
    with pytest.raises(UsageError, match=f"needs {program} of MRtrix3, which is not on PATH"):
        check_tools(RunConfig(**folders, **options))


def test_a_program_that_fails_is_quoted(tmp_path):
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'broken: [ERROR] no licence.' >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(DataError, match=r"broken failed: broken: \[ERROR\] no licence\.$"):
        run_on_array(str(program), np.zeros((2, 2, 1, 3), np.complex64), tmp_path)


def test_steps_run_in_the_only_order_that_is_right():
    nodes = step_nodes(denoise="mppca", degibbs=True, num_threads=2)
    assert [node.name for node in nodes] == ["denoise", "degibbs"]
    assert [node.n_procs for node in nodes] == [2, 2]
    assert step_nodes() == []

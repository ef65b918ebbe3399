"""A participant who moved between the T1w image and the series, by the command itself."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from bids_brnn.imaging.resampling import affine_of, read_transform
from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train

HEAD = "sub-01_acq-fisp"
TEMPLATE = "MNI152NLin6Asym"


def motion():
    """8 degrees and 9 mm."""
    matrix = np.eye(4)
    turn = np.radians(8) * np.array([1, 2, 2]) / 3
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = [5.0, -6.0, 4.5]
    return matrix


def values_of(path):
    return np.asanyarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A thick MRF phantom; the T1w image and all of fMRIPrep are turned against the series."""
    root = tmp_path_factory.mktemp("moved") / "ds"
    train = jiang_like_train(30)
    make_dataset(root, n_participants=1, kinds=("mrf",), shape=(20, 24, 10), mrf_train=train)
    fmriprep = root / "derivatives" / "fmriprep"
    t1w = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    for path in (t1w, *fmriprep.rglob("*.nii.gz")):
        image = nibabel.load(path)
        values, affine = np.asanyarray(image.dataobj), motion() @ image.affine
        nibabel.Nifti1Image(values, affine, dtype=values.dtype).to_filename(path)
    # As fMRIPrep writes it: template points to T1w points; the template lies 20 mm behind.
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((0.0, -20.0, 0.0))
    anat = fmriprep / "sub-01" / "anat"
    name = anat / f"sub-01_from-T1w_to-{TEMPLATE}_mode-image_xfm.h5"
    sitk.WriteTransform(sitk.CompositeTransform([shift]), str(name))
    image = nibabel.load(anat / "sub-01_desc-preproc_T1w.nii.gz")
    target = image.affine.copy()
    target[1, 3] -= 20
    template = nibabel.Nifti1Image(np.asanyarray(image.dataobj), target)
    template.to_filename(anat / f"sub-01_space-{TEMPLATE}_desc-preproc_T1w.nii.gz")
    (anat / f"sub-01_space-{TEMPLATE}_desc-preproc_T1w.json").write_text(
        json.dumps({"SkullStripped": False, "SpatialReference": "a template"})
    )
    coarse = nibabel.Nifti1Image(
        np.asanyarray(image.dataobj)[::2, ::2, ::2], target @ np.diag([2, 2, 2, 1])
    )
    coarse.to_filename(anat / f"sub-01_space-{TEMPLATE}_res-2_desc-preproc_T1w.nii.gz")
    (anat / f"sub-01_space-{TEMPLATE}_res-2_desc-preproc_T1w.json").write_text(
        json.dumps(
            {"SkullStripped": False, "SpatialReference": "a template", "Resolution": "coarse"}
        )
    )
    return root


def run(app, root, folder, *options, code=0):
    arguments = [root, folder / "out", "participant", "-w", folder / "work", "--nprocs", 1]
    arguments += ["-d", f"fmriprep={root / 'derivatives' / 'fmriprep'}", "--skip-bids-validation"]
    assert app(*arguments, *options) == code
    return folder / "out" / "sub-01" / "anat"


@pytest.fixture(scope="module")
def registered(moved, app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registered")
    return run(app, moved, folder, "--output-spaces", "T1w", TEMPLATE, f"{TEMPLATE}:res-2")


@pytest.fixture(scope="module")
def by_header(moved, app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_header")
    return run(app, moved, folder, "--registration", "header")


def truth_of(moved):
    folder = moved / "derivatives" / "truth" / "sub-01" / "anat"
    return values_of(folder / f"{HEAD}_desc-truth_dseg.nii.gz")


def test_the_motion_is_found_and_written(moved, registered):
    path = registered / f"{HEAD}_from-MRF_to-T1w_mode-image_xfm.txt"
    found = affine_of(read_transform(path))  # T1w points to series points
    mask = nibabel.load(registered / f"{HEAD}_desc-brain_mask.nii.gz")
    points = np.c_[np.argwhere(values_of(registered / f"{HEAD}_desc-brain_mask.nii.gz"))[::29],]
    points = np.c_[points, np.ones(len(points))] @ mask.affine.T
    error = np.linalg.norm((points @ motion().T @ found.T - points)[:, :3], axis=1)
    # Half a voxel of 8 x 8 x 5 mm: the phantom hardly changes along z, nor when turned about z.
    assert error.mean() < 4
    assert (
        error.mean() < 0.5 * np.linalg.norm((points @ motion().T - points)[:, :3], axis=1).mean()
    )
    about = json.loads(path.with_suffix(".json").read_text())["Registration"]
    assert about["Method"] == "rigid"
    assert about["MutualInformation"]["Rigid"] > about["MutualInformation"]["Header"]


def test_labels_and_mask_arrive_at_the_right_voxels(moved, registered, by_header):
    truth = truth_of(moved)
    shares = {}
    for name, anat in (("rigid", registered), ("header", by_header)):
        labels = values_of(anat / f"{HEAD}_seg-aseg_dseg.nii.gz")
        mask = values_of(anat / f"{HEAD}_desc-brain_mask.nii.gz") > 0
        shares[name] = (
            2 * (mask & (truth > 0)).sum() / (mask.sum() + (truth > 0).sum()),
            (labels == truth)[truth > 0].mean(),
        )
    # Voxels of 8 mm hold a border nearly everywhere, so no registration reaches one.
    assert shares["rigid"][0] > 0.95
    assert shares["rigid"][1] > shares["header"][1] + 0.1
    assert shares["rigid"][0] > shares["header"][0]


def test_sidecars_tell_of_registration_and_mask(registered, by_header):
    for name in ("desc-brain_mask", "desc-dict_T1map", "desc-dictStd_T2map"):
        about = json.loads((registered / f"{HEAD}_{name}.json").read_text())
        assert about["Registration"]["Method"] == "rigid"
        assert (about["MaskMethod"], about["MaskSpace"]) == ("found", "T1w")
        assert about["MaskCheck"] == "passed"
    t1w = "bids:fmriprep:sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert t1w in json.loads((registered / f"{HEAD}_desc-dict_T1map.json").read_text())["Sources"]
    about = json.loads((by_header / f"{HEAD}_desc-brain_mask.json").read_text())["Registration"]
    assert about["Method"] == "header"
    assert "as asked for" in about["Description"]


def test_maps_lie_upon_the_t1w_image(moved, registered):
    fmriprep = moved / "derivatives" / "fmriprep" / "sub-01" / "anat"
    image = nibabel.load(registered / f"{HEAD}_space-T1w_desc-dict_T1map.nii.gz")
    target = nibabel.load(fmriprep / "sub-01_desc-preproc_T1w.nii.gz")
    assert image.shape == target.shape
    np.testing.assert_allclose(image.affine, target.affine, atol=1e-4)
    labels, t1 = (
        values_of(fmriprep / "sub-01_desc-aseg_dseg.nii.gz"),
        values_of(image.get_filename()),
    )
    inside = t1 > 0
    medians = [np.nanmedian(t1[inside & np.isin(labels, tissue)]) for tissue in ((2, 41), (3, 42))]
    # 0.83 s and 1.33 s, mixed at the many borders.
    assert 0.75 < medians[0] < 1.0 < medians[1] < 1.6
    about = json.loads((registered / f"{HEAD}_space-T1w_desc-dict_T1map.json").read_text())
    assert about["SpatialReference"] == (
        "bids:fmriprep:sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    )


def test_maps_go_to_a_template_by_the_transform_of_fmriprep(registered):
    """The template is the T1w image 20 mm behind, on the same voxels: the same map."""
    native = nibabel.load(registered / f"{HEAD}_space-T1w_desc-dict_T1map.nii.gz")
    there = nibabel.load(registered / f"{HEAD}_space-{TEMPLATE}_desc-dict_T1map.nii.gz")
    np.testing.assert_allclose(there.affine[1, 3], native.affine[1, 3] - 20, atol=1e-4)
    np.testing.assert_allclose(
        values_of(there.get_filename()), values_of(native.get_filename()), atol=1e-4
    )
    about = json.loads((registered / f"{HEAD}_space-{TEMPLATE}_desc-dict_T1map.json").read_text())
    assert about["Transform"].endswith(f"from-T1w_to-{TEMPLATE}_mode-image_xfm.h5")


def test_a_resolution_of_a_template_is_that_of_its_images(registered):
    fine = nibabel.load(registered / f"{HEAD}_space-{TEMPLATE}_desc-dict_T1map.nii.gz")
    coarse = nibabel.load(registered / f"{HEAD}_space-{TEMPLATE}_res-2_desc-dict_T1map.nii.gz")
    np.testing.assert_allclose(coarse.affine, fine.affine @ np.diag([2, 2, 2, 1]), atol=1e-4)
    # Every second voxel of the fine map: the same points, once interpolated from the series.
    every_second = values_of(fine.get_filename())[::2, ::2, ::2]
    np.testing.assert_allclose(values_of(coarse.get_filename()), every_second, atol=1e-4)
    about = json.loads(
        (registered / f"{HEAD}_space-{TEMPLATE}_res-2_desc-dict_T1map.json").read_text()
    )
    assert about["Resolution"] == f"that of the images of {TEMPLATE} with res-2"
    assert (registered / f"{HEAD}_space-{TEMPLATE}_res-2_desc-brain_mask.nii.gz").is_file()


def test_maps_of_the_series_are_the_same_with_or_without_other_spaces(registered, by_header):
    """Only the mask differs: nothing of the series was interpolated."""
    first, second = (
        values_of(anat / f"{HEAD}_desc-dict_T1map.nii.gz") for anat in (registered, by_header)
    )
    both = (first > 0) & (second > 0)
    assert both.sum() > 500
    np.testing.assert_array_equal(first[both], second[both])


def test_the_output_is_valid_and_its_report_shows_the_registration(registered, validate):
    out = registered.parents[1]
    assert validate(out) == []
    page = (out / "sub-01.html").read_text()
    assert 'alt="Registration: ' in page
    assert "rigid registration" in page
    assert "registered rigidly" in page


def test_a_registration_that_fails_is_told_and_the_headers_are_believed(
    moved, app, tmp_path, capsys
):
    root = tmp_path / "ds"
    shutil.copytree(moved, root)
    path = root / "derivatives" / "fmriprep" / "sub-01" / "anat" / "sub-01_desc-preproc_T1w.nii.gz"
    image = nibabel.load(path)
    noise = np.random.default_rng(0).random(image.shape).astype(np.float32)
    nibabel.Nifti1Image(noise, image.affine).to_filename(path)
    anat = run(app, root, tmp_path, "--level", "minimal")
    assert "registration failed" in capsys.readouterr().err
    found = affine_of(read_transform(anat / f"{HEAD}_from-MRF_to-T1w_mode-image_xfm.txt"))
    np.testing.assert_array_equal(found, np.eye(4))
    about = json.loads((anat / f"{HEAD}_desc-brain_mask.json").read_text())["Registration"]
    assert about["Method"] == "header"
    assert about["Description"].endswith("the header geometry is used")


def test_an_unknown_space_is_one_sentence(moved, app, tmp_path, capsys):
    run(app, moved, tmp_path, "--output-spaces", "MNI305", code=65)
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("bids_brnn:")
    ]
    assert "cannot be written in the space MNI305" in line
    assert f"possible: T1w, {TEMPLATE}, {TEMPLATE}:res-2" in line


def test_a_resolution_without_images_is_one_sentence(moved, app, tmp_path, capsys):
    run(app, moved, tmp_path, "--output-spaces", f"{TEMPLATE}:res-1", code=65)
    assert "images of that resolution" in capsys.readouterr().err
    run(app, moved, tmp_path, "--output-spaces", f"{TEMPLATE}:res-a_b", code=2)
    assert '"a_b" is no BIDS label' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("t1w", [True, False], ids=["T1w", "quick estimate"])
def test_without_a_mask_deepbet_makes_one(moved, app, tmp_path, t1w):
    for name in ("deepbet", "cc3d", "fill_voids"):
        pytest.importorskip(name)
    root = tmp_path / "ds"
    shutil.copytree(moved, root, ignore=shutil.ignore_patterns("derivatives"))
    if not t1w:
        for path in (root / "sub-01" / "anat").glob("*T1w*"):
            path.unlink()
    options = ["-w", tmp_path / "work", "--nprocs", 1, "--skip-bids-validation"]
    assert app(root, tmp_path / "out", "participant", "--level", "minimal", *options) == 0
    path = tmp_path / "out" / "sub-01" / "anat" / f"{HEAD}_desc-brain_mask.nii.gz"
    about = json.loads(path.with_name(f"{HEAD}_desc-brain_mask.json").read_text())
    assert about["MaskMethod"] == "deepbet"
    assert about["MaskSpace"] == ("T1w" if t1w else "series")
    # Ellipses are no head; that it is a part of the phantom is all one can ask.
    mask, truth = values_of(path) > 0, truth_of(moved) > 0
    assert (mask & truth).sum() > 0.9 * mask.sum()

"""Images beside a series are refused before anything is estimated."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.errors import DataError
from bids_brnn.workflows.images import check_images

AFFINE = np.eye(4)


@pytest.fixture
def tree(dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    return copy


@pytest.fixture
def check(tree, make_config):
    def run(**changes):
        derivatives = {"fmriprep": tree / "derivatives" / "fmriprep"}
        found = find_acquisitions(tree, derivatives=derivatives, kinds=("mrf",))
        check_images(make_config(bids_dir=tree, **changes), found.acquisitions[0])

    return run


PLACES = {
    "TB1map": "sub-01/fmap/sub-01_TB1map.nii.gz",
    "mask": "derivatives/fmriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
    "dseg": "derivatives/fmriprep/sub-01/anat/sub-01_desc-aseg_dseg.nii.gz",
    "T1w": "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
}


def rewrite(path, change=lambda values: values, code=1, affine=AFFINE):
    values = change(np.asanyarray(nibabel.load(path).dataobj))
    image = nibabel.Nifti1Image(values, affine, dtype=values.dtype)
    image.set_qform(affine, code)
    image.set_sform(affine, code)
    image.to_filename(path)


def test_images_that_fit_pass(check):
    check()


@pytest.mark.parametrize("kind", PLACES)
def test_several_volumes_are_refused(tree, check, kind):
    rewrite(tree / PLACES[kind], lambda values: np.stack([values, values], axis=-1))
    with pytest.raises(DataError, match=f"{kind}.nii.gz has 2 volumes"):
        check()


@pytest.mark.parametrize("kind", PLACES)
def test_an_image_that_may_lie_anywhere_is_refused(tree, check, kind):
    rewrite(tree / PLACES[kind], code=0)
    with pytest.raises(
        DataError, match=rf"{kind}\.nii\.gz has qform_code and sform_code 0.*--trust"
    ):
        check()
    check(trust_header=True)


def test_so_is_a_series_with_images_of_known_position(tree, check):
    for part in ("real", "imag"):
        rewrite(tree / f"sub-01/anat/sub-01_acq-mrf_part-{part}_MRF.nii.gz", code=0)
    with pytest.raises(DataError, match=r"part-real_MRF\.nii\.gz has qform_code .*TB1map.*b1map"):
        check()
    check(trust_header=True)


def test_images_of_unknown_position_on_one_grid_lie_on_each_other(tree, check):
    for part in ("real", "imag"):
        rewrite(tree / f"sub-01/anat/sub-01_acq-mrf_part-{part}_MRF.nii.gz", code=0)
    for place in PLACES.values():
        rewrite(tree / place, code=0)
    check()
    rewrite(tree / PLACES["mask"], lambda values: values[:2], code=0)
    with pytest.raises(DataError, match="cannot be combined with sub-01_desc-brain_mask"):
        check()


def test_a_field_map_declares_its_unit(tree, check):
    (tree / "sub-01/fmap/sub-01_TB1map.json").write_text(json.dumps({"Units": "arbitrary"}))
    with pytest.raises(DataError, match=r'TB1map\.nii\.gz: Units is "arbitrary", and units'):
        check()

"""Which spaces there are, and which images move with the T1w image."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.input.spaces import find_spaces, follows_t1w
from bids_brnn.errors import DataError

ONES = np.ones((4, 5, 3), np.float32)
FINE = np.ones((8, 10, 6), np.float32)


@pytest.fixture
def fmriprep(tmp_path, raw):
    builder = type(raw)(tmp_path / "fmriprep", derivative=True)
    anat = "sub-01/anat/sub-01"
    builder.image(f"{anat}_desc-preproc_T1w.nii.gz", FINE)
    builder.image(f"{anat}_desc-brain_mask.nii.gz", FINE)
    builder.image(f"{anat}_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz", ONES)
    builder.image(f"{anat}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", ONES)
    for space in ("MNI152NLin2009cAsym", "MNI152NLin6Asym"):
        builder.text(f"{anat}_from-T1w_to-{space}_mode-image_xfm.h5", "")
    return builder


def series_of(raw, **options):
    raw.qmt()
    return find_acquisitions(raw.root, **options).acquisitions[0]


def test_spaces_of_fmriprep(raw, fmriprep):
    series = series_of(raw, derivatives={"fmriprep": fmriprep.root})
    anat = fmriprep.root / "sub-01" / "anat"
    found = find_spaces(series, ("T1w", "MNI152NLin2009cAsym", "MNI152NLin6Asym"))
    t1w, template, bare = found.values()
    assert (t1w.reference, t1w.transform) == (anat / "sub-01_desc-preproc_T1w.nii.gz", None)
    assert t1w.target_uri == "bids:fmriprep:sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    # The image without res- lies on the template's own grid.
    assert template.reference.name == "sub-01_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz"
    assert template.transform.name.startswith("sub-01_from-T1w_to-MNI152NLin2009cAsym")
    assert bare.reference is None
    assert find_spaces(series, ()) == {}


def test_an_absent_space_is_refused_with_those_that_are_there(raw, fmriprep):
    series = series_of(raw, derivatives={"fmriprep": fmriprep.root})
    with pytest.raises(DataError) as error:
        find_spaces(series, ("T1w", "fsaverage"))
    assert "cannot be written in the space fsaverage" in str(error.value)
    assert "possible: T1w, MNI152NLin2009cAsym, MNI152NLin6Asym" in str(error.value)


def test_without_a_t1w_image_there_is_no_space(raw):
    with pytest.raises(DataError, match="none, for lack of a T1w image"):
        find_spaces(series_of(raw), ("T1w",))


def test_what_moves_with_the_t1w_image(raw, fmriprep):
    series = series_of(raw, derivatives={"fmriprep": fmriprep.root})
    anat = fmriprep.root / "sub-01" / "anat"
    own = f"sub-01_acq-{series.entities['acquisition']}"
    assert follows_t1w(series, anat / "sub-01_desc-brain_mask.nii.gz")
    fmriprep.image(f"sub-01/anat/{own}_desc-brain_mask.nii.gz", FINE)
    assert not follows_t1w(series, anat / f"{own}_desc-brain_mask.nii.gz")
    fmriprep.image("sub-01/anat/sub-01_desc-other_mask.nii.gz", ONES)
    # The series has this grid, the T1w image has not.
    assert not follows_t1w(series, anat / "sub-01_desc-other_mask.nii.gz")
    fmriprep.image("sub-01/anat/sub-01_desc-third_mask.nii.gz", np.ones((5, 5, 5), np.float32))
    assert follows_t1w(series, anat / "sub-01_desc-third_mask.nii.gz")


def test_nothing_moves_without_a_t1w_image(raw, fmriprep):
    options = {"derivatives": {"fmriprep": fmriprep.root}, "ignore": ["t1w"]}
    series = series_of(raw, **options)
    assert not follows_t1w(series, fmriprep.root / "sub-01/anat/sub-01_desc-brain_mask.nii.gz")

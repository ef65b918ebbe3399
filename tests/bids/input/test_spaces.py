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


@pytest.fixture
def paediatric(tmp_path, raw):
    """Two cohorts of one template, as fMRIPrep names them, and a template without cohorts."""
    builder = type(raw)(tmp_path / "fmriprep", derivative=True)
    anat = "sub-01/anat/sub-01"
    builder.image(f"{anat}_desc-preproc_T1w.nii.gz", FINE)
    for cohort in "23":
        space = f"{anat}_space-MNIPediatricAsym_cohort-{cohort}"
        builder.image(f"{space}_desc-brain_mask.nii.gz", ONES)
        builder.image(f"{space}_res-2_desc-preproc_T1w.nii.gz", ONES)
        builder.text(f"{anat}_from-T1w_to-MNIPediatricAsym+{cohort}_mode-image_xfm.h5", "")
    builder.text(f"{anat}_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.h5", "")
    return builder


@pytest.mark.parametrize(
    "asked", ["MNIPediatricAsym:cohort-3:res-2", "MNIPediatricAsym:res-2:cohort-3"]
)
def test_the_cohort_that_is_asked_for_is_used(raw, paediatric, asked):
    series = series_of(raw, derivatives={"fmriprep": paediatric.root})
    (space,) = find_spaces(series, (asked,)).values()
    assert space.name == "MNIPediatricAsym:cohort-3:res-2"
    assert "to-MNIPediatricAsym+3_" in space.transform.name
    assert "_cohort-3_res-2_" in space.reference.name
    (native,) = find_spaces(series, ("MNIPediatricAsym+3",)).values()
    assert native.reference.name.endswith("_cohort-3_desc-brain_mask.nii.gz")


@pytest.mark.parametrize(
    "asked",
    ["MNIPediatricAsym", "MNIPediatricAsym:res-2", "MNIPediatricAsym:cohort-1",
     "MNI152NLin6Asym:cohort-3"],
)  # fmt: skip
def test_no_cohort_stands_for_another(raw, paediatric, asked):
    series = series_of(raw, derivatives={"fmriprep": paediatric.root})
    with pytest.raises(DataError, match=r"possible: .*MNIPediatricAsym:cohort-2") as error:
        find_spaces(series, (asked,))
    assert f"the space {asked} (" in str(error.value)


def placed(raw, fmriprep, label, *, mask_grid):
    """A series, its raw T1w image and the mask of fMRIPrep that all share a label."""
    stem = raw.qmt().replace("acq-a", label)
    for part in ("real", "imag"):
        raw.random(f"{stem}_part-{part}_QMT.nii.gz")
        (raw.root / f"sub-01/anat/sub-01_acq-a_part-{part}_QMT.nii.gz").unlink()
    for name in ("QMT.json", "rfpulses.tsv", "basis.tsv"):
        (raw.root / f"acq-a_{name}").rename(raw.root / name)
    raw.image(f"sub-01/anat/sub-01_{label}_T1w.nii.gz", FINE)
    for path in (fmriprep.root / "sub-01/anat").iterdir():
        path.unlink()
    anat = f"sub-01/anat/sub-01_{label}"
    fmriprep.image(f"{anat}_desc-preproc_T1w.nii.gz", FINE)
    for name in ("desc-brain_mask", "dseg", "label-GM_probseg"):
        fmriprep.image(f"{anat}_{name}.nii.gz", mask_grid)
    found = find_acquisitions(raw.root, derivatives={"fmriprep": fmriprep.root})
    return found.acquisitions[0]


OTHER = np.ones((5, 5, 5), np.float32)


@pytest.mark.parametrize("label", ["run-1", "rec-norm", "acq-shared", "acq-shared_run-1"])
@pytest.mark.parametrize(("grid", "follows"), [(FINE, True), (OTHER, True), (ONES, False)])
def test_a_label_shared_with_the_t1w_image_tells_nothing(raw, fmriprep, label, grid, follows):
    series = placed(raw, fmriprep, label, mask_grid=grid)
    about = series.companions
    for path in (about.mask, about.dseg, about.tissue_probabilities["GM"]):
        assert path is not None
        assert follows_t1w(series, path) == follows


def test_what_a_sidecar_declares_comes_before_names_and_grids(raw, fmriprep):
    stem = raw.qmt()
    anat = "sub-01/anat/sub-01"
    for name, uri in {
        "desc-one": f"bids:raw:{stem}_part-real_QMT.nii.gz",
        "desc-two": f"bids::{anat}_desc-preproc_T1w.nii.gz",
    }.items():
        fmriprep.image(f"{anat}_{name}_mask.nii.gz", FINE if name == "desc-one" else ONES)
        fmriprep.json(f"{anat}_{name}_mask.json", {"SpatialReference": uri})
    series = series_of(raw, derivatives={"fmriprep": fmriprep.root})
    assert not follows_t1w(series, fmriprep.root / f"{anat}_desc-one_mask.nii.gz")
    assert follows_t1w(series, fmriprep.root / f"{anat}_desc-two_mask.nii.gz")


def test_sources_tell_only_where_grids_do_not(raw, fmriprep):
    stem = raw.qmt()
    anat = "sub-01/anat/sub-01"
    here = {"Sources": [f"bids:raw:{stem}_part-real_QMT.nii.gz"]}
    there = {"Sources": [f"bids::{anat}_desc-preproc_T1w.nii.gz"]}
    for name, grid, about in (("a", ONES, there), ("b", FINE, here), ("c", OTHER, here)):
        fmriprep.image(f"{anat}_desc-{name}_mask.nii.gz", grid)
        fmriprep.json(f"{anat}_desc-{name}_mask.json", about)
    series = series_of(raw, derivatives={"fmriprep": fmriprep.root})
    paths = [fmriprep.root / f"{anat}_desc-{name}_mask.nii.gz" for name in "abc"]
    assert [follows_t1w(series, path) for path in paths] == [False, True, False]

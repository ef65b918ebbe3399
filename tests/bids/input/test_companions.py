"""Field maps, masks, anatomy and labels that go with a series."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.errors import BidsBrnnError

ONES = np.ones((4, 5, 3), np.float32)


@pytest.fixture
def fmriprep(tmp_path, raw):
    """What fMRIPrep writes for one participant."""
    builder = type(raw)(tmp_path / "fmriprep", derivative=True)
    anat = "sub-01/anat/sub-01"
    for name in (
        "desc-brain_mask",
        "desc-preproc_T1w",
        "dseg",
        "desc-aseg_dseg",
        "desc-aparcaseg_dseg",
        "label-GM_probseg",
        "label-WM_probseg",
        "space-MNI152NLin2009cAsym_desc-brain_mask",
        "space-MNI152NLin2009cAsym_desc-preproc_T1w",
        "space-MNI152NLin2009cAsym_dseg",
    ):
        builder.image(f"{anat}_{name}.nii.gz", ONES)
    builder.text(f"{anat}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5", "")
    builder.text(f"{anat}_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5", "")
    return builder


def series_of(raw, **options):
    found = find_acquisitions(raw.root, **options)
    assert found.problems == ()
    return found.acquisitions[0]


def test_nothing_around(raw):
    raw.qmt()
    companions = series_of(raw).companions
    assert companions.supplied == {}
    assert (companions.mask, companions.t1w, companions.dseg) == (None, None, None)


def test_everything_of_fmriprep(raw, fmriprep):
    raw.qmt()
    raw.image("sub-01/anat/sub-01_T1w.nii.gz", ONES)
    series = series_of(raw, derivatives={"fmriprep": fmriprep.root})
    companions = series.companions
    anat = fmriprep.root / "sub-01" / "anat"
    assert companions.mask == anat / "sub-01_desc-brain_mask.nii.gz"
    assert companions.t1w == anat / "sub-01_desc-preproc_T1w.nii.gz"
    assert companions.dseg == anat / "sub-01_desc-aparcaseg_dseg.nii.gz"
    assert set(companions.segmentations) == {"aparcaseg", "aseg", "tissue"}
    assert set(companions.tissue_probabilities) == {"GM", "WM"}
    assert set(companions.transforms) == {"MNI152NLin2009cAsym"}
    assert companions.transforms["MNI152NLin2009cAsym"].name.startswith("sub-01_from-T1w_to-MNI")
    assert series.uri(anat / "x.nii") == "bids:fmriprep:sub-01/anat/x.nii"


def test_the_mask_of_the_series_comes_first(raw, recon, fmriprep):
    stem = raw.qmt()
    recon.image(f"{stem}_desc-brain_mask.nii.gz", ONES)
    recon.image("sub-01/anat/sub-01_acq-other_desc-brain_mask.nii.gz", ONES)
    # One that comes first by name, and belongs to a T1w image.
    fmriprep.image("sub-01/anat/sub-01_acq-0_desc-brain_mask.nii.gz", ONES)
    fmriprep.image("sub-01/anat/sub-01_acq-0_desc-preproc_T1w.nii.gz", ONES)
    found = {"fmriprep": fmriprep.root, "recon": recon.root}
    assert series_of(raw, derivatives=found).mask == recon.root / f"{stem}_desc-brain_mask.nii.gz"


def test_the_mask_of_another_series_is_never_used(raw, recon):
    raw.qmt()
    recon.image("sub-01/anat/sub-01_acq-other_desc-brain_mask.nii.gz", ONES)
    assert series_of(raw, derivatives={"recon": recon.root}).mask is None


def test_the_mask_of_a_labelled_t1w_is_used(raw, fmriprep):
    raw.qmt()
    for name in ("desc-brain_mask", "desc-preproc_T1w"):
        plain = fmriprep.root / f"sub-01/anat/sub-01_{name}.nii.gz"
        plain.rename(plain.with_name(f"sub-01_acq-mprage_{name}.nii.gz"))
    mask = series_of(raw, derivatives={"fmriprep": fmriprep.root}).mask
    assert mask is not None
    assert mask.name == "sub-01_acq-mprage_desc-brain_mask.nii.gz"


def test_the_raw_t1w_serves_without_fmriprep_and_ties_are_noted(raw):
    raw.qmt()
    for run in (1, 2):
        raw.image(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz", ONES)
    found = find_acquisitions(raw.root)
    t1w = found.acquisitions[0].t1w
    assert t1w is not None
    assert t1w.name == "sub-01_run-1_T1w.nii.gz"
    assert any("run-1_T1w" in note and "run-2_T1w" in note for note in found.notes)


def test_a_derivative_comes_before_the_raw_data(raw, recon):
    raw.qmt()
    raw.image("sub-01/anat/sub-01_T1w.nii.gz", ONES)
    better = recon.image("sub-01/anat/sub-01_T1w.nii.gz", ONES)
    assert series_of(raw, derivatives={"recon": recon.root}).t1w == better


def test_images_in_template_space_are_never_used(raw, recon):
    raw.qmt()
    for name in ("desc-brain_mask", "desc-preproc_T1w", "dseg", "label-GM_probseg"):
        recon.image(f"sub-01/anat/sub-01_space-MNI152NLin6Asym_{name}.nii.gz", ONES)
    companions = series_of(raw, derivatives={"recon": recon.root}).companions
    assert (companions.mask, companions.t1w, companions.dseg) == (None, None, None)
    assert companions.tissue_probabilities == {}


def session_t1w(builder, session, name="T1w"):
    return builder.image(f"sub-01/ses-{session}/anat/sub-01_ses-{session}_{name}.nii.gz", ONES)


def test_anatomy_of_the_same_session_before_none_before_another(raw):
    raw.qmt(session="1")
    other = session_t1w(raw, "2")
    assert series_of(raw).t1w == other
    assert series_of(raw).companions.session == "2"
    whole = raw.image("sub-01/anat/sub-01_T1w.nii.gz", ONES)
    assert series_of(raw).t1w == whole
    assert series_of(raw).companions.session is None
    same = session_t1w(raw, "1")
    assert series_of(raw).t1w == same


def test_anatomy_of_another_session_is_noted(raw):
    raw.qmt(session="1")
    session_t1w(raw, "2")
    note = (
        "sub-01_ses-1_acq-a_QMT: its session has no T1w image; that of ses-2 is used, with the "
        "mask and labels that belong to it."
    )
    assert note in find_acquisitions(raw.root).notes
    assert series_of(raw, ignore=["t1w"]).companions.session is None


@pytest.mark.parametrize(
    ("present", "chosen"), [("1 2 4 10", "2"), ("10 11 4", "4"), ("2 3", None)]
)
def test_of_several_sessions_the_last_before_else_the_first_after(raw, present, chosen):
    raw.qmt(session="3")
    for session in present.split():
        session_t1w(raw, session)
    assert series_of(raw).companions.session == chosen


def test_mask_and_labels_come_from_the_session_of_the_t1w_image(raw, fmriprep):
    raw.qmt(session="3")
    session_t1w(raw, "2")  # raw only: the derivative of session 1 brings mask and labels
    for session in "14":
        for name in ("desc-brain_mask", "desc-preproc_T1w", "desc-aseg_dseg", "label-GM_probseg"):
            session_t1w(fmriprep, session, name)
    for path in (fmriprep.root / "sub-01" / "anat").iterdir():
        path.unlink()
    found = series_of(raw, derivatives={"fmriprep": fmriprep.root}).companions
    anat = fmriprep.root / "sub-01" / "ses-1" / "anat"
    assert found.session == "1"
    assert {path.parent for path in (found.mask, found.t1w, found.dseg)} == {anat}
    assert found.tissue_probabilities["GM"].parent == anat


def test_a_mask_of_another_session_is_not_used_with_the_t1w_image_of_its_own(raw, fmriprep):
    raw.qmt(session="1")
    own = session_t1w(raw, "1")
    for path in (fmriprep.root / "sub-01" / "anat").iterdir():
        path.unlink()
    for name in ("desc-brain_mask", "desc-preproc_T1w", "desc-aseg_dseg"):
        session_t1w(fmriprep, "2", name)
    found = series_of(raw, derivatives={"fmriprep": fmriprep.root}).companions
    assert (found.t1w, found.mask, found.dseg) == (own, None, None)


def test_the_t1w_image_that_mask_and_labels_lie_on_comes_before_a_raw_one(raw, fmriprep):
    raw.qmt(session="1")
    session_t1w(raw, "1")
    found = series_of(raw, derivatives={"fmriprep": fmriprep.root}).companions
    assert found.t1w == fmriprep.root / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"


def test_a_chosen_session_still_finds_its_anatomy_elsewhere(raw):
    raw.qmt(session="1")
    raw.qmt(session="2")
    other = session_t1w(raw, "1")
    raw.image("sub-01/ses-1/fmap/sub-01_ses-1_TB1map.nii.gz", ONES)
    found = find_acquisitions(raw.root, sessions=["2"]).acquisitions
    assert [item.entities["session"] for item in found] == ["2"]
    assert found[0].t1w == other
    assert found[0].supplied == {}


def test_a_companion_that_leads_out_of_the_data_set_is_left_alone(raw, tmp_path):
    raw.qmt()
    outside = tmp_path / "outside.nii.gz"
    raw.image("sub-01/anat/sub-01_T1w.nii.gz", ONES).rename(outside)
    (raw.root / "sub-01/anat/sub-01_T1w.nii.gz").symlink_to(outside)
    found = find_acquisitions(raw.root)
    assert found.acquisitions[0].t1w is None
    assert any("leads out of the data set" in note for note in found.notes)


def test_unknown_things_to_ignore(raw):
    raw.qmt()
    with pytest.raises(BidsBrnnError, match="--ignore b2map"):
        find_acquisitions(raw.root, ignore=["b2map"])


def test_mask_and_labels_are_of_the_session_that_a_filter_gives_the_t1w_image(raw, fmriprep):
    raw.qmt(session="2")
    for session in "12":
        session_t1w(raw, session)
        for name in ("desc-brain_mask", "desc-preproc_T1w", "desc-aseg_dseg", "label-GM_probseg"):
            session_t1w(fmriprep, session, name)
        transform = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_from-T1w_to-X_xfm.h5"
        fmriprep.text(transform, "")
    for path in (fmriprep.root / "sub-01" / "anat").iterdir():
        path.unlink()
    options = {"derivatives": {"fmriprep": fmriprep.root}, "filters": {"t1w": {"session": "1"}}}
    found = series_of(raw, **options).companions
    used = [found.t1w, found.mask, found.dseg, *found.tissue_probabilities.values()]
    used += found.transforms.values()
    assert {path.parent for path in used} == {fmriprep.root / "sub-01/ses-1/anat"}
    assert any(
        "leaves no T1w image of its session; that of ses-1" in n for n in notes(raw, options)
    )


def notes(raw, options):
    return find_acquisitions(raw.root, **options).notes


def two_t1w(raw, fmriprep, sources):
    raw.qmt()
    for acq in ("fast", "mprage"):
        raw.image(f"sub-01/anat/sub-01_acq-{acq}_T1w.nii.gz", ONES)
    if sources is not None:
        uris = [f"bids:raw:sub-01/anat/sub-01_acq-{acq}_T1w.nii.gz" for acq in sources]
        for name in ("desc-brain_mask", "desc-preproc_T1w", "desc-aseg_dseg"):
            fmriprep.json(f"sub-01/anat/sub-01_{name}.json", {"Sources": uris})
    return {"derivatives": {"fmriprep": fmriprep.root}}


@pytest.mark.parametrize("sources", [None, ("fast", "mprage")])
def test_an_average_of_t1w_images_never_lends_its_mask_to_one_of_them(raw, fmriprep, sources):
    options = two_t1w(raw, fmriprep, sources)
    merged = series_of(raw, **options)
    assert merged.t1w is not None
    assert merged.t1w.name == "sub-01_desc-preproc_T1w.nii.gz"
    assert merged.mask is not None
    options["filters"] = {"t1w": {"acquisition": "mprage"}}
    about = series_of(raw, **options).companions
    assert about.t1w == raw.root / "sub-01/anat/sub-01_acq-mprage_T1w.nii.gz"
    assert (about.mask, about.segmentations, about.transforms) == (None, {}, {})
    (note,) = [note for note in notes(raw, options) if "not used" in note]
    assert note.startswith("sub-01_acq-a_QMT: sub-01_desc-brain_mask.nii.gz and ")
    assert "made from sub-01_acq-fast_T1w.nii.gz, sub-01_acq-mprage_T1w.nii.gz, not from" in note


def test_a_mask_declared_to_be_made_from_the_chosen_t1w_image_is_used(raw, fmriprep):
    options = two_t1w(raw, fmriprep, ["mprage"])
    options["filters"] = {"t1w": {"acquisition": "mprage"}}
    assert series_of(raw, **options).mask is not None
    options["filters"] = {"t1w": {"acquisition": "fast"}}
    assert series_of(raw, **options).mask is None


def test_of_two_t1w_images_the_one_with_a_mask_is_used(raw, recon):
    raw.qmt()
    for run in "12":
        raw.image(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz", ONES)
    recon.image("sub-01/anat/sub-01_run-2_desc-brain_mask.nii.gz", ONES)
    about = series_of(raw, derivatives={"recon": recon.root}).companions
    assert about.t1w.name == "sub-01_run-2_T1w.nii.gz"
    assert about.mask is not None


def test_the_mask_of_another_run_is_never_used(raw, recon):
    stem = raw.qmt()
    for run in "12":
        for part in ("real", "imag"):
            raw.random(f"{stem}_run-{run}_part-{part}_QMT.nii.gz")
    for part in ("real", "imag"):
        (raw.root / f"{stem}_part-{part}_QMT.nii.gz").unlink()
    recon.image(f"{stem}_run-1_desc-brain_mask.nii.gz", ONES)
    found = find_acquisitions(raw.root, derivatives={"recon": recon.root}).acquisitions
    assert [item.mask is not None for item in found] == [True, False]

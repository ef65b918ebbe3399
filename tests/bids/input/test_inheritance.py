"""The inheritance principle, held against PyBIDS on sound data."""

from __future__ import annotations

import pytest
from bids.layout import BIDSLayout, BIDSLayoutIndexer

from bids_brnn.bids.grammar import parse_name, pybids_config
from bids_brnn.bids.input.dataset import ignored
from bids_brnn.bids.input.inheritance import applicable, metadata_of
from bids_brnn.errors import InvalidBidsError


def test_metadata_are_those_of_pybids(raw):
    for subject in ("01", "02"):
        for session in ("1", "2"):
            raw.qmt(subject, session)
    raw.json("QMT.json", {"A": "root", "B": "root", "C": "root"})
    raw.json("acq-b_QMT.json", {"A": "other acquisition"})
    raw.json("part-imag_QMT.json", {"D": "imag"})
    raw.json("sub-01/sub-01_QMT.json", {"B": "subject", "E": [1, 2.5]})
    raw.json("sub-01/ses-1/sub-01_ses-1_acq-a_QMT.json", {"B": "session", "F": {"x": None}})
    raw.json("sub-01/ses-1/anat/sub-01_ses-1_acq-a_part-real_QMT.json", {"C": "file", "G": True})
    layout = BIDSLayout(
        raw.root,
        validate=False,
        config=["bids", "derivatives", pybids_config()],
        indexer=BIDSLayoutIndexer(validate=False, ignore=ignored(None, None)),
    )
    images = layout.get(suffix="QMT", extension=".nii.gz")
    assert len(images) == 8
    seen = set()
    for image in images:
        ours = metadata_of(raw.root / image.relpath, raw.root)
        assert ours == image.get_metadata()
        seen.add(tuple(sorted(ours)))
    assert len(seen) > 2  # the cases differ, or the comparison says little


def test_nearest_first(raw):
    stem = raw.qmt()
    raw.pulses("rfpulses.tsv")
    raw.pulses("sub-01/anat/sub-01_rfpulses.tsv")
    raw.pulses("sub-01/anat/sub-01_acq-a_rfpulses.tsv")
    raw.pulses("sub-01/anat/sub-01_acq-b_rfpulses.tsv")
    image = raw.root / f"{stem}_part-real_QMT.nii.gz"
    found = applicable(image, raw.root, suffix="rfpulses", extension=".tsv")
    assert [path.name for path in found] == [
        "sub-01_acq-a_rfpulses.tsv",
        "sub-01_rfpulses.tsv",
        "acq-a_rfpulses.tsv",
        "rfpulses.tsv",
    ]


def test_files_above_the_root_do_not_apply(raw, tmp_path):
    stem = raw.qmt()
    (tmp_path / "QMT.json").write_text('{"Outside": 1}')
    image = raw.root / f"{stem}_part-real_QMT.nii.gz"
    assert "Outside" not in metadata_of(image, raw.root)


def test_names_are_taken_apart():
    name = parse_name("sub-01_ses-a_acq-x_T1w.nii.gz")
    assert name.entities == {"sub": "01", "ses": "a", "acq": "x"}
    assert (name.suffix, name.extension) == ("T1w", ".nii.gz")
    assert parse_name("T1w.json").entities == {}


@pytest.mark.parametrize(
    "name", ["sub-01_sub-02_T1w.nii", "sub-_T1w.nii", "sub-0.1_x_T1w", "a_T1w"]
)
def test_names_that_are_none(name):
    with pytest.raises(InvalidBidsError, match="is not a BIDS"):
        parse_name(name)

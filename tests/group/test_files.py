"""Which files count for the group, and who is named as missing."""

from __future__ import annotations

import pytest

from bids_brnn.group.collect import group_tables
from bids_brnn.group.files import absent, copies, participant_files

NAME = "sub-{}_seg-aseg_desc-nlls_scalarstats.tsv"
TABLE = "index\tname\tparam\tunits\tmedian\tregion_source\n2\tWM\tT1\ts\t0.9\tlabels\n"


@pytest.fixture
def put(tmp_path):
    def write(path, content=TABLE):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return write


def test_only_folders_of_participants_and_files_of_ours_count(put, tmp_path):
    good = [
        put(f"sub-01/anat/{NAME.format('01')}"),
        put(f"sub-02/ses-a/anat/{NAME.format('02_ses-a')}"),
    ]
    for folder in ("sub-01_old", "sub-01 (copy)", "sub-03-bak"):
        put(f"{folder}/anat/{NAME.format('01')}")
    put(f"sub-01/backup/anat/{NAME.format('01')}")
    put(f"backup/sub-01/anat/{NAME.format('01')}")
    put(f"sub-01old/anat/{NAME.format('01')}")
    put(f"sub-02/ses-a/anat/{NAME.format('02')}")
    put(f"sub-01/anat/{NAME.format('01_task-rest')}")
    put(f"sub-01/anat/{NAME.format('01_copy')}")
    notes: list[str] = []
    assert participant_files(tmp_path, "_scalarstats.tsv", notes=notes) == good
    assert len(notes) == 4
    assert sum("writes no task-" in note for note in notes) == 1
    assert sum("of another participant or session" in note for note in notes) == 2
    assert sum("no BIDS name" in note for note in notes) == 1
    named = " ".join(copies(tmp_path))
    assert all(
        f"'{name}' is left aside" in named
        for name in ("sub-01_old", "sub-01 (copy)", "sub-03-bak")
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not a tab-separated table"),
        ("roi\tmean\n1\t2\n", "has no column name, param, units"),
        (TABLE.splitlines()[0] + "\n", "holds no region"),
        (TABLE.replace("0.9", "high"), "column median holds what is no number"),
        (TABLE.replace("2\tWM", "n/a\tWM"), "column index holds what is no number"),
        (TABLE + TABLE.splitlines()[1] + "\n", "holds a region twice"),
        ("participant_id\t" + TABLE.replace("\n2", "\nsub-01\t2"), "has a column participant_id"),
    ],
)
def test_a_table_of_others_is_left_aside(put, tmp_path, content, says):
    put(f"sub-01/anat/{NAME.format('01')}")
    strange = put(f"sub-02/anat/{NAME.format('02')}", content)
    notes: list[str] = []
    tables = {item.kind: item.table for item in group_tables(tmp_path, notes=notes)}
    assert tables["statistics"]["participant_id"].tolist() == ["sub-01"]
    (note,) = notes
    assert str(strange) in note
    assert says in note


def test_who_is_missing_and_why(put, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for label in ("01", "02", "03", "04", "05"):
        (data / f"sub-{label}").mkdir(parents=True)
    put("out/sub-01/log/20250101-000000_a/crash-old.txt")
    (out / "sub-01/log/20250102-000000_b").mkdir()
    put("out/sub-02/log/20250101-000000_a/crash-x.txt")
    put("out/sub-03/log/20250101-000000_a/crash-x.txt")
    put("out/sub-04/anat/sub-04_desc-nlls_T1map.nii.gz")
    notes = list(absent(data, out, {"01", "03"}))
    assert len(notes) == 4
    said = "\n".join(notes)
    assert "sub-02 has no results: its last run crashed, see" in said
    assert "last run of sub-03 crashed" in said
    assert "--level full: sub-04." in said
    assert "did not run or found no series: sub-05." in said
    assert "sub-01" not in said
    asked = list(absent(data, out, {"01"}, ["01", "07"]))
    assert asked == ["neither in the data set nor in the output: sub-07."]


def test_sessions_that_were_asked_for(tmp_path):
    for name in ("sub-01/ses-a", "sub-02/ses-b"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (note,) = absent(tmp_path / "data", tmp_path / "out", set(), (), ["a"])
    assert note.endswith("found no series in session a: sub-01.")

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_brnn.group.changes import change_tables
from bids_brnn.group.collect import GroupTable


def long_table(changes):
    rows = [
        {"participant_id": f"sub-{k:02d}", "session_id": session, "acq": "x", "index": 2,
         "name": "WM", "param": "m0s", "units": "1", "median": value}
        for k, change in enumerate(changes, start=1)
        for session, value in (("ses-1", 0.2), ("ses-2", 0.2 + change))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def changes_of(frame, tmp_path):
    item = GroupTable("statistics", tmp_path / "x.tsv", frame, {}, "tissue", "nlls")
    found = list(change_tables([item]))
    if not found:
        return []
    ((_, header, rows, _),) = found
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_mean_change_interval_and_the_largest(tmp_path):
    changes = np.array([0.01, 0.02, 0.03, 0.02, -0.05, 0.03])
    (row,) = changes_of(long_table(changes), tmp_path)
    expected = stats.ttest_1samp(changes, 0).confidence_interval()
    assert row["participants"] == "6"
    assert float(row["mean change"]) == pytest.approx(changes.mean(), rel=5e-3)  # 3 digits
    low, high = (float(text) for text in row["95 % CI"].split(" to "))
    assert (low, high) == pytest.approx(tuple(expected), rel=5e-3)
    assert row["largest"] == "-0.05 in sub-05"
    assert row["sessions"] == "ses-1 to ses-2"


def test_few_participants_are_said_to_be_few(tmp_path):
    (row,) = changes_of(long_table([0.01, 0.02]), tmp_path)
    assert row["95 % CI"].endswith("(n = 2, hardly known)")
    (row,) = changes_of(long_table([0.01]), tmp_path)
    assert row["95 % CI"] == "n = 1"


def test_one_session_has_no_changes_and_who_lacks_one_does_not_count(tmp_path):
    frame = long_table([0.01, 0.02, 0.03])
    assert changes_of(frame[frame["session_id"] == "ses-1"], tmp_path) == []
    (row,) = changes_of(frame.drop(index=1), tmp_path)
    assert row["participants"] == "2"


def test_runs_of_a_session_count_once(tmp_path):
    frame = long_table([0.01, 0.03])
    twice = pd.concat([frame.assign(run="1"), frame.assign(run="2")], ignore_index=True)
    (row,) = changes_of(twice, tmp_path)
    assert row["participants"] == "2"
    assert float(row["mean change"]) == pytest.approx(0.02)

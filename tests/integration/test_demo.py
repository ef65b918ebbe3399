"""``brnn demo``: from an empty folder to maps that agree with the truth, end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brnn.cli.toolbox import demo
from bids_brnn.cli.toolbox.main import main
from bids_brnn.phantom import compare_with_truth


def test_it_says_in_one_screen_what_it_made(made):
    folder, text = made
    lines = text.splitlines()
    own = [line for line in lines if line.startswith(("Made", "$ bids_brnn", "Maps"))]
    assert len(own) == 5
    assert f"Made {folder}: 1 participants, qmt, mrf and spgr, 16x20x1 voxels" in text
    for parameter in ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s", "F", "T1", "T2"):
        assert any(parameter in line.split()[1:2] for line in lines), parameter
    assert all(len(line) <= 100 for line in lines[lines.index(own[-1]) :])


def test_maps_agree_with_the_truth_within_the_bounds(made):
    folder, _ = made
    rows = compare_with_truth(folder, folder / "derivatives" / "bids_brnn")
    seen = set()
    for row in rows:
        if row.tissue == "CSF" or row.estimator not in ("nlls", "dict"):
            continue
        if row.parameter == "T2f":  # one over a rate that is known to a third: far from linear
            continue
        seen.add((row.parameter, row.estimator))
        assert row.n_invalid == 0
        # About a hundred voxels per tissue: the mean of error / bound has a standard error of
        # 0.1, and the expected bias of a nonlinear estimate at this SNR is of the same order.
        assert abs(row.bias_to_bound) < 0.7, row
        assert 0.5 < row.spread_to_bound < 1.7, row
    expected = {("m0s", "nlls"), ("R1f", "nlls"), ("F", "nlls"), ("T1", "dict"), ("T2", "dict")}
    assert expected <= seen


def test_input_and_output_pass_the_validator(made):
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is not installed")
    validator = str(Path(sys.executable).with_name("bids-validator-deno"))
    for folder in (made[0], made[0] / "derivatives" / "bids_brnn"):
        shown = subprocess.run(
            [validator, "--format", "json", folder], capture_output=True, text=True
        )
        issues = json.loads(shown.stdout)["issues"]["issues"]
        assert [i["code"] for i in issues if i.get("severity") == "error"] == []


def test_a_run_that_fails_ends_with_its_exit_code(tmp_path, monkeypatch, capsys):
    def empty(folder, **_):
        (folder / "derivatives" / "fmriprep").mkdir(parents=True)

    monkeypatch.setattr(demo, "make_dataset", empty)
    # A folder without dataset_description.json is no data set: 16.
    assert main(["demo", str(tmp_path / "ds")]) == 16
    assert "bids_brnn participant ended with exit code 16" in capsys.readouterr().err


def test_an_occupied_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["demo", str(tmp_path)]) == 73
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

"""The table of maps against the truth."""

from __future__ import annotations

from bids_brnn.cli.toolbox.demo import table
from bids_brnn.phantom import Agreement

NAN = float("nan")


def row(tissue, estimator, n, n_invalid=0, bound=5.0):
    numbers = (NAN,) * 7 if n == 0 else (0.9, 0.9, 0.0, bound, 0.0, 1.0, 0.0)
    return Agreement("acq-a", "T1", tissue, estimator, n, n_invalid, *numbers)


def test_an_estimator_without_an_estimate_does_not_hide_the_others():
    shown = table([row("WM", "brnn", 0, 7), row("WM", "dict", 7)])
    assert "left out" not in shown
    assert [line.split()[:5] for line in shown.splitlines() if line.startswith("acq-a")] == [
        ["acq-a", "T1", "WM", "brnn", "0"], ["acq-a", "T1", "WM", "dict", "7"],
    ]  # fmt: skip
    assert "7 estimates are not finite" in shown


def test_what_cannot_be_measured_is_left_out_and_said():
    shown = table([row("CSF", "dict", 7, bound=120.0), row("GM", "dict", 0)])
    assert "acq-a in CSF is left out" in shown
    assert not any(line.split()[:3] == ["acq-a", "T1", "GM"] for line in shown.splitlines())

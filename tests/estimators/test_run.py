"""An estimator at work."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from bids_brnn.errors import TemporaryError, UsageError
from bids_brnn.estimators import run
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.run import (
    duration,
    naming,
    progress_logger,
    run_estimator,
    to_device,
)
from bids_brnn.estimators.voxels import voxels_to_estimate
from bids_brnn.parameters import RELAXATION


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.2, "3 s"), (99.4, "99 s"), (130, "2 min"), (5940, "99 min"), (7500, "2 h 05 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_progress_names_rate_and_time_left_and_is_not_chatty(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, "bids_brnn")
    report = progress_logger("sub-01")
    for second in range(1, 31):
        now[0] = float(second)
        report(10 * second, 1000)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "sub-01: 100 of 1000 voxels (10 %), 10 voxels/s, 90 s left",
        "sub-01: 200 of 1000 voxels (20 %), 10 voxels/s, 80 s left",
        "sub-01: 300 of 1000 voxels (30 %), 10 voxels/s, 70 s left",
    ]


def test_time_left_does_not_count_what_comes_before_the_first_voxels(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, "bids_brnn")
    report = progress_logger("sub-01")
    for second, done in ((80.0, 14), (92.0, 134)):  # compiled for 80 s
        now[0] = second
        report(done, 770)
    assert [record.getMessage() for record in caplog.records] == [
        "sub-01: 14 of 770 voxels (2 %)",
        "sub-01: 134 of 770 voxels (17 %), 10 voxels/s, 64 s left",
    ]


def test_a_device_that_is_absent_is_refused_and_auto_falls_back(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    voxels = np.ones((2, 3), np.complex64)
    with pytest.raises(UsageError, match="no CUDA device"):
        to_device(voxels, "cuda", 1)
    assert to_device(voxels, "auto", 1).device.type == "cpu"


def test_threads_are_those_of_the_node():
    before = torch.get_num_threads()
    try:
        to_device(np.ones((1, 1), np.complex64), "cpu", 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@dataclass
class Fake:
    """An estimator that writes down what it is given."""

    parameters = RELAXATION
    name: str = "fake"
    error: Exception | None = None
    seen: list = field(default_factory=list)

    def estimate(self, data, supplied=None, *, sigma=None, progress=None, checkpoint=None):
        self.seen.append((data.shape, supplied, sigma, progress, checkpoint))
        if self.error:
            raise self.error
        n = len(data)
        return Estimate(torch.ones(n, 3), torch.ones(n, dtype=torch.complex64), torch.zeros(n))


def test_progress_is_told_and_partial_results_have_a_place(tmp_path, caplog):
    caplog.set_level(logging.INFO, "bids_brnn")
    fake, path = Fake(), tmp_path / "partial.safetensors"
    run_estimator(fake, torch.ones(4, 2, dtype=torch.complex64), {}, 0.5, path, "sub-01")
    ((shape, supplied, sigma, progress, checkpoint),) = fake.seen
    assert (shape, supplied, sigma) == ((4, 2), None, 0.5)
    progress(1, 4)  # within ten seconds: not worth a line
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.path == path
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "sub-01: 4 voxels on cpu"
    assert lines[1].startswith("sub-01: done in")
    assert len(lines) == 2


def test_voxels_that_cannot_be_estimated_are_told_once_and_of_their_series(caplog):
    data = torch.ones(5, 2, dtype=torch.complex64)
    data[0] = 0
    known = {RELAXATION.index(("B1",))[0]: torch.tensor([1.0, 0.9, 70.0, torch.nan, 1.1])}
    with naming("sub-01 dict"):
        for _ in range(2):
            voxels_to_estimate(RELAXATION, known, data)
    voxels_to_estimate(RELAXATION, known, data)
    low, high = RELAXATION["B1"].lower, RELAXATION["B1"].upper
    told = (
        "3 of 5 voxels cannot be estimated (of data that are zero or not finite; "
        f"B1 beyond {low:g} to {high:g} or missing)"
    )
    assert [item.getMessage() for item in caplog.records] == [f"sub-01 dict: {told}", told]


def test_a_full_device_is_worth_another_try(tmp_path):
    fake = Fake(error=torch.cuda.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(TemporaryError, match="--device cpu") as refusal:
        run_estimator(fake, torch.ones(1, 2, dtype=torch.complex64), {}, None, tmp_path / "c", "x")
    assert refusal.value.exit_code == 75


def test_spreads_go_to_estimators_that_take_them_and_others_are_named(tmp_path, caplog):
    taken = {}

    class Taking:
        name = "taking"

        def estimate(self, data, supplied=None, *, spread=None, **options):
            taken["spread"] = spread

    class Other:
        name = "other"

        def estimate(self, data, supplied=None, **options):
            assert "spread" not in options

    spread = {"R1": torch.ones(2)}
    for estimator in (Taking(), Other()):
        run_estimator(
            estimator, torch.zeros(2, 3), {}, None, tmp_path / "c", estimator.name, spread=spread
        )
    assert taken["spread"] is spread
    warnings = [item.getMessage() for item in caplog.records if item.levelname == "WARNING"]
    assert warnings == [
        "other: standard deviations do not include those of the supplied maps (R1)"
    ]

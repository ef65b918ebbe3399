"""What a page takes from sidecars beside the maps."""

from __future__ import annotations

import json

from bids_brnn.reports.preparation import loss_of, noise_warnings


def test_each_contradiction_of_the_noise_is_told_once(tmp_path):
    contents = [{}, {"NoiseWarning": "a"}, {"NoiseWarning": "b"}, {"NoiseWarning": "a"}]
    paths = [tmp_path / f"{number}.json" for number in range(5)]
    for path, content in zip(paths, contents, strict=False):
        path.write_text(json.dumps(content))
    assert noise_warnings(paths) == ["a", "b"]


def test_the_loss_of_a_fit_is_none():
    assert loss_of({"TrainingLoss": {"name": "mse-crb"}}) == {"name": "mse-crb"}
    assert loss_of({"TrainingLoss": "n/a"}) == loss_of({}) == {}

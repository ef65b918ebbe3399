"""More draws where chance decides, and no more than that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bids_brnn.evaluation import assess
from bids_brnn.zoo.quality import judge
from tests.zoo.evaluations import judged


@pytest.mark.parametrize(
    ("value", "error", "counts"),
    [(1.0, 0.1, [200]), (1.4, 0.1, [200, 800, 3200]), (1.45, 0.03, [200, 800]), (2.0, 0.1, [200])],
)
def test_draws_are_multiplied_while_the_limit_lies_within_the_error(
    monkeypatch, value, error, counts
):
    """Of a figure whose error halves with four times the draws; the limit is 1.414."""
    seen = []

    class Judge:
        def __init__(self, *_):
            pass

        def overall(self, data, draws):
            return {**judged(), "draws": draws}

        def tissue_sets(self, effort, data):
            seen.append(effort.draws)
            now = error * (200 / effort.draws) ** 0.5
            return judged(std_over_slope=value, std_over_slope_error=now)["tissue_sets"]

        def outside(self):
            return judged()["outside_training"]

    def card(found):
        return SimpleNamespace(verdict=judge(found, (10, 50)))

    monkeypatch.setattr(assess, "_Judge", Judge)
    stored = SimpleNamespace(card=SimpleNamespace(snr_range=(10, 50), with_evaluation=card))
    found = assess.assess_quickly(stored, None, [])
    assert seen == counts
    assert found["draws"] == counts[-1] // 2

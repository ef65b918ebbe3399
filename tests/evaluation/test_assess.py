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

    def sets(effort, tissues):
        seen.append((effort.draws, list(effort.levels), sorted(tissues)))
        now = error * (200 / effort.draws) ** 0.5
        near = judged(std_over_slope=value, std_over_slope_error=now)
        sure = judged()["tissue_sets"]["WM"]["40"]
        tables = {"WM": {"20": sure, **near["tissue_sets"]["WM"]}, "GM": {"20": sure, "40": sure}}
        told = {f"{level:g}" for level in effort.levels}
        return {
            tissue: {level: row for level, row in tables[tissue].items() if level in told}
            for tissue in tissues
        }

    found = quickly(monkeypatch, judged(), sets)
    assert seen == [
        (count, [20, 40] if count == 200 else [40], ["GM", "WM"] if count == 200 else ["WM"])
        for count in counts
    ]
    row = found["tissue_sets"]["WM"]["40"]["R1"]
    assert row["std_over_slope_error"] == error * (200 / counts[-1]) ** 0.5
    assert found["tissue_sets"].keys() == {"WM", "GM"}
    assert found["draws"] == 100, "the held-out fingerprints were in no doubt"


def test_held_out_fingerprints_alone_get_more_draws_where_they_alone_are_in_doubt(monkeypatch):
    near = judged(variance=2.1)
    near["held_out"]["R1"]["variance_over_crb_error"] = 0.1
    seen = []

    def sets(effort, tissues):
        seen.append(effort.draws)
        return judged()["tissue_sets"]

    found = quickly(monkeypatch, near, sets)
    assert seen == [200]
    assert found["draws"] == 1600


def quickly(monkeypatch, overall, sets):
    class Judge:
        def __init__(self, *_):
            pass

        def overall(self, data, draws):
            return {**overall, "draws": draws}

        def tissue_sets(self, effort, data, tissues):
            return sets(effort, tissues)

        def outside(self):
            return judged()["outside_training"]

    def card(found):
        return SimpleNamespace(verdict=judge(found, (10, 50)))

    monkeypatch.setattr(assess, "_Judge", Judge)
    monkeypatch.setattr(assess, "TISSUE_SETS", ("WM", "GM"))
    stored = SimpleNamespace(card=SimpleNamespace(snr_range=(10, 50), with_evaluation=card))
    return assess.assess_quickly(stored, None, [])

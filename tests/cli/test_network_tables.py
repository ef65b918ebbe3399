"""Tables of the shipped networks: what they say of a card."""

from __future__ import annotations

import copy

from bids_brnn.cli import network_tables


def test_a_figure_that_misses_its_goal_is_bold(monkeypatch):
    card = next(item for item in network_tables.shipped() if item.name == "mrf-jiang")
    figures = copy.deepcopy(dict(card.evaluation))
    figures["tissue_sets"]["WM"]["40"]["R1"]["slope"] = 0.5
    figures["tissue_sets"]["lesion"]["20"]["R2"]["squared_bias_over_crb"] = 0.2
    monkeypatch.setattr(network_tables, "shipped", lambda: [card.with_evaluation(figures)])
    low, middle, high = network_tables.goal_rows()
    assert [row[1] for row in (low, middle, high)] == ["20", "40", "80"]
    assert [cell for cell in middle if "**" in cell] == ["**0.50** (R1, WM)"]
    assert [cell for cell in low if "**" in cell] == ["**0.200** (R2, lesion)"]
    assert not any("**" in cell for cell in high)

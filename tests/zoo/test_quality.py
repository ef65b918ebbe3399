"""The quality rule: what refuses a network, what marks a map, and what does neither."""

from __future__ import annotations

import math

import pytest

from bids_brnn.zoo.limits import LIMITS, LONGER, limit_rows
from bids_brnn.zoo.quality import judge
from tests.zoo.evaluations import judged

RANGE = (10.0, 50.0)


def verdict(**changes):
    return judge(judged(**changes), RANGE)


def test_good_figures_pass_without_a_word():
    assert verdict() == judge(judged(), RANGE)
    assert verdict().refusal == ""
    assert verdict().marks == {}


@pytest.mark.parametrize("limit", [item for item in LIMITS if item.table == "tissue_sets"])
def test_every_limit_of_a_tissue_set_marks_one_parameter_and_refuses_beyond(limit):
    away = -1 if limit.least else 1
    between = (limit.marked + limit.refused) / 2
    found = verdict(**{limit.key: between})
    assert found.refusal == ""
    assert set(found.marks) == {"R1"}
    assert f"is {between:.3g}" in found.marks["R1"]
    assert f"the limit is {limit.marked:g}" in found.marks["R1"]
    found = verdict(**{limit.key: limit.refused + 0.1 * away})
    assert limit.words in found.refusal
    assert f"(R1; the limit is {limit.refused:g})" in found.refusal
    assert verdict(**{limit.key: limit.marked - 0.01 * away}).marks == {}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda item: f"{item.table}-{item.key}")
@pytest.mark.parametrize("value", [math.nan, None, "good", True])
def test_what_is_no_number_is_never_good(limit, value):
    evaluation = judged()
    row = evaluation["held_out"]["R1"]
    if limit.table == "tissue_sets":
        row = evaluation["tissue_sets"]["WM"]["40"]["R1"]
    row[limit.key] = value
    assert "is nan" in judge(evaluation, RANGE).refusal


def test_a_slope_that_noise_of_the_evaluation_explains_is_no_fault():
    assert verdict(slope=0.79, slope_error=0.02).marks == {}
    assert "R1" in verdict(slope=0.79, slope_error=0.001).marks
    small = {"slope": 0.06, "slope_of_prior": 0.01, "std_over_slope": 1.5}
    assert verdict(**small, slope_error=0.01).refusal == ""
    assert "deviation over slope" in verdict(**small, slope_error=0.001).refusal


@pytest.mark.parametrize(
    ("what", "word", "few", "enough"), [("fingerprints", "on", 49, 50), ("draws", "with", 10, 50)]
)
def test_an_evaluation_that_chance_may_have_made_is_none(what, word, few, enough):
    found = judge({**judged(), what: few}, RANGE)
    assert found.refusal == f"it was evaluated {word} {few} {what}, {enough} are needed"
    assert found.cure == "", "an evaluation, not a training"
    assert judge({**judged(), what: enough}, RANGE).refusal == ""
    assert f"{word} an unknown number of {what}," in judge({**judged(), what: None}, RANGE).refusal


def test_a_slope_that_is_hardly_known_has_no_benefit_of_doubt():
    found = verdict(slope=0.9, slope_error=0.11)
    assert found.refusal == (
        "its slope against the truth in WM at SNR 40 is known to 0.22 only (R1; 0.2 is needed, "
        "by more draws)"
    )
    assert found.cure == ""
    evaluation = judged()
    unsure = {**evaluation["tissue_sets"]["WM"]["40"]["R1"], "slope_error": 0.3}
    evaluation["tissue_sets"]["lesion"] = {"40": {"R1": unsure}}
    found = judge(evaluation, RANGE)
    assert found.refusal == ""
    assert "in lesion at SNR 40 is known to 0.6 only (0.2 is needed" in found.marks["R1"]
    assert "is 0.2 (R1" in verdict(slope=0.2, slope_error=0.12).refusal, "surely too low"
    assert verdict(slope=0.9, slope_error=0.09).marks == {}
    assert verdict(slope=0.4, slope_of_prior=0.3, slope_error=0.15).refusal == ""


@pytest.mark.parametrize("key", ["std_over_slope", "squared_bias_over_crb", "coverage"])
def test_chance_neither_refuses_nor_passes_a_network(key):
    limit = next(item for item in LIMITS if (item.table, item.key) == ("tissue_sets", key))
    away = -0.01 if limit.least else 0.01
    sure, unsure = {f"{key}_error": 0.001}, {f"{key}_error": 0.45 * limit.doubt}
    beyond, within = {key: limit.refused + away}, {key: limit.refused - away}
    assert limit.words in verdict(**beyond, **sure).refusal
    assert not verdict(**beyond, **sure).in_doubt, "more draws change nothing"
    for near in (beyond, within):
        found = verdict(**near, **unsure)
        assert found.refusal == ""
        assert found.in_doubt
    assert not verdict(**within, **sure).in_doubt
    hardly = verdict(**within, **{f"{key}_error": 0.55 * limit.doubt})
    assert f"is known to {1.1 * limit.doubt:.2g} only (R1" in hardly.refusal
    assert hardly.in_doubt
    assert not hardly.cure, "draws, not a training"


def test_what_is_surely_good_needs_no_more_draws():
    found = verdict(std_over_slope=0.7, std_over_slope_error=0.25)
    assert (found.refusal, found.marks, found.in_doubt) == ("", {}, frozenset())
    assert (
        verdict(slope=0.1, std_over_slope=1.42, std_over_slope_error=0.1).in_doubt == frozenset()
    )
    assert not judge({}, RANGE).in_doubt


def test_the_variance_of_held_out_fingerprints_has_an_error_too():
    evaluation = judged(variance=2.1)
    assert "variance on held-out" in judge(evaluation, RANGE).refusal
    evaluation["held_out"]["R1"]["variance_over_crb_error"] = 0.1
    found = judge(evaluation, RANGE)
    assert found.refusal == ""
    assert found.in_doubt
    assert "variance on held-out" in found.marks["R1"]


def test_changed_tissue_and_low_snr_mark_where_healthy_tissue_refuses():
    evaluation = judged()
    sets = evaluation["tissue_sets"]
    deaf = {**sets["WM"]["40"]["R1"], "slope": 0.3}
    sets["oedema"] = {"40": {"R1": deaf}}
    sets["WM"]["20"] = {"R1": deaf}
    found = judge(evaluation, RANGE)
    assert found.refusal == ""
    assert "slope against the truth" in found.marks["R1"]
    sets["GM"] = {"40": {"R1": deaf}}
    assert "in GM at SNR 40 is 0.3" in judge(evaluation, RANGE).refusal


def test_what_the_protocol_does_not_tell_marks_and_says_so():
    poor = verdict(slope=0.3, slope_of_prior=0.49)
    assert poor.refusal == ""
    assert "is 0.3 (the limit is 0.8; the bound of the protocol exceeds" in poor.marks["R1"]
    assert verdict(slope=0.3, slope_of_prior=0.51).refusal
    assert verdict(slope=0.2, slope_of_prior=0.45, slope_error=0.001).refusal, "less than half"
    assert verdict(slope=0.2, slope_of_prior=0.45, slope_error=0.02).refusal == ""
    assert verdict(slope=math.nan, slope_of_prior=0.1).refusal
    # A map of one value everywhere is no better for it, whichever side of 0 noise puts its slope.
    assert verdict(slope=0.0, slope_of_prior=0.1, std_over_slope=math.inf).refusal
    assert verdict(slope=-0.01, slope_of_prior=0.1, std_over_slope=-100.0).refusal
    assert verdict(slope=0.001, slope_of_prior=0.1).refusal


def test_what_may_help_is_told_by_what_refuses():
    assert judge({}, RANGE).cure == ""
    assert verdict(bias=9).cure == verdict(slope=0.1).cure == LONGER
    evaluation = judged()
    evaluation["outside_training"]["flagged_noise_only"] = 0.2
    assert "a higher lowest SNR" in judge(evaluation, RANGE).cure
    evaluation = judged()
    evaluation["outside_training"]["flagged_white_matter_snr_20"] = 0.2
    assert judge(evaluation, RANGE).cure == LONGER


def test_levels_outside_the_range_of_training_are_not_judged():
    evaluation = judged()
    sets = evaluation["tissue_sets"]
    sets["WM"]["80"] = {"R1": {**sets["WM"]["40"]["R1"], "slope": 0.1}}
    assert judge(evaluation, RANGE).refusal == ""
    assert "at SNR 80 is 0.1" in judge(evaluation, (10, 100)).refusal


@pytest.mark.parametrize(
    ("key", "value"), [("flagged_noise_only", 0.5), ("flagged_white_matter_snr_20", 0.2)]
)
def test_flags_that_miss_noise_or_cry_at_tissue_refuse(key, value):
    evaluation = judged()
    evaluation["outside_training"][key] = value
    assert f"is {value:g} (the limit is" in judge(evaluation, RANGE).refusal
    del evaluation["outside_training"][key]
    assert "is nan (the limit is" in judge(evaluation, RANGE).refusal


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("held_out", "it was never evaluated"),
        ("tissue_sets", "its evaluation lacks slope and coverage"),
        ("outside_training", "its evaluation lacks what it flags"),
    ],
)
def test_an_evaluation_of_an_earlier_version_lacks_what_it_lacks(absent, words):
    evaluation = judged()
    del evaluation[absent]
    assert judge(evaluation, RANGE).refusal.startswith(words)
    assert judge({}, RANGE).refusal == "it was never evaluated"


def test_the_limits_are_told_with_their_reasons():
    rows = limit_rows()
    assert len(rows) == len(LIMITS) + 2
    assert all(reason and refused for _, _, refused, reason in rows)

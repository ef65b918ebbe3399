"""Names of spaces."""

from __future__ import annotations

import pytest

from bids_brnn.spaces import parse_space, space_of


@pytest.mark.parametrize(
    ("text", "name", "entities"),
    [
        ("T1w", "T1w", {"space": "T1w"}),
        ("A:res-2", "A:res-2", {"space": "A", "res": "2"}),
        ("A:res-2:cohort-3", "A:cohort-3:res-2", {"space": "A", "cohort": "3", "res": "2"}),
        ("A+3", "A:cohort-3", {"space": "A", "cohort": "3"}),
    ],
)
def test_every_spelling_has_one_name(text, name, entities):
    assert parse_space(text).name == name
    assert parse_space(text).entities == entities


@pytest.mark.parametrize(
    "text", ["", "A:", "A:res-", "A:res-a_b", "A:den-2", "A:res-1:res-2", "A+3:cohort-2", "A/b"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"is no BIDS label|is not understood"):
        parse_space(text)


def test_both_names_of_fmriprep_mean_one_cohort():
    image = {"space": "MNIPediatricAsym", "cohort": "3", "res": "2"}
    assert space_of({"to": "MNIPediatricAsym+3"}, "to").name == space_of(image, "space").template

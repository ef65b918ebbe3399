"""A filter file that is shared with fMRIPrep."""

from __future__ import annotations

import pytest

from bids_brnn.bids.grammar import default_filters
from bids_brnn.bids.input.filters import FOREIGN, merge_filters
from bids_brnn.errors import UsageError


def test_keys_of_others_are_left_aside_with_a_note():
    notes: list[str] = []
    shared = {"bold": {"echo": "1"}, "fmap": {}, "T2w": None, "t1w": {"acquisition": "x"}}
    merged = merge_filters(shared, notes)
    assert merged == {**default_filters(), "t1w": {**default_filters()["t1w"], "acquisition": "x"}}
    (note,) = notes
    assert "bold, fmap, T2w left aside" in note
    assert not set(default_filters()) & FOREIGN


@pytest.mark.parametrize(
    ("key", "meant"),
    [("T1w", "t1w"), ("t1", "t1w"), ("qmtt", "qmt"), ("QMT", "qmt"), ("masks", "mask"),
     ("TB1map", "b1map"), ("fieldmap", "b0map"), ("b1", "b1map"), ("b1_map", "b1map")],
)  # fmt: skip
def test_a_misspelt_key_is_refused(key, meant):
    with pytest.raises(UsageError, match=f'"{key}" is unknown; did you mean {meant}\\?'):
        merge_filters({key: {"session": "1"}})


def test_an_unknown_key_is_refused_with_those_that_are_known():
    with pytest.raises(UsageError, match='"banana" is unknown; use b0map'):
        merge_filters({"banana": {}})


@pytest.mark.parametrize(
    ("entity", "meant"),
    [("acq", "acquisition"), ("ses", "session"), ("aquisition", "acquisition"), ("rec",
     "reconstruction"), ("description", "desc"), ("resolution", "res"), ("Run", "run")],
)  # fmt: skip
def test_an_unknown_entity_is_refused(entity, meant):
    with pytest.raises(
        UsageError, match=f'"{entity}" of "qmt" is no PyBIDS entity; did you mean {meant}'
    ):
        merge_filters({"qmt": {entity: "a"}})
    with pytest.raises(UsageError, match="is no PyBIDS entity; use acquisition"):
        merge_filters({"qmt": {"zzz": "a"}})

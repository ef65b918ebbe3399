"""Tables of pulses and of the basis that do not hold what their names say."""

from __future__ import annotations

import pytest

from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.errors import DataError


def refused(raw, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == 65


def rewrite(raw, change):
    """The basis with other cells: ``change`` takes and gives a list of rows with the header."""
    path = raw.root / "acq-a_basis.tsv"
    rows = change([line.split("\t") for line in path.read_text().splitlines()])
    path.write_text("".join("\t".join(row) + "\n" for row in rows))


def test_an_unknown_column_of_pulses_is_named(raw):
    raw.qmt()
    raw.pulses("acq-a_rfpulses.tsv", offset=[2732] * 12)
    refused(raw, "acq-a_rfpulses.tsv: .*unknown column offset; .* on resonance only")


def test_units_that_the_json_of_the_table_declares_must_be_those_of_the_columns(raw):
    raw.qmt()
    raw.json("acq-a_rfpulses.json", {"onset": {"Units": "s"}, "flip_angle": {"Units": "degree"}})
    assert find_acquisitions(raw.root).acquisitions
    raw.json("acq-a_rfpulses.json", {"onset": {"Units": "s"}, "echo_time": {"Units": "ms"}})
    refused(raw, 'Units of echo_time in acq-a_rfpulses.json is "ms"; echo_time must be in seconds')


def test_a_balanced_train_without_phases_is_told(raw):
    raw.qmt()
    assert not [note for note in find_acquisitions(raw.root).notes if "no column phase" in note]
    path = raw.root / "acq-a_rfpulses.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    place = rows[0].index("phase")
    path.write_text("".join("\t".join(r[:place] + r[place + 1 :]) + "\n" for r in rows))
    (note,) = [note for note in find_acquisitions(raw.root).notes if "no column phase" in note]
    assert "alternate between 0 and 180 degrees" in note


def test_a_column_of_the_basis_that_is_no_coefficient_is_named(raw):
    raw.qmt()
    rewrite(
        raw, lambda rows: [["sample", *rows[0]], *([str(n), *r] for n, r in enumerate(rows[1:]))]
    )
    refused(raw, "acq-a_basis.tsv: unknown column sample; every column is a coefficient")


def test_a_basis_without_header_is_refused(raw):
    raw.qmt()
    rewrite(raw, lambda rows: rows[1:])
    refused(raw, "acq-a_basis.tsv has no header")


def test_a_basis_that_is_not_orthonormal_is_refused(raw):
    raw.qmt()
    rewrite(raw, lambda rows: [rows[0], *([str(2 * float(c)) for c in row] for row in rows[1:])])
    refused(raw, r"not orthonormal \(the product of columns . and . is 4 instead of 1\)")


def test_echo_times_that_differ_are_told_where_the_model_knows_no_off_resonance(raw):
    def notes():
        return [note for note in find_acquisitions(raw.root).notes if "echo times differ" in note]

    stem = raw.mrf()
    assert notes() == []
    usual = {"tr": 0.012, "duration": None, "phase": None}
    raw.pulses("acq-f_rfpulses.tsv", **usual, echo_time=[0.002] * 6 + [0.004] * 6)
    assert "differ by 2 ms, and off-resonance, which the model fisp does not" in notes()[0]
    for end in ("nii.gz", "json"):  # what is left is a magnitude
        (raw.root / f"{stem}_part-phase_MRF.{end}").unlink()
    assert notes() == []
    # Balanced: its model knows off-resonance.
    raw.mrf(SpoilingState=False, DephasingPerRepetition=None)
    raw.pulses("acq-f_rfpulses.tsv", **usual, echo_time=[0.002] * 6 + [0.004] * 6)
    assert notes() == []

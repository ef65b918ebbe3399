"""Columns in other units are refused by name; trains that can be played are not."""

from __future__ import annotations

import math

import pytest

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.columns import check_units
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence

QMT = hybrid_state_train(n_pulses=40).to_table()
FISP = jiang_like_train(60).to_table()
FISP.pop("duration")


def read(table, **options):
    given = {"start": "thermal", "needs_duration": "duration" in table, **options}
    return PulseSequence.from_table(table, **given)


def changed(table, column, function):
    cells = [cell if cell == "n/a" else str(function(float(cell))) for cell in table[column]]
    return {**table, column: cells}


def flat(n=20, *, flip=5.0, tr=0.004, **columns):
    """A train of equal pulses without inversion."""
    table = {
        "onset": [str(k * tr) for k in range(n)],
        "flip_angle": [str(flip)] * n,
        "pulse_type": ["excitation"] * n,
        "readout": ["1"] * n,
        "echo_time": [str(tr / 2)] * n,
    }
    return {**table, **columns}


@pytest.mark.parametrize("table", [QMT, FISP], ids=["qmt", "fisp"])
@pytest.mark.parametrize(
    ("column", "factor", "words"),
    [
        ("onset", 1e3, "repetition time of .* s, .* onset must be in seconds"),
        ("onset", 1e6, "repetition time of .* s, .* onset must be in seconds"),
        ("onset", 1e-3, "repetition time of .* s, .* onset must be in seconds"),
        ("echo_time", 1e3, "echo_time = .* s in row .*? echo_time must be in seconds"),
        ("echo_time", 1e6, "echo_time = .* s in row .*? echo_time must be in seconds"),
        ("flip_angle", math.pi / 180, "flip_angle = 3.14159 degrees in row 1, an inversion"),
    ],
)
def test_another_unit_is_refused_with_column_value_and_unit(table, column, factor, words):
    with pytest.raises(SequenceError, match=words):
        read(changed(table, column, lambda value: value * factor))


@pytest.mark.parametrize(
    ("column", "factor", "words"),
    [
        ("duration", 1e3, "duration = 0.5 s in row 1. duration must be in seconds"),
        ("duration", 1e6, "duration = 500 s in row 1. duration must be in seconds"),
        ("duration", 1e-3, "duration = 5e-07 s in row 1. duration must be in seconds"),
        ("phase", math.pi / 180, "phase = 3.14159 degrees in row 2.* must be in degrees"),
        ("phase", 1 / 180, "phase = 1 degrees in row 2.* not in radians or turns"),
    ],
)
def test_durations_and_phases_too(column, factor, words):
    with pytest.raises(SequenceError, match=words):
        read(changed(QMT, column, lambda value: value * factor))


@pytest.mark.parametrize("factor", [1.0, math.pi / 180])
def test_angles_in_radians_beside_an_inversion_of_180_degrees(factor):
    angles = ["180", *(f"{factor * (5 + 3 * k):.6g}" for k in range(19))]
    table = flat(
        flip_angle=angles,
        pulse_type=["inversion", *["excitation"] * 19],
        gradient=["spoiler", *["dephasing"] * 19],
        readout=["0", *["1"] * 19],
    )
    if factor == 1.0:
        assert read(table).n_samples == 19
        return
    with pytest.raises(
        SequenceError, match=r"in row 20, the largest of an excitation\? .* degrees"
    ):
        read(table)


@pytest.mark.parametrize("peak", [math.pi, math.pi / 2, 1.2])
def test_flip_angles_in_radians_without_an_inversion(peak):
    angles = [peak if k == 3 else peak / 2 for k in range(20)]
    with pytest.raises(SequenceError, match=r"flip_angle = .* in row 4, .* not in radians"):
        read(flat(flip_angle=[str(angle) for angle in angles]))


@pytest.mark.parametrize(
    "table",
    [
        flat(flip=5),
        flat(flip=3),
        flat(flip=90, tr=0.8),
        flat(flip=60, tr=0.0015),
        # An inversion, a delay, a readout, and a pause of seconds.
        flat(4, flip=180, onset=["0", "1.5", "1.51", "6.5"]),
        flat(phase=[str(117 * k * (k + 1) / 2) for k in range(20)]),
        flat(comment=["start", *[""] * 19]),
        flat(phase=["1e-14"] * 20),
    ],
)
def test_unusual_trains_are_read(table):
    assert read(table, needs_duration=False).n_samples == len(table["onset"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("offset", "unknown column offset; .* on resonance only"),
        ("frequency_offset", "unknown column frequency_offset; .* on resonance only"),
        ("flipangle", 'unknown column flipangle; .* did you mean "flip_angle"'),
        ("Phase", 'unknown column Phase; .* did you mean "phase"'),
        ("trian", 'unknown column trian; .* did you mean "train"'),
        ("colour", "unknown column colour; known are train, onset"),
    ],
)
def test_an_unknown_column_is_named(name, words):
    with pytest.raises(SequenceError, match=words):
        read(flat(**{name: ["1"] * 20}), needs_duration=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gradient": ["spoiler"] * 20}, "readout is 1 in row 1, whose gradient is spoiler"),
        ({"flip_angle": ["0"] * 20}, "flip_angle is 0 in every row of train 1"),
        (
            {"train": ["1"] * 10 + ["2"] * 10, "flip_angle": ["10"] * 10 + ["0"] * 10},
            "flip_angle is 0 in every row of train 2",
        ),
        ({"readout": ["0.5"] * 20}, "readout = 0.5 in row 1: use whole numbers"),
        ({"readout": ["2"] * 20}, "readout = 2 in row 1: use 0 or 1"),
        ({"readout": ["-1"] * 20}, "readout = -1 in row 1: use 0 or 1"),
        ({"train": ["1.5"] * 20}, "train = 1.5 in row 1: use whole numbers"),
        ({"echo_time": ["0.004"] * 20}, "echo_time = 0.004 .* after the start of the next pulse"),
        ({"phase": ["1e300"] * 20}, r"phase = 1e\+300 degrees in row 1 is no angle"),
        ({"echo_time": ["-0.001"] * 20}, "echo_time = -0.001 .*"),
        ({"onset": ["0"] * 20}, "onset = 0 in row 2 does not come after"),
    ],
)
def test_tables_that_leave_nothing_to_sample_are_refused(changes, words):
    with pytest.raises(SequenceError, match=words):
        read(flat(**changes), needs_duration=False)


def test_units_of_the_json_of_a_table():
    check_units({"onset": {"Units": "seconds"}, "train": {"Units": "x"}, "phase": "deg"}, "x.json")
    for column, units in (
        ("onset", "ms"),
        ("flip_angle", "rad"),
        ("phase", 1),
        ("duration", "us"),
    ):
        with pytest.raises(SequenceError, match=f"Units of {column} in x.json .* convert"):
            check_units({column: {"Units": units}}, "x.json")

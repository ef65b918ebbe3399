import csv
import math

import numpy as np
import pytest

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.pulse_sequence import PulseSequence


def table(**changes):
    columns = {
        "train": [1, 1, 1, 2, 2, 2],
        "onset": [0, 0.004, 0.008, 0, 0.004, 0.008],
        "flip_angle": [180, 30, 0, 180, 60, 10],
        "duration": [0.0005, 0.0002, 0.0002, 0.0005, 0.0003, 0.0003],
        "phase": [0, 180, 0, 0, 180, 0],
        "pulse_type": ["inversion", *["excitation"] * 2] * 2,
        "gradient": ["crusher", "balanced", "balanced"] * 2,
        "readout": [1, 1, 1, 1, 1, 0],
        "echo_time": [0.002, 0.002, 0.002, 0.002, 0.002, "n/a"],
    }
    columns.update(changes)
    return {key: cells for key, cells in columns.items() if cells is not None}


def read(**changes):
    return PulseSequence.from_table(table(**changes), start="antiperiodic")


def with_cell(column, row, value):
    cells = list(table()[column])
    cells[row] = value
    return {column: cells}


def test_table_becomes_arrays_in_radians_and_seconds():
    sequence = read()
    assert (sequence.n_trains, sequence.n_pulses, sequence.n_samples) == (2, 3, 5)
    assert sequence.flip_angle[1].tolist() == pytest.approx([math.pi, math.pi / 3, math.pi / 18])
    assert sequence.rf_phase[0].tolist() == pytest.approx([0, math.pi, 0])
    assert sequence.repetition_time[0].tolist() == pytest.approx([0.004] * 3)
    assert sequence.inversion[:, 0].all()
    assert not sequence.inversion[:, 1:].any()
    assert np.isnan(sequence.echo_time[1, 2, 0])
    assert sequence.duration == pytest.approx(0.024)


def test_text_and_numbers_give_the_same_digest_and_tables_round_trip():
    sequence = read()
    text = {key: [str(cell) for cell in cells] for key, cells in table().items()}
    assert PulseSequence.from_table(text, start="antiperiodic").digest == sequence.digest
    again = PulseSequence.from_table(sequence.to_table(), start="antiperiodic")
    assert again.digest == sequence.digest


@pytest.mark.parametrize(
    "changes",
    [
        with_cell("flip_angle", 1, 30.01),
        with_cell("duration", 1, 0.000201),
        with_cell("phase", 1, 170),
        with_cell("onset", 2, 0.0081),
        with_cell("echo_time", 1, 0.0021),
        with_cell("gradient", 5, "spoiler"),
        with_cell("pulse_type", 1, "inversion"),
        with_cell("readout", 1, 0),
    ],
)
def test_digest_sees_every_column(changes):
    assert read(**changes).digest != read().digest


def test_digest_sees_the_start_and_ignores_full_turns_of_phase():
    thermal = PulseSequence.from_table(table(), start="thermal")
    assert thermal.digest != read().digest
    assert read(**with_cell("phase", 1, 540)).digest == read().digest


def test_several_samples_after_one_pulse():
    sequence = read(**with_cell("echo_time", 1, "0.001,0.002,0.003"))
    assert sequence.n_samples == 7
    assert sequence.echo_time[0, 1].tolist() == [0.001, 0.002, 0.003]
    again = PulseSequence.from_table(sequence.to_table(), start="antiperiodic")
    assert again.digest == sequence.digest


def test_shorter_trains_are_padded_with_rows_that_last_no_time():
    short = {key: cells[:5] for key, cells in table().items()}
    sequence = PulseSequence.from_table(short, start="antiperiodic")
    assert sequence.flip_angle.shape == (2, 3)
    assert sequence.repetition_time[1].tolist() == pytest.approx([0.004, 0.004, 0])
    assert sequence.flip_angle[1, 2] == 0
    assert sequence.rf_phase[1, 2] == sequence.rf_phase[1, 1]


def test_last_repetition_time_comes_from_the_sidecar_where_given():
    sequence = PulseSequence.from_table(table(), start="periodic", last_repetition_time=0.02)
    assert sequence.repetition_time[0].tolist() == pytest.approx([0.004, 0.004, 0.02])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"onset": None}, 'no column "onset"'),
        ({"duration": None}, 'no column "duration"'),
        (with_cell("onset", 2, 0.003), "onset = 0.003 in row 3 does not come after"),
        (with_cell("onset", 1, 0.0003), r"pulse 1 \(row 1\): .* pulses overlap"),
        (with_cell("echo_time", 4, 1e-5), r"train 2, pulse 2 \(row 5\): a sample lies within"),
        (with_cell("flip_angle", 1, -3), "flip_angle = -3 in row 2"),
        (with_cell("flip_angle", 1, 400), "flip_angle = 400 in row 2"),
        (with_cell("flip_angle", 1, "x"), "flip_angle = x in row 2: a finite number"),
        (with_cell("duration", 1, 0), "duration = 0 in row 2"),
        (with_cell("duration", 1, -1), "duration = -1 in row 2"),
        (with_cell("echo_time", 1, "n/a"), "echo_time is n/a in row 2"),
        (
            with_cell("echo_time", 1, 0.0041),
            r"echo_time = 0.0041 at train 1, pulse 2 \(row 2\): the sample",
        ),
        (with_cell("echo_time", 1, 1e-5), "lies within the RF pulse"),
        (with_cell("echo_time", 1, "0.003,0.002"), "must increase"),
        (with_cell("gradient", 1, "wobbly"), r"gradient = wobbly at train 1, pulse 2 \(row 2\)"),
        (with_cell("pulse_type", 1, "sat"), "pulse_type = sat in row 2"),
        ({"readout": [0] * 6}, "no sample"),
        ({"shape": ["sinc"] * 6}, "rectangular pulses only"),
        ({"train": [1, 2, 1, 2, 2, 2]}, "not next to each other"),
        ({"onset": [0, 1]}, "differ in length"),
    ],
)
def test_impossible_tables_get_a_sentence_with_field_row_and_value(changes, sentence):
    with pytest.raises(SequenceError, match=sentence):
        read(**changes)


def test_degrees_in_a_value_that_needs_radians_are_refused():
    sequence = read()
    fields = {key: np.array(value) for key, value in vars(sequence).items() if key != "name"}
    fields["start"] = "periodic"
    fields["flip_angle"] = np.degrees(sequence.flip_angle)
    with pytest.raises(SequenceError, match="radians are expected"):
        PulseSequence(**fields)


def test_unknown_boundary_condition_lists_the_known_ones():
    with pytest.raises(SequenceError, match='"cyclic" is unknown; use one of antiperiodic'):
        PulseSequence.from_table(table(), start="cyclic")


def test_arrays_cannot_be_changed_behind_the_digest():
    with pytest.raises(ValueError, match="read-only"):
        read().flip_angle[0, 0] = 1


def test_the_published_trains_are_read(shared):
    path = shared / "data" / "qmt_invivo" / "acq-hsfp_rfpulses.tsv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    sequence = PulseSequence.from_table(columns, start="antiperiodic")
    assert sequence.flip_angle.shape == (6, 1142)
    assert sequence.n_samples == 6852
    assert (sequence.gradient[:, 0] == "crusher").all()
    again = PulseSequence.from_table(sequence.to_table(), start="antiperiodic")
    assert again.digest == sequence.digest


def _rows(trains):
    table = {name: [] for name in ("train", "onset", "flip_angle", "duration", "pulse_type",
                                   "readout", "echo_time")}  # fmt: skip
    for train, echoes in enumerate(trains):
        for pulse, times in enumerate(echoes):
            row = (train, pulse * 0.01, 10, 0.001, "excitation", 1, times)
            for cells, cell in zip(table.values(), row, strict=True):
                cells.append(cell)
    return table


def test_one_row_may_have_several_echo_times():
    table = _rows([["0.002,0.004,0.006"]])
    made = PulseSequence.from_table(table, start="thermal", last_repetition_time=0.01)
    assert made.n_samples == 3


def test_a_table_is_not_padded_to_many_times_its_size():
    table = _rows([["0.002"] * 2000, *[["0.002"]] * 2000])
    with pytest.raises(SequenceError, match="2001 trains of up to 2000 rows and 1 echo times"):
        PulseSequence.from_table(table, start="thermal", last_repetition_time=0.01)
    many = ",".join(f"{0.001 + 1e-6 * k:.6f}" for k in range(1000))
    with pytest.raises(SequenceError, match="1 trains of up to 1500 rows and 1000 echo times"):
        PulseSequence.from_table(_rows([[many, *["0.002"] * 1499]]), start="thermal")


@pytest.mark.parametrize("cell", ["9" * 400, "1e999", "1_0", "\u0661", "nan\0", "1e300"])
def test_a_train_number_that_is_no_number_is_refused(cell):
    table = _rows([["0.002"] * 3])
    table["train"][0] = cell
    with pytest.raises(SequenceError, match="in row 1"):
        PulseSequence.from_table(table, start="thermal")

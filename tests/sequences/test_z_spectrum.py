"""Protocols of Z-spectra from tables: units, constants, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum

TABLE = {
    "mt_flip_angle": ["0", "332", "628"],
    "offset": ["0", "1000", "47180"],
    "mt_state": ["off", "on", "on"],
}
CONSTANTS = {"MTPulseShape": "gaussian", "MTPulseDuration": 0.015, "FlipAngle": 5,
             "RepetitionTimeExcitation": 0.055}  # fmt: skip


def test_a_table_and_its_constants():
    found = ZSpectrum.from_table(TABLE, CONSTANTS, "z.tsv")
    np.testing.assert_allclose(np.rad2deg(found.mt_flip_angle), [0, 332, 628])
    assert found.pulse == MTPulse("GAUSSIAN", 0.015)
    assert found.rest == pytest.approx(0.04)
    columns = {**TABLE, "FlipAngle": ["8"] * 3}
    assert ZSpectrum.from_table(columns, CONSTANTS).flip_angle == pytest.approx(math.radians(8))


@pytest.mark.parametrize(
    ("table", "constants", "words"),
    [
        ({"offsets": ["1"] * 3}, {}, "unknown column offsets; known are mt_flip_angle, offset"),
        ({}, {"MTPulseShape": None}, "MTPulseShape missing"),
        ({}, {"MTPulseShape": "BOX"}, 'MTPulseShape is "BOX"; use one of HARD, GAUSSIAN'),
        ({}, {"MTPulseDuration": 0.06}, "longer than the repetition time"),
        (
            {
                "mt_state": ["on"] * 3,
                "mt_flip_angle": ["10", "332", "628"],
                "offset": ["1000"] * 3,
            },
            {},
            "no image without",
        ),
        ({"mt_state": ["off", "yes", "on"]}, {}, "it is on or off"),
        ({"mt_flip_angle": ["0", "332", "1628"]}, {}, "degrees from 0 to 1500"),
        ({"mt_flip_angle": ["0", "5.8", "11"]}, {}, "in degrees, not radians"),
        ({"offset": ["0", "1", "47.18"]}, {}, "in Hz, not in kHz or ppm"),
        ({"offset": ["0", "x", "1000"]}, {}, "offset is 'x'; a finite number is needed"),
        ({"FlipAngle": ["5", "5", "6"]}, {}, "must be the same in every row"),
        ({"offset": ["0", "0", "1000"]}, {}, "offset is 0 in row 2, where there is an MT pulse"),
        ({"offset": ["0", "1,5", "1000"]}, {}, r"row 2: offset is '1,5'.* with a point"),
        ({"mt_flip_angle": ["0", "-332", "628"]}, {}, "mt_flip_angle is -332 once"),
        ({"Offset": ["1"] * 3}, {}, 'did you mean "offset"'),
        ({}, {"Normalised": "yes"}, "Normalised is 'yes'; write true or false"),
        ({}, {"Normalised": 1.5}, "Normalised is 1.5; write true or false"),
    ],
)
def test_what_cannot_be_is_one_sentence(table, constants, words):
    given = {key: value for key, value in {**CONSTANTS, **constants}.items() if value is not None}
    with pytest.raises(SequenceError, match=words):
        ZSpectrum.from_table({**TABLE, **table}, given, "z.tsv")


@pytest.mark.parametrize(
    ("said", "meant"),
    [(True, True), ("TRUE", True), ("1", True), (False, False), (None, False), ("n/a", False)],
)
def test_what_is_divided_is_told_as_json_and_tables_do(said, meant):
    given = CONSTANTS | {"Normalised": said}
    assert ZSpectrum.from_table({**TABLE, "comment": ["x"] * 3}, given).normalised is meant


@pytest.mark.parametrize(
    "shape", ["HARD", "GAUSSIAN", "GAUSSHANN", "SINC", "SINCHANN", "SINCGAUSS", "FERMI"]
)
def test_every_shape_is_symmetric_with_its_power_in_the_middle(shape):
    pulse = MTPulse(shape, 0.01)
    times = np.linspace(0, 0.01, 201)
    np.testing.assert_allclose(pulse.envelope(times), pulse.envelope(0.01 - times), atol=1e-12)
    assert pulse.envelope(np.array([0.005]))[0] == pytest.approx(1, abs=1e-3)
    # Of all shapes of one flip angle and duration the rectangle has the least power.
    assert pulse.power >= 1 / 0.01 - 1e-9
    assert 0 < pulse.half_width <= 0.01


@pytest.mark.parametrize("bandwidth", [None, 200.0])
@pytest.mark.parametrize("normalised", [False, True])
def test_a_protocol_comes_back_from_its_own_table(bandwidth, normalised):
    found = ZSpectrum(
        mt_flip_angle=np.deg2rad(np.array([426.0, 333.3] if normalised else [0.0, 333.3])),
        offset=np.array([-443.0, 56360.5]),
        pulse=MTPulse("GAUSSHANN", 0.0102, bandwidth),
        flip_angle=math.radians(7.0),
        repetition_time=0.025,
        mt_delay=0.003,
        excitation_duration=0.0018,
        normalised=normalised,
    )
    table, constants = found.to_table()
    texts = {name: [str(value) for value in column] for name, column in table.items()}
    again = ZSpectrum.from_table(texts, constants)
    np.testing.assert_allclose(again.mt_flip_angle, found.mt_flip_angle, rtol=1e-12)
    on = found.mt_flip_angle > 0
    np.testing.assert_array_equal(again.offset[on], found.offset[on])
    assert (again.pulse, again.normalised) == (found.pulse, normalised)
    assert again.rest == pytest.approx(found.rest)
    assert again.flip_angle == pytest.approx(found.flip_angle, rel=1e-9)


@pytest.mark.parametrize(
    ("angle", "offset", "pulse", "words"),
    [
        (1.0, 1e9, {}, "offset of the MT pulses is 1e\\+09 Hz"),
        (1e6, 1e3, {}, "flip angle of the MT pulses is 1e\\+06 rad"),
        (1.0, 9e5, {"duration": 1.0}, "cycles in one pulse"),
        (1.0, 1e3, {"bandwidth": 1e9}, "has no area"),
    ],
)
def test_what_would_take_gigabytes_or_hours_is_refused(angle, offset, pulse, words):
    """A pulse is computed in steps of its oscillations: a protocol may not ask for any number."""
    with pytest.raises(SequenceError, match=words):
        ZSpectrum(
            np.array([0.0, angle]),
            np.array([0.0, offset]),
            MTPulse("GAUSSIAN", **{"duration": 0.01, **pulse}),
            flip_angle=0.1,
            repetition_time=2.0,
        )

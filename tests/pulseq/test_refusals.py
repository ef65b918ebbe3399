"""What a pulse table cannot say is refused in a sentence; damaged files never crash or hang."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest

from bids_brnn.errors import BidsBrnnError, ReadError, SequenceError
from bids_brnn.pulseq.reading import read_timeline
from bids_brnn.pulseq.translate import sequence_of
from bids_brnn.signals import model_entry

pypulseq = pytest.importorskip("pypulseq", reason="pypulseq (extra pulseq) is not installed")
FLIPS = np.linspace(10, 40, 12)


def translated(maker, model="fisp", text=None, **options):
    path = maker.write(text=text)
    return sequence_of(read_timeline(path), model_entry(model), name=path.name, **options)


def _two_echoes(maker):
    for flip in FLIPS:
        maker.add(maker.pulse(flip))
        for _ in range(2):
            maker.add(maker.adc())
            maker.wait(1e-3)
        maker.add(maker.spoiler)


def _spoiler_before_the_sample(maker):
    for flip in FLIPS:
        maker.add(maker.pulse(flip))
        maker.add(maker.spoiler)
        maker.add(maker.adc())
        maker.wait(5e-3)


def _changing_spoiler(maker):
    for number, flip in enumerate(FLIPS):
        maker.add(maker.pulse(flip))
        maker.add(maker.adc())
        area = 1000 + 100 * (number % 3)
        maker.add(pypulseq.make_trapezoid("z", area=area, system=maker.system))
        maker.wait(5e-3)


def _half_spoiled(maker):
    maker.fisp(FLIPS[:6])
    maker.balanced(FLIPS[6:], np.full(6, 1e-4), phases=np.zeros(6))


def _other_shapes(maker):
    for number, flip in enumerate(FLIPS):
        rf, gz, rewinder = pypulseq.make_sinc_pulse(
            np.radians(flip), duration=1e-3, slice_thickness=5e-3, use="excitation",
            time_bw_product=4 if number % 2 else 8, system=maker.system, return_gz=True,
        )  # fmt: skip
        maker.add(rf, gz)
        maker.add(rewinder)
        maker.add(maker.adc())
        maker.add(maker.spoiler)
        maker.wait(5e-3)


def _off_resonance(maker):
    maker.fisp(FLIPS)
    maker.add(maker.pulse(20, freq_offset=440.0))
    maker.wait(5e-3)


def _receiver(maker):
    for number, flip in enumerate(FLIPS):
        maker.add(maker.pulse(flip, phase=180 * (number % 2)))
        maker.add(maker.adc())
        maker.add(maker.spoiler)
        maker.wait(5e-3)


def _use(use):
    def made(maker):
        maker.add(maker.pulse(90, use=use))
        maker.add(maker.spoiler)
        maker.fisp(FLIPS)

    return made


def _no_inversion(maker):
    maker.add(maker.pulse(90, use="inversion"))
    maker.add(maker.spoiler)
    maker.fisp(FLIPS)


def _uncrushed(maker):
    maker.add(maker.pulse(180, use="inversion"))
    maker.wait(1e-2)
    maker.fisp(FLIPS)


def _noise_scan(maker):
    maker.add(maker.adc(n=100))
    maker.fisp(FLIPS)


def _no_samples(maker):
    for flip in FLIPS:
        maker.add(maker.pulse(flip))
        maker.wait(5e-3)


def _one_pulse(maker):
    maker.fisp(FLIPS[:1])


def _never_at_the_centre(maker):
    step = pypulseq.make_trapezoid("y", area=300, system=maker.system)
    back = pypulseq.make_trapezoid("y", area=-300, system=maker.system)
    for flip in FLIPS:
        maker.add(maker.pulse(flip))
        maker.add(step)
        maker.add(maker.adc())
        maker.add(back)
        maker.wait(5e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_two_echoes, "2 echoes are sampled after RF pulse 1"),
        (_spoiler_before_the_sample, "acts before its sample|centre of k-space"),
        (_changing_spoiler, "leave a moment of"),
        (_half_spoiled, "leave a moment of"),
        (_other_shapes, "has another shape"),
        (_off_resonance, "RF pulse 13 is 440 Hz off resonance"),
        (_receiver, "receiver does not follow that of RF pulse 2"),
        (_use("refocusing"), "RF pulse 1 is used for refocusing"),
        (_use("saturation"), "RF pulse 1 is used for saturation"),
        (_use("preparation"), "RF pulse 1 is used for preparation"),
        (_no_inversion, "called an inversion"),
        (_uncrushed, "no gradient spoils"),
        (_noise_scan, "before its first RF pulse"),
        (_no_samples, "samples nothing"),
        (_one_pulse, "fewer than two RF pulses"),
        (_never_at_the_centre, "centre of k-space"),
    ],
)
def test_what_no_table_says_is_refused(maker, make, words):
    make(maker)
    with pytest.raises(SequenceError, match=words):
        translated(maker)


def test_shaped_pulses_are_refused_for_qmt(maker):
    _other_shapes(maker)
    with pytest.raises(SequenceError, match="RF pulse 1 is not rectangular"):
        translated(maker, "gbloch")


def test_a_train_that_is_played_once_does_not_tell_its_repetition(maker):
    maker.balanced(FLIPS, np.full(12, 1e-4))
    with pytest.raises(SequenceError, match="--boundary-condition"):
        translated(maker, "gbloch")
    assert translated(maker, "gbloch", start="thermal").sequence.start == "thermal"


def test_pulses_of_180_degrees_of_old_files_are_asked_for(maker):
    maker.add(maker.pulse(180, use="undefined"))
    maker.add(maker.spoiler)
    maker.fisp(FLIPS)
    with pytest.raises(SequenceError, match="--unlabelled-180"):
        translated(maker)
    found = translated(maker, unlabelled="inversion")
    assert found.sequence.inversion[0, 0]


def test_different_trains_are_cut(maker):
    for peak in (30, 50):
        maker.add(maker.pulse(180, use="inversion"))
        maker.add(maker.spoiler)
        maker.fisp(np.linspace(5, peak, 8))
    found = translated(maker, trains=2).sequence
    assert found.flip_angle.shape == (2, 9)
    with pytest.raises(SequenceError, match="cannot be cut into 4 trains"):
        translated(maker, trains=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("num_samples 2", "num_samples 999999999999"), "samples"),
        (lambda text: text.replace("num_samples 2", "num_samples nan"), "no number"),
        (lambda text: text.replace("[BLOCKS]", "[BLOCK]"), "no section"),
        (lambda text: text.replace("major 1", "major 9"), "version 9.5"),
        (lambda text: text[: len(text) // 3], "own.seq"),
        (lambda text: "", "no section"),
        (lambda text: text.partition("num_samples 2\n1\n")[0] + "num_samples 2\n1", "own.seq"),
        (lambda text: text.partition("num_samples 2\n1\n")[0] + "num_samples 2\n", "own.seq"),
        (lambda text: text + "\n[EXTENSIONS]\n1 1 1 2\n2 1 1 1\n\nextension LABELSET 1\n1 1 LIN\n",
         "circle"),
    ],
)  # fmt: skip
def test_damaged_files_are_told_in_a_sentence(maker, change, words):
    maker.fisp(FLIPS)
    with pytest.raises(BidsBrnnError, match=words):
        translated(maker, text=change)


def test_mutants_never_crash(maker):
    maker.add(maker.pulse(180, use="inversion"))
    maker.add(maker.spoiler)
    maker.fisp(FLIPS)
    text = maker.write().read_text()
    rng = np.random.default_rng(5)
    for _ in range(150):
        letters = list(text)
        for place in rng.integers(0, len(letters), 4):
            letters[place] = "0123456789. -e\n[]abc#"[rng.integers(0, 21)]
        with contextlib.suppress(BidsBrnnError):
            translated(maker, text=lambda _, letters=letters: "".join(letters))


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.seq")
    for name in ("pipe.seq", "absent.seq", "."):
        with pytest.raises(ReadError):
            read_timeline(tmp_path / name)


def test_a_gradient_that_begins_where_a_pulse_ends_selects_no_slice(maker):
    before = pypulseq.make_trapezoid("x", area=-200, duration=1e-3, system=maker.system)
    read = pypulseq.make_trapezoid("x", area=400, duration=1e-3, system=maker.system)
    for flip in FLIPS:
        maker.add(maker.pulse(flip))
        maker.add(before)
        maker.add(read, maker.adc(delay=1e-4, n=40, dwell=2e-5))
        maker.add(before)
        maker.add(maker.spoiler)
        maker.wait(3e-3)
    assert not [note for note in translated(maker).notes if "slice" in note]

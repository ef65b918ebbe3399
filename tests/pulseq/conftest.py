"""Sequences as a user writes them with pypulseq, and an isochromat simulation that plays them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pypulseq = pytest.importorskip("pypulseq", reason="pypulseq (extra pulseq) is not installed")

SPOIL = 1000.0
"""1/m: moment of spoilers and crushers; voxels of isochromats are 1 / SPOIL wide."""


@dataclass
class Maker:
    """Builds a train block by block; every method adds what a sequence programmer would add."""

    folder: Path

    def __post_init__(self) -> None:
        self.system = pypulseq.Opts(
            max_grad=40, grad_unit="mT/m", max_slew=170, slew_unit="T/m/s",
            rf_ringdown_time=0, rf_dead_time=0, adc_dead_time=0,
        )  # fmt: skip
        self.sequence = pypulseq.Sequence(self.system)
        self.spoiler = pypulseq.make_trapezoid("z", area=SPOIL, system=self.system)

    def pulse(self, degrees: float, duration: float = 1e-4, *, phase: float = 0.0,
              use: str = "excitation", **options: Any) -> Any:  # fmt: skip
        return pypulseq.make_block_pulse(
            math.radians(degrees), duration=duration, phase_offset=math.radians(phase),
            use=use, system=self.system, **options,
        )  # fmt: skip

    def adc(self, *, delay: float = 0.0, phase: float = 0.0, n: int = 1, dwell: float = 2e-5):
        return pypulseq.make_adc(
            n, dwell=dwell, delay=delay, phase_offset=math.radians(phase), system=self.system
        )

    def add(self, *events: Any) -> None:
        self.sequence.add_block(*events)

    def wait(self, seconds: float) -> None:
        if seconds > 1e-9:
            self.add(pypulseq.make_delay(round(seconds, 6)))

    def fisp(self, flips, *, tr=12e-3, te=3e-3, phases=None) -> None:
        """RF, sample at TE, spoiler at the end of the repetition."""
        for number, flip in enumerate(flips):
            phase = 0.0 if phases is None else phases[number]
            rf = self.pulse(max(flip, 1e-3), phase=phase)
            self.add(rf)
            self.wait(te - 5e-5 - 1e-5)
            self.add(self.adc(phase=phase))
            self.wait(6e-3 - (te + 5e-5 + 1e-5))
            self.add(self.spoiler)
            self.wait(tr - 6e-3 - pypulseq.calc_duration(self.spoiler))

    def balanced(self, flips, durations, *, tr=4e-3, phases=None) -> None:
        """RF, readout gradient that is balanced, sample in the middle."""
        before = pypulseq.make_trapezoid("x", area=-200, duration=5e-4, system=self.system)
        read = pypulseq.make_trapezoid("x", area=400, duration=1e-3, system=self.system)
        for number, (flip, duration) in enumerate(zip(flips, durations, strict=True)):
            phase = 180.0 * (number % 2) if phases is None else phases[number]
            self.add(self.pulse(flip, duration, phase=phase))
            self.wait(tr / 2 - duration / 2 - 1e-3)
            self.add(before)
            self.add(read, self.adc(delay=1e-4, n=40, dwell=2e-5, phase=phase))
            self.add(before)
            self.wait(tr / 2 - 1e-3 - duration / 2)

    def write(self, name: str = "own.seq", text: Any = None) -> Path:
        path = self.folder / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.sequence.write(str(path))
        if text is not None:
            path.write_text(text(path.read_text()))
        return path


@pytest.fixture
def maker(tmp_path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def play():
    """The isochromat simulation, see :func:`_play`."""
    return _play


def _play(path: Path, *, R1: float, R2: float, w0: float = 0.0, B1: float = 1.0,
         n: int = 1, repeats: int = 1, turn: float = 0.0) -> np.ndarray:  # fmt: skip
    """Samples of a file by ``n`` isochromats across a voxel of 1 / SPOIL, block by block.

    Rotations and relaxation one after the other in short steps; gradients and off-resonance act
    during pulses too. Returns the samples nearest to the centre of each ADC of the last
    repetition, demodulated with the phase of the receiver. ``turn``: RF phase, rad, that each
    repetition adds.
    """
    sequence = pypulseq.Sequence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sequence.read(str(path))
    blocks = [sequence.get_block(number) for number in sequence.block_events]
    place = (np.arange(n) / n) / SPOIL
    xy, z = np.zeros(n, complex), np.ones(n)
    for repetition in range(repeats):
        found = []
        for block in blocks:
            xy, z = _block(block, xy, z, place, (R1, R2, w0, B1), repetition * turn, found)
    return np.array(found)


def _block(block, xy, z, place, tissue, extra, found):
    R1, R2, w0, B1 = tissue
    edges = {0.0, float(block.block_duration)}
    echo = None
    if block.adc is not None:
        echo = block.adc.delay + block.adc.dwell * block.adc.num_samples / 2
        edges.add(float(echo))
    rf = block.rf
    if rf is not None:
        count = 24
        width = rf.shape_dur / count
        edges |= {float(rf.delay + k * width) for k in range(count + 1)}
    times = sorted(edges)
    for begin, end in pairwise(times):
        step, middle = end - begin, (begin + end) / 2
        half = step / 2
        xy, z = _drift(block, xy, z, place, begin, begin + half, R1, R2, w0)
        if rf is not None and rf.delay < middle < rf.delay + rf.shape_dur:
            at = middle - rf.delay
            envelope = np.interp(at, rf.t, rf.signal.real) + 1j * np.interp(
                at, rf.t, rf.signal.imag)  # fmt: skip
            angle = 2 * np.pi * abs(envelope) * step * B1
            phase = np.angle(envelope) + rf.phase_offset + 2 * np.pi * rf.freq_offset * at + extra
            turned = xy * np.exp(-1j * phase)
            y = np.cos(angle) * turned.imag - np.sin(angle) * z
            z = np.sin(angle) * turned.imag + np.cos(angle) * z
            xy = (turned.real + 1j * y) * np.exp(1j * phase)
        xy, z = _drift(block, xy, z, place, begin + half, end, R1, R2, w0)
        if echo is not None and abs(end - echo) < 1e-12:
            found.append(xy.mean() * np.exp(-1j * (block.adc.phase_offset + extra)))
    return xy, z


def _drift(block, xy, z, place, begin, end, R1, R2, w0):
    moment = sum(_area(g, end) - _area(g, begin) for g in (block.gx, block.gy, block.gz) if g)
    step = end - begin
    xy = xy * np.exp(-R2 * step + 1j * (w0 * step + 2 * np.pi * moment * place))
    return xy, 1 + (z - 1) * np.exp(-R1 * step)


def _area(gradient, time):
    """Moment of a trapezoid until ``time`` by fine integration of its corners."""
    corners = gradient.delay + np.cumsum(
        [0, gradient.rise_time, gradient.flat_time, gradient.fall_time]
    )
    values = gradient.amplitude * np.array([0, 1, 1, 0])
    inner = corners[corners < time]
    at = np.append(inner, time)
    heights = np.interp(at, corners, values, left=0, right=0)
    return float(np.trapezoid(heights, at)) if len(at) > 1 else 0.0

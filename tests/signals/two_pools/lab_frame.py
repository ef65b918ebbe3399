"""Brute-force simulation of a pulse train in one fixed rotating frame, event by event.

Independent of the package's frames, steps, closed forms and steady states: isochromats spread over
2 pi make the crushers, matrix exponentials everything else, repetition the steady state.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.two_pools.pulses.saturation import effective_rate

ISOCHROMATS = 8  # exact for a pulse between two equal crushers: only orders up to 2 occur
Array = NDArray[np.float64]


def lab_frame_signal(
    sequence: PulseSequence, theta: Array, *, repetitions: int = 1
) -> NDArray[np.complex128]:
    """Samples of the last of ``repetitions``, demodulated with the phase of the last pulse."""
    signal: list[complex] = []
    for train in range(sequence.n_trains):
        m0s = theta[0]
        sign = -1 if sequence.start == "inversion" else 1
        state = np.array([0, 0, sign * (1 - m0s), 0, m0s, 1.0])  # xf yf zf xs zs 1
        played = _Train(sequence, train, theta)
        _, once = played.play(np.eye(6))
        if sequence.start == "antiperiodic":
            once[:2] *= -1
        state = np.linalg.matrix_power(once, repetitions - 1) @ state
        signal += played.play(state)[0]
    return np.array(signal)


class _Train:
    def __init__(self, sequence: PulseSequence, train: int, theta: Array) -> None:
        self.theta = theta
        rows = [n for n in range(sequence.n_pulses) if not sequence.padding[train, n]]
        self.pulses = [
            {
                "flip": sequence.flip_angle[train, n],
                "duration": sequence.rf_duration[train, n],
                "phase": sequence.rf_phase[train, n],
                "tr": sequence.repetition_time[train, n],
                "echoes": [t for t in sequence.echo_time[train, n] if np.isfinite(t)],
                "gradient": str(sequence.gradient[train, n]),
            }
            for n in rows
        ]
        repeats = sequence.start in ("periodic", "antiperiodic")
        following = self.pulses[1:] + (self.pulses[:1] if repeats else [])
        for pulse, after in zip(self.pulses, following, strict=False):
            pulse["gap"] = self.half(after)
        self.maps = [self.pulse_map(pulse) for pulse in self.pulses]

    @staticmethod
    def half(pulse: dict) -> float:
        return pulse["duration"] / 2 if pulse["gradient"] == "balanced" else 0.0

    def generator(self, w1: float, rate: float) -> Array:
        m0s, R1f, R2f, Rx, R1s, _, w0, _ = self.theta
        forward, backward = Rx * m0s, Rx * (1 - m0s)
        return np.array(
            [
                [-R2f, -w0, w1, 0, 0, 0],
                [w0, -R2f, 0, 0, 0, 0],
                [-w1, 0, -R1f - forward, 0, backward, (1 - m0s) * R1f],
                [0, 0, 0, -rate, w1, 0],
                [0, 0, forward, -w1, -R1s - backward, m0s * R1s],
                [0, 0, 0, 0, 0, 0],
            ]
        )

    def pulse_map(self, pulse: dict) -> Array:
        flip, duration = pulse["flip"] * self.theta[7], pulse["duration"]
        T2s, phase = self.theta[5], about_z(pulse["phase"])
        if pulse["gradient"] == "balanced":
            rate = effective_rate(T2s, duration, flip)[0] if flip else 0.0
            inside = (
                expm(self.generator(flip / duration, rate) * duration) if duration else np.eye(6)
            )
        else:
            inside = self.crushed(flip, duration, T2s, keep=pulse["gradient"] == "crusher")
        forget = np.diag([1.0, 1, 1, 0, 1, 1])
        return forget @ phase @ inside @ phase.T @ forget

    def crushed(self, flip: float, duration: float, T2s: float, *, keep: bool) -> Array:
        turn = np.eye(6)
        c, s = math.cos(flip), math.sin(flip)
        turn[np.ix_([0, 2], [0, 2])] = [[c, s], [-s, c]]
        if flip:
            rate = effective_rate(T2s, duration, flip)[0]
            solid = expm(np.array([[-rate, flip / duration], [-flip / duration, 0]]) * duration)
            turn[3:5, 3:5] = solid
        if not keep:
            spoil = np.diag([0.0, 0, 1, 1, 1, 1])
            return spoil @ turn @ spoil
        angles = 2 * np.pi * np.arange(ISOCHROMATS) / ISOCHROMATS
        return np.mean([about_z(a) @ turn @ about_z(a) for a in angles], axis=0)

    def wait(self, state: Array, time: float) -> Array:
        return expm(self.generator(0.0, 0.0) * time) @ state

    def play(self, state: Array) -> tuple[list[complex], Array]:
        """Samples and last state from a first state ``(6,)``, or from several ``(6, k)``."""
        samples = []
        for pulse, matrix in zip(self.pulses, self.maps, strict=True):
            state, now = matrix @ state, self.half(pulse)
            for time in pulse["echoes"]:
                state, now = self.wait(state, time - now), time
                samples.append((state[0] + 1j * state[1]) * np.exp(-1j * pulse["phase"]))
            state = self.wait(state, pulse["tr"] - now - pulse.get("gap", 0.0))
        return samples, state


def about_z(angle: float) -> Array:
    """Rotation of the free pool, ``x + iy`` times ``exp(i angle)``."""
    result = np.eye(6)
    c, s = math.cos(angle), math.sin(angle)
    result[:2, :2] = [[c, -s], [s, c]]
    return result

"""Pulse trains of our own, by formula: nothing is read from a table of others.

:func:`hybrid_state_train` is a quantitative magnetization transfer experiment,
:func:`jiang_like_train` an MR fingerprinting experiment. Both are ordinary
``PulseSequence`` values; the application itself never assumes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.pulse_sequence import PulseSequence

MAX_AMPLITUDE = 2 * math.pi * 1000.0
"""Largest RF amplitude flip_angle / duration, rad/s: a rotation by pi in 500 us."""
SHORTEST_RF = 100e-6
"""Shortest RF pulse, s: strong saturation of the semi-solid pool per flip angle."""
LONGEST_RF = 500e-6
"""Longest RF pulse, s: weak saturation of the semi-solid pool per flip angle."""

_FISP_PEAKS = (35.0, 43.0, 70.0, 45.0, 27.0)  # deg
_FISP_LOBE, _FISP_GAP = 200, 10  # repetitions
_FISP_TR = (11.7e-3, 14.3e-3)  # s


class Lobe(NamedTuple):
    """One smooth bump of a train; ``x`` runs from 0 to 1 over its excitation pulses."""

    centre: float
    """Position ``x`` of the peak."""
    width: float
    """Distance in ``x`` from the peak to zero."""
    flip_angle: float
    """Peak flip angle, deg."""
    duration: float
    """RF duration at the peak, us."""


TRAINS: tuple[tuple[Lobe, ...], ...] = (
    (
        Lobe(0.125, 0.315, 76, 160),
        Lobe(0.355, 0.445, 24, 100),
        Lobe(0.485, 0.175, 85, 300),
        Lobe(0.79, 0.1, 35, 100),
    ),
    (
        Lobe(0.23, 0.34, 22, 280),
        Lobe(0.495, 0.175, 19, 500),
        Lobe(0.69, 0.19, 29, 500),
        Lobe(1.01, 0.285, 90, 500),
    ),
    (
        Lobe(-0.045, 0.1, 90, 500),
        Lobe(0.515, 0.1, 87, 210),
        Lobe(0.54, 0.1, 42, 170),
        Lobe(0.93, 0.515, 0, 340),
    ),
    (
        Lobe(0.005, 0.395, 90, 160),
        Lobe(0.07, 0.295, 90, 100),
        Lobe(0.6, 0.245, 0, 360),
        Lobe(1.05, 0.1, 56, 100),
    ),
    (
        Lobe(0.555, 0.135, 0, 400),
        Lobe(1.015, 0.1, 78, 500),
        Lobe(1.05, 0.285, 86, 500),
        Lobe(1.05, 0.12, 44, 140),
    ),
    (
        Lobe(0.165, 0.1, 90, 100),
        Lobe(0.24, 0.175, 74, 200),
        Lobe(0.25, 0.175, 67, 210),
        Lobe(0.68, 0.1, 39, 100),
    ),
)
"""Lobes of :func:`hybrid_state_train`; ``benchmarks/design_qmt_train.py --proposals 2500``."""


def lobe_modulation(
    lobes: Sequence[Lobe], n_pulses: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Flip angles (rad) and RF durations (s), each ``(n_pulses,)``, of one train.

    With ``h_j(x) = cos^2(pi/2 (x - centre_j) / width_j)`` where ``|x - centre_j| < width_j`` and 0
    elsewhere, on ``x = i / (n_pulses - 1)``::

        flip(x)     = sum_j flip_j h_j(x),                                    at most pi
        duration(x) = LONGEST_RF - sum_j (LONGEST_RF - duration_j) h_j(x),    at least SHORTEST_RF

    and a pulse that would exceed :data:`MAX_AMPLITUDE` is lengthened to ``flip / MAX_AMPLITUDE``.
    Durations are multiples of 10 ns and flip angles of 0.001 degrees, so that the text of a table
    holds them exactly.
    """
    x = np.linspace(0.0, 1.0, n_pulses)
    flip = np.zeros(n_pulses)
    duration = np.full(n_pulses, LONGEST_RF)
    for lobe in lobes:
        distance = np.clip(np.abs(x - lobe.centre) / lobe.width, 0.0, 1.0)
        bump = np.cos(math.pi / 2 * distance) ** 2
        flip += math.radians(lobe.flip_angle) * bump
        duration -= (LONGEST_RF - lobe.duration * 1e-6) * bump
    flip = np.radians(np.round(np.degrees(np.clip(flip, 0.0, math.pi)), 3))
    duration = np.clip(duration, SHORTEST_RF, LONGEST_RF)
    # Upwards, so that no pulse is too strong; less than a rounding error is no reason to go up.
    shortest = np.ceil(flip / MAX_AMPLITUDE * 1e8 - 1e-6) * 1e-8
    return flip, np.maximum(np.round(duration, 8), shortest)


def hybrid_state_train(
    trains: Sequence[Sequence[Lobe]] = TRAINS,
    *,
    n_pulses: int = 400,
    repetition_time: float = 3.5e-3,
) -> PulseSequence:
    """Quantitative magnetization transfer trains in the hybrid state.

    Each train is a crushed rectangular inversion pulse (pi in 500 us) and ``n_pulses - 1``
    balanced pulses with :func:`lobe_modulation`, one sample in the middle of each repetition, RF
    phase alternating between 0 and pi. Every train repeats by itself (antiperiodic).

    Parameters
    ----------
    trains
        Lobes of each train.
    n_pulses
        Pulses per train with the inversion; even, so that the phase alternation closes.
    repetition_time
        s.

    Raises
    ------
    SequenceError
        If the number of pulses is odd or below 4, or the pulses do not fit the repetition time.
    """
    if n_pulses < 4 or n_pulses % 2:
        raise SequenceError(f"n_pulses = {n_pulses}: an even number of at least 4 is needed")
    shape = (len(trains), n_pulses)
    flip = np.empty(shape)
    duration = np.empty(shape)
    flip[:, 0], duration[:, 0] = math.pi, LONGEST_RF
    for index, lobes in enumerate(trains):
        flip[index, 1:], duration[index, 1:] = lobe_modulation(lobes, n_pulses - 1)
    first = np.zeros(shape, dtype=bool)
    first[:, 0] = True
    return PulseSequence(
        flip_angle=flip,
        rf_duration=duration,
        rf_phase=np.broadcast_to(math.pi * (np.arange(n_pulses) % 2), shape).copy(),
        repetition_time=np.full(shape, repetition_time),
        echo_time=np.full((*shape, 1), repetition_time / 2),
        gradient=np.where(first, "crusher", "balanced"),
        inversion=first,
        start="antiperiodic",
        name="hybrid-state lobes",
    )


def jiang_like_train(
    n_pulses: int = 1000,
    *,
    echo_time: float = 2e-3,
    inversion_time: float = 20e-3,
    seed: int = 2015,
) -> PulseSequence:
    """MR fingerprinting train with FISP readout in the manner of Jiang 2015.

    An inversion (first pulse, no sample), then lobes of 200 repetitions with peaks of 35, 43, 70,
    45 and 27 degrees, ``5 + (peak - 5) sin(pi k / 200)`` degrees for ``k = 1 ... 200``, each
    followed by 10 repetitions without pulse. The repetition time varies smoothly between 11.7 and
    14.3 ms (:func:`value_noise`), in whole microseconds.

    Parameters
    ----------
    n_pulses
        Excitations, which are also the frames.
    echo_time, inversion_time
        s; the inversion time runs from pulse centre to pulse centre.
    seed
        Of the repetition times.

    References
    ----------
    Jiang et al., Magnetic Resonance in Medicine 2015;74:1621, doi:10.1002/mrm.25559
    """
    if n_pulses < 1:
        raise SequenceError(f"n_pulses = {n_pulses}: at least one excitation is needed")
    period = _FISP_LOBE + _FISP_GAP
    lobe, position = np.divmod(np.arange(n_pulses), period)
    peaks = np.take(np.asarray(_FISP_PEAKS), lobe, mode="wrap")
    excitation = 5 + (peaks - 5) * np.sin(math.pi * (position + 1) / _FISP_LOBE)
    degrees = np.where(position < _FISP_LOBE, excitation, 0.0)
    low, high = _FISP_TR
    # Whole microseconds survive the text of a table; the last interval, after which nothing is
    # sampled, is what a table without it would be read as.
    repetition = np.round(low + (high - low) * value_noise(n_pulses, seed=seed), 6)
    repetition[-1] = repetition[-2:][0]
    shape = (1, n_pulses + 1)
    echoes = np.full((*shape, 1), echo_time)
    echoes[0, 0] = np.nan
    inversion = np.zeros(shape, dtype=bool)
    inversion[0, 0] = True
    return PulseSequence(
        flip_angle=np.radians(np.concatenate([[180.0], degrees]))[None],
        rf_duration=np.zeros(shape),
        rf_phase=np.zeros(shape),
        repetition_time=np.concatenate([[inversion_time], repetition])[None],
        echo_time=echoes,
        gradient=np.where(inversion, "spoiler", "dephasing"),
        inversion=inversion,
        start="thermal",
        name="Jiang-like FISP",
    )


def balanced_train(
    n_pulses: int = 500, *, repetition_time: float = 7e-3, inversion_time: float = 10e-3
) -> PulseSequence:
    """MR fingerprinting train with balanced gradients in the manner of Ma 2013.

    An inversion (first pulse, no sample), then lobes of 100 repetitions,
    ``10 + (peak - 10) sin(pi k / 100)`` degrees with peaks of 60 and 30 degrees in turn, RF phase
    alternating between 0 and pi, one sample in the middle of each repetition.

    Parameters
    ----------
    n_pulses
        Excitations, which are also the frames.
    repetition_time, inversion_time
        s; the inversion time runs from pulse centre to pulse centre.

    References
    ----------
    Ma et al., Nature 2013;495:187, doi:10.1038/nature11971
    """
    if n_pulses < 1:
        raise SequenceError(f"n_pulses = {n_pulses}: at least one excitation is needed")
    lobe, position = np.divmod(np.arange(n_pulses), 100)
    degrees = 10 + (np.where(lobe % 2, 30.0, 60.0) - 10) * np.sin(math.pi * (position + 1) / 101)
    shape = (1, n_pulses + 1)
    inversion = np.zeros(shape, dtype=bool)
    inversion[0, 0] = True
    echoes = np.full((*shape, 1), repetition_time / 2)
    echoes[0, 0] = np.nan
    return PulseSequence(
        flip_angle=np.radians(np.concatenate([[180.0], np.round(degrees, 3)]))[None],
        rf_duration=np.zeros(shape),
        rf_phase=np.concatenate([[0.0], math.pi * (np.arange(n_pulses) % 2)])[None],
        repetition_time=np.concatenate([[inversion_time], np.full(n_pulses, repetition_time)])[
            None
        ],
        echo_time=echoes,
        gradient=np.where(inversion, "spoiler", "balanced"),
        inversion=inversion,
        start="thermal",
        name="balanced lobes",
    )


def value_noise(n: int, *, n_nodes: int = 8, seed: int = 2015) -> NDArray[np.float64]:
    """Smooth noise ``(n,)`` that reaches from 0 to 1.

    Three octaves of random values at ``n_nodes``, ``2 n_nodes`` and ``4 n_nodes`` equal steps,
    weighted 1, 1/2 and 1/4, with cosine interpolation between the nodes.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(n)
    for octave in range(3):
        nodes = n_nodes * 2**octave
        values = rng.random(nodes + 1)
        x = np.arange(n) * nodes / n
        left = x.astype(int)
        weight = (1 - np.cos(math.pi * (x - left))) / 2
        total += (values[left] * (1 - weight) + values[left + 1] * weight) / 2**octave
    spread = np.ptp(total)
    scaled: NDArray[np.float64] = (total - total.min()) / (spread if spread > 0 else 1.0)
    return scaled

"""``.seq`` files to a :class:`~bids_brnn.pulseq.timeline.Timeline`, by way of ``pypulseq``.

Pulseq: Layton et al., Magn Reson Med 2017;77:1544, 10.1002/mrm.26235. The file is read here,
within limits, and only then given to the library: counts that would take memory or never end are
looked at first.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError, ReadError, UsageError
from bids_brnn.pulseq.timeline import Pulse, Ramp, Readout, Timeline, Waveform
from bids_brnn.system.reading import read_text

MAX_BYTES = 64 * 2**20
_MOST_BLOCKS = 500_000
_MOST_SAMPLES = 2_000_000  # of one shape, and of all conversions of 1 ms each
_MOST_OF_ALL = 20_000_000  # of all shapes together, and of all conversions
_VERSIONS = ((1, 2), (1, 5))
_END = "\n\n[SIGNATURE]\nType none\n\n"
"""Put behind every file: the library reads shapes that end with the file for ever."""
_STRONGEST = 1e6
"""Hz: 23 mT, beyond any RF amplifier."""
_LONGEST = 86400.0  # s
_SLACK = 2e-6  # s
_SECTION = re.compile(r"^\[(\w+)\]\s*$", re.MULTILINE)
_EVENTS = ("rf", "gx", "gy", "gz", "adc", "label", "trigger", "block_duration", "soft_delay")


def read_timeline(path: Path) -> Timeline:
    """Everything that a Pulseq file plays.

    Raises
    ------
    UsageError
        If ``pypulseq`` is not installed.
    ReadError
        If the file cannot be read, or is no Pulseq file.
    DataError
        If it holds what cannot be timed: soft delays, rotations, offsets in ppm.
    """
    try:
        import pypulseq
    except ImportError as error:
        raise UsageError(
            "reading Pulseq files needs the package pypulseq: pip install 'bids_brnn[pulseq]'"
        ) from error
    try:
        text = read_text(path, MAX_BYTES)
        _check_text(text)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ReadError(f"{path.name} is no Pulseq file that can be read: {error}") from error
    try:
        sequence = _load(pypulseq, text)
        return _timeline(sequence, path.name)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # of a library that checks nothing: whatever a bad file meets
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReadError(f"{path.name} is no Pulseq file that can be read: {words}") from error


def _load(library: Any, text: str) -> Any:
    """The sequence of the library. Other uses than the file declares are not guessed."""
    with tempfile.TemporaryDirectory(prefix="brnn_pulseq_") as folder:
        copy = Path(folder, "sequence.seq")
        copy.write_text(text + _END, encoding="utf-8")
        sequence = library.Sequence()
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                sequence.read(str(copy), detect_rf_use=False, remove_duplicates=False)
            except Exception as error:
                # The library leaves its file open where it fails.
                for frame, _ in traceback.walk_tb(error.__traceback__):
                    if (stream := frame.f_locals.get("input_file")) is not None:
                        stream.close()
                raise
    return sequence


def _check_text(text: str) -> None:
    """Refuse counts that would take memory or never end.

    Raises
    ------
    ValueError
        In words.
    """
    parts = _SECTION.split(text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    for name in ("VERSION", "BLOCKS"):
        if name not in sections:
            raise ValueError(f"it has no section [{name}]")
    version = dict(re.findall(r"^\s*(major|minor)\s+(\d+)", sections["VERSION"], re.MULTILINE))
    numbers = tuple(int(version.get(key, "0")[:9]) for key in ("major", "minor"))
    if not _VERSIONS[0] <= numbers <= _VERSIONS[1]:
        raise ValueError(f"it is of version {numbers[0]}.{numbers[1]}; 1.2 to 1.5 are read")
    blocks = _rows(sections["BLOCKS"])
    if len(blocks) > _MOST_BLOCKS:
        raise ValueError(f"it has more than {_MOST_BLOCKS} blocks")
    counts = [_count(word) for word in re.findall(r"^num_samples[ \t]+(\S+)", text, re.MULTILINE)]
    if counts and (max(counts) > _MOST_SAMPLES or sum(counts) > _MOST_OF_ALL):
        raise ValueError(f"its shapes have more than {_MOST_OF_ALL} samples")
    adcs = {row[0]: _count(row[1]) for row in _rows(sections.get("ADC", "")) if len(row) > 1}
    if adcs and max(adcs.values()) > _MOST_SAMPLES:
        raise ValueError(f"a readout has more than {_MOST_SAMPLES} samples")
    if sum(adcs.get(row[6], 0) for row in blocks if len(row) > 6) > _MOST_OF_ALL:
        raise ValueError(f"its readouts have more than {_MOST_OF_ALL} samples")
    head, _, _ = sections.get("EXTENSIONS", "").partition("extension")
    _check_chains({row[0]: row[3] for row in _rows(head) if len(row) > 3})


def _rows(section: str) -> list[list[str]]:
    """Words of the lines of a section up to the first empty line after them."""
    lines = [line.strip() for line in section.splitlines()]
    return [line.split() for line in lines if line and line[0].isdigit()]


def _count(word: str) -> float:
    number = float(word)  # ValueError says which
    if not 0 <= number < math.inf:
        raise ValueError(f"{word[:20]} is no number of samples")
    return number


def _check_chains(following: dict[str, str]) -> None:
    for begin in following:
        here, seen = begin, set()
        while here in following and here != "0":
            if here in seen:
                raise ValueError("its extensions refer to each other in a circle")
            seen.add(here)
            here = following[here]
            if len(seen) > _MOST_OF_CHAIN:
                raise ValueError(f"a chain of extensions has more than {_MOST_OF_CHAIN} links")


_MOST_OF_CHAIN = 100


def _timeline(sequence: Any, name: str) -> Timeline:
    """Blocks one after the other."""
    pulses: list[Pulse] = []
    readouts: list[Readout] = []
    pieces: tuple[list[tuple[float, ...]], ...] = ([], [], [])
    shapes: dict[int, Waveform] = {}
    now = 0.0
    for number, events in sequence.block_events.items():
        block = sequence.get_block(number)
        sequence.block_cache.clear()  # else every block of a long file is kept
        where = f"{name}, block {number}"
        unknown = sorted(key for key in vars(block) if key not in _EVENTS)
        if block.soft_delay is not None or unknown:
            what = "soft delay" if block.soft_delay is not None else unknown[0]
            raise DataError(f"{where}: a {what} cannot be put into a pulse table")
        if block.rf is not None:
            key = int(events[1])
            if key not in shapes:
                shapes[key] = _waveform(block.rf, where)
            pulses.append(_pulse(block.rf, shapes[key], now, where))
        for axis, gradient in enumerate((block.gx, block.gy, block.gz)):
            if gradient is not None:
                pieces[axis].extend(_pieces(gradient, now, where))
        if block.adc is not None:
            readouts.append(_readout(block.adc, now, where))
        duration = float(block.block_duration)
        if not 0 <= duration < _LONGEST or now + duration > _LONGEST:
            raise DataError(f"{where}: it ends {now + duration:g} s after the start")
        now += duration
        _check_end(now, pulses, readouts, pieces, where)
    ramps = tuple(_ramp(found) for found in pieces)
    return Timeline(pulses, readouts, (ramps[0], ramps[1], ramps[2]), now)


def _check_end(
    end: float,
    pulses: list[Pulse],
    readouts: list[Readout],
    pieces: tuple[list[tuple[float, ...]], ...],
    where: str,
) -> None:
    """Refuse events that reach beyond their block: the next ones would overlap."""
    ends = [pulses[-1].centre + pulses[-1].shape.duration / 2] if pulses else []
    ends += [float(readouts[-1].times[-1])] if readouts else []
    ends += [axis[-1][0] + axis[-1][1] for axis in pieces if axis]
    if ends and not max(ends) <= end + _SLACK:
        raise DataError(f"{where}: an event lasts longer than its block")


def _waveform(rf: Any, where: str) -> Waveform:
    """The pulse in intervals of constant amplitude."""
    signal, times = np.asarray(rf.signal, dtype=complex), np.asarray(rf.t, dtype=float)
    if signal.shape != times.shape or not signal.size or not np.isfinite(times).all():
        raise DataError(f"{where}: an RF pulse without a shape")
    if not np.abs(signal).max() < _STRONGEST:
        raise DataError(f"{where}: an RF amplitude of {np.abs(signal).max():g} Hz")
    if len(signal) == 1:
        return Waveform(signal, np.array([float(rf.shape_dur)]))
    step = times[1] - times[0]
    on_raster = abs(len(signal) * step - rf.shape_dur) < 1e-3 * step
    if on_raster:
        return Waveform(signal, np.full(len(signal), step))
    return Waveform((signal[1:] + signal[:-1]) / 2, np.diff(times))


def _pulse(rf: Any, shape: Waveform, start: float, where: str) -> Pulse:
    offset = float(rf.freq_offset)
    _refuse_ppm(rf, where, "RF pulse")
    centre = float(rf.center)
    if abs(centre - shape.duration / 2) > max(2e-6, 0.01 * shape.duration):
        raise DataError(
            f"{where}: the centre of an RF pulse lies {1e6 * centre:.4g} us after its start, not "
            "in its middle; tables know symmetric pulses only"
        )
    phase = float(rf.phase_offset) + 2 * math.pi * offset * centre
    if shape.is_real:
        phase += float(np.angle(shape.area))
    use = getattr(rf, "use", "undefined") or "undefined"
    return Pulse(start + float(rf.delay) + shape.duration / 2, phase, use, shape, offset)


def _refuse_ppm(event: Any, where: str, what: str) -> None:
    if event.freq_ppm or event.phase_ppm:
        raise DataError(
            f"{where}: the frequency or phase of an {what} is given in ppm of the field, which a "
            "pulse table does not know"
        )


def _readout(adc: Any, start: float, where: str) -> Readout:
    _refuse_ppm(adc, where, "ADC")
    number = int(adc.num_samples)
    if number < 1 or not adc.dwell > 0:
        raise DataError(f"{where}: an ADC without samples")
    passed = np.arange(0.5, number, dtype=np.float64) * float(adc.dwell)
    phases = float(adc.phase_offset) + 2 * math.pi * float(adc.freq_offset) * passed
    modulation = np.asarray(adc.phase_modulation, dtype=float)
    if modulation.size == number:
        phases = phases + modulation
    return Readout(start + float(adc.delay) + passed, phases, float(adc.freq_offset))


def _pieces(gradient: Any, start: float, where: str) -> list[tuple[float, ...]]:
    """Pieces ``(start, width, first, last)`` of one gradient event."""
    begin = start + float(gradient.delay)
    if gradient.type == "trap":
        times = np.cumsum([0.0, gradient.rise_time, gradient.flat_time, gradient.fall_time])
        values = float(gradient.amplitude) * np.array([0.0, 1.0, 1.0, 0.0])
    else:
        times, values = np.asarray(gradient.tt, float), np.asarray(gradient.waveform, float)
        if times[0] > 0:  # samples on the raster, between the values at both ends
            times = np.concatenate([[0.0], times, [float(gradient.shape_dur)]])
            values = np.concatenate([[gradient.first], values, [gradient.last]])
    widths = np.diff(times)
    if (widths < 0).any() or not np.isfinite(values.astype(float)).all():
        raise DataError(f"{where}: a gradient whose times do not increase")
    found = zip(begin + times[:-1], widths, values[:-1], values[1:], strict=True)
    return [tuple(map(float, piece)) for piece in found if piece[1] > 0]


def _ramp(pieces: list[tuple[float, ...]]) -> Ramp:
    columns: NDArray[np.float64] = np.array(pieces, dtype=float).reshape(-1, 4).T
    return Ramp(*columns)

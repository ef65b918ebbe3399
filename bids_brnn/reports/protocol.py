"""What was played out, and how precisely it tells each parameter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bids_brnn.reports.content import Bounds, PageTable
from bids_brnn.reports.drawing import DOTTED, Drawing
from bids_brnn.reports.plots import (
    CURVES,
    NAMED,
    Frame,
    Plot,
    Scale,
    areas,
    legend,
    legend_height,
    legend_rows,
    padded,
)
from bids_brnn.reports.ticks import log_ticks
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum

_MOST_TRAINS = 6
_BOUNDS_HEADER = (
    "tissue", "parameter", "unit", "value", "bound (sd)", "of the value",
    "second-order bound (sd)", "of the value",
)  # fmt: skip
_BESIDE = 1.3
"""Ends of the axis of offsets over the outermost ones."""
_ALIKE = 1e-6  # decimal text of tables


def protocol_figure(protocol: PulseSequence | ZSpectrum) -> Drawing:
    """The pulse train against time, or the measurements of a Z-spectrum by offset and angle."""
    return _spectrum(protocol) if isinstance(protocol, ZSpectrum) else _train(protocol)


def protocol_words(protocol: PulseSequence | ZSpectrum) -> str:
    """The same in a sentence."""
    if isinstance(protocol, ZSpectrum):
        on = protocol.mt_flip_angle > 0
        angles = np.degrees(np.unique(np.round(protocol.mt_flip_angle[on], 6)))
        offsets = np.abs(protocol.offset[on])
        return (
            f"{protocol.n_samples} measurements, {int((~on).sum())} without MT pulse; MT pulses "
            f"of {', '.join(f'{angle:.4g}' for angle in angles)} degrees, "
            f"{1e3 * protocol.pulse.duration:.3g} ms, {protocol.pulse.shape.lower()}, offsets of "
            f"{_span(offsets, 'Hz')}; excitation "
            f"{np.degrees(protocol.flip_angle):.3g} degrees, repetition time "
            f"{1e3 * protocol.repetition_time:.4g} ms."
        )
    played = ~protocol.padding
    excitation = played & ~protocol.inversion
    angles = np.degrees(protocol.flip_angle[excitation])
    gaps = 1e3 * protocol.repetition_time[excitation]
    trains = protocol.flip_angle.shape[0]
    total = protocol.repetition_time[played].sum()
    return (
        f"{trains} pulse train{'s' * (trains > 1)}, {int(played.sum())} pulses, of them "
        f"{int((protocol.inversion & played).sum())} inversions (dotted); excitations of "
        f"{_span(angles, 'degrees')} every {_span(gaps, 'ms')}; {total:.4g} s in all; start "
        f"{protocol.start}."
    )


def _train(protocol: PulseSequence) -> Drawing:
    gaps = protocol.repetition_time[~protocol.padding & ~protocol.inversion]
    varies = bool(np.ptp(gaps) > _ALIKE * gaps.max())  # else words say it
    trains = protocol.flip_angle[:_MOST_TRAINS]
    keys = [(f"train {k + 1}", CURVES[k]) for k in range(len(trains))] if len(trains) > 1 else []
    rows = legend_rows(keys, 8.0)
    frame = Frame(9.0, 1.75, left=0.7, bottom=0.25, top=0.12)
    figure, boxes = areas(1 + varies, 1, frame, legend_height(rows), NAMED)
    legend(figure, frame.left, 0.03, rows)
    played = ~protocol.padding
    times = np.cumsum(protocol.repetition_time, axis=1) - protocol.repetition_time
    kept = played & ~protocol.inversion
    ends = padded(times[played])
    angles = np.degrees(protocol.flip_angle)
    upper = Plot(figure, boxes[0], ends, padded(angles[kept]))
    plots = [(upper, angles, "flip angle (deg)")]
    if varies:
        waits = 1e3 * protocol.repetition_time
        lower = Plot(figure, boxes[1], ends, padded(waits[kept], from_zero=True))
        plots.append((lower, waits, "to the next pulse (ms)"))
    for plot, values, name in plots:
        last = plot is plots[-1][0]
        plot.beside(name, grid=True)
        plot.below("time (s)" if last else "", numbers=last, grid=True)
        plot.edges()
        for train in range(len(trains)):
            here = kept[train]
            plot.line(times[train][here], values[train][here], CURVES[train])
    for train in range(len(trains)):
        inversions = times[train][(protocol.inversion & played)[train]]
        for moment in inversions[:_MOST_TRAINS].tolist():
            upper.upright(moment, "#b2182b", 0.8, DOTTED)
    return figure


def _span(values: NDArray[np.float64], unit: str) -> str:
    low, high = float(values.min()), float(values.max())
    if high - low <= _ALIKE * abs(high):
        return f"{high:.4g} {unit}"
    return f"{low:.4g} to {high:.4g} {unit}"


def _spectrum(protocol: ZSpectrum) -> Drawing:
    on = protocol.mt_flip_angle > 0
    offsets, angles = protocol.offset[on], np.degrees(protocol.mt_flip_angle[on])
    figure, (box,) = areas(1, 1, Frame(6.5, 3.2, left=0.7, bottom=0.5, top=0.15))
    distances = np.abs(offsets[offsets != 0])
    least, most = (
        (float(distances.min()), float(distances.max())) if distances.size else (1.0, 1.0)
    )
    one_sided = bool((offsets > 0).all())
    ticks = log_ticks(least / _BESIDE, _BESIDE * most, decades=not one_sided)
    if not one_sided:  # both sides of water, or on it
        ticks = [-tick for tick in reversed(ticks)] + [0.0, *ticks]
    ends = (least / _BESIDE if one_sided else -_BESIDE * most, _BESIDE * most)
    plot = Plot(
        figure, box, ends, padded(angles, from_zero=True),
        np.log10 if one_sided else _both_sides(least),
    )  # fmt: skip
    plot.below("offset of the MT pulse (Hz)", ticks, grid=True)
    plot.beside("its flip angle (deg)", grid=True)
    plot.edges()
    plot.dots(offsets, angles, "#2166ac", 5.0)
    return figure


def _both_sides(least: float) -> Scale:
    """Logarithms to both sides, and proportional to the value nearer to 0 than ``least``."""

    def scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
        share = np.abs(values) / least
        return np.sign(values) * np.where(share < 1, share, 1 + np.log10(np.maximum(share, 1)))

    return scale


def bounds_table(bounds: Bounds) -> PageTable:
    """First- and second-order bounds in usual tissue, in units and percent of the value."""
    rows = []
    for row in bounds.rows:
        cells = [row.tissue, row.parameter, row.unit, f"{row.value:.4g}"]
        for std in (row.first, row.second):
            seen = np.isfinite(std)
            share = f"{100 * std / abs(row.value):.3g} %" if seen and row.value else ""
            cells += [f"{std:.3g}" if seen else "not seen", share]
        rows.append(cells)
    source = "median of the maps" if bounds.measured else "usual; that of the maps is not known"
    known = f"; known: {', '.join(bounds.known)}" if bounds.known else ""
    title = (
        f"Cram\u00e9r-Rao bounds of the protocol, usual tissue at {bounds.field_strength:g} T, "
        f"SNR {bounds.snr:.3g} ({source}{known})"
    )
    return PageTable(title, _BOUNDS_HEADER, rows)

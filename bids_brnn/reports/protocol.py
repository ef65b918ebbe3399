"""What was played out, and how precisely it tells each parameter."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_brnn.reports.content import Bounds, PageTable
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum

_MOST_TRAINS = 6
_BOUNDS_HEADER = (
    "tissue", "parameter", "unit", "value", "bound (sd)", "of the value",
    "second-order bound (sd)", "of the value",
)  # fmt: skip
_ALIKE = 1e-6  # decimal text of tables


def protocol_figure(protocol: PulseSequence | ZSpectrum) -> Figure:
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


def _train(protocol: PulseSequence) -> Figure:
    gaps = protocol.repetition_time[~protocol.padding & ~protocol.inversion]
    varies = bool(np.ptp(gaps) > _ALIKE * gaps.max())  # else words say it
    figure = Figure(figsize=(9.0, 4.0 if varies else 2.4), layout="constrained")
    axes = figure.subplots(1 + varies, 1, sharex=True, squeeze=False)[:, 0]
    for train in range(min(protocol.flip_angle.shape[0], _MOST_TRAINS)):
        kept = ~protocol.padding[train] & ~protocol.inversion[train]
        time = np.concatenate([[0.0], np.cumsum(protocol.repetition_time[train])[:-1]])
        label = f"train {train + 1}"
        axes[0].plot(time[kept], np.degrees(protocol.flip_angle[train][kept]), lw=0.9, label=label)
        if varies:
            axes[1].plot(time[kept], 1e3 * protocol.repetition_time[train][kept], lw=0.9)
        inversions = time[protocol.inversion[train] & ~protocol.padding[train]]
        for moment in inversions[:_MOST_TRAINS]:
            axes[0].axvline(moment, color="#b2182b", lw=0.8, ls=":")
    axes[0].set_ylabel("flip angle (deg)", fontsize=8)
    if varies:
        axes[1].set_ylabel("to the next pulse (ms)", fontsize=8)
        axes[1].set_ylim(bottom=0)
    axes[-1].set_xlabel("time (s)", fontsize=8)
    if protocol.flip_angle.shape[0] > 1:
        axes[0].legend(fontsize=7)
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    return figure


def _span(values: NDArray[np.float64], unit: str) -> str:
    low, high = float(values.min()), float(values.max())
    if high - low <= _ALIKE * abs(high):
        return f"{high:.4g} {unit}"
    return f"{low:.4g} to {high:.4g} {unit}"


def _spectrum(protocol: ZSpectrum) -> Figure:
    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axis = figure.subplots()
    on = protocol.mt_flip_angle > 0
    axis.plot(
        protocol.offset[on], np.degrees(protocol.mt_flip_angle[on]), "o", ms=5, color="#2166ac"
    )
    axis.set_xscale("symlog" if (protocol.offset[on] <= 0).any() else "log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("offset of the MT pulse (Hz)", fontsize=8)
    axis.set_ylabel("its flip angle (deg)", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    return figure


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

"""What images and sidecars of a series hold, whatever kind of series it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from bids_brnn.bids.input.acquisition import Measurements, Part
from bids_brnn.bids.input.encoding import Encoding, read_encoding
from bids_brnn.bids.input.protocol import Shared
from bids_brnn.bids.input.series import (
    Series,
    check_grids,
    check_subject,
    choose_parts,
    series_metadata,
)
from bids_brnn.bids.input.z_encoding import (
    SpectrumOptions,
    is_spectrum,
    magnitude_parts,
    read_image,
    read_volumes,
)
from bids_brnn.bids.input.z_series import (
    Cohort,
    check_cohort,
    check_numbering,
    check_volumes,
    measurements_of,
)
from bids_brnn.bids.safe import check_inside
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.registry import model_entry

_OFF_RESONANCE = 50.0
"""Hz, that of much of a brain at 3 T."""
_TURNED = 6.0
"""Degrees of phase between samples that move no map by much: 0.1 of their size."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Context:
    """What the reading of all series of a run shares."""

    spectra: SpectrumOptions
    filtered: frozenset[str]
    """Keys of ``--bids-filter-file``."""
    allowed: Sequence[Path]
    """Folders outside of the data sets that links may lead to."""
    notes: list[str]
    """Decisions and warnings; grows."""
    shared: Shared = field(default_factory=Shared)
    cohorts: dict[Path, Cohort] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Contents:
    """What images and sidecars of a series hold."""

    parts: Mapping[Part, Path]
    shape: tuple[int, int, int, int]
    metadata: Mapping[str, Any]
    encoding: Encoding
    volumes: Measurements = ()
    """Of a Z-spectrum with one file per measurement."""


def read_contents(series: Series, links: Mapping[str, Path], context: Context) -> Contents:
    """Parts, metadata and encoding of a series, checked.

    Raises
    ------
    BidsBrnnError
        If the series cannot be used.
    """
    if is_spectrum(series, links, context.spectra):
        read = _spectrum(series, links, context)
    else:
        read = _trains(series, links, context)
    given = context.spectra.file
    for path in read.encoding.tables.values():
        if given is not None and path == given.path:
            continue  # named by the user, wherever it lies
        root = next((root for root in links.values() if path.is_relative_to(root)), path.parent)
        check_inside(path, root, context.allowed)
    return read


def _check_places(series: Series, paths: Iterable[Path], context: Context) -> None:
    for path in paths:
        check_subject(path.relative_to(series.dataset.root))
        check_inside(path, series.dataset.root, context.allowed)


def _spectrum(series: Series, links: Mapping[str, Path], context: Context) -> Contents:
    """A Z-spectrum, in one file per measurement or in one of all volumes."""
    notes, options = context.notes, context.spectra
    _check_places(series, series.files, context)
    if not series.measured:
        parts = magnitude_parts(series, choose_parts(series, notes, spectrum=True), notes)
        grid = check_grids(series, parts)
        metadata = series_metadata(series, parts)
        encoding = read_image(series, metadata, grid.shape[3], links, options, notes)
        return Contents(parts, cast("Any", grid.shape), metadata, encoding)
    found = measurements_of(series, notes)
    if series.kind not in context.filtered:
        check_numbering(series, found)
        check_cohort(series, found, context.cohorts)
    grid = check_volumes(series, found)
    encoding, metadata = read_volumes(series, found, links, options, notes)
    volumes = tuple(item.repeats for item in found)
    return Contents(volumes[0][0], (*grid.space, len(found)), metadata, encoding, volumes)


def _trains(series: Series, links: Mapping[str, Path], context: Context) -> Contents:
    """A series of pulse trains: coefficients or time frames."""
    notes = context.notes
    parts = choose_parts(series, notes)
    _check_places(series, parts.values(), context)
    grid = check_grids(series, parts)
    if float(grid.header["pixdim"][4]) == 0:
        notes.append(
            f"{series.name}: pixdim[4] is 0 in the header, where a repetition time may stand; it "
            "is not used, times come from the pulse table."
        )
    metadata = series_metadata(series, parts)
    encoding = read_encoding(series, metadata, grid.shape[3], links, context.shared, notes)
    if set(parts) != {"mag"}:
        notes.extend(_turned(series, encoding))
    return Contents(parts, cast("Any", grid.shape), metadata, encoding)


def _turned(series: Series, encoding: Encoding) -> list[str]:
    """What off-resonance does to complex samples that the model takes as if there were none."""
    entry = model_entry(encoding.model)
    if "w0" in entry.parameters.names or not isinstance(encoding.sequence, PulseSequence):
        return []
    echoes = encoding.sequence.echo_time
    spread = float(np.ptp(echoes[np.isfinite(echoes)]))
    turned = 360 * _OFF_RESONANCE * spread
    if turned < _TURNED:
        return []
    return [
        f"{series.name}: echo times differ by {1e3 * spread:.3g} ms, and off-resonance, which the "
        f"model {entry.name} does not know, turns such samples against each other "
        f"({turned:.0f} degrees at {_OFF_RESONANCE:g} Hz): maps are wrong there. Remove the phase "
        "of a B0 map from the images, or give magnitudes of time frames alone."
    ]

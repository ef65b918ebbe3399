"""Maps of a participant in a form that fits into a page: cropped, rounded, compressed.

Values are kept, not colours, so that the page can show what stands in a file at a voxel. They are
rounded as floating-point numbers are, by a share of themselves, whatever their range; where a
whole brain does not fit, every second or third voxel is taken, never a mean of several.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_brnn.maps import flag_words
from bids_brnn.reports.content import LITERATURE, Array, MapView, SeriesView, Spectra
from bids_brnn.reports.figures import crop, display_range
from bids_brnn.system.threads import in_threads

Mask = NDArray[np.bool_]
FULL_BITS, FEWER_BITS, COARSE_BITS = 10, 7, 6
"""Bits of the mantissa: rounding by 0.05 %, 0.4 % and 0.8 % at most."""
_MOST_BITS = 15
"""Of three bytes; whole numbers below 65,536 are exact."""
_LONGEST_STEP = 6
"""Where that is not enough, as many as it takes."""
_ALLOWANCE = 1.2
"""Maps of one value compress better than the rule of noise expects."""
_LONGEST = 2.0  # longest over shortest edge of what a voxel of the page stands for
_B64 = 4 / 3
_OTHER_BITS = 2.0  # of a value after compression: exponent and sign
_MARGIN = 2


class Sampling(NamedTuple):
    """Which voxels are taken, and how finely their values are rounded."""

    step: tuple[int, int, int]
    bits: int


FINEST = Sampling((1, 1, 1), FULL_BITS)


def pack_series(series: SeriesView, budget: int, threads: int = 1) -> dict[str, Any]:
    """Everything that the viewer shows of one series, ready for JSON.

    Parameters
    ----------
    series
        Its maps, in the orientation of :class:`MapView`.
    budget
        Characters that the result may take, about.
    threads
        Maps that are packed at a time.

    Returns
    -------
    dict
        Grid, mask, regions, and each map as base64 of zlib of the three upper bytes of
        single-precision numbers at the voxels of the mask: all first bytes, all second ones, all
        third ones.
    """
    spectra = None if series.spectra is None else _spectra(series.spectra, budget // 3)
    packed: dict[str, Any] = {}
    share = 1 / _ALLOWANCE  # of what is expected of noise
    for sampling, expected in _samplings(series, budget):
        if packed and expected * share > budget:
            continue
        packed = _pack(series, sampling, threads) | {"spectra": spectra}
        size = len(json.dumps(packed))
        if size <= budget:
            break
        share = size / expected
    return packed


def n_maps(series: SeriesView) -> int:
    """Of all estimators, with standard deviations and quality."""
    return sum(
        len(item.estimates) + len(item.uncertainties) + len(item.quality)
        for item in series.estimators
    )


def characters(series: SeriesView, sampling: Sampling = FINEST) -> float:
    """How many :func:`pack_series` takes for noise, about; maps of one value take fewer."""
    n_fine = sum(len(item.estimates) for item in series.estimators) + len(series.supplied)
    n_images = (series.reference is not None) + (series.t1w is not None)
    whole = int(np.prod([part.stop - part.start for part in _box(series.mask)]))
    coarse = COARSE_BITS + _OTHER_BITS
    bits = n_fine * (sampling.bits + _OTHER_BITS)
    bits += (n_maps(series) + len(series.supplied) - n_fine) * coarse
    total = bits * int(series.mask.sum()) + n_images * coarse * whole
    return float(total / np.prod(sampling.step) / 8 * _B64)


def _samplings(series: SeriesView, budget: int) -> Iterator[tuple[Sampling, float]]:
    """From the finest to the coarsest, with their size; those that cannot fit are left out."""
    enough = int(np.ceil(np.cbrt(characters(series) / budget))) + 1
    steps = _steps(series.voxel_size, max(_LONGEST_STEP, enough))
    whole = characters(series, Sampling((1, 1, 1), FEWER_BITS))
    all_of_them = [(FINEST, characters(series))]
    all_of_them += [(Sampling(s, FEWER_BITS), whole / float(np.prod(s))) for s in steps]
    fitting = [item for item in all_of_them if item[1] <= _ALLOWANCE * budget]
    yield from fitting or all_of_them[-1:]


def _steps(size: Sequence[float], longest: int) -> list[tuple[int, int, int]]:
    """Which voxels may be taken: the more the earlier, and no box that is long and thin."""
    native = max(size) / min(size)

    def length(step: tuple[int, int, int]) -> float:
        edges = np.multiply(step, size)
        return float(edges.max() / edges.min())

    ladder = range(1, longest + 1)
    alike = [
        step for step in product(ladder, ladder, ladder) if length(step) <= max(_LONGEST, native)
    ]
    # Of equal numbers of voxels, slices lose before the plane that is looked at.
    return sorted(alike, key=lambda step: (np.prod(step), length(step), step[0] + step[1]))


def _pack(series: SeriesView, sampling: Sampling, threads: int) -> dict[str, Any]:
    box = _box(series.mask)
    cut = tuple(
        slice(part.start, part.stop, step) for part, step in zip(box, sampling.step, strict=True)
    )
    mask = series.mask[cut]
    affine = series.affine @ _sampling_matrix(cut)
    shown = [
        (view, bits, {"of": item.key, "kind": kind})
        for item in series.estimators
        for kind, views, bits in (
            ("estimate", item.estimates, sampling.bits), ("std", item.uncertainties, COARSE_BITS),
            ("quality", item.quality, COARSE_BITS),
        )
        for view in views
    ]  # fmt: skip
    shown += [(view, sampling.bits, {"of": "", "kind": "supplied"}) for view in series.supplied]

    def packed(item: tuple[MapView, int, dict[str, str]]) -> dict[str, Any]:
        view, bits, about = item
        limits = display_range(view, places)
        return _map(view, limits, _inside(view.values, series.mask, cut), bits) | about

    places = np.flatnonzero(series.mask)
    maps = list(in_threads(packed, shown, threads))
    return {
        "name": series.name,
        "shape": list(mask.shape),
        "step": list(sampling.step),
        "rounding": 2.0 ** -(sampling.bits + 1),
        "coarse": 2.0 ** -(COARSE_BITS + 1),
        "affine": affine.tolist(),
        "to_file": np.linalg.inv(series.file_affine).tolist(),
        "mask": _compressed(np.packbits(mask.ravel(order="F"), bitorder="little").tobytes()),
        "estimators": [{"key": item.key, "title": item.title} for item in series.estimators],
        "maps": maps,
        "images": list(_images(series, cut)),
        "regions": _regions(series.labels, series.label_names, cut),
        "flags": flag_words(),
    }


def _box(mask: Mask) -> tuple[slice, slice, slice]:
    """Where the mask lies, with a margin."""
    rows, columns = crop(mask, _MARGIN)
    layers = np.flatnonzero(mask.any(axis=(0, 1)))
    last = slice(layers[0], layers[-1] + 1) if layers.size else slice(None)
    return tuple(
        slice(*part.indices(size)[:2])
        for part, size in zip((rows, columns, last), mask.shape, strict=True)
    )  # type: ignore[return-value]


def _sampling_matrix(cut: Sequence[slice]) -> Array:
    """From voxels that were taken to voxels of the series."""
    matrix = np.diag([*(float(part.step) for part in cut), 1.0])
    matrix[:3, 3] = [part.start for part in cut]
    return matrix


def _map(view: MapView, limits: tuple[float, float], values: Array, bits: int) -> dict[str, Any]:
    return {
        "name": view.name,
        "unit": view.unit,
        "words": view.description,
        "file": view.file,
        "range": list(limits),
        "literature": [f"{tissue} {value:.4g} ({source})" for tissue, value, source in
                       LITERATURE.get(view.name, ())],
        "data": _floats(values, bits),
    }  # fmt: skip


def _inside(values: Array, mask: Mask, cut: tuple[slice, ...]) -> Array:
    """Values at the voxels of the mask that are taken, first axis fastest."""
    return np.asarray(values[cut].ravel(order="F")[mask[cut].ravel(order="F")])


def _images(series: SeriesView, cut: tuple[slice, ...]) -> Iterator[dict[str, Any]]:
    """Images that are shown outside of the mask too."""
    for name, image in (("series", series.reference), ("T1w", series.t1w)):
        if image is None:
            continue
        finite = image[np.isfinite(image)]
        high = float(np.percentile(finite[:: max(finite.size // 100_000, 1)], 99)) or 1.0
        values = image[cut].ravel(order="F")
        yield {"name": name, "range": [0.0, high], "data": _floats(values, COARSE_BITS)}


def _regions(
    labels: NDArray[np.int_] | None, names: Mapping[int, str], cut: tuple[slice, ...]
) -> dict[str, Any] | None:
    if labels is None:
        return None
    values = labels[cut].ravel(order="F").astype(np.uint16)
    raw = (values >> 8).astype(np.uint8).tobytes() + (values & 255).astype(np.uint8).tobytes()
    return {"names": {str(key): name for key, name in names.items()}, "data": _compressed(raw)}


def _spectra(spectra: Spectra, budget: int) -> dict[str, Any]:
    """Data and fits, voxel by voxel; offsets of measurements without MT pulse are null.

    As many voxels as fit into the budget.
    """
    size = spectra.measured.size * (1 + len(spectra.fitted)) * (FULL_BITS + _OTHER_BITS) / 8 * _B64
    every = slice(None, None, max(1, int(np.ceil(size / budget))))
    return {
        "voxels": spectra.voxels[every].tolist(),
        "offset": [None if np.isnan(value) else float(value) for value in spectra.offset],
        "angle": [round(float(value), 3) for value in spectra.angle],
        "measured": _floats(spectra.measured[every].ravel(), FULL_BITS),
        "fitted": {
            key: _floats(values[every].ravel(), FULL_BITS)
            for key, values in spectra.fitted.items()
        },
    }


def _floats(values: Array, bits: int) -> str:
    """Single-precision numbers with ``bits`` bits of mantissa, as three planes of bytes.

    Whole numbers (flags, reasons of stop) stay what they are.
    """
    plain = np.asarray(values, dtype=np.float32)
    plain = np.where(np.isfinite(plain), plain, np.float32(np.nan))
    if np.array_equal(plain, np.round(plain), equal_nan=True):
        bits = _MOST_BITS
    drop = np.uint32(23 - bits)
    codes = plain.view(np.uint32)
    # Half a step is added to the magnitude; a carry goes on to the exponent, as it should.
    rounded = (codes + (np.uint32(1) << (drop - np.uint32(1)))) >> drop << drop
    codes = np.where(np.isnan(plain), codes, rounded)
    planes = [(codes >> np.uint32(shift)).astype(np.uint8) for shift in (24, 16, 8)]
    return _compressed(b"".join(plane.tobytes() for plane in planes))


def _compressed(raw: bytes) -> str:
    # Levels above gain 2 % and take three times as long.
    return base64.b64encode(zlib.compress(raw, 4)).decode()

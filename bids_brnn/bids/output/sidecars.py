"""JSON sidecars of what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.output.naming import Origin
from bids_brnn.errors import OutputError
from bids_brnn.estimators.registry import estimator_of
from bids_brnn.learning.loss_words import loss_words
from bids_brnn.maps import SPREADS, spread_of, without_spread
from bids_brnn.parameters import MapItem
from bids_brnn.signals.registry import model_entry


@dataclass(frozen=True)
class Provenance:
    """What went into a map, besides the series itself."""

    sources: Sequence[str] = ()
    """BIDS URIs of further images used: field maps, masks."""
    b1_source: str = "none"
    """``TB1map, percent``; ``estimated``; ``none``."""
    weights_name: str = "n/a"
    weights_sha256: str = "n/a"
    loss: Mapping[str, Any] = field(default_factory=dict)
    """What a network was trained with: name and options."""
    valid_range: tuple[float, float] | None = None
    """Bounds of the estimator for this quantity, in its unit."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys: preparation steps, versions, digests."""

    def with_sources(self, uris: Sequence[str]) -> Provenance:
        """The same with further images, each named once."""
        return replace(self, sources=list(dict.fromkeys([*self.sources, *uris])))


@dataclass(frozen=True)
class Counts:
    """Share of voxels inside the mask."""

    invalid: float
    """Not finite: no estimate."""
    out_of_range: float
    """Of all, finite and outside (or on) the valid range."""


def count(values: NDArray[np.floating], valid_range: tuple[float, float] | None) -> Counts:
    """Shares of invalid and out-of-range voxels among ``(V,)`` values inside the mask."""
    if values.size == 0:
        return Counts(0.0, 0.0)
    finite = np.isfinite(values)
    outside = 0.0
    if valid_range is not None:
        low, high = valid_range
        outside = float(np.mean(finite & ((values <= low) | (values >= high))))
    return Counts(float(np.mean(~finite)), outside)


def map_sidecar(
    origin: Origin,
    item: MapItem,
    desc: str,
    provenance: Provenance,
    counts: Counts,
    *,
    of: str = "",
    space: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Sidecar of a map; the same keys for every map.

    Parameters
    ----------
    origin
        The series.
    item
        The quantity.
    desc
        Name of an estimator, ``<name>Std`` for its standard deviation.
    provenance, counts
        What went in, and shares of unusable voxels.
    of
        For ``<estimator>Std``: BIDS URI of the map whose standard deviation this is.
    space
        ``SpatialReference`` and ``Resolution`` of a map in another space.

    Raises
    ------
    OutputError
        If a standard deviation does not say of what.
    """
    estimator, kind = without_spread(desc), spread_of(desc)
    about, entry = estimator_of(estimator), model_entry(origin.model)
    algorithm, reference = about.algorithm, about.url
    if about.trained:
        words_of_loss = loss_words(provenance.loss)
        algorithm, reference = words_of_loss.algorithm, words_of_loss.url
    if kind and not of:
        raise OutputError(f"desc-{desc} of {item.name}: the map it belongs to is missing.")
    model = {
        "Name": entry.label,
        "Parameter": item.name,
        "URL": entry.url,
    }
    words = f"{SPREADS[kind][1]}: {item.description}" if kind else item.description
    low_high = None if kind or provenance.valid_range is None else list(provenance.valid_range)
    sidecar: dict[str, Any] = {
        "SkullStripped": True,
        "Units": item.unit,
        "Description": words,
        "Model": model,
        "EstimationAlgorithm": algorithm,
        "EstimationReference": reference,
        "Sources": [*origin.sources, *provenance.sources],
        "WeightsSHA256": provenance.weights_sha256,
        "WeightsName": provenance.weights_name,
        "TrainingLoss": dict(provenance.loss) or "n/a",
        "ValidRange": low_high if low_high is not None else "n/a",
        "InvalidFraction": round(counts.invalid, 6),
        "OutOfRangeFraction": round(counts.out_of_range, 6),
        "B1Source": provenance.b1_source,
        "MagneticFieldStrength": origin.metadata.get("MagneticFieldStrength", "n/a"),
    }
    if kind:
        sidecar["Uncertainty"] = {"Kind": SPREADS[kind][1].lower(), "Of": of}
    return {**sidecar, **dict(space or {}), **provenance.extra}


def image_sidecar(
    origin: Origin,
    description: str,
    *,
    units: str = "",
    skull_stripped: bool = False,
    sources: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Sidecar of a mask, label image, reference image or resampled field map."""
    sidecar: dict[str, Any] = {
        "SkullStripped": skull_stripped,
        "Description": description,
        "Sources": list(dict.fromkeys([*origin.sources, *sources])),
    }
    if units:
        sidecar["Units"] = units
    return {**sidecar, **(extra or {})}

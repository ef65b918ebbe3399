"""Where the maps of a series come from: versions, weights, digests, files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_brnn.reports.content import PageTable, SeriesView

_ROWS = (
    ("SoftwareVersion", "bids_brnn"),
    ("EstimationAlgorithm", "method"),
    ("EstimationReference", "published in"),
    ("Model", "signal model"),
    ("WeightsName", "network weights"),
    ("WeightsSHA256", "SHA-256 of the weights"),
    ("SequenceDigest", "digest of the protocol"),
    ("RecipeDigest", "digest of the estimator with its options"),
    ("EstimatorOptions", "options of the estimator"),
    ("MagneticFieldStrength", "field strength, T"),
    ("NoiseStandardDeviation", "noise standard deviation"),
    ("NoiseSource", "noise from"),
    ("B1Source", "B1 from"),
    ("FieldMaps", "known maps"),
    ("MaskSource", "mask from"),
    ("PreparationSteps", "preparation"),
)


def provenance(series: SeriesView) -> PageTable:
    """What the sidecars of each estimator say, a column for each."""
    about = [item.about for item in series.estimators]
    rows = []
    for key, words in _ROWS:
        cells = [_text(item.get(key)) for item in about]
        if any(cells):
            rows.append([words, *cells])
    return PageTable(series.name, ["", *(item.title for item in series.estimators)], rows)


def sources(series: SeriesView) -> list[str]:
    """BIDS URIs of all files that the maps were made from, each once."""
    found = [uri for item in series.estimators for uri in item.about.get("Sources", [])]
    return list(dict.fromkeys(str(uri) for uri in found))


def _text(value: Any) -> str:
    if value in (None, "n/a", "", [], {}):
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return str(value)

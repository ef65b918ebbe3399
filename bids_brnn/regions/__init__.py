"""Regions: labels, statistics of maps in them, agreement of estimators. Arrays in, rows out."""

from bids_brnn.regions.agreement import AGREEMENT_COLUMNS, agreement_rows
from bids_brnn.regions.labels import (
    TISSUE_NAMES,
    Source,
    apparent_t1,
    erode,
    labels_in,
    probability_labels,
    spread_out,
    tissue_classes,
)
from bids_brnn.regions.statistics import COLUMNS, Row, region_rows

__all__ = [
    "AGREEMENT_COLUMNS",
    "COLUMNS",
    "TISSUE_NAMES",
    "Row",
    "Source",
    "agreement_rows",
    "apparent_t1",
    "erode",
    "labels_in",
    "probability_labels",
    "region_rows",
    "spread_out",
    "tissue_classes",
]

"""Tables of the group from tables of participants: long, wide, agreement."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bids_brnn.errors import DataError
from bids_brnn.maps import quality_maps
from bids_brnn.regions import AGREEMENT_COLUMNS, COLUMNS
from bids_brnn.regions.agreement import compare
from bids_brnn.reports.group import MIN_SUBJECTS, OUTLIER_Z, lies_apart, modified_z

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("sub", "ses", "acq", "ce", "rec", "run", "chunk")
NAMES = {"sub": "participant_id", "ses": "session_id"}
RARE = ("ce", "rec", "chunk")
"""Columns that are left out where no series has them."""

_TEXTS = ("name", "param", "units", "region_source")
_NEEDED: Mapping[str, Sequence[str]] = {
    "scalarstats": ("index", "median"),
    "agreement": (
        "index", "mean_test", "mean_reference", "bias", "median_abs_diff_crb", "share_flagged",
    ),
}  # fmt: skip
"""Columns without which a table is not one of regions; those of numbers by its suffix."""

KEY_WORDS: Mapping[str, str] = {
    "participant_id": "Participant, with sub-",
    "session_id": "Session, with ses-",
    "acq": "Label of acq- of the series",
    "ce": "Label of ce- of the series",
    "rec": "Label of rec- of the series",
    "run": "Label of run- of the series",
    "chunk": "Label of chunk- of the series",
}
OUTLIER_WORDS: Mapping[str, str] = {
    "modified_z": "Distance of the median from the median of all series with this acquisition, in "
    "units of the scaled median absolute deviation (Iglewicz and Hoaglin 1993); n/a with fewer "
    f"than {MIN_SUBJECTS} series",
    "outlier": "1 where the absolute modified_z is above the limit for this number of series, "
    f"else 0: {OUTLIER_Z:g} for very many, more for fewer, as the deviation of few varies",
}
LONG_WORDS: Mapping[str, str] = {**KEY_WORDS, **COLUMNS, **OUTLIER_WORDS}
AGREEMENT_WORDS: Mapping[str, str] = {**KEY_WORDS, **AGREEMENT_COLUMNS}
GROUP_AGREEMENT_WORDS: Mapping[str, str] = {
    **AGREEMENT_WORDS,
    "n": "Series; each gives one pair: the means of both estimators over the same voxels",
    "mean_test": "Mean over series of the regional mean of the first estimator",
    "mean_reference": "Mean over series of the regional mean of the reference",
    "bias": "Mean over series of the difference of regional means, first minus reference",
    "ccc": "Lin's concordance correlation coefficient of the regional means",
    "median_abs_diff_crb": "Median over series of median_abs_diff_crb",
    "share_flagged": "Mean over series of share_flagged",
}


def entities_of(path: Path) -> dict[str, str]:
    """Entities of a file name, by their short names."""
    pairs = (part.partition("-") for part in path.name.split("_")[:-1])
    return {key: label for key, _, label in pairs}


def key_values(entities: Mapping[str, str]) -> dict[str, str | None]:
    """Values of the columns that tell a series, as texts."""
    values = {}
    for key in KEYS:
        label = entities.get(key)
        values[NAMES.get(key, key)] = f"{key}-{label}" if key in NAMES and label else label
    return values


def without_rare(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out key columns that say nothing."""
    empty = [key for key in RARE if key in table and table[key].isna().all()]
    return table.drop(columns=empty)


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of series one under the other."""
    import pandas as pd

    return without_rare(pd.concat(frames, ignore_index=True))


def region_frame(path: Path) -> pd.DataFrame:
    """A table of one series, with columns that tell which.

    Raises
    ------
    ReadError
        If it cannot be read.
    DataError
        If it is no table of regions.
    """
    from pandas.api.types import is_numeric_dtype

    from bids_brnn.bids.tables import read_table

    frame = read_table(path)
    needed = _NEEDED["agreement" if path.name.endswith("_agreement.tsv") else "scalarstats"]
    if lacking := [name for name in (*_TEXTS, *needed) if name not in frame]:
        raise DataError(f"{path} has no column {', '.join(lacking)}; it is no table of regions.")
    if frame.empty:
        raise DataError(f"{path} holds no region.")
    for name in needed:
        if not is_numeric_dtype(frame[name]) or (name == "index" and (frame[name] % 1 != 0).any()):
            raise DataError(f"{path}: column {name} holds what is no number.")
    if not all(isinstance(name, str) for name in frame["param"]):
        raise DataError(f"{path}: column param holds what is no name of a parameter.")
    if frame.duplicated(["index", "param"]).any():
        raise DataError(f"{path} holds a region twice; run the participant again.")
    for place, (column, label) in enumerate(key_values(entities_of(path)).items()):
        if column in frame:
            raise DataError(f"{path} has a column {column}; it is no table of one series.")
        frame.insert(place, column, label)
    return frame


def with_outliers(table: pd.DataFrame) -> pd.DataFrame:
    """A long table with the columns of :data:`OUTLIER_WORDS`."""
    found = table.copy()
    found["modified_z"], found["outlier"] = np.nan, 0
    for _, part in table.groupby(["acq", "param", "index"], sort=False, dropna=False):
        medians = part["median"].to_numpy(np.float64)
        if np.isfinite(medians).sum() >= MIN_SUBJECTS:
            found.loc[part.index, "modified_z"] = modified_z(medians)
            found.loc[part.index, "outlier"] = lies_apart(medians).astype(int)
    return found


def wide_table(
    tables: Mapping[str, pd.DataFrame],
) -> tuple[pd.DataFrame, dict[str, dict[str, object]]]:
    """A row per participant, session and run; a column per parameter, region and estimator.

    Parameters
    ----------
    tables
        Long tables of one segmentation by estimator.

    Returns
    -------
    table
        Medians; columns are called ``<parameter>_<region>_<estimator>``, with letters, digits and
        underscores only. Where several acquisitions give the same column, their ``acq-`` labels
        follow.
    about
        Description of each column, for the JSON beside it.
    """
    import pandas as pd

    long = pd.concat([table.assign(estimator=key) for key, table in tables.items()])
    # Maps that measure no tissue have no column.
    long = long[~long["param"].isin(list(quality_maps()))].copy()
    rows = [name for name in KEY_WORDS if name in long and name != "acq"]
    long[rows] = long[rows].fillna("")  # equal to itself, which a missing value is not
    protocols: dict[Any, int] = (
        long.groupby(["param", "estimator"])["acq"].nunique(dropna=False).to_dict()
    )
    regions = region_labels(long)
    about: dict[str, dict[str, object]] = {name: {"Description": KEY_WORDS[name]} for name in rows}
    columns: dict[str, pd.Series[Any]] = {}
    keys = ["param", "index", "estimator", "acq"]
    for key, part in long.groupby(keys, sort=False, dropna=False):
        param, index, estimator, acq = cast("tuple[str, int, str, object]", key)
        label = acq if isinstance(acq, str) else ""
        several = protocols[param, estimator] > 1
        column = "_".join([param, regions[index], estimator, *([label] if several else [])])
        columns[column] = part.set_index(rows)["median"]
        if columns[column].index.has_duplicates:
            raise DataError(f"{column} stands twice for one series; run the participants again.")
        about[column] = {
            "Description": f"Median of {param} in {part['name'].iloc[0]}",
            "Units": str(part["units"].iloc[0]),
            "Parameter": param,
            "Region": str(part["name"].iloc[0]),
            "RegionIndex": int(index),
            "Estimator": estimator,
            "Acquisition": label or "n/a",
        }
    table = pd.DataFrame(columns).sort_index().rename_axis(rows).reset_index()
    table[rows] = table[rows].replace("", None)
    return table, {name: about[name] for name in table.columns}


def region_labels(table: pd.DataFrame) -> dict[int, str]:
    """Names of regions as parts of column names, all different, by label value."""
    pairs = zip(table["index"], table["name"], strict=True)
    named = {int(index): plain(str(name)) or f"region{index}" for index, name in pairs}
    used = [name.lower() for name in named.values()]
    return {
        index: f"{name}_{index}" if used.count(name.lower()) > 1 else name
        for index, name in named.items()
    }


def plain(text: str) -> str:
    """A name in letters, digits and single underscores; accents are dropped.

    >>> plain("Left-Cerebral-White-Matter"), plain("Gyrus précentral (g.)")
    ('Left_Cerebral_White_Matter', 'Gyrus_precentral_g')
    """
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", ascii_only).strip("_")


def group_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Agreement of regional means over the group, a row per acquisition, parameter and region.

    Parameters
    ----------
    table
        Long table of ``agreement.tsv`` of all series.
    """
    import pandas as pd

    rows = []
    for (acq, param, index), part in table.groupby(
        ["acq", "param", "index"], sort=False, dropna=False
    ):
        pairs = part[["mean_test", "mean_reference"]].dropna().to_numpy(np.float64)
        rows.append(
            {
                "acq": acq,
                "index": index,
                "name": part["name"].iloc[0],
                "param": param,
                "units": part["units"].iloc[0],
                **compare(pairs[:, 0], pairs[:, 1]),
                "median_abs_diff_crb": part["median_abs_diff_crb"].median(),
                "share_flagged": part["share_flagged"].mean(),
                "region_source": part["region_source"].iloc[0],
            }
        )
    return pd.DataFrame(rows, columns=["acq", *AGREEMENT_COLUMNS])

"""Quality of every series of an output data set, a row per series and estimator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_brnn.bids.output.naming import SUPPLIED
from bids_brnn.errors import BidsBrnnError
from bids_brnn.group.files import participant_files
from bids_brnn.group.tables import KEY_WORDS, entities_of, key_values, without_rare
from bids_brnn.maps import AT_BOUND, NO_ESTIMATE, quality_maps, spread_of, summaries
from bids_brnn.reports.group import MIN_SUBJECTS, OUTLIER_Z, lies_apart
from bids_brnn.signals.registry import series_kinds

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

CHECKED = ("mask_volume_ml", "median_snr", "median_residual", "share_flagged")


def quality_words() -> dict[str, str]:
    """What each column of the table means."""
    return {
        **KEY_WORDS,
        "kind": "qmt or mrf",
        "estimator": "Value of desc- of the maps",
        "n_voxels": "Voxels inside the mask",
        "mask_volume_ml": "Volume of the mask, millilitres",
        "mask_source": "Where the mask comes from",
        "mask_check": "What the check of the mask found",
        "registration_method": "How the series was brought to the T1-weighted image",
        "registration": "Outcome of that in words",
        "noise_sd": "Noise standard deviation of each channel, in the units of the images",
        "noise_source": "Where the noise level comes from",
        **{item.column: item.words for item in summaries()},
        "share_flagged": "Share of voxels with any flag, 0 to 1",
        "share_invalid": "Share of voxels without an estimate",
        "share_at_bound": "Share of voxels with a parameter on a bound",
        "outliers": "Which of " + ", ".join(("mask_volume_ml", "median_snr", "median_residual",
        "share_flagged")) + " lie apart from those of the other series of this acquisition and "
        f"estimator (absolute modified z-score above {OUTLIER_Z:g} for very many series, above "
        f"more for fewer; n/a if none, and with fewer than {MIN_SUBJECTS} series)",
    }  # fmt: skip


def quality_table(
    output_dir: Path,
    participants: Sequence[str],
    sessions: Sequence[str],
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Read masks, quality maps and sidecars of all series.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    participants, sessions
        Labels to keep; empty means all.
    notes
        Grows by one for each series that cannot be read.
    """
    import pandas as pd

    rows = []
    ending = "_desc-brain_mask.nii.gz"
    for path in participant_files(output_dir, ending, participants, sessions):
        try:
            rows += list(_series_rows(path))
        except BidsBrnnError as error:
            if notes is None:
                raise
            notes.append(f"left aside: {error}")
    table = pd.DataFrame(rows, columns=[name for name in quality_words() if name != "outliers"])
    # A sidecar of an older version may lack what makes a column of texts.
    table["outliers"] = _outliers(table)
    return without_rare(table)


def _series_rows(mask_path: Path) -> Iterator[dict[str, Any]]:
    from bids_brnn.bids.images import check_alike, read_grid
    from bids_brnn.reports.images import files_of

    head = mask_path.name.removesuffix("_desc-brain_mask.nii.gz")
    mask = _read(mask_path) > 0
    size = float(abs(np.linalg.det(read_grid(mask_path).affine[:3, :3])))
    about = _sidecar(mask_path)
    registration = about.get("Registration")
    found = registration if isinstance(registration, Mapping) else {}
    shared = {
        **key_values(entities_of(mask_path)),
        "n_voxels": int(mask.sum()),
        "mask_volume_ml": float(mask.sum() * size / 1000),
        "mask_source": _text(about.get("MaskSource")),
        "mask_check": _text(about.get("MaskCheck")),
        "registration_method": _text(found.get("Method")),
        "registration": _text(found.get("Description")),
    }
    files = list(files_of(mask_path.parent, head))
    check_alike(mask_path, [path for path, _ in files])
    quality: dict[str, dict[str, Path]] = {}
    sidecars: dict[str, dict[str, Any]] = {}
    suffixes = {name.suffix for _, name in files}
    kinds = series_kinds().values()
    kind = next((kind.name for kind in kinds if kind.map_suffix in suffixes), "n/a")
    for path, name in files:
        desc = name.entities.get("desc", "")
        if not name.suffix.endswith("map") or spread_of(desc) or desc == SUPPLIED:
            continue
        quality.setdefault(desc, {})[name.entities.get("param", name.suffix)] = path
        sidecars.setdefault(desc, _sidecar(path))
    for desc, paths in sorted(quality.items()):
        maps = {key: _read(path)[mask] for key, path in paths.items() if key in quality_maps()}
        yield {**shared, "kind": kind, "estimator": desc, **_measures(maps, sidecars[desc])}


def _measures(
    maps: Mapping[str, NDArray[np.float64]], sidecar: Mapping[str, Any]
) -> dict[str, object]:
    """Quality of one estimator from its maps inside the mask ``(V,)`` and a sidecar."""
    medians = {item.column: float("nan") for item in summaries()}
    for name, values in maps.items():
        summary = quality_maps()[name].summary
        if summary is not None:
            medians[summary.column] = _median(summary.transform(values))
    level = sidecar.get("NoiseStandardDeviation")
    flags = None
    if "flags" in maps:  # not a number where the estimator was not run
        flags = maps["flags"][np.isfinite(maps["flags"])].astype(np.int64)

    def share(bits: int) -> float:
        return (
            float("nan") if flags is None or not flags.size else float(np.mean(flags & bits > 0))
        )

    return {
        "noise_sd": float(level) if isinstance(level, int | float) else float("nan"),
        "noise_source": _text(sidecar.get("NoiseSource")),
        **medians,
        "share_flagged": share(-1),
        "share_invalid": share(NO_ESTIMATE.bit),
        "share_at_bound": share(AT_BOUND.bit),
    }


def _outliers(table: pd.DataFrame) -> pd.Series[Any]:
    """Names of the measures that lie apart, separated by semicolons."""
    import pandas as pd

    words = pd.Series("", index=table.index, dtype=object)
    for _, part in table.groupby(["acq", "kind", "estimator"], dropna=False):
        for column in CHECKED:
            for row in part.index[lies_apart(part[column].to_numpy(np.float64))]:
                words[row] += f"{column};"
    return words.str.rstrip(";").replace("", None)


def _median(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _read(path: Path) -> NDArray[np.float64]:
    from bids_brnn.bids.images import read_array, read_grid

    return np.asarray(read_array(read_grid(path)), dtype=np.float64)


def _sidecar(path: Path) -> dict[str, Any]:
    from bids_brnn.bids.safe import read_json

    found = path.with_name(path.name.partition(".")[0] + ".json")
    return read_json(found) if found.is_file() else {}


def _text(value: object) -> str | None:
    # Tabs and line breaks would break the table.
    return " ".join(value.split()) if isinstance(value, str) and value != "n/a" else None

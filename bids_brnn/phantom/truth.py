"""How far maps are from the truth of the phantom, per tissue, in percent and in bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import Grid, read_array, read_grid, same_grid
from bids_brnn.bids.safe import read_json
from bids_brnn.errors import DataError, NoSeriesError
from bids_brnn.maps import spread_of
from bids_brnn.phantom.anatomy import tissue_map
from bids_brnn.priors import TISSUES
from bids_brnn.system.kinds import shown
from bids_brnn.voxels import times

_TRUTH = re.compile(
    r"(?P<head>.*?)(_model-[^_]+)?(_param-(?P<parameter>[^_]+))?_desc-truth_(?P<suffix>\w+map)"
)


@dataclass(frozen=True)
class Agreement:
    """Estimates of one parameter in one tissue, all participants together."""

    series: str
    """``acq-hsfp`` or ``acq-fisp``."""
    parameter: str
    tissue: str
    estimator: str
    """Value of ``desc-``."""
    n: int
    """Voxels with a finite estimate; what follows is NaN where there are none."""
    n_invalid: int
    truth: float
    """Mean of the truth."""
    estimate: float
    """Mean of the estimates."""
    bias: float
    """Mean error relative to the mean truth, in percent."""
    bound: float
    """Mean Cramer-Rao standard deviation relative to the mean truth, in percent."""
    bias_to_bound: float
    """Mean of error / bound; its own standard error is 1 / sqrt(n) for an efficient estimate."""
    spread_to_bound: float
    """Half the range from 16 to 84 % of error / bound: 1 for an efficient estimate."""
    outliers: float
    """Fraction of voxels with an error of more than five bounds."""


def compare_with_truth(dataset: Path, outputs: Path) -> list[Agreement]:
    """Compare the maps in ``outputs`` with the truth in ``dataset``.

    Every map of the truth that has a bound is looked for under its own name with another
    ``desc-``; outputs of all estimators are compared. Without a sidecar that says ``Units``, a map
    is taken to be in those of its truth.

    Raises
    ------
    NoSeriesError
        If there is no truth, or no map that it could be compared with.
    DataError
        If a map, or the mask of a series, is not on the grid of the truth, or in another unit.
    ReadError
        If a file cannot be read.
    """
    groups: dict[tuple[str, str, str, str], list[NDArray[np.float64]]] = {}
    for truth in sorted((dataset / "derivatives" / "truth").rglob("*_desc-truth_*map.nii.gz")):
        name = _TRUTH.match(truth.name)
        bound = truth.with_name(truth.name.replace("_desc-truth_", "_desc-truthStd_"))
        if name is None or not bound.exists():
            continue
        series = re.search(r"acq-[a-zA-Z0-9]+", name["head"])
        labels = truth.with_name(f"{name['head']}_desc-truth_dseg.nii.gz")
        tissues = tissue_map(_read(labels).astype(np.uint8))
        key = (series[0] if series else "", name["parameter"] or name["suffix"][:-3])
        grid = read_grid(truth)
        exact, spread = _values(grid), _read(bound)
        for estimator, path in _estimates(truth, dataset, outputs):
            values = _on_grid_of(grid, path)
            _check_units(path, truth)
            mask = _mask(path.parent.parent, str(name["head"]), grid)
            for tissue in TISSUES:
                inside = (tissues == tissue) & (mask if mask is not None else True)
                columns = np.stack([values[inside], exact[inside], spread[inside]])
                groups.setdefault((*key, tissue, estimator), []).append(columns)
    if not groups:
        raise NoSeriesError(f"no map in {outputs} has a truth in {dataset}/derivatives/truth")
    return [_agreement(key, np.concatenate(parts, axis=1)) for key, parts in groups.items()]


def _read(path: Path) -> NDArray[np.float64]:
    return _values(read_grid(path))


def _values(grid: Grid) -> NDArray[np.float64]:
    if grid.is_complex:
        raise DataError(f"{grid.path} holds complex numbers; a map holds real ones")
    return read_array(grid).astype(np.float64)


def _on_grid_of(truth: Grid, path: Path) -> NDArray[np.float64]:
    """Values of an image that has to lie where the truth does, in the same order of voxels."""
    grid = read_grid(path)
    if grid.shape != truth.shape:
        raise DataError(
            f"{path} has {times(grid.shape)} voxels, its truth {times(truth.shape)}: it is a map "
            "of other data"
        )
    if not same_grid(grid, truth):
        raise DataError(
            f"{path} does not lie where its truth does (affine of the header): its axes are "
            "turned, or it is a map of other data"
        )
    return _values(grid)


def _check_units(path: Path, truth: Path) -> None:
    said, known = (_units(item) for item in (path, truth))
    if said is not None and said != known:
        raise DataError(f"{path} is in {shown(said)} and its truth in {shown(known)} (Units)")


def _units(path: Path) -> object:
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    return read_json(sidecar).get("Units") if sidecar.exists() else None


def _mask(folder: Path, head: str, truth: Grid) -> NDArray[np.bool_] | None:
    """Voxels that were estimated: maps are 0 outside the mask of the application."""
    path = folder / "anat" / f"{head}_desc-brain_mask.nii.gz"
    return _on_grid_of(truth, path) > 0 if path.exists() else None


def _estimates(truth: Path, dataset: Path, outputs: Path) -> Iterator[tuple[str, Path]]:
    """Files named as ``truth`` with another ``desc-``, standard deviations left out."""
    inner = truth.parent.relative_to(dataset / "derivatives" / "truth")
    before, after = truth.name.split("_desc-truth_")
    for path in sorted((outputs / inner).glob(f"{before}_desc-*_{after}")):
        estimator = path.name.removeprefix(f"{before}_desc-").removesuffix(f"_{after}")
        if not spread_of(estimator):
            yield estimator, path


def _agreement(key: tuple[str, str, str, str], columns: NDArray[np.float64]) -> Agreement:
    valid = np.isfinite(columns).all(axis=0)
    values, exact, spread = columns[:, valid]
    if values.size == 0:
        nan = float("nan")
        return Agreement(*key, 0, int(valid.size), nan, nan, nan, nan, nan, nan, nan)
    error = values - exact
    score = error / spread
    return Agreement(
        *key,
        n=int(values.size),
        n_invalid=int((~valid).sum()),
        truth=float(exact.mean()),
        estimate=float(values.mean()),
        bias=float(100 * error.mean() / exact.mean()),
        bound=float(100 * spread.mean() / exact.mean()),
        bias_to_bound=float(score.mean()),
        spread_to_bound=float(np.subtract(*np.percentile(score, [84.134, 15.866])) / 2),
        outliers=float((np.abs(score) > 5).mean()),
    )

"""Agreement of two estimators per region: bias, limits of agreement, concordance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_brnn.regions.labels import Source, labels_in
from bids_brnn.regions.statistics import Row, share

AGREEMENT_COLUMNS: Mapping[str, str] = {
    "index": "Value of the region in the label image; 0 is the whole mask",
    "name": "Name of the region; mask is the whole mask",
    "param": "Parameter",
    "units": "Units of means, bias, standard deviation and limits",
    "n": "Voxels of the region in which both estimators have an estimate",
    "mean_test": "Mean of the first estimator over these voxels",
    "mean_reference": "Mean of the reference over these voxels",
    "bias": "Mean difference, first estimator minus reference",
    "bias_ci_low": "Lower end of the 95 % confidence interval of the bias (Student's t)",
    "bias_ci_high": "Upper end of it",
    "sd_diff": "Sample standard deviation of the differences",
    "loa_low": "Lower limit of agreement, bias - 1.96 sd_diff (Bland and Altman)",
    "loa_low_ci_low": "Lower end of the 95 % confidence interval of the lower limit",
    "loa_low_ci_high": "Upper end of it",
    "loa_high": "Upper limit of agreement, bias + 1.96 sd_diff",
    "loa_high_ci_low": "Lower end of the 95 % confidence interval of the upper limit",
    "loa_high_ci_high": "Upper end of it",
    "ccc": "Lin's concordance correlation coefficient",
    "ccc_ci_low": "Lower end of its 95 % confidence interval (z transform)",
    "ccc_ci_high": "Upper end of it",
    "median_abs_diff_crb": "Median over voxels of the absolute difference divided by the standard "
    "deviation that the noise gives the reference",
    "share_flagged": "Share of the n voxels that the flags of one of both estimators mark",
    "region_source": "What the region comes from: labels, probabilities, maps (circular), mask",
}
"""Columns of ``agreement.tsv``. Intervals take voxels (or series) as independent; neighbours whose
errors go together make the true intervals wider."""

WHOLE = "mask"
"""Name of the row of all voxels."""
_Z = 1.959963984540054  # quantile 0.975 of the normal distribution


def agreement_rows(
    test: NDArray[np.floating],
    reference: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    *,
    parameter: str,
    units: str,
    std: NDArray[np.floating] | None = None,
    flagged: NDArray[np.bool_] | None = None,
    source: Source = "labels",
) -> list[Row]:
    """Agreement in the whole mask and in every region.

    Parameters
    ----------
    test, reference
        ``(V,)`` inside the mask, in one unit; NaN where there is no estimate.
    labels
        ``(V,)``; 0 is background.
    names
        Region names by label.
    parameter, units
        For the columns of these names.
    std
        ``(V,)`` standard deviation of the reference, if known.
    flagged
        ``(V,)`` voxels that one of both estimators marks as doubtful.
    source
        What the labels come from.

    Returns
    -------
    list of dict
        The row of the mask, then one row per label that occurs or has a name.
    """
    found = sorted({*labels_in(labels), *names} - {0})
    both = np.isfinite(test) & np.isfinite(reference)
    rows = []
    for index in (0, *found):
        inside = both if index == 0 else both & (labels == index)
        x, y = (values[inside].astype(np.float64) for values in (test, reference))
        row: Row = {
            "index": index,
            "name": WHOLE if index == 0 else names.get(index, str(index)),
            "param": parameter,
            "units": units,
            **compare(x, y),
            "median_abs_diff_crb": _in_bounds(x - y, None if std is None else std[inside]),
        }
        row["share_flagged"] = share(flagged, inside)
        row["region_source"] = "mask" if index == 0 else source
        rows.append(row)
    return rows


def compare(test: NDArray[np.float64], reference: NDArray[np.float64]) -> Row:
    """Bias, limits of agreement and concordance of pairs of finite values ``(N,)``.

    Standard error of a limit as in Bland and Altman (1999, doi 10.1177/096228029900800204):
    ``sd sqrt(1/N + 1.96^2 / (2 (N - 1)))``. NaN for what N does not suffice for.
    """
    from scipy import special

    n = test.size
    nan = float("nan")
    difference = test - reference
    bias = float(difference.mean()) if n else nan
    sd = float(difference.std(ddof=1)) if n > 1 else nan
    t = float(special.stdtrit(n - 1, 0.975)) if n > 1 else nan
    error_of_bias = t * sd / np.sqrt(n) if n > 1 else nan
    error_of_limit = t * sd * np.sqrt(1 / n + _Z**2 / (2 * (n - 1))) if n > 1 else nan
    low, high = bias - _Z * sd, bias + _Z * sd
    row: Row = {
        "n": n,
        "mean_test": float(test.mean()) if n else nan,
        "mean_reference": float(reference.mean()) if n else nan,
        "bias": bias,
        "bias_ci_low": bias - error_of_bias,
        "bias_ci_high": bias + error_of_bias,
        "sd_diff": sd,
        "loa_low": low,
        "loa_low_ci_low": low - error_of_limit,
        "loa_low_ci_high": low + error_of_limit,
        "loa_high": high,
        "loa_high_ci_low": high - error_of_limit,
        "loa_high_ci_high": high + error_of_limit,
    }
    ccc = concordance(test, reference)
    return {**row, **dict(zip(("ccc", "ccc_ci_low", "ccc_ci_high"), ccc, strict=True))}


def concordance(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Lin's concordance correlation coefficient, and its 95 % confidence interval.

    Lin (1989, doi 10.2307/2532051) with the variance of z as corrected in 2000 (doi
    10.1111/j.0006-341x.2000.00324.x). NaN where a set of values is constant; no interval below
    four pairs.

    Parameters
    ----------
    x, y
        ``(N,)`` finite.
    """
    nan = float("nan")
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return nan, nan, nan
    sx, sy = x.std(), y.std()
    apart = float(x.mean() - y.mean())
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    ccc = 2 * covariance / (sx**2 + sy**2 + apart**2)
    correlation = covariance / (sx * sy)
    if x.size < 4 or correlation == 0:
        return float(ccc), nan, nan
    if 1 - abs(ccc) < 1e-12:  # equal but for rounding: z is infinite
        return float(ccc), float(ccc), float(ccc)
    shift = apart**2 / (sx * sy)
    rest = 1 - ccc**2
    variance = (
        (1 - correlation**2) * ccc**2 / (rest * correlation**2)
        + 2 * ccc**3 * (1 - ccc) * shift / (correlation * rest**2)
        - ccc**4 * shift**2 / (2 * correlation**2 * rest**2)
    ) / (x.size - 2)
    reach = _Z * np.sqrt(max(variance, 0.0))
    z = np.arctanh(ccc)
    return float(ccc), float(np.tanh(z - reach)), float(np.tanh(z + reach))


def _in_bounds(difference: NDArray[np.float64], std: NDArray[np.floating] | None) -> float:
    """Median of the absolute difference in units of the standard deviation of the reference."""
    if std is None:
        return float("nan")
    usable = np.isfinite(std) & (std > 0)
    if not usable.any():
        return float("nan")
    return float(np.median(np.abs(difference[usable]) / std[usable]))

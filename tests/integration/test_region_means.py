"""Region means of the phantom against its truth, from the tables that the command wrote.

The standard error of a region mean is what the noise alone makes of an efficient estimate:
``sqrt(sum of Cramer-Rao variances at the truth) / n``, voxels being independent. The truth of a
region is the mean truth of the very voxels that the label image marks.

A mean lies beyond two standard errors in 4.55 % of all cases even if nothing is wrong. So the
number of exceedances among K means is held against a binomial distribution. Parameters of one
voxel share their noise, hence the wide limit (99.9 %). Each quantity counts once: T1 is 1 / R1,
and the estimators of one series see the same noise.

Least squares is biased at finite SNR: by 0.01 to 0.13 bounds at the SNR of 60 used here, most for
m0s and T2s (measured on 617 voxels against the same noise at an SNR of 240). Two standard errors
are ``2 / sqrt(n)`` bounds, so this shows in regions of 240 voxels and more; ours have at most 60.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_brnn.phantom import make_dataset

TWO_SIGMA = 2 * stats.norm.sf(2)
SERIES = {
    "acq-hsfp": ("nlls", ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s")),
    "acq-fisp": ("dict", ("R1", "R2")),
}
FLUID = ("CSF", "Left-Lateral-Ventricle", "Right-Lateral-Ventricle")


@dataclass(frozen=True)
class Mean:
    where: tuple[str, str, str]
    n: int
    errors: float
    """Distance from the truth in standard errors."""


def volume(path):
    return np.asanyarray(nibabel.load(path).dataobj).astype(float)


def region_means(dataset, out, segmentation, fewest):
    """Deviation of every region mean with at least ``fewest`` voxels."""
    found = []
    for acq, (estimator, parameters) in SERIES.items():
        pattern = f"*_{acq}_seg-{segmentation}_desc-{estimator}_scalarstats.tsv"
        for path in sorted(out.rglob(pattern)):
            head = path.name.split("_seg-")[0]
            truth = dataset / "derivatives" / "truth" / path.parent.relative_to(out)
            labels = volume(path.with_name(f"{head}_seg-{segmentation}_dseg.nii.gz"))
            table = pd.read_csv(path, sep="\t", na_values="n/a")
            for _, row in table[table["param"].isin(parameters)].iterrows():
                # In fluids most parameters of the two-pool model are not determined by the data.
                if row["n_voxels"] < fewest or (acq == "acq-hsfp" and row["name"] in FLUID):
                    continue
                qmt = f"{head}_model-genbloch_param-{row['param']}_desc-truth_QMTmap.nii.gz"
                exact = truth / (
                    qmt if estimator == "nlls" else f"{head}_desc-truth_{row['param']}map.nii.gz"
                )
                bound = exact.with_name(exact.name.replace("_desc-truth_", "_desc-truthStd_"))
                inside = labels == row["index"]
                assert row["n_valid"] == row["n_voxels"] == inside.sum()
                error = np.sqrt((volume(bound)[inside] ** 2).sum()) / inside.sum()
                apart = (row["mean"] - volume(exact)[inside].mean()) / error
                found.append(Mean((head, row["name"], row["param"]), int(inside.sum()), apart))
    return found


def check(means):
    errors = np.array([mean.errors for mean in means])
    worst = sorted(means, key=lambda mean: -abs(mean.errors))[:5]
    expected = TWO_SIGMA * errors.size
    limit = stats.binom.ppf(0.999, errors.size, TWO_SIGMA)
    beyond = int((np.abs(errors) > 2).sum())
    assert beyond <= limit, f"{beyond} of {errors.size}, {expected:.1f} expected; {worst}"
    # One error in a thousand tests of this size (Bonferroni).
    assert np.abs(errors).max() < stats.norm.isf(0.0005 / errors.size), worst
    # And the standard errors are no larger than they should be: a mean square far below 1 would
    # let any bias pass.
    assert 0.4 < np.mean(errors**2) < 1.8, np.mean(errors**2)


def test_region_means_of_both_kinds_are_those_of_the_truth(made):
    """Tissue probabilities of 80 % and more leave out voxels across a border."""
    dataset, _ = made
    means = region_means(dataset, dataset / "derivatives" / "bids_brnn", "probseg", fewest=5)
    assert {mean.where[2] for mean in means} == {name for _, p in SERIES.values() for name in p}
    assert len(means) == 2 * 8
    check(means)


@pytest.mark.slow
def test_region_means_of_eroded_labels_are_those_of_the_truth(app, tmp_path):
    """The trains of the demo, SNR 60, the outer layer of each label taken off."""
    dataset = make_dataset(tmp_path / "ds", shape=(24, 30, 1), seed=11)
    fmriprep = f"fmriprep={dataset / 'derivatives' / 'fmriprep'}"
    options = ["-w", tmp_path / "work", "-d", fmriprep, "--erode", 1, "--skip-bids-validation"]
    assert app(dataset, tmp_path / "out", "participant", *options) == 0
    means = region_means(dataset, tmp_path / "out", "aseg", fewest=5)
    assert len(means) > 40
    check(means)


def test_a_bias_is_found(made):
    """The check itself: a bias of 0.7 bounds in one parameter does not pass."""
    dataset, _ = made
    means = region_means(dataset, dataset / "derivatives" / "bids_brnn", "probseg", fewest=5)
    shifted = [
        Mean(mean.where, mean.n, mean.errors + 0.7 * np.sqrt(mean.n) * (mean.where[2] == "R1f"))
        for mean in means
    ]
    with pytest.raises(AssertionError):
        check(shifted)

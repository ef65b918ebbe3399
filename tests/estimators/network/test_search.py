"""Where least squares of the test of the residual may start."""

from __future__ import annotations

import torch

from bids_brnn.estimators.network.search import usual_tissue
from bids_brnn.parameters import QMT


def test_usual_tissue_keeps_to_bounds_that_leave_it_out():
    # Long pulses, whose T2s may not be below 20 us; all tissue is.
    parameters = QMT.replace("T2s", lower=20e-6, upper=60e-6, start=30e-6)
    theta = parameters.start(torch.zeros(())).repeat(3, 1)
    told = parameters.index(("m0s", "T2s"))
    kinds = usual_tissue(parameters, theta, told)
    lower, upper = parameters.bounds(theta)
    assert all(((kind >= lower) & (kind <= upper)).all() for kind in kinds)
    assert len({float(kind[0, told[0]]) for kind in kinds}) == len(kinds)
    others = [column for column in range(len(parameters)) if column not in told]
    assert all(torch.equal(kind[:, others], theta[:, others]) for kind in kinds)

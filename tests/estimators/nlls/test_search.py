"""Further starts of some voxels while others are still on their first."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.nlls import search
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from tests.estimators.nlls.test_nlls import MODEL, _voxels


@pytest.mark.parametrize("wait", [1e9, 0.5])
def test_when_a_voxel_starts_again_does_not_change_where_it_ends(monkeypatch, wait):
    theta, _, data = _voxels(60)
    wrong = theta.clone()
    wrong[::2, 1] -= 300 * torch.sign(theta[::2, 1])  # every other one is trapped at first
    wrong[::3] = torch.nan  # and some start from candidates
    found = []
    for ratio in (search._WAIT, wait):  # 1e9: at once; 0.5: not before all others have ended
        monkeypatch.setattr(search, "_WAIT", ratio)
        estimator = NllsEstimator(MODEL, retry_residual=0.01)
        found.append(estimator.estimate(data, start=wrong))
    assert 5 < (found[0].quality["starts"] > 1).sum() < 55
    for name in ("theta", "std", "residual"):  # bit for bit
        torch.testing.assert_close(*(getattr(one, name) for one in found), rtol=0, atol=0)
    for name, values in found[0].quality.items():
        assert torch.equal(values, found[1].quality[name]), name

"""How many coefficients a subspace needs: the fewest that keep the Cramer-Rao bounds."""

from __future__ import annotations

import torch

from bids_brnn.errors import ParameterError
from bids_brnn.information.bounds import bound_by_rank, covariance
from bids_brnn.priors import TISSUE_SETS, Prior, tissue_set
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import Subspace

MOST_LOSS = 1.02
"""Largest ratio of standard deviations, of each estimated parameter, with and without subspace
(median of a tissue set): 2 % are 4 % of scan time."""
LARGEST = 24
"""Coefficients; networks grow with them, and more have not been needed for any of our trains."""
_FINGERPRINTS = 250
_JUDGED = 8  # of each tissue set


def designed_subspace(
    model: SignalModel, prior: Prior, *, how: str = "derivatives", seed: int = 2024
) -> Subspace:
    """A subspace of the signals of a train with as few coefficients as keep the bounds.

    Parameters
    ----------
    model
        Of the time frames.
    prior
        Tissue that the signals are of.
    how
        ``derivatives`` (arXiv 2305.00326) or ``signals``.
    seed
        Of the fingerprints.
    """
    rng = torch.Generator().manual_seed(seed)
    theta = prior.sample(_FINGERPRINTS, rng=rng)
    most = min(LARGEST, model.n_samples)
    if how == "derivatives":
        whole = Subspace.from_model(model, theta, most)
    else:
        whole = Subspace.from_signals(model(theta), most)
    return Subspace(whole.basis[:, : needed_rank(model, whole, seed=seed)].to(torch.float32))


def needed_rank(model: SignalModel, subspace: Subspace, *, seed: int = 2024) -> int:
    """The smallest number of leading columns within :data:`MOST_LOSS`, else all of them."""
    parameters = model.parameters
    free = list(parameters.columns("estimated", "nuisance"))
    wanted = [free.index(column) for column in parameters.columns("estimated")]
    ranks = range(1, subspace.rank + 1)
    needed = 1
    for tissue in TISSUE_SETS:
        rng = torch.Generator().manual_seed(seed)
        try:
            theta = tissue_set(parameters, tissue, _JUDGED, rng=rng)
        except ParameterError:
            continue
        signal, derivatives = model.linearize(theta)
        derivatives = derivatives[..., free]
        full = covariance(signal, derivatives).diagonal(dim1=-2, dim2=-1)
        bounds = bound_by_rank(signal, derivatives, subspace.basis.to(theta.dtype), ranks)
        loss = (bounds / full).sqrt().nan_to_num(torch.inf)[..., wanted].median(1).values.amax(-1)
        good = (loss <= MOST_LOSS).nonzero()
        needed = max(needed, int(good[0]) + 1 if len(good) else subspace.rank)
    return needed

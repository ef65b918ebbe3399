"""How many coefficients a subspace needs: the fewest that keep the Cramer-Rao bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.experiments.keys import DEFAULTS
from bids_brnn.information.bounds import bound_by_rank, covariance
from bids_brnn.priors import TISSUE_SETS, Prior, tissue_set
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.limits import HEALTHY

MOST_LOSS = 1.02
"""Largest ratio of standard deviations, of each estimated parameter, with and without subspace
(median of a tissue set): 2 % are 4 % of scan time."""
LARGEST = 24
"""Coefficients; networks grow with them, and more have not been needed for any of our trains."""
NOTED_LOSS = 1.1
"""The same ratio beyond which the log says what the subspace costs."""
_FINGERPRINTS = 250
_JUDGED = 8  # of each tissue set


def made_subspace(content: Mapping[str, Any], model: SignalModel, prior: Prior) -> Subspace:
    """The subspace of a configuration without a table.

    Raises
    ------
    DataError
        If the rank is missing, and no preset lets the program choose it.
    """
    how = content.get("basis_from", DEFAULTS["basis_from"])
    if how not in ("derivatives", "signals"):
        raise DataError(f'basis_from = "{how}"; use derivatives or signals')
    rank, seed = content.get("rank"), content.get("basis_seed", DEFAULTS["basis_seed"])
    if rank is None and "preset" in content:
        return designed_subspace(model, prior, how=how, seed=seed)
    if rank is None:
        raise DataError("rank is missing: the number of coefficients of the subspace")
    rng = torch.Generator().manual_seed(seed)
    theta = prior.sample(
        content.get("basis_fingerprints", DEFAULTS["basis_fingerprints"]), rng=rng
    )
    if how == "derivatives":
        subspace = Subspace.from_model(model, theta, rank)
    else:
        subspace = Subspace.from_signals(model(theta), rank)
    return Subspace(subspace.basis.to(torch.float32))


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
    needed = 1
    for _, loss in _losses(model, subspace, range(1, subspace.rank + 1), seed):
        good = (loss.amax(-1) <= MOST_LOSS).nonzero()
        needed = max(needed, int(good[0]) + 1 if len(good) else subspace.rank)
    return needed


def subspace_note(model: SignalModel, subspace: Subspace, *, seed: int = 2024) -> str:
    """What the subspace costs in healthy tissue, where that is more than it should; else empty."""
    names = model.parameters.select("estimated").names
    worst = dict.fromkeys(names, 1.0)
    for tissue, loss in _losses(model, subspace, [subspace.rank], seed):
        if tissue in HEALTHY:
            for name, value in zip(names, loss[0].tolist(), strict=True):
                worst[name] = max(worst[name], value)
    told = [f"{name} {value:.2f}" for name, value in worst.items() if value > NOTED_LOSS]
    if not told:
        return ""
    return (
        f"a subspace of {subspace.rank} coefficients does not hold all that the time frames tell: "
        f"standard deviations grow by the factor {', '.join(told)}"
    )


def _losses(
    model: SignalModel, subspace: Subspace, ranks: Sequence[int], seed: int
) -> Iterator[tuple[str, Tensor]]:
    """By tissue set, ratios of standard deviations ``(ranks, estimated parameters)``."""
    parameters = model.parameters
    free = list(parameters.columns("estimated", "nuisance"))
    wanted = [free.index(column) for column in parameters.columns("estimated")]
    for tissue in TISSUE_SETS:
        rng = torch.Generator().manual_seed(seed)
        theta = tissue_set(parameters, tissue, _JUDGED, rng=rng)
        signal, derivatives = model.linearize(theta)
        derivatives = derivatives[..., free]
        full = covariance(signal, derivatives).diagonal(dim1=-2, dim2=-1)
        bounds = bound_by_rank(signal, derivatives, subspace.basis.to(theta.dtype), ranks)
        ratios = (bounds / full).sqrt().nan_to_num(torch.inf)
        yield tissue, ratios[..., wanted].median(1).values

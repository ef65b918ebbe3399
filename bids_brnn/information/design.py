"""What a pulse train can measure: bounds by tissue, rank and known maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from bids_brnn.information.bounds import bound_by_rank, covariance, images_of
from bids_brnn.parameters import FIELD_MAPS, ParameterSet
from bids_brnn.signals.base import SignalModel, amplitude_of

FULL = "full"


@dataclass(frozen=True)
class Row:
    """One bound: a parameter of a tissue, for a rank, with some parameters known."""

    tissue: str
    parameter: str
    unit: str
    value: float
    rank: str
    known: str
    std: float
    """Standard deviation at |M0| / sigma = 1."""

    @property
    def is_full(self) -> bool:
        """Whether it is that of all samples, not of the leading coefficients of a basis."""
        return self.rank == FULL

    def percent(self, snr: float) -> float:
        """Standard deviation relative to the value at ``snr``, in percent."""
        return 100 * self.std / snr / abs(self.value) if self.value else math.inf


def crb_rows(
    model: SignalModel,
    tissues: Sequence[str],
    theta: Tensor,
    basis: Tensor | None,
    ranks: Sequence[int],
) -> tuple[list[Row], Tensor]:
    """All bounds, and the correlation ``(tissues, P, P)`` of efficient estimates.

    Per parameter set: uncompressed with nuisances unknown and known, then per rank.
    """
    parameters = model.parameters
    names = parameters.names
    signal, jacobian = images_of(model, theta)
    amplitude = amplitude_of(model)
    rows: list[Row] = []

    def add(free: Sequence[int], variances: Tensor, rank: str) -> None:
        known = "+".join(name for column, name in enumerate(names) if column not in free)
        for tissue, values, line in zip(tissues, theta.tolist(), variances.tolist(), strict=True):
            for column, variance in zip(free, line, strict=True):
                unit = parameters.items[column].item.unit
                std = math.sqrt(variance) if variance >= 0 else math.inf
                rows.append(
                    Row(tissue, names[column], unit, values[column], rank, known, std)
                )  # fmt: skip

    matrix = covariance(signal, jacobian, amplitude)
    for free in _known_sets(parameters):
        part = covariance(signal, jacobian[..., free], amplitude)
        add(free, part.diagonal(dim1=-2, dim2=-1), FULL)
    if basis is not None:
        free = parameters.columns("estimated", "nuisance")
        bounds = bound_by_rank(signal, jacobian[..., free], basis.to(theta.dtype), ranks)
        for rank, bound in zip(ranks, bounds, strict=True):
            add(free, bound, str(rank))
    spread = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    return rows, matrix / (spread[..., :, None] * spread[..., None, :])


def _known_sets(parameters: ParameterSet) -> list[list[int]]:
    """Free columns when no map is at hand, a B1 map, and both field maps.

    Where the observed R1 comes from a map, that is known first: without it data tell little. What
    no data tell (a parameter that is supplied and is no map) is known throughout.
    """
    names = parameters.names
    supplied = set(parameters.select("supplied").names)
    constant = supplied - {*FIELD_MAPS, "R1"}
    with_maps = [set[str](), {"B1"}, {"B1", "w0"}]
    if "R1" in supplied:
        with_maps = [{"R1"} | known for known in with_maps]
    return [
        [column for column, name in enumerate(names) if name not in known | constant]
        for known in with_maps
        if known <= set(names)
    ]

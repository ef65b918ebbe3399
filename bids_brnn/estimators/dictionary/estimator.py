"""Dictionary matching: the atom most parallel to each voxel, refined between atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.ahead import one_thread
from bids_brnn.estimators.base import Estimate, Progress
from bids_brnn.estimators.checkpoint import Checkpoint, run_key
from bids_brnn.estimators.dictionary.atoms import default_atoms, is_grid
from bids_brnn.estimators.dictionary.library import Group, Library, b1_groups
from bids_brnn.estimators.dictionary.refine import Explained, explain, standard_deviation
from bids_brnn.estimators.dictionary.refiner import Refiner, Voxels
from bids_brnn.estimators.dictionary.taylor import TaylorTable
from bids_brnn.estimators.results import Results
from bids_brnn.estimators.voxels import (
    check_data,
    check_points,
    known_values,
    noise_levels,
    take,
    voxels_to_estimate,
)
from bids_brnn.information.noise import degrees_of_freedom, residual_noise
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import Amplitude, SignalModel

SCATTERED = 15
"""Steps of refinement between scattered atoms: fluids of a balanced train need them all."""


@dataclass(frozen=True, eq=False)
class DictionaryEstimator:
    """Largest complex inner product with simulated atoms.

    Time frames are compressed to the leading singular vectors of the atoms; coefficients of a
    compressed model are matched as they are. ``quality`` holds ``match``, ``|<s, y>|/(|s| |y|)``
    of the estimate. Standard deviations are Cramer-Rao bounds at the estimate, for the given
    noise level or that of the residual (McGivney 2014, 10.1109/TMI.2014.2337321).
    """

    model: SignalModel
    atoms: Tensor | None = None
    """``(A, P)``; by default a logarithmic grid of R1 and R2, or low-discrepancy points between
    the bounds for a model with other parameters."""
    n_atoms: int = 10_000
    """Number of default atoms, at least."""
    seed: int = 1
    """Of default atoms that are low-discrepancy points."""
    rank: int | None = None
    """Coefficients that are matched; by default as many as leave out 1e-5 of the atoms' energy,
    and all coefficients of a model that is compressed already."""
    b1_bins: Sequence[float] | None = None
    """B1 values that get a dictionary of their own; each voxel is matched in the nearest. By
    default steps of 0.05 between the bounds. Used where B1 is supplied or has the role."""
    refine: int | None = None
    """0 leaves the values on the grid; 1 goes to the least-squares solution between the atoms, to
    0.1 % of it or a part of its standard deviation that noise hides; each further one is a damped
    Gauss-Newton step on exact signals. Where signals are not smooth enough for a table of them,
    steps on exact signals are all there is. By default 1, and without a table
    :data:`SCATTERED` where atoms are far apart, or all lie at another off-resonance than a map
    says."""
    with_std: bool = True
    """Whether to give standard deviations (needs derivatives of the model)."""
    block_size: int = 16384
    """Voxels estimated together; does not change the result."""
    cache_dir: Path | str | None = None
    """Folder for simulated dictionaries, shared by all runs and jobs; none by default."""
    channels: int = 2
    """Noise channels of a value: 2 for complex data, 1 where model and data are magnitudes."""
    name: str = field(default="dict", init=False)

    def __post_init__(self) -> None:
        least = min(self.block_size, self.n_atoms, 1 if self.rank is None else self.rank)
        if least < 1 or (self.refine or 0) < 0:
            raise DataError("block_size, n_atoms and rank must be at least 1, refine at least 0")
        if self.channels not in (1, 2):
            raise DataError("channels must be 2, or 1 for magnitudes")
        if self.atoms is not None:
            check_points(self.atoms, "atoms", self.parameters, every=True)
        if self.b1_bins is not None:
            self._check_bins(self.b1_bins)

    def _check_bins(self, bins: Sequence[float]) -> None:
        if not len(bins) or "B1" not in self.parameters.names:
            raise DataError("b1_bins need at least one value and a model with the parameter B1")
        item = self.parameters["B1"]
        if not all(item.lower <= value <= item.upper for value in bins):
            raise DataError(
                f"b1_bins must lie within {item.lower:g} to {item.upper:g}, the bounds of B1"
            )

    def _turns(self, table: TaylorTable | None) -> int:
        """Steps of refinement."""
        if self.refine is not None:
            return self.refine
        grid = is_grid(self.parameters) and "w0" not in self.parameters.names
        near = table is not None or grid
        return 1 if near else SCATTERED

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the model, in the order of ``Estimate.theta``."""
        return self.model.parameters

    def estimate(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float | Tensor | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex.

        B1, where it is supplied, selects the bin; any other value enters the refinement, and is
        refused where there is none. See
        :meth:`Estimator.estimate <bids_brnn.estimators.base.Estimator.estimate>`.

        Raises
        ------
        DataError
            If a shape or dtype does not fit the model, or what is supplied cannot be followed.
        ParameterError
            If a supplied name is no parameter of the model.
        """
        check_data(data, self.model.n_samples)
        known = known_values(self.parameters, supplied, data)
        self._check_heard(supplied or ())
        noise = noise_levels(sigma, data).to(data.real.dtype)
        voxels = voxels_to_estimate(self.parameters, known, data)
        key = ""
        if checkpoint is not None:
            key = run_key(self, data, known, noise, without=("cache_dir",))
        results = Results(data, len(self.parameters), {"match": None}, with_std=self.with_std)
        parts = [
            (group, block)
            for group in b1_groups(self.parameters, voxels, known, self.b1_bins)
            for block in group.voxels.split(self.block_size)
        ]
        fixed = {c: float(values) for c, values in known.items() if values.shape[0] == 1}
        blocks = [block for _, block in parts]
        for number, block in results.remaining(blocks, progress, checkpoint, key):
            group, _ = parts[number]
            here = {column: take(values, block) for column, values in known.items()}
            part = self._estimate_block(data[block], here, take(noise, block), group, fixed)
            results.put(block, part)
        return results.estimate()

    def _check_heard(self, names: Iterable[str]) -> None:
        deaf = [name for name in names if name != "B1" and name in self.parameters.names]
        if deaf and self.refine == 0:
            raise DataError(
                f"with refine=0 estimates are those of an atom, which do not follow what is "
                f"supplied of {', '.join(deaf)}; leave that out, or refine"
            )

    @cached_property
    def _atoms(self) -> Tensor:
        atoms = self.atoms
        if atoms is None:
            atoms = default_atoms(self.parameters, self.n_atoms, self.seed)
        return atoms.detach().to("cpu", torch.float64)

    @cached_property
    def library(self) -> Library:
        """The dictionaries."""
        folder = None if self.cache_dir is None else Path(self.cache_dir)
        varies = self.atoms is not None
        return Library(self.model, self._atoms, self.rank, folder, b1_varies=varies)

    def _estimate_block(
        self,
        data: Tensor,
        known: dict[int, Tensor],
        sigma: Tensor,
        group: Group,
        fixed: Mapping[int, float],
    ) -> dict[str, Tensor]:
        """Maps of the voxels ``data`` ``(B, N)``."""
        dictionary, tangents = self.library.at(group.b1, data)
        free = [column for column in range(len(self.parameters)) if column not in known]
        table = None
        if self.refine != 0 and free:
            table = self.library.table(group, fixed, data)
        data, outside, size = _normalise(data, dictionary.basis)
        index, match = dictionary.best(data)
        target = dictionary.theta[index]
        for column, values in known.items():
            target[:, column] = values
        voxels = Voxels(data, outside, index, match, target.to(match.dtype))
        noise = sigma / size
        refiner = Refiner(self.model, dictionary, tangents, table, free, self._turns(table))
        if self.refine == 0:
            found = refiner.atoms(voxels, with_std=self.with_std)
        else:
            found = refiner.between(voxels, self._noise(noise, free))
        explained = explain(data, outside, found.signal)
        maps = {
            "theta": found.theta,
            "m0": explained.m0 * size,
            "residual": explained.residual,
            "match": explained.match,
        }
        if self.with_std:
            noise = self._noise(noise, free)(explained)
            maps["std"] = standard_deviation(
                found.signal, found.derivatives, free, noise / explained.m0.abs()
            )
        return maps

    def _noise(self, noise: Tensor, free: list[int]) -> Callable[[Explained], Tensor]:
        """Noise of data of norm 1, ``(B,)``: where it is not known, that of what is left."""
        amplitude: Amplitude = "complex" if self.channels == 2 else "real"
        spare = degrees_of_freedom(amplitude, self.model.n_samples, len(free))

        def of(explained: Explained) -> Tensor:
            from_residual = residual_noise(explained.residual, spare)
            return torch.where(noise > 0, noise, from_residual if spare > 0 else torch.nan)

        return of


def _normalise(data: Tensor, basis: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients of data of norm 1, squared norm outside the subspace, and the norm."""
    # Two steps, so that neither the squares nor the ratio leave the range of numbers.
    largest = torch.view_as_real(data).abs().amax((-1, -2))[:, None]
    data = data / largest
    norm = data.norm(dim=-1, keepdim=True)
    data = data / norm
    size = (largest * norm)[:, 0]
    if basis is None:
        return data, torch.zeros_like(size), size
    with one_thread():
        compressed = data @ basis.conj().to(data.dtype)
    inside = compressed.abs().double().square().sum(-1)
    return compressed, (1 - inside).clamp_min(0).to(size.dtype), size

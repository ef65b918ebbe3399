"""Dictionaries of one model for one B1 each, and which voxels share one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.atoms import Dictionary, Tangents, simulate
from bids_brnn.estimators.dictionary.cache import (
    dictionary_key,
    interpolant_key,
    load,
    load_interpolant,
    store,
    store_interpolant,
)
from bids_brnn.estimators.dictionary.interpolant import (
    Axis,
    Interpolant,
    axes_of,
    interpolate,
)
from bids_brnn.estimators.dictionary.taylor import TaylorTable, tabulate
from bids_brnn.estimators.voxels import real_dtype, take
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

_B1_STEP = 0.05
"""Width of automatic B1 bins; what is left is corrected by the refinement."""


@dataclass(frozen=True, eq=False)
class Group:
    """Voxels that share a dictionary."""

    voxels: Tensor
    b1: float | None = None
    """Of the atoms; None: they are used as they are."""
    between: tuple[float, float] | None = None
    """B1 of the voxels, where it varies."""


def b1_groups(
    parameters: ParameterSet,
    voxels: Tensor,
    known: Mapping[int, Tensor],
    b1_bins: Sequence[float] | None,
) -> Iterator[Group]:
    """Voxels by the bin of their B1."""
    column = parameters.names.index("B1") if "B1" in parameters.names else -1
    if column not in known:
        yield Group(voxels)
        return
    values = take(known[column], voxels)
    if known[column].shape[0] == 1 and b1_bins is None:
        yield Group(voxels, float(known[column]))
        return
    steps = _b1_steps(parameters, column) if b1_bins is None else sorted(map(float, b1_bins))
    bins = torch.tensor(steps, dtype=torch.float64, device=voxels.device)
    edges = (bins[1:] + bins[:-1]) / 2
    nearest = torch.bucketize(values.contiguous(), edges)
    item = parameters.items[column]
    ends = [item.lower, *edges.clamp(item.lower, item.upper).tolist(), item.upper]
    for index in torch.unique(nearest).tolist():
        yield Group(voxels[nearest == index], float(bins[index]), (ends[index], ends[index + 1]))


def _b1_steps(parameters: ParameterSet, column: int) -> list[float]:
    item = parameters.items[column]
    first, last = round(item.lower / _B1_STEP), round(item.upper / _B1_STEP)
    return [round(step * _B1_STEP, 10) for step in range(first, last + 1)]


class Library:
    """Dictionaries with the same atoms, simulated or read on first use and then kept.

    Parameters
    ----------
    model
        Signal model.
    atoms
        ``(A, P)``.
    rank
        Coefficients that are matched, see :func:`~.atoms.simulate`.
    folder
        Where dictionaries are kept for other runs; None for nowhere.
    b1_varies
        Whether the atoms have B1 values of their own: with another B1 some become the same.
    """

    def __init__(
        self,
        model: SignalModel,
        atoms: Tensor,
        rank: int | None,
        folder: Path | None,
        *,
        b1_varies: bool,
    ) -> None:
        self._model, self._atoms, self._rank, self._folder = model, atoms, rank, folder
        self._b1_varies = b1_varies
        self._found: dict[object, tuple[Dictionary, Tangents]] = {}
        self._interpolants: dict[object, Interpolant | None] = {}
        self._tables: dict[object, TaylorTable | None] = {}

    def at(self, b1: float | None, like: Tensor) -> tuple[Dictionary, Tangents]:
        """The dictionary at ``b1``, in precision and on the device of ``like``."""
        dtype, device = real_dtype(like), like.device
        if (b1, dtype, device) not in self._found:
            made = self._make(self._atoms_at(b1), dtype, device)
            self._found[b1, dtype, device] = made, Tangents(self._model, made)
        return self._found[b1, dtype, device]

    def table(self, group: Group, fixed: Mapping[int, float], like: Tensor) -> TaylorTable | None:
        """Signals between the atoms for the voxels of a group, or None if there is no such table.

        Parameters
        ----------
        group
            Of :func:`b1_groups`.
        fixed
            Parameters that have one value in all voxels, by column.
        like
            Data, in whose precision and on whose device the table is to be.
        """
        dtype, device = real_dtype(like), like.device
        axes = axes_of(self._model.parameters, fixed)
        key = (axes, group.b1, group.between, dtype, device)
        if key not in self._tables:
            made = self._interpolant(axes, device)
            if made is not None:
                ranges = {}
                if group.between is not None:
                    ranges[self._model.parameters.names.index("B1")] = group.between
                basis = self.at(group.b1, like)[0].basis
                basis = None if basis is None else basis.cpu()
                self._tables[key] = tabulate(made, basis, ranges, dtype, device)
            else:
                self._tables[key] = None
        return self._tables[key]

    def _interpolant(self, axes: tuple[Axis, ...], device: torch.device) -> Interpolant | None:
        if axes not in self._interpolants:
            made = None
            key = interpolant_key(self._model, axes)
            if self._folder is not None:
                made = load_interpolant(self._folder, key, axes)
            if made is None:
                made = interpolate(self._model, axes, device)
                if made is not None and self._folder is not None:
                    made = store_interpolant(self._folder, key, made)
            self._interpolants[axes] = made
        return self._interpolants[axes]

    def _atoms_at(self, b1: float | None) -> Tensor:
        if b1 is None:
            return self._atoms
        atoms = self._atoms.clone()
        atoms[:, self._model.parameters.names.index("B1")] = b1
        return torch.unique(atoms, dim=0) if self._b1_varies else atoms

    def _make(self, atoms: Tensor, dtype: torch.dtype, device: torch.device) -> Dictionary:
        key = dictionary_key(self._model, atoms, self._rank, dtype)
        made = None if self._folder is None else load(self._folder, key, device)
        if made is not None:
            return made
        made = simulate(self._model, atoms.to(device), rank=self._rank, dtype=dtype, device=device)
        return made if self._folder is None else store(self._folder, key, made)

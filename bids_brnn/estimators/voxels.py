"""What estimators are given: which voxels can be estimated, what is known, and the noise."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.parameters import ParameterSet

_log = logging.getLogger(__name__)

_SCAN = 65536
"""Voxels looked at together where only a flag per voxel is kept."""


def real_dtype(data: Tensor) -> torch.dtype:
    """Real counterpart of the dtype of complex ``data``."""
    return torch.float64 if data.dtype == torch.complex128 else torch.float32


def check_data(data: Tensor, n_samples: int) -> None:
    """Refuse anything but complex ``(V, n_samples)``.

    Raises
    ------
    DataError
        Naming what is given and what is needed.
    """
    if not isinstance(data, Tensor):
        raise DataError(f"data are a {type(data).__name__}; give a tensor (torch.from_numpy)")
    if data.ndim != 2 or data.shape[-1] != n_samples or not data.is_complex():
        raise DataError(
            f"data are {tuple(data.shape)} {data.dtype}; the model needs complex values of shape "
            f"(voxels, {n_samples})"
        )


def check_real(data: Tensor) -> None:
    """Refuse data ``(V, R)`` with imaginary parts, for models of magnitudes.

    Raises
    ------
    DataError
        Naming the size of the imaginary part.
    """
    for rows in blocks(len(data), _SCAN):
        part = torch.view_as_real(data[rows].resolve_conj())[..., 1]
        largest = float(torch.nan_to_num(part).abs().amax()) if part.numel() else 0.0
        if largest > 0:
            raise DataError(
                f"data have imaginary parts (up to {largest:.3g}); this model describes "
                "magnitudes, give these"
            )


def blocks(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` that cover ``range(n)``."""
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def usable_voxels(data: Tensor) -> Tensor:
    """``(V,)`` bool: every sample is finite and not all are zero.

    Looks at blocks, so that flags of a whole brain cost no copy of the data.
    """
    usable = torch.empty(data.shape[0], dtype=torch.bool, device=data.device)
    for rows in blocks(data.shape[0], _SCAN):
        energy = torch.view_as_real(data[rows].resolve_conj()).abs().amax((-1, -2))
        usable[rows] = torch.isfinite(energy) & (energy > 0)
    return usable


def known_values(
    parameters: ParameterSet, supplied: Mapping[str, Tensor] | None, like: Tensor
) -> dict[int, Tensor]:
    """What is known of each voxel before estimation, by column of ``theta``.

    Parameters
    ----------
    parameters
        Of the model.
    supplied
        Maps ``(V,)`` by parameter name. Any parameter may be supplied; it is then not estimated.
    like
        Data ``(V, R)``; results are on its device, in float64.

    Returns
    -------
    dict
        Column to ``(V,)`` map, or to a single value ``(1,)``: the start value of a parameter whose
        role is *supplied* and for which there is no map.

    Raises
    ------
    ParameterError
        If a map belongs to no parameter.
    DataError
        If a map has another number of voxels than the data.
    """
    known: dict[int, Tensor] = {}
    wide: dict[str, Any] = {"dtype": torch.float64, "device": like.device}
    for column in parameters.columns("supplied"):
        known[column] = torch.tensor([parameters.items[column].start], **wide)
    for name, values in (supplied or {}).items():
        column = parameters.index((name,))[0]
        if not isinstance(values, Tensor):
            raise DataError(
                f"the supplied {name} is a {type(values).__name__}; give a tensor "
                "(torch.from_numpy) with a value for each voxel"
            )
        if values.shape != like.shape[:1]:
            raise DataError(
                f"the supplied {name} has shape {tuple(values.shape)}; "
                f"{like.shape[0]} voxels are to be estimated"
            )
        known[column] = values.to(**wide)
    return known


def known_spreads(
    parameters: ParameterSet,
    spread: Mapping[str, Tensor] | None,
    known: Mapping[int, Tensor],
    like: Tensor,
) -> dict[int, Tensor]:
    """Standard deviations of what is known, by column of ``theta``, in float64.

    Parameters
    ----------
    parameters
        Of the model.
    spread
        Maps ``(V,)`` by parameter name; what is not finite or negative counts as 0.
    known
        Of :func:`known_values`: only what is supplied can have one.
    like
        Data ``(V, R)``.

    Raises
    ------
    ParameterError
        If a map belongs to no parameter.
    DataError
        If a map has another number of voxels, or its parameter is estimated.
    """
    found = {}
    for name, values in (spread or {}).items():
        column = parameters.index((name,))[0]
        if values.shape != like.shape[:1]:
            raise DataError(
                f"the standard deviation of {name} has shape {tuple(values.shape)}; "
                f"{like.shape[0]} voxels are to be estimated"
            )
        if column not in known:
            raise DataError(
                f"there is a standard deviation of {name} and no map of {name} itself: "
                "supply that too"
            )
        wide = values.to(dtype=torch.float64, device=like.device)
        found[column] = torch.nan_to_num(wide, nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0)
    return found


def within_bounds(parameters: ParameterSet, known: Mapping[int, Tensor], like: Tensor) -> Tensor:
    """``(V,)`` bool: every known value is finite and inside the bounds of its parameter."""
    inside = torch.ones(like.shape[0], dtype=torch.bool, device=like.device)
    for column, values in known.items():
        item = parameters.items[column]
        inside &= (values >= item.lower) & (values <= item.upper)
    return inside


def voxels_to_estimate(
    parameters: ParameterSet, known: Mapping[int, Tensor], data: Tensor
) -> Tensor:
    """Indices of voxels with usable ``data`` ``(V, R)`` and possible values of what is known."""
    usable = usable_voxels(data) & within_bounds(parameters, known, data)
    voxels = torch.nonzero(usable)[:, 0]
    if len(voxels) < len(data):
        _log.warning("%d of %d voxels cannot be estimated", len(data) - len(voxels), len(data))
    return voxels


def noise_levels(sigma: float | Tensor | None, data: Tensor) -> Tensor:
    """Noise standard deviation ``(V,)``, or ``(1,)`` for all voxels; 0 where it is not known.

    Raises
    ------
    DataError
        If there is one for each of another number of voxels than those of ``data``, one is below
        0, or the only one is no finite number.
    """
    noise = torch.as_tensor(0.0 if sigma is None else sigma, device=data.device).reshape(-1)
    if noise.shape[0] not in (1, len(data)):
        raise DataError(f"sigma has {noise.shape[0]} values for {len(data)} voxels")
    if bool((noise < 0).any()) or (len(noise) == 1 and not bool(noise.isfinite().all())):
        raise DataError(
            f"sigma is {float(noise.min()):g}; a standard deviation is a finite number above 0 "
            "(or None where it is not known)"
        )
    return torch.nan_to_num(noise, posinf=0.0)


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of a map ``(V,)``, or of a single value ``(1,)`` that holds for all voxels."""
    return values.expand(len(rows)) if values.shape[0] == 1 else values[rows]

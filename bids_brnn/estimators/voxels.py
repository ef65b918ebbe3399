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

_ROUND_OFF = 1e-5
"""Of a range: points at a bound may have gone through single precision."""
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
    usual = data.dtype in (torch.complex64, torch.complex128)
    if data.ndim != 2 or data.shape[-1] != n_samples or not usual:
        raise DataError(
            f"data are {tuple(data.shape)} {data.dtype}; the model needs complex values of shape "
            f"(voxels, {n_samples})"
        )
    if data.requires_grad:
        raise DataError("data carry a gradient, which no estimator passes on; give data.detach()")


def check_map(values: Tensor, what: str, *shape: int) -> None:
    """Refuse anything but real numbers of a shape ``(V, ...)``, without a gradient.

    Raises
    ------
    DataError
        Naming the map and what is needed.
    """
    if not isinstance(values, Tensor):
        raise DataError(
            f"{what} is a {type(values).__name__}; give a tensor (torch.from_numpy) with a value "
            "for each voxel"
        )
    if values.shape != shape:
        needed = "" if len(shape) == 1 else f" (needed: {shape})"
        raise DataError(
            f"{what} has shape {tuple(values.shape)}{needed}; "
            f"{shape[0]} voxels are to be estimated"
        )
    if values.is_complex() or values.dtype == torch.bool or values.requires_grad:
        kind = "a gradient" if values.requires_grad else str(values.dtype)
        raise DataError(f"{what} holds {kind}; give real numbers without a gradient")


def check_maps(maps: Mapping[str, Tensor] | None, what: str) -> Mapping[str, Tensor]:
    """Maps by parameter name; refuse what has no names.

    Raises
    ------
    DataError
        Saying what is needed.
    """
    if maps is not None and not isinstance(maps, Mapping):
        raise DataError(
            f'{what} is a {type(maps).__name__}; give maps by name, such as {{"B1": values}}'
        )
    return maps or {}


def check_points(points: Tensor, what: str, parameters: ParameterSet, *, every: bool) -> None:
    """Refuse anything but real parameter sets ``(n, P)`` in the units of the model.

    Parameters
    ----------
    points
        NaN among them is not looked at.
    what
        Their name in words, in the plural.
    parameters
        Of the model, with their bounds.
    every
        Whether all have to lie within the bounds, or only one.

    Raises
    ------
    DataError
        Naming what is given and what is needed.
    """
    if not isinstance(points, Tensor):
        raise DataError(f"{what} are a {type(points).__name__}; give a tensor (torch.from_numpy)")
    wanted = len(parameters)
    if points.ndim != 2 or points.shape[0] < 1 or points.shape[1] != wanted or points.is_complex():
        raise DataError(
            f"{what} have shape {tuple(points.shape)} and {points.dtype}; real values "
            f"({what}, {wanted}) are needed"
        )
    wide = points.detach().to("cpu", torch.float64)
    lower, upper = parameters.bounds(wide)
    slack = _ROUND_OFF * (upper - lower)
    beyond = (wide < lower - slack) | (wide > upper + slack)
    wrong = beyond.any(0) if every else beyond.all(0)
    for item, is_wrong in zip(parameters, wrong.tolist(), strict=True):
        if is_wrong:
            some = "some" if every else "all"
            raise DataError(
                f"{item.name} of {some} {what} lies beyond {item.lower:g} to {item.upper:g}; "
                "check their units, or widen the bounds of the model"
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
        If a map is no tensor of real numbers, or has another number of voxels than the data.
    """
    known: dict[int, Tensor] = {}
    wide: dict[str, Any] = {"dtype": torch.float64, "device": like.device}
    for column in parameters.columns("supplied"):
        known[column] = torch.tensor([parameters.items[column].start], **wide)
    for name, values in check_maps(supplied, "what is supplied").items():
        column = parameters.index((name,))[0]
        check_map(values, f"the supplied {name}", len(like))
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
        If a map is no tensor of real numbers, has another number of voxels, or its parameter is
        estimated.
    """
    found = {}
    for name, values in check_maps(spread, "spread").items():
        column = parameters.index((name,))[0]
        check_map(values, f"the standard deviation of {name}", len(like))
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
    usable = usable_voxels(data)
    reasons = ["of data that are zero or not finite"] if not usable.all() else []
    for column, values in known.items():
        inside = within_bounds(parameters, {column: values}, data)
        if not inside.all():
            item = parameters.items[column]
            reasons.append(f"{item.name} beyond {item.lower:g} to {item.upper:g} or missing")
        usable &= inside
    voxels = torch.nonzero(usable)[:, 0]
    if len(voxels) < len(data):
        _log.warning(
            "%d of %d voxels cannot be estimated (%s)",
            len(data) - len(voxels), len(data), "; ".join(reasons),
        )  # fmt: skip
    return voxels


def noise_levels(sigma: float | Tensor | None, data: Tensor) -> Tensor:
    """Noise standard deviation ``(V,)``, or ``(1,)`` for all voxels; 0 where it is not known.

    Raises
    ------
    DataError
        If it is no real number or map ``(V,)`` of such, there is one for each of another number of
        voxels than those of ``data``, one is below 0, or the only one is no finite number.
    """
    try:
        noise = torch.as_tensor(0.0 if sigma is None else sigma, device=data.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"sigma is a {type(sigma).__name__}; give a number or a tensor") from error
    if noise.ndim > 1 or noise.is_complex() or noise.dtype == torch.bool:
        raise DataError(
            f"sigma is {tuple(noise.shape)} {noise.dtype}; "
            "give a real number, or one for each voxel"
        )
    noise = noise.detach().reshape(-1)
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

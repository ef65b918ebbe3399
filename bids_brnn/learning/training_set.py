"""Training sets: coefficients without noise, parameters and Cramer-Rao bounds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bids_brnn.errors import DataError, ReadError
from bids_brnn.information.bounds import efficient_gain
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel, amplitude_of
from bids_brnn.tensor_files import read_metadata, read_tensors, write_tensors

Progress = Callable[[int, int], None]
"""Called with (fingerprints done, fingerprints in all)."""


@dataclass(frozen=True)
class TrainingSet:
    """``n`` fingerprints at M0 = 1."""

    coefficients: Tensor
    """``(n, R)`` complex64."""
    theta: Tensor
    """``(n, P)`` float32, all parameters of the model."""
    bound: Tensor
    """``(n, P)`` float32: Cramer-Rao bound (variance) at M0 = 1 and noise of sd 1 per channel,
    supplied parameters being known (0 there); infinite where a parameter cannot be seen."""
    gain: Tensor | None = None
    """``(n, P, R)`` complex64: ``efficient_gain``, for the efficient loss;
    0 for supplied parameters and for those that cannot be seen."""

    def __post_init__(self) -> None:
        n = self.coefficients.shape[0]
        if self.theta.shape != self.bound.shape or self.theta.shape[0] != n:
            raise DataError("coefficients, theta and bound of a training set differ in length")
        if self.gain is not None and self.gain.shape[:2] != self.theta.shape:
            raise DataError("the gain of a training set does not fit its parameters")

    def __len__(self) -> int:
        return int(self.theta.shape[0])

    def __getitem__(self, rows: Tensor | slice) -> TrainingSet:
        def some(values: Tensor) -> Tensor:
            if isinstance(rows, slice) or rows.dtype == torch.bool:
                return values[rows]
            return values.index_select(0, rows)  # half the time of indexing

        gain = None if self.gain is None else some(self.gain)
        return TrainingSet(some(self.coefficients), some(self.theta), some(self.bound), gain)

    def to(self, device: str | torch.device) -> TrainingSet:
        """The same set on another device."""
        gain = None if self.gain is None else self.gain.to(device)
        return TrainingSet(
            self.coefficients.to(device), self.theta.to(device), self.bound.to(device), gain
        )

    def with_others(self, others: TrainingSet) -> TrainingSet:
        """These fingerprints, then ``others``; with gains where both have them."""
        gain = None
        if self.gain is not None and others.gain is not None:
            gain = torch.cat([self.gain, others.gain])
        return TrainingSet(
            torch.cat([self.coefficients, others.coefficients]),
            torch.cat([self.theta, others.theta]),
            torch.cat([self.bound, others.bound]),
            gain,
        )

    def split(self, n_held_out: int) -> tuple[TrainingSet, TrainingSet]:
        """The first fingerprints to train with, and the last ``n_held_out`` never seen then."""
        if not 0 < n_held_out < len(self):
            raise DataError(f"cannot hold out {n_held_out} of {len(self)} fingerprints")
        return self[: len(self) - n_held_out], self[len(self) - n_held_out :]

    def conjugated(self, rows: Tensor, parameters: ParameterSet) -> TrainingSet:
        """The same set with the fingerprints where ``rows`` ``(n,)`` is true at the opposite w0.

        For real RF phases and a real basis the signal at ``-w0`` is the complex conjugate of that
        at ``w0``, and the bounds are the same: twice the fingerprints for free.
        """
        column = parameters.index(("w0",))[0]
        sign = torch.where(rows, -1.0, 1.0)
        theta, coefficients, gain = self.theta.clone(), self.coefficients.clone(), self.gain
        theta[:, column] *= sign
        coefficients.imag *= sign[:, None]
        if gain is not None:
            gain = gain.clone()
            gain.imag *= sign[:, None, None]
            gain[:, column] *= sign[:, None]
        return replace(self, coefficients=coefficients, theta=theta, gain=gain)


def simulate_fingerprints(
    model: SignalModel,
    theta: Tensor,
    *,
    with_gain: bool = False,
    chunk: int = 2048,
    progress: Progress | None = None,
) -> TrainingSet:
    """Coefficients and bounds of given parameters.

    Parameters
    ----------
    model
        Usually a :class:`~bids_brnn.signals.subspace.CompressedSignal`.
    theta
        ``(n, P)``, SI units, in the precision of the simulation; the Fisher information is always
        formed and inverted in float64. In float32 the qMT bounds are within 0.01 % of those in
        float64 (99 % of the fingerprints).
    with_gain
        Add :attr:`TrainingSet.gain`, which takes ``8 P R`` bytes per fingerprint.
    chunk
        Fingerprints simulated together; bounds the memory.
    progress
        Called after every chunk.

    Raises
    ------
    DataError
        If the model returns NaN or infinite values.
    """
    n = len(theta)
    lower, upper = model.parameters.bounds(theta)
    theta = theta.clamp(lower, upper)  # rounding may have moved a value just outside
    free = model.parameters.columns("estimated", "nuisance")
    amplitude = amplitude_of(model)
    parts: list[tuple[Tensor, ...]] = []
    for first in range(0, n, chunk):
        rows = theta[first : first + chunk]
        signal, derivatives = model.linearize(rows)
        signal, derivatives = signal.to(torch.complex128), derivatives.to(torch.complex128)
        known_gain, covariance = efficient_gain(signal, derivatives[..., free], amplitude)
        bound = torch.zeros_like(rows, dtype=torch.float64)
        bound[:, free] = covariance.diagonal(dim1=-2, dim2=-1)
        parts.append((signal.to(torch.complex64), bound))
        if with_gain:
            gain = torch.zeros(*rows.shape, signal.shape[-1], dtype=torch.complex64)
            gain[:, free] = known_gain.to(torch.complex64)
            parts[-1] += (gain,)
        if progress is not None:
            progress(min(first + chunk, n), n)
    coefficients, bounds, *gains = (torch.cat(columns) for columns in zip(*parts, strict=True))
    if not bool(torch.isfinite(torch.view_as_real(coefficients)).all()):
        raise DataError("the signal model returned NaN or infinite coefficients")
    # Round-off can make a bound of an invisible parameter negative; it carries no information.
    bounds = torch.where(bounds >= 0, bounds, torch.inf)
    for gain in gains:
        seen = torch.isfinite(bounds) & torch.isfinite(torch.view_as_real(gain)).all(-1).all(-1)
        gain.masked_fill_(~seen[..., None], 0)
    return TrainingSet(coefficients, theta.to(torch.float32), bounds.to(torch.float32), *gains)


def description_key(description: Mapping[str, object]) -> str:
    """Key of a cached set: a hash of everything that it was made from."""
    text = json.dumps(description, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_training_set(path: Path, data: TrainingSet, *, key: str) -> None:
    """Write ``data`` whole or not at all; several jobs may write the same file."""
    tensors = {
        "coefficients": torch.view_as_real(data.coefficients.resolve_conj()),
        "theta": data.theta,
        "bound": data.bound,
    }
    if data.gain is not None:
        tensors["gain"] = torch.view_as_real(data.gain.resolve_conj())
    write_tensors(path, tensors, {"key": key})


def load_training_set(path: Path, *, key: str) -> TrainingSet | None:
    """The cached set, or None where there is none or it was made from something else.

    Raises
    ------
    ReadError
        If the file is not a training set.
    """
    tensors = cached_tensors(path, key=key)
    if tensors is None:
        return None
    try:
        coefficients = torch.view_as_complex(tensors["coefficients"])
        gain = torch.view_as_complex(tensors["gain"]) if "gain" in tensors else None
        return TrainingSet(coefficients, tensors["theta"], tensors["bound"], gain)
    except (KeyError, RuntimeError) as error:
        raise ReadError(f"{path} is not a training set ({error}); delete it") from error


def cached_tensors(path: Path, *, key: str) -> Mapping[str, Tensor] | None:
    """Tensors of a cached file, or None where there is none or it was made from something else.

    Raises
    ------
    ReadError
        If the file is broken.
    """
    if not path.is_file() or read_metadata(path).get("key") != key:
        return None
    return read_tensors(path)

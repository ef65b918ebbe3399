"""What every signal model offers, and generic forward-mode derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.errors import DataError, ParameterError, SequenceError
from bids_brnn.parameters import ParameterSet

if TYPE_CHECKING:
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.sequences.z_spectrum import ZSpectrum

Array = NDArray[np.float64]
_NO_SIGNAL = 1e-6  # of M0 = 1; a measured sample is a thousand times larger


Amplitude = Literal["complex", "real", "one"]
"""What is unknown of M0: a complex scale; a real one, where signal and data are real
(magnitudes); nothing, where images come divided by that of M0."""
SCALES: Mapping[Amplitude, tuple[complex, ...]] = {"complex": (1, 1j), "real": (1,), "one": ()}
"""Directions of an unknown M0: what a change of it adds to a signal, times that signal."""


@runtime_checkable
class SignalModel(Protocol):
    """A signal at M0 = 1 as a function of tissue parameters.

    Shapes: ``theta`` is ``(..., P)`` real, in the order and units of ``parameters``; signals are
    complex ``(..., N)``. With ``basis`` ``(N, R)`` the signal is projected (``s @ conj(basis)``)
    to ``(..., R)`` while it is simulated, so that ``N`` samples need never be stored.
    dtype and device follow ``theta``.

    A model, or the ``sequence`` that it has, may also have ``amplitude`` (see :data:`Amplitude`;
    ``complex`` where neither has it) and ``weights`` ``(N,)``, numbers of measurements that were
    averaged: :func:`amplitude_of`, :func:`weights_of`; and what :func:`for_voxels`,
    :func:`rough_of`, :func:`arrays_of` and :func:`free_pool_of` tell.
    """

    @property
    def parameters(self) -> ParameterSet:
        """Names, bounds and roles of the last axis of ``theta``."""

    @property
    def n_samples(self) -> int:
        """Number of samples ``N`` (of coefficients for a compressed model)."""

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or, with ``basis``, coefficients ``(..., R)``."""

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and its derivatives ``(..., N, P)`` with respect to ``theta``.

        Both are the caller's, who may change them in place.
        """


def amplitude_of(model: object) -> Amplitude:
    """What is unknown of M0 in the data that a model describes."""
    sequence: Any = getattr(model, "sequence", None)
    found: Amplitude = getattr(model, "amplitude", getattr(sequence, "amplitude", "complex"))
    return found


def weights_of(model: object) -> Tensor | None:
    """``(N,)`` float64: the noise variance of a sample is sigma^2 over its weight; None: 1."""
    sequence: Any = getattr(model, "sequence", None)
    found: Any = getattr(model, "weights", getattr(sequence, "weights", None))
    return None if found is None else torch.as_tensor(found, dtype=torch.float64)


def for_voxels(model: SignalModel, known: Mapping[str, Tensor]) -> Callable[[Tensor], SignalModel]:
    """A model that will be asked many times for the same voxels, some parameters being known.

    A model may have a method ``for_voxels`` that computes once what follows from the known
    values; others are used as they are.

    Parameters
    ----------
    model
        Of any voxels.
    known
        Values ``(V,)`` by name of parameter.

    Returns
    -------
    Callable
        Voxels ``(B,)`` -> the model for parameter sets ``(B, P)`` of these, which must have the
        known values. Derivatives by what is known may be missing (0) if the model says so, see
        :func:`silent_of`.
    """
    own: Any = getattr(model, "for_voxels", None)
    if own is None:
        return lambda _: model
    found: Callable[[Tensor], SignalModel] = own(known)
    return found


def silent_of(model: object) -> frozenset[str]:
    """Parameters by which a model of :func:`for_voxels`, or one inside it, has no derivatives.

    The model has them as ``silent``, names of parameters.
    """
    found: set[str] = set()
    while model is not None:
        found.update(getattr(model, "silent", ()))
        model = getattr(model, "model", None)
    return frozenset(found)


def rough_of(model: SignalModel) -> SignalModel | None:
    """A model of the same parameters and samples that is not exact but much cheaper, if any.

    A model may have a method ``rough`` that gives one; it serves to find where to start.
    """
    own: Any = getattr(model, "rough", None)
    found: SignalModel | None = None if own is None else own()
    return found


Arrays = Callable[..., tuple[Array, Array]]
"""See :func:`arrays_of`."""


def arrays_of(model: SignalModel) -> Arrays | None:
    """A function that simulates real signals as arrays, for who asks often; None if there is none.

    A model, and what it wraps, may have it as a method ``arrays``. It is called with parameter
    sets ``(V, P)`` in double precision that lie within their bounds, which is not looked at, and
    with ``derivatives``, whether these are wanted; it gives signals ``(V, N)`` and derivatives
    ``(V, N, P)`` (without rows where they are not wanted), both the caller's.
    """
    inside: Any = model
    while inside is not None:
        if not hasattr(inside, "arrays"):
            return None
        inside = getattr(inside, "model", None)
    own: Any = model
    found: Arrays = own.arrays
    return found


def free_pool_of(model: SignalModel) -> SignalModel | None:
    """The model of tissue without a semi-solid pool: fewer parameters, much cheaper; if any.

    A model of two pools may have a method ``free_pool`` that gives it.
    """
    own: Any = getattr(model, "free_pool", None)
    found: SignalModel | None = None if own is None else own()
    return found


def train_duration(model: object) -> float | None:
    """Mean duration (s) of the pulse trains of what a model wraps; None where it has none."""
    while (inner := getattr(model, "model", None)) is not None:
        model = inner
    times: Any = getattr(getattr(model, "sequence", None), "repetition_time", None)
    return None if times is None else float(np.sum(times, axis=-1).mean())


def keeps_tables(model: object) -> bool:
    """Whether :func:`for_voxels` computes something, and keeps it, of a model or what it wraps."""
    while (inner := getattr(model, "model", None)) is not None:
        model = inner
    return hasattr(model, "for_voxels")


_FORWARD = RLock()
"""PyTorch counts levels of forward differentiation for the whole process: two threads that are at
it end each other's."""


def forward_derivatives(
    function: Callable[[Tensor], Tensor], theta: Tensor
) -> tuple[Tensor, Tensor]:
    """Value and Jacobian of a batched function by forward-mode differentiation.

    Parameters
    ----------
    function
        Maps ``(..., P)`` to ``(..., N)``; rows must be independent.
    theta
        Shape ``(..., P)``.

    Returns
    -------
    value, derivatives
        Shapes ``(..., N)`` and ``(..., N, P)``; one pass per column, nothing is stored per pulse.
    """
    value = None
    columns = []
    for column in range(theta.shape[-1]):
        tangent = torch.zeros_like(theta)
        tangent[..., column] = 1
        with _FORWARD:
            value, derivative = torch.func.jvp(function, (theta,), (tangent,))[:2]
        columns.append(derivative)
    assert value is not None, "theta needs at least one parameter"
    return value, torch.stack(columns, dim=-1)


def check_parameters(theta: Tensor, parameters: ParameterSet) -> None:
    """Refuse parameter values no tissue can have.

    Raises
    ------
    ParameterError
        Naming parameter, row (counted from 1) and value, for NaN, infinite, non-positive rates
        or times, a pool fraction outside [0, 1], and any value outside the model's bounds.
    """
    if theta.shape[-1] != len(parameters):
        raise ParameterError(
            f"theta has {theta.shape[-1]} columns; the model needs {len(parameters)}: "
            + ", ".join(parameters.names)
        )
    flat = theta.detach().reshape(-1, theta.shape[-1])
    lower, upper = parameters.bounds(flat)
    slack = 1e-6 * (upper - lower)  # float32 round-off at the bound itself is not an error
    bad = ~((flat >= lower - slack) & (flat <= upper + slack))
    if bool(bad.any()):
        row, column = torch.nonzero(bad)[0].tolist()
        item = parameters.items[column]
        raise ParameterError(
            f"{item.name} = {float(flat[row, column]):g} in row {row + 1} is outside "
            f"[{item.lower:g}, {item.upper:g}] {item.item.unit}; values are SI units"
        )


def check_basis(basis: Tensor | None, n_samples: int) -> None:
    """Refuse a basis whose rows are not the samples of the pulse train.

    Raises
    ------
    DataError
        With both numbers.
    """
    if basis is not None and basis.shape[0] != n_samples:
        raise DataError(
            f"the basis has {basis.shape[0]} rows, the pulse train has {n_samples} samples"
        )


def check_signal(model: SignalModel, sequence: PulseSequence | ZSpectrum) -> None:
    """Refuse a pulse train whose samples are all zero, or not finite, for usual tissue.

    Parameters
    ----------
    model
        Of the time samples; tissue has the start values of its parameters.
    sequence
        Its pulse trains.

    Raises
    ------
    SequenceError
        Naming the train.
    """
    like = torch.zeros((), dtype=torch.float64)
    lower, upper = model.parameters.bounds(like)
    theta = model.parameters.start(like).clamp(lower, upper)
    with torch.no_grad():
        samples = model(theta[None])[0].cpu()
    echoes = getattr(sequence, "echo_time", np.empty((0, 0, 0)))  # a Z-spectrum has none
    counts = np.isfinite(echoes).sum((1, 2)).tolist()
    if sum(counts) != len(samples):  # a model that samples otherwise
        counts = [len(samples)]
    for train, part in enumerate(samples.split(counts), 1):
        largest = float(part.abs().max()) if len(part) else 1.0
        if not largest > _NO_SIGNAL or not bool(part.isfinite().all()):
            what = "zero at every sample" if largest <= _NO_SIGNAL else "not finite"
            raise SequenceError(
                f"the signal of train {train} of {sequence.name or 'the pulse train'} is {what} "
                "for usual tissue, so that nothing can be estimated; check flip angles, "
                "gradients, BoundaryCondition and echo times"
            )

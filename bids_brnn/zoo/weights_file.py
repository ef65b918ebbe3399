"""The safetensors file beside a card, read and checked without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from bids_brnn.errors import DataError, ReadError
from bids_brnn.learning.spec import NetworkSpec, error_shapes, network_shapes, surrogate_shapes
from bids_brnn.system.kinds import abridged
from bids_brnn.system.reading import read_bounded
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.span import ROWS_PER_COLUMN

MAX_WEIGHTS = 2**29
"""Bytes; the published network of 2 million weights needs 9 million."""
Tensors = Mapping[str, NDArray[Any]]


def read_weights(path: Path, card: ModelCard) -> Tensors:
    """Arrays by name of the weights beside the card ``path``.

    Raises
    ------
    ReadError
        If the file is absent, truncated, or not the one that the card describes.
    DataError
        If values are not finite, or their shapes are not those of the card.
    """
    tensors = read_arrays(path, card.weights_sha256, card.command)
    _check_shapes(path.with_suffix(".safetensors"), card, tensors)
    return tensors


def read_arrays(path: Path, sha256: str, command: str) -> Tensors:
    """The same of any card, whatever their shapes are; ``command`` trains such a network."""
    weights = path.with_suffix(".safetensors")
    try:
        content = read_bounded(weights, MAX_WEIGHTS)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReadError(f"cannot read {weights}, the weights of {path.name}: {reason}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ReadError(
            f"{weights} is not the file that {path.name} describes (other SHA-256); copy both "
            f"again, or train the model with: {command}"
        )
    try:
        tensors: Tensors = load(content)
    # NumPy does not know all types of the format.
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReadError(f"{weights} is not a safetensors file: {error}") from error
    for name, values in tensors.items():
        if not bool(np.isfinite(values).all()):
            raise DataError(
                f"{weights}: {name} holds NaN or infinite values; train again: {command}"
            )
    return tensors


def complex_array(pairs: NDArray[Any]) -> NDArray[Any]:
    """Complex values of an array whose last axis holds real and imaginary parts."""
    values: NDArray[Any] = pairs[..., 0] + 1j * pairs[..., 1]
    return values


def _check_shapes(weights: Path, card: ModelCard, tensors: Tensors) -> None:
    spec = NetworkSpec.from_dict(card.network)
    rank = spec.n_coefficients
    about = card.surrogate
    layout = about["width"], about["blocks"], about.get("harmonics", 0)
    body = surrogate_shapes(len(card.parameters), rank, *layout)
    wanted = {f"network.{name}": shape for name, shape in network_shapes(spec).items()}
    wanted |= {f"surrogate.{name}": shape for name, shape in body.items()}
    if card.errors:
        known, size = len(card.errors["outputs"]), (card.errors["width"], card.errors["blocks"])
        shapes = error_shapes(spec.n_inputs + len(spec.outputs), known, *size)
        wanted |= {f"errors.{name}": shape for name, shape in shapes.items()}
    for name, shape in wanted.items():
        if name not in tensors or tensors[name].shape != shape:
            raise DataError(
                f"{weights} does not have the shape that its card describes ({name}); "
                f"train again: {card.command}"
            )
    unknown = sorted(set(tensors) - {*wanted, "sketch", "basis"})
    if unknown:
        raise DataError(
            f"{weights} holds {abridged(unknown[0])}, which its card does not describe; "
            f"train again: {card.command}"
        )
    sketch = tensors.get("sketch")
    if sketch is None or not _is_complex(sketch, ROWS_PER_COLUMN * rank, rank):
        raise DataError(f"{weights} lacks the sketch of its basis; train again: {card.command}")
    basis = tensors.get("basis")
    if basis is not None and not (basis.ndim == 3 and _is_complex(basis, len(basis), rank)):
        raise DataError(
            f"{weights} holds a basis of another shape than its card; train again: {card.command}"
        )


def _is_complex(values: NDArray[Any], rows: int, columns: int) -> bool:
    """Whether these are real and imaginary parts of a matrix that torch can take."""
    return values.shape == (rows, columns, 2) and values.dtype in (np.float32, np.float64)

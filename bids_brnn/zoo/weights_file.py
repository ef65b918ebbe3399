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
from bids_brnn.learning.spec import NetworkSpec, residual_shapes
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.span import ROWS_PER_COLUMN

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
    weights = path.with_suffix(".safetensors")
    try:
        content = weights.read_bytes()
    except OSError as error:
        raise ReadError(
            f"cannot read {weights}, the weights of {path.name}: {error.strerror}"
        ) from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ReadError(
            f"{weights} is not the file that {path.name} describes (other SHA-256); copy both "
            f"again, or train the model with: {card.command}"
        )
    try:
        tensors: Tensors = load(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ReadError(f"{weights} is not a safetensors file: {error}") from error
    for name, values in tensors.items():
        if not bool(np.isfinite(values).all()):
            raise DataError(
                f"{weights}: {name} holds NaN or infinite values; train again: {card.command}"
            )
    _check_shapes(weights, card, tensors)
    return tensors


def complex_array(pairs: NDArray[Any]) -> NDArray[Any]:
    """Complex values of an array whose last axis holds real and imaginary parts."""
    values: NDArray[Any] = pairs[..., 0] + 1j * pairs[..., 1]
    return values


def _check_shapes(weights: Path, card: ModelCard, tensors: Tensors) -> None:
    spec = NetworkSpec.from_dict(card.network)
    rank, outputs = spec.n_coefficients, len(spec.outputs)
    wanted = {
        f"surrogate.body.{name}": shape
        for name, shape in residual_shapes(
            len(card.parameters), 2 * rank, card.surrogate["width"], card.surrogate["blocks"]
        ).items()
    }
    if spec.layout == "residual":
        own = residual_shapes(spec.n_inputs, outputs, spec.width, spec.blocks)
        wanted |= {f"network.body.{name}": shape for name, shape in own.items()}
    if card.errors:
        known = len(card.errors["outputs"])
        features, heads = spec.n_inputs + outputs, known + known * (known - 1) // 2
        shapes = residual_shapes(features + 1, heads, card.errors["width"], card.errors["blocks"])
        wanted |= {f"errors.body.{name}": shape for name, shape in shapes.items()}
    for name, shape in wanted.items():
        if name not in tensors or tensors[name].shape != shape:
            raise DataError(
                f"{weights} does not have the shape that its card describes ({name}); "
                f"train again: {card.command}"
            )
    sketch = (ROWS_PER_COLUMN * rank, rank, 2)
    if "sketch" not in tensors or tensors["sketch"].shape != sketch:
        raise DataError(f"{weights} lacks the sketch of its basis; train again: {card.command}")

"""Networks from normalised coefficients to tissue parameters.

Two layouts: ``nested`` is the published one (arXiv 2312.11468: nested skip connections, batch
normalisation, bounded heads; 2 187 138 weights for 15 complex coefficients), ``residual`` is
smaller and faster: plain residual blocks without batch normalisation and standardised outputs,
whose residual stream stays in float32 while the blocks may run in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError
from bids_brnn.noise import Normalisation, normalise

Layout = Literal["residual", "nested"]

_NESTED_WIDTHS = (256, 512, 1024, 768, 512, 384, 256, 128)
_NECK = 32
_LOG_LIMIT = 20.0
"""Logarithmic outputs stay finite whatever the input."""


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to build a network of the same shape again."""

    n_coefficients: int
    """Complex coefficients ``R`` of one voxel."""
    outputs: tuple[str, ...]
    """Names of the parameters that the network returns."""
    supplied: tuple[str, ...] = ()
    """Names of the known parameters that are further inputs, for example ``B1``."""
    normalisation: Normalisation = "norm"
    """How scale and phase of M0 are removed, see :func:`bids_brnn.noise.normalise`."""
    layout: Layout = "residual"
    width: int = 256
    """Width of the residual layout; the nested layout has the published widths."""
    blocks: int = 4
    """Blocks of the residual layout."""
    lower: tuple[float, ...] = ()
    """Lower limits of the outputs; needed for the nested layout, whose heads are bounded."""
    upper: tuple[float, ...] = ()
    logarithmic: tuple[str, ...] = ()
    """Outputs of the residual layout that are exponentials: rates that span decades, which are
    then learnt with a relative precision that is similar in tissue and in fluid."""

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise DataError(
                f'network layout "{self.layout}" is unknown; use {" or ".join(get_args(Layout))}'
            )
        if min(self.n_coefficients, len(self.outputs), self.width, self.blocks) < 1:
            raise DataError("a network needs coefficients, outputs, width and blocks above zero")
        bounded = len(self.lower) == len(self.upper) == len(self.outputs)
        if self.layout == "nested" and not bounded:
            raise DataError("the nested layout needs one lower and one upper limit per output")
        unknown = sorted(set(self.logarithmic) - set(self.outputs))
        if unknown or (self.logarithmic and self.layout == "nested"):
            raise DataError(
                f"logarithmic outputs {', '.join(unknown or self.logarithmic)}: they must be "
                f"outputs ({', '.join(self.outputs)}) of the residual layout"
            )

    @property
    def n_inputs(self) -> int:
        """Real inputs: real and imaginary parts, then the supplied parameters."""
        return 2 * self.n_coefficients + len(self.supplied)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkSpec:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        DataError
            If a field is missing or unknown.
        """
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
        }
        try:
            return cls(**fields)
        except TypeError as error:
            raise DataError(f"the description of the network is wrong: {error}") from error


class CoefficientNetwork(nn.Module):
    """Front end (normalisation, standardisation), a body, and heads in physical units."""

    input_centre: Tensor
    input_scale: Tensor
    output_centre: Tensor
    output_scale: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        n_inputs, n_outputs = spec.n_inputs, len(spec.outputs)
        self.register_buffer("input_centre", torch.zeros(n_inputs))
        self.register_buffer("input_scale", torch.ones(n_inputs))
        self.register_buffer("output_centre", torch.zeros(n_outputs))
        self.register_buffer("output_scale", torch.ones(n_outputs))
        self._logarithmic = [spec.outputs.index(name) for name in spec.logarithmic]
        if spec.layout == "nested":
            self.body: nn.Module = _nested_body(n_inputs, n_outputs)
        else:
            self.body = ResidualBody(n_inputs, n_outputs, spec.width, spec.blocks)

    def prepare(self, coefficients: Tensor, supplied: Mapping[str, Tensor]) -> Tensor:
        """Inputs ``(..., 2R + S)`` of coefficients ``(..., R)`` and known parameters ``(...)``."""
        scaled = normalise(coefficients, self.spec.normalisation)[0]
        columns = [scaled.real, scaled.imag]
        columns += [supplied[name].to(scaled.real.dtype)[..., None] for name in self.spec.supplied]
        return torch.cat(columns, dim=-1)

    def standardise(self, inputs: Tensor, truth: Tensor) -> None:
        """Set the affine maps at both ends from inputs ``(n, 2R + S)`` and truth ``(n, outputs)``.

        Columns that do not vary (the first coefficient after division by itself) are centred only.
        Logarithmic outputs are standardised as logarithms.
        """
        truth = truth.clone()
        truth[:, self._logarithmic] = truth[:, self._logarithmic].log()
        for values, centre, scale in (
            (inputs, self.input_centre, self.input_scale),
            (truth, self.output_centre, self.output_scale),
        ):
            spread = values.double().std(0)
            level = values.double().abs().amax(0)
            flat = spread <= 1e-6 * level
            centre.copy_(values.double().mean(0))
            scale.copy_(torch.where(flat, torch.ones_like(spread), spread))

    def forward(self, inputs: Tensor) -> Tensor:
        """Parameters ``(..., outputs)`` in SI units of inputs from :meth:`prepare`."""
        if self.spec.layout == "nested":  # as published: raw inputs, bounded heads
            flat = inputs.reshape(-1, inputs.shape[-1])  # batch normalisation knows one batch axis
            unit = nn.functional.hardsigmoid(self.body(flat).float())
            unit = unit.reshape(*inputs.shape[:-1], -1)
            lower = unit.new_tensor(self.spec.lower)
            bounded: Tensor = lower + unit * (unit.new_tensor(self.spec.upper) - lower)
            return bounded
        hidden = self.body((inputs - self.input_centre) / self.input_scale)
        outputs: Tensor = self.output_centre + hidden * self.output_scale
        if not self._logarithmic:
            return outputs
        columns = list(outputs.unbind(-1))
        for column in self._logarithmic:
            columns[column] = columns[column].clamp(-_LOG_LIMIT, _LOG_LIMIT).exp()
        return torch.stack(columns, dim=-1)


class ResidualBody(nn.Module):
    """``x <- x + B silu(A x)``, in float32 between the blocks whatever runs inside them."""

    def __init__(self, n_inputs: int, n_outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(n_inputs, width)
        self.widen = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.narrow = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.leave = nn.Linear(width, n_outputs)
        for layer in self.narrow:
            assert isinstance(layer, nn.Linear)
            # The sum over blocks then keeps the spread of the stream near that of its input.
            nn.init.normal_(layer.weight, std=(2.0 / (width * blocks)) ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardised outputs of standardised inputs."""
        with torch.autocast(inputs.device.type, enabled=False):
            stream = self.enter(inputs)
        for widen, narrow in zip(self.widen, self.narrow, strict=True):
            stream = stream + narrow(nn.functional.silu(widen(stream)))
        with torch.autocast(inputs.device.type, enabled=False):
            outputs: Tensor = self.leave(nn.functional.silu(stream))
        return outputs


def _dense(n_inputs: int, n_outputs: int) -> list[nn.Module]:
    return [nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU()]


class _Skip(nn.Module):
    """``relu(batchnorm(x + f(x)))``."""

    def __init__(self, width: int, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = torch.relu(self.norm(inputs + self.inner(inputs)))
        return outputs


def _nested_body(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """The published layout; linear layers that end a skip have no activation."""
    a, b, c, d, e, f, g, h = _NESTED_WIDTHS
    core = _Skip(e, *_dense(b, c), *_dense(c, d), nn.Linear(d, e))
    middle = _Skip(g, *_dense(a, b), core, *_dense(e, f), nn.Linear(f, g))
    outer = _Skip(n_inputs, *_dense(n_inputs, a), middle, *_dense(g, h), nn.Linear(h, n_inputs))
    return nn.Sequential(outer, *_dense(n_inputs, _NECK), nn.Linear(_NECK, n_outputs))


def build_network(spec: NetworkSpec, *, seed: int = 0) -> CoefficientNetwork:
    """A network with reproducible initial weights; the global random state is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CoefficientNetwork(spec)


def count_weights(network: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)

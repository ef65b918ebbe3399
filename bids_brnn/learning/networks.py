"""Networks from normalised coefficients to tissue parameters.

Two layouts: ``nested`` is the published one (arXiv 2312.11468: nested skip connections, batch
normalisation, bounded heads; 2 187 138 weights for 15 complex coefficients), ``residual`` is
smaller and faster: plain residual blocks without batch normalisation and standardised outputs,
whose residual stream stays in float32 while the blocks may run in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError
from bids_brnn.learning.bodies import ResidualBody, nested_body
from bids_brnn.learning.normalisation import normalise, real_inputs
from bids_brnn.learning.scoring_network import ScoringNetwork
from bids_brnn.learning.seeds import seeded
from bids_brnn.learning.spec import NetworkSpec

_LOG_LIMIT = 20.0
"""Logarithmic outputs stay finite whatever the input."""


class CoefficientNetwork(nn.Module):
    """Front end (normalisation, standardisation), a body, and heads in physical units."""

    input_centre: Tensor
    input_scale: Tensor
    fold: Tensor
    """``(R, R)``, antisymmetric: the sign of ``Re(c)^T fold Im(c)`` tells the sign of the odd
    output most of the time, and always changes under conjugation."""
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
        if spec.odd:
            self.register_buffer("fold", torch.zeros(spec.n_coefficients, spec.n_coefficients))
        self._logarithmic = [spec.outputs.index(name) for name in spec.logarithmic]
        if spec.layout == "nested":
            self.body: nn.Module = nested_body(n_inputs, n_outputs)
        else:
            self.body = ResidualBody(n_inputs, n_outputs, spec.width, spec.blocks)

    def prepare(self, coefficients: Tensor, supplied: Mapping[str, Tensor]) -> Tensor:
        """Inputs of coefficients ``(..., R)`` and known parameters ``(...)``.

        Shape ``(..., 2R + S)``, or ``(..., R + S)`` where coefficients are real.
        """
        if self.spec.scale == "complex":
            scaled = normalise(coefficients, self.spec.normalisation)[0]
            columns = [scaled.real, scaled.imag]
        else:
            columns = [real_inputs(coefficients.real, self.spec.scale)]
        dtype = columns[0].dtype
        columns += [supplied[name].to(dtype)[..., None] for name in self.spec.supplied]
        return torch.cat(columns, dim=-1)

    def standardise(self, inputs: Tensor, truth: Tensor) -> None:
        """Set the affine maps at both ends from inputs ``(n, 2R + S)`` and truth ``(n, outputs)``.

        Columns that do not vary (the first coefficient after division by itself) are centred only.
        Logarithmic outputs are standardised as logarithms, an odd output on its side of the fold.
        """
        truth = truth.clone()
        if self.spec.odd:
            column = self.spec.outputs.index(self.spec.odd)
            self.fold.copy_(_fit_fold(inputs, truth[:, column], self.spec.n_coefficients))
            inputs, side = self._folded(inputs)
            truth[:, column] *= side[:, 0]
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
        return self.with_features(inputs)[0]

    def with_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters, and what the network makes them from ``(..., n_features)``.

        The features are the standardised inputs and the outputs of the body: what tells how
        large the errors are.
        """
        if self.spec.layout == "nested":  # as published: raw inputs, bounded heads
            flat = inputs.reshape(-1, inputs.shape[-1])  # batch normalisation knows one batch axis
            hidden = self.body(flat).float().reshape(*inputs.shape[:-1], -1)
            unit = nn.functional.hardsigmoid(hidden)
            lower = unit.new_tensor(self.spec.lower)
            bounded: Tensor = lower + unit * (unit.new_tensor(self.spec.upper) - lower)
            return bounded, torch.cat([self.standardised(inputs), hidden], dim=-1)
        inputs, side = self._folded(inputs)
        standardised = (inputs - self.input_centre) / self.input_scale
        hidden = self.body(standardised)
        outputs: Tensor = self.output_centre + hidden * self.output_scale
        columns = list(outputs.unbind(-1))
        for column in self._logarithmic:
            columns[column] = columns[column].clamp(-_LOG_LIMIT, _LOG_LIMIT).exp()
        if self.spec.odd:
            column = self.spec.outputs.index(self.spec.odd)
            columns[column] = columns[column] * side[..., 0]
        return torch.stack(columns, dim=-1), torch.cat([standardised, hidden.float()], dim=-1)

    @property
    def n_features(self) -> int:
        """Of :meth:`with_features`."""
        return self.spec.n_inputs + len(self.spec.outputs)

    def standardised(self, inputs: Tensor) -> Tensor:
        """Inputs of the body: of zero mean and unit spread in the training data."""
        return (self._folded(inputs)[0] - self.input_centre) / self.input_scale

    def _folded(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs conjugated to the side that is learnt, and that side, +1 or -1 ``(..., 1)``."""
        if not self.spec.odd:
            return inputs, inputs.new_ones((*inputs.shape[:-1], 1))
        rank = self.spec.n_coefficients
        real, imaginary, known = inputs.tensor_split((rank, 2 * rank), dim=-1)
        with torch.autocast(inputs.device.type, enabled=False):
            tilt = ((real @ self.fold) * imaginary).sum(-1, keepdim=True)
        side = torch.where(tilt < 0, -1.0, 1.0).to(inputs)
        return torch.cat([real, side * imaginary, known], dim=-1), side


def _fit_fold(inputs: Tensor, odd: Tensor, rank: int) -> Tensor:
    """Least squares of the sign of ``odd`` ``(n,)`` on the products ``Im(c_i* c_j)``, i < j."""
    real, imaginary = inputs[:, :rank].double(), inputs[:, rank : 2 * rank].double()
    i, j = torch.triu_indices(rank, rank, 1, device=inputs.device)
    products = real[:, i] * imaginary[:, j] - real[:, j] * imaginary[:, i]
    spread = products.square().mean(0).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    products = products / spread
    gram = products.T @ products / len(products)
    # Products that hardly differ share their weight.
    ridge = 1e-6 * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram + ridge, products.T @ odd.double().sign() / len(products))
    fold = inputs.new_zeros((rank, rank), dtype=torch.float64)
    fold[i, j] = weights / spread
    return fold - fold.T


Network = CoefficientNetwork | ScoringNetwork
"""Either kind: of one protocol, or for any."""


def build_network(spec: NetworkSpec, *, seed: int = 0) -> CoefficientNetwork:
    """A network with reproducible initial weights; the global random state is not touched.

    Raises
    ------
    DataError
        For scoring steps, which a training for one protocol does not know.
    """
    if spec.layout == "scoring":
        raise DataError('layout = "scoring" is for many protocols; use residual or nested')
    with seeded(seed):
        return CoefficientNetwork(spec)


def empty_network(spec: NetworkSpec) -> Network:
    """A network whose weights are to be filled."""
    return ScoringNetwork(spec) if spec.layout == "scoring" else CoefficientNetwork(spec)


def count_weights(network: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)

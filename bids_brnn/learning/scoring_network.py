"""The network over scoring steps: one set of weights for every protocol of Z-spectra."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bids_brnn.learning.bodies import ResidualBody
from bids_brnn.learning.scoring import NAMES, ScoringSteps
from bids_brnn.learning.scoring_shape import SUPPLIED
from bids_brnn.learning.spec import NetworkSpec


class ScoringNetwork(nn.Module):
    """Steps of a protocol, a body that knows no protocol, and outputs in SI units.

    With the interface of :class:`~bids_brnn.learning.networks.CoefficientNetwork`.
    """

    input_centre: Tensor
    input_scale: Tensor
    output_centre: Tensor
    output_scale: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.steps = ScoringSteps(spec.n_coefficients, is_divided=spec.scale == "one")
        for side, length in (("input", spec.n_inputs), ("output", len(spec.outputs))):
            self.register_buffer(f"{side}_centre", torch.zeros(length))
            self.register_buffer(f"{side}_scale", torch.ones(length))
        self.body = ResidualBody(spec.n_inputs, len(spec.outputs), spec.width, spec.blocks)

    def prepare(self, coefficients: Tensor, supplied: Mapping[str, Tensor]) -> Tensor:
        """Inputs ``(..., F)`` of images ``(..., N)`` and known parameters ``(...)``."""
        known = torch.stack([supplied[name].float() for name in SUPPLIED], dim=-1)
        inputs: Tensor = self.steps(coefficients.real, known)
        return inputs

    def standardise(self, inputs: Tensor, truth: Tensor) -> None:
        """Set the affine maps at both ends from inputs ``(n, F)`` and truth ``(n, outputs)``."""
        for values, centre, scale in (
            (inputs, self.input_centre, self.input_scale),
            (truth, self.output_centre, self.output_scale),
        ):
            spread = values.double().std(0)
            flat = spread <= 1e-6 * values.double().abs().amax(0)
            centre.copy_(values.double().mean(0))
            scale.copy_(torch.where(flat, torch.ones_like(spread), spread))

    def forward(self, inputs: Tensor) -> Tensor:
        """Parameters ``(..., outputs)`` in SI units of inputs from :meth:`prepare`."""
        return self.with_features(inputs)[0]

    def with_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters, and standardised inputs with the outputs of the body."""
        standardised = self.standardised(inputs)
        hidden = self.body(standardised).float()
        outputs = self.output_centre + hidden * self.output_scale
        return outputs, torch.cat([standardised, hidden], dim=-1)

    @property
    def n_features(self) -> int:
        """Of :meth:`with_features`."""
        return self.spec.n_inputs + len(self.spec.outputs)

    def standardised(self, inputs: Tensor) -> Tensor:
        """Inputs of zero mean and unit spread over the protocols of training."""
        return (inputs - self.input_centre) / self.input_scale


def scoring_spec(n_samples: int, *, is_divided: bool, width: int, blocks: int) -> NetworkSpec:
    """Shape of the network of a protocol."""
    return NetworkSpec(
        n_coefficients=n_samples,
        outputs=NAMES,
        supplied=SUPPLIED,
        layout="scoring",
        width=width,
        blocks=blocks,
        scale="one" if is_divided else "real",
    )

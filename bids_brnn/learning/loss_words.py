"""What a network was trained for, in words: one home for sidecars, reports and methods texts.

Apart from the losses themselves, so that reading it loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BRNN = ("brnn", "https://doi.org/10.48550/arXiv.2312.11468")
_MSE_CRB = ("msecrb", "https://doi.org/10.1002/mrm.29206")
_BIAS_CONSTRAINED = ("bce", "https://doi.org/10.48550/arXiv.2110.12403")


@dataclass(frozen=True)
class LossWords:
    """A loss as sidecars and methods texts tell it."""

    short: str
    """After "neural network trained with"; empty where the loss is not known."""
    limits_bias: bool
    """Whether the squared bias is part of it."""
    cites: str
    """Key of a publication in ``reports/methods.toml``."""
    url: str

    @property
    def algorithm(self) -> str:
        """For ``EstimationAlgorithm`` of a sidecar."""
        name = "bias-reduced neural network" if self.limits_bias else "neural network"
        return f"{name}, trained with {self.short}" if self.short else name

    @property
    def methods(self) -> str:
        """A sentence for the methods section of a report."""
        if not self.short:
            return "Its card tells the loss that it was trained with."
        rest = "" if self.limits_bias else "; bias was not penalised by itself"
        return f"It was trained with {self.short}{rest}."


def loss_words(loss: Mapping[str, Any]) -> LossWords:
    """The words for the options of a loss, as cards and ``TrainingLoss`` of sidecars hold them.

    Parameters
    ----------
    loss
        ``name``, ``weight``, ``excess`` and ``slack``; see
        :class:`bids_brnn.learning.losses.Loss`. Empty where it is not known.
    """
    name = loss.get("name", "")
    weight, excess = (float(loss.get(key, 0.0)) for key in ("weight", "excess"))
    slack = float(loss.get("slack", 1.0))
    over = "the variance above the bound" if slack == 1 else f"the variance above {slack:g} bounds"
    bias = "the squared bias over the Cram\u00e9r-Rao bound"
    if name == "mse":
        return LossWords("the mean squared error", False, *_BRNN)
    if name == "mse-crb":
        return LossWords("the squared error over the Cram\u00e9r-Rao bound", False, *_MSE_CRB)
    if name == "bias-constrained":
        error = "the squared error over the Cram\u00e9r-Rao bound"
        short = f"{error} plus {bias}" if weight > 0 else error
        return LossWords(short, weight > 0, *_BIAS_CONSTRAINED)
    if name == "bias-reduced":
        short = f"{bias}" + (f" plus {over}" if weight > 0 else "")
        return LossWords(short, True, *_BRNN)
    if name == "efficient":
        distance = (
            "the squared distance to efficient estimates of the same noisy fingerprints over the "
            "Cram\u00e9r-Rao bound"
        )
        more = [*([bias] if weight > 0 else []), *([over] if excess > 0 else [])]
        return LossWords(" plus ".join([distance, *more]), weight > 0, *_BRNN)
    short = f"the loss {name}" if name else ""
    return LossWords(short, False, *_BRNN)

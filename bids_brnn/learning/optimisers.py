"""Optimisers of a stage."""

from __future__ import annotations

import torch
from torch import nn

from bids_brnn.learning.config import Stage


def build_optimisers(network: nn.Module, stage: Stage) -> list[torch.optim.Optimizer]:
    """Optimisers that together update every weight of ``network`` once.

    ``muon`` orthogonalises the momentum of square-ish hidden matrices (equal progress in all
    directions, which the badly conditioned CRB weighting otherwise hinders); first and last
    layers, biases and normalisation weights get AdamW. ``radam`` is that of the published recipe.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    if stage.optimiser == "radam":
        return [torch.optim.RAdam(weights, lr=stage.learning_rate)]
    if stage.optimiser == "adamw":
        return [_adamw(weights, stage)]
    ends = {
        id(weight)
        for name, weight in network.named_parameters()
        if "enter" in name or "leave" in name
    }
    hidden = [weight for weight in weights if weight.ndim == 2 and id(weight) not in ends]
    chosen = {id(weight) for weight in hidden}
    rest = [weight for weight in weights if id(weight) not in chosen]
    muon = torch.optim.Muon(
        hidden,
        lr=stage.learning_rate,
        weight_decay=0.0,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, _adamw(rest, stage)]


def _adamw(weights: list[nn.Parameter], stage: Stage) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        weights, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True
    )

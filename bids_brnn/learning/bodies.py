"""The layers between standardised inputs and standardised outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bids_brnn.learning.spec import NESTED_NECK, NESTED_WIDTHS


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

    def along(
        self,
        inputs: Tensor,
        directions: Tensor,
        own: tuple[int, Tensor] | None = None,
        *,
        kind: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor]:
        """Outputs ``(v, O)``, and their derivatives ``(v, D, O)`` along ``directions`` ``(D, I)``.

        By hand: one product per layer and direction, and the activations are computed once.
        Directions are the same for all inputs, and so is what they change up to the first
        activation, but for one that is each input's ``own``: which, and ``(v, I)``. Outputs are
        computed in float32, derivatives in ``kind``.
        """
        linear = nn.functional.linear

        stream = self.enter(inputs)
        shared = linear(directions, self.enter.weight).to(kind)
        single = None if own is None else linear(own[1].to(kind), self.enter.weight.to(kind))

        def each(shared: Tensor, single: Tensor | None) -> Tensor:
            if own is None or single is None:
                return shared
            rows = shared.repeat(len(inputs), 1, 1)
            rows[:, own[0]] = single
            return rows

        moved = each(shared, single)
        for number, (widen, narrow) in enumerate(zip(self.widen, self.narrow, strict=True)):
            assert isinstance(widen, nn.Linear)
            assert isinstance(narrow, nn.Linear)
            value, slope = _silu_and_slope(widen(stream))
            weight = widen.weight.to(kind)
            if number == 0:
                steps = each(
                    linear(shared, weight), None if single is None else linear(single, weight)
                )
            else:
                steps = linear(moved, weight)
            changed = slope.to(kind)[:, None] * steps
            moved = moved + linear(changed, narrow.weight.to(kind))
            stream = stream + narrow(value)
        value, slope = _silu_and_slope(stream)
        changed = slope.to(kind)[:, None] * moved
        return self.leave(value), linear(changed, self.leave.weight.to(kind)).float()


def _silu_and_slope(values: Tensor) -> tuple[Tensor, Tensor]:
    gate = values.sigmoid()
    silu = values * gate
    return silu, gate + silu * (1 - gate)


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


def nested_body(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """The published layout; linear layers that end a skip have no activation."""
    a, b, c, d, e, f, g, h = NESTED_WIDTHS
    core = _Skip(e, *_dense(b, c), *_dense(c, d), nn.Linear(d, e))
    middle = _Skip(g, *_dense(a, b), core, *_dense(e, f), nn.Linear(f, g))
    outer = _Skip(n_inputs, *_dense(n_inputs, a), middle, *_dense(g, h), nn.Linear(h, n_inputs))
    return nn.Sequential(outer, *_dense(n_inputs, NESTED_NECK), nn.Linear(NESTED_NECK, n_outputs))

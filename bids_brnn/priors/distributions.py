"""Distributions of one parameter, and how a user writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import Parameter

Shape = Literal["constant", "uniform", "loguniform", "normal"]


@dataclass(frozen=True)
class Distribution:
    """Distribution of one parameter; ``first`` and ``second`` depend on ``shape``."""

    shape: Shape
    first: float
    """Constant: the value. Uniform and log-uniform: lower end. Normal: mean."""
    second: float = math.nan
    """Uniform and log-uniform: upper end. Normal: standard deviation before truncation."""
    within: tuple[float, float] = (-math.inf, math.inf)
    """Normal: truncation limits."""
    reciprocal: bool = False
    """Whether the parameter is one over the quantity described (R1 from a distribution of T1)."""

    def __post_init__(self) -> None:
        low, high = self._ends()
        if self.shape == "normal" and not self.second > 0:
            raise ParameterError(f"normal needs a standard deviation above 0, got {self.second}")
        if not low <= high or (self.shape != "constant" and low == high):
            raise ParameterError(f"{self.shape} needs a lower end below its upper end: {self}")
        if (self.shape == "loguniform" or self.reciprocal) and not low > 0:
            raise ParameterError(f"logarithm and reciprocal need values above 0: {self}")

    def _ends(self) -> tuple[float, float]:
        if self.shape == "constant":
            return self.first, self.first
        return self.within if self.shape == "normal" else (self.first, self.second)

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest value of the parameter."""
        low, high = self._ends()
        return (1 / high, 1 / low) if self.reciprocal else (low, high)

    def scaled(self, factor: float, parameter: Parameter) -> Distribution:
        """The distribution of ``factor`` times the parameter, cut at its bounds."""
        by = 1 / factor if self.reciprocal else factor
        ends = (parameter.lower, parameter.upper)
        low, high = (1 / ends[1], 1 / max(ends[0], 1e-12)) if self.reciprocal else ends

        def cut(value: float) -> float:
            return min(max(value, low), high)

        first, second = by * self.first, by * self.second
        if self.shape == "normal":
            within = (cut(by * self.within[0]), cut(by * self.within[1]))
            return replace(self, first=first, second=second, within=within)
        if self.shape == "constant":
            return replace(self, first=cut(first))
        return replace(self, first=cut(first), second=cut(second))

    def quantile(self, u: Tensor) -> Tensor:
        """Values at probabilities ``u`` in (0, 1): inverse of the distribution function."""
        if self.shape == "constant":
            values = torch.full_like(u, self.first)
        elif self.shape == "uniform":
            values = self.first + u * (self.second - self.first)
        elif self.shape == "loguniform":
            values = self.first * torch.exp(u * math.log(self.second / self.first))
        else:
            ends = [(end - self.first) / self.second for end in self.within]
            low, high = (torch.special.ndtr(u.new_tensor(end)) for end in ends)
            values = self.first + self.second * torch.special.ndtri(low + u * (high - low))
            values = values.clamp(*self.within)
        return 1 / values if self.reciprocal else values


def constant(value: float, *, reciprocal: bool = False) -> Distribution:
    """Always ``value``."""
    return Distribution("constant", value, reciprocal=reciprocal)


def uniform(low: float, high: float) -> Distribution:
    """Uniform between ``low`` and ``high``."""
    return Distribution("uniform", low, high)


def loguniform(low: float, high: float, *, reciprocal: bool = False) -> Distribution:
    """Uniform in the logarithm between ``low`` and ``high``."""
    return Distribution("loguniform", low, high, reciprocal=reciprocal)


def normal(
    mean: float, sd: float, low: float, high: float, *, reciprocal: bool = False
) -> Distribution:
    """Normal, truncated to ``[low, high]``."""
    return Distribution("normal", mean, sd, (low, high), reciprocal)


def read_distribution(value: object, parameter: Parameter) -> Distribution:
    """Read a distribution as parsed from TOML; the forms are those of ``Prior.from_toml``."""
    if value == "bounds":
        return uniform(parameter.lower, parameter.upper)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return constant(float(value))
    if not isinstance(value, dict):
        raise ParameterError(f'{value!r} is neither a number, "bounds" nor a distribution')
    options = dict(value)
    reciprocal = options.pop("reciprocal", False) is True
    within = options.pop("within", None)
    shapes = [shape for shape in ("constant", "uniform", "loguniform", "normal") if shape in value]
    if len(shapes) != 1 or set(options) != set(shapes):
        raise ParameterError(
            "name exactly one of constant, uniform, loguniform, normal (and within, reciprocal)"
        )
    shape = shapes[0]
    if (shape == "normal") != (within is not None):
        raise ParameterError("normal = [mean, sd] needs within = [low, high], the others do not")
    if shape == "constant":
        return constant(*_numbers([options[shape]], 1), reciprocal=reciprocal)
    first, second = _numbers(options[shape], 2)
    if shape == "uniform":
        return Distribution("uniform", first, second, reciprocal=reciprocal)
    if shape == "loguniform":
        return loguniform(first, second, reciprocal=reciprocal)
    low, high = _numbers(within, 2)
    return normal(first, second, low, high, reciprocal=reciprocal)


def _numbers(value: object, n: int) -> list[float]:
    good = isinstance(value, list) and len(value) == n
    numbers = value if isinstance(value, list) and good else []
    if not numbers or any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
        raise ParameterError(f"{value!r} is not a list of {n} number{'s' if n > 1 else ''}")
    return [float(number) for number in numbers]

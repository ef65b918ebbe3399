"""Mixtures of tissue classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors.distributions import Distribution, read_distribution
from bids_brnn.system.kinds import ListOf, Number, Table, Text, problem, shown
from bids_brnn.system.reading import parse_toml

_MAX_ROUNDS = 1000  # a class that fulfils its conditions less often than this is a mistake
_CONDITION = re.compile(r"^\s*(\w+)\s*>=\s*(\w+)\s*$")


_NAME = Text(words="a text of one line")
_PRIOR = Table(
    {
        "class": ListOf(
            Table(
                {},
                {
                    "name": _NAME,
                    "require": ListOf(_NAME, most=100),
                    "parameters": Table(),
                },
            ),
            1,
            1000,
        )
    },
    {"name": _NAME, "field_strength": Number(0.01, 25.0, "T")},
)


@dataclass(frozen=True)
class TissueClass:
    """One component of a mixture: independent parameters, then conditions between them."""

    name: str
    weight: float
    distributions: Mapping[str, Distribution]
    conditions: tuple[tuple[str, str], ...] = ()
    """Pairs ``(larger, smaller)``: draws with ``larger < smaller`` are drawn again."""


@dataclass(frozen=True)
class Prior:
    """Mixture of tissue classes over the parameters of one model."""

    parameters: ParameterSet
    classes: tuple[TissueClass, ...]
    name: str = ""
    field_strength: float | None = None
    """T: at which tissue is like this; None where it is not said."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ParameterError("a prior needs at least one tissue class")
        for tissue in self.classes:
            self._check(tissue)

    def _check(self, tissue: TissueClass) -> None:
        where = f'tissue class "{tissue.name}"'
        if not (math.isfinite(tissue.weight) and tissue.weight > 0):
            raise ParameterError(f"{where}: weight = {tissue.weight} must be above 0")
        pairs = [name for pair in tissue.conditions for name in pair]
        for name in [*tissue.distributions, *pairs]:
            if name not in self.parameters.names:
                known = ", ".join(self.parameters.names)
                raise ParameterError(f"{where}: unknown parameter {name}; this model has {known}")
        for item in self.parameters:
            if item.name not in tissue.distributions:
                raise ParameterError(f"{where}: parameter {item.name} is missing")
            low, high = tissue.distributions[item.name].support
            slack = 1e-6 * (item.upper - item.lower)
            if low < item.lower - slack or high > item.upper + slack:
                raise ParameterError(
                    f"{where}: {item.name} may be {low:g} ... {high:g} {item.item.unit}, "
                    f"outside the model's [{item.lower:g}, {item.upper:g}]; narrow it"
                )

    def sample(self, n: int, *, rng: torch.Generator, dtype: torch.dtype | None = None) -> Tensor:
        """Draw ``n`` parameter sets ``(n, P)``, on the device of ``rng``.

        The classes get their shares of ``n`` exactly (up to rounding), in random order, so that
        small sets are as representative as large ones.
        """
        drawn = [
            self._sample_class(tissue, count, rng)
            for tissue, count in zip(self.classes, self._shares(n), strict=True)
        ]
        order = torch.randperm(n, generator=rng, device=rng.device)
        return torch.cat(drawn)[order].to(dtype or torch.float64)

    def part(self, tissue: str, ranges: Mapping[str, object]) -> Prior:
        """One class alone, with other distributions for some parameters.

        Parameters
        ----------
        tissue
            Name of the class.
        ranges
            Distributions by parameter, in the forms of :meth:`from_toml`.

        Raises
        ------
        ParameterError
            If there is no such class, or a range is wrong.
        """
        known = {item.name: item for item in self.classes}
        if tissue not in known:
            raise ParameterError(f'no tissue class "{tissue}"; known: {", ".join(known)}')
        changed = _read_distributions(ranges, self.parameters, f'tissue class "{tissue}"')
        distributions = {**known[tissue].distributions, **changed}
        return replace(self, classes=(replace(known[tissue], distributions=distributions),))

    def _shares(self, n: int) -> list[int]:
        total = sum(tissue.weight for tissue in self.classes)
        exact = [n * tissue.weight / total for tissue in self.classes]
        counts = [math.floor(share) for share in exact]
        by_remainder = sorted(range(len(exact)), key=lambda k: counts[k] - exact[k])
        for k in by_remainder[: n - sum(counts)]:
            counts[k] += 1
        return counts

    def _sample_class(self, tissue: TissueClass, n: int, rng: torch.Generator) -> Tensor:
        accepted: list[Tensor] = []
        missing = n
        for _ in range(_MAX_ROUNDS):
            if missing == 0:
                break
            u = torch.rand(
                (missing, len(self.parameters)),
                generator=rng, device=rng.device, dtype=torch.float64,
            )  # fmt: skip
            columns = [
                tissue.distributions[name].quantile(u[:, column])
                for column, name in enumerate(self.parameters.names)
            ]
            theta = torch.stack(columns, dim=-1)
            keep = torch.ones(missing, dtype=torch.bool, device=theta.device)
            for pair in tissue.conditions:
                larger, smaller = self.parameters.index(pair)
                keep &= theta[:, larger] >= theta[:, smaller]
            accepted.append(theta[keep])
            missing -= int(keep.sum())
        if missing:
            raise ParameterError(
                f'tissue class "{tissue.name}": its conditions are almost never fulfilled'
            )
        return torch.cat(accepted) if accepted else torch.empty(0, len(self.parameters)).double()

    @classmethod
    def from_toml(cls, text: str, parameters: ParameterSet) -> Prior:
        """Read a user's prior.

        Parameters
        ----------
        text
            TOML with an optional ``name`` and ``field_strength`` (T), and one ``[[class]]`` per
            tissue: ``name``, ``weight``, optional ``require`` (conditions like
            ``"R2f >= R1f"``) and a table ``class.parameters`` in which each
            parameter is a number, ``"bounds"`` (uniform over the model's range) or one of
            ``{constant = v}``, ``{uniform = [low, high]}``, ``{loguniform = [low, high]}``,
            ``{normal = [mean, sd], within = [low, high]}``, each with ``reciprocal = true``
            where the numbers describe a time and the parameter is its rate.
        parameters
            The model's parameters; values are SI units.

        Raises
        ------
        ParameterError
            Naming class, parameter and what is wrong.
        """
        try:
            content = parse_toml(text)
        except ValueError as error:
            raise ParameterError(f"the prior is not valid TOML: {error}") from None
        unknown = set(content) - {"class", "name", "field_strength"}
        if unknown or not isinstance(content.get("class"), list):
            raise ParameterError(
                "a prior consists of [[class]] tables and an optional name and field_strength"
                + (f", not {', '.join(sorted(unknown))}" if unknown else "")
            )
        if text := problem(_PRIOR, content, "the prior"):
            raise ParameterError(text)
        classes = tuple(_read_class(entry, parameters) for entry in content["class"])
        field = content.get("field_strength")
        return cls(parameters, classes, str(content.get("name", "")), field)


def _read_class(entry: Mapping[str, Any], parameters: ParameterSet) -> TissueClass:
    name = str(entry.get("name", "without name"))
    where = f'tissue class "{name}"'
    unknown = set(entry) - {"name", "weight", "require", "parameters"}
    if unknown:
        raise ParameterError(f"{where}: unknown key {', '.join(sorted(unknown))}")
    weight = entry.get("weight", 1.0)
    if not Number(-1e9, 1e9).holds(weight):  # negative ones are refused below
        raise ParameterError(f"{where}: weight = {shown(weight)} is not a number")
    conditions = []
    for text in entry.get("require", []):
        match = _CONDITION.match(str(text))
        if match is None:
            raise ParameterError(f'{where}: cannot read condition "{text}"; write "R2f >= R1f"')
        conditions.append((match[1], match[2]))
    distributions = _read_distributions(entry.get("parameters", {}), parameters, where)
    return TissueClass(name, float(weight), distributions, tuple(conditions))


def _read_distributions(
    table: Mapping[str, object], parameters: ParameterSet, where: str
) -> dict[str, Distribution]:
    distributions = {}
    for key, value in table.items():
        if key not in parameters.names:
            known = ", ".join(parameters.names)
            raise ParameterError(f"{where}: unknown parameter {key}; this model has {known}")
        try:
            distributions[key] = read_distribution(value, parameters[key])
        except ParameterError as error:
            raise ParameterError(f"{where}, parameter {key}: {error}") from None
    return distributions

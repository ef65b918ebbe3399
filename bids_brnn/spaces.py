"""Names of spaces as they are asked for: ``TEMPLATE[:cohort-LABEL][:res-LABEL]``.

fMRIPrep names images ``space-TEMPLATE_cohort-3`` and transforms ``to-TEMPLATE+3``; both are the
space ``TEMPLATE:cohort-3`` here. A template without a cohort is never that of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MODIFIERS = ("cohort", "res")


@dataclass(frozen=True)
class SpaceName:
    """The parts of the name of a space."""

    label: str
    """``T1w`` or a template."""
    cohort: str = ""
    res: str = ""

    @property
    def template(self) -> str:
        """Without the resolution."""
        return f"{self.label}:cohort-{self.cohort}" if self.cohort else self.label

    @property
    def name(self) -> str:
        """The parts in one order."""
        return f"{self.template}:res-{self.res}" if self.res else self.template

    @property
    def entities(self) -> dict[str, str]:
        """PyBIDS entities of a file in this space."""
        given = {"space": self.label, "cohort": self.cohort, "res": self.res}
        return {key: label for key, label in given.items() if label}


def parse_space(text: str) -> SpaceName:
    """Take the name of a space apart; modifiers in any order.

    Raises
    ------
    ValueError
        If a part is no label, or no modifier that is known.

    >>> parse_space("MNIPediatricAsym:res-2:cohort-3").name
    'MNIPediatricAsym:cohort-3:res-2'
    """
    label, *rest = text.split(":")
    label, plus, cohort = label.partition("+")
    given = {"cohort": cohort} if plus else {}
    for item in rest:
        key, _, value = item.partition("-")
        if key not in _MODIFIERS or key in given:
            raise ValueError(f'"{item}" is not understood')
        given[key] = value
    for part in (label, *given.values()):
        if not (part.isascii() and part.isalnum()):
            raise ValueError(f'"{part}" is no BIDS label (letters and digits only)')
    return SpaceName(label, **given)


def space_of(entities: Mapping[str, str], key: str) -> SpaceName:
    """The space that ``key`` (``space``, ``to``) of a file name speaks of, with its cohort."""
    label, _, cohort = entities[key].partition("+")
    return SpaceName(label, cohort or entities.get("cohort", ""), entities.get("res", ""))

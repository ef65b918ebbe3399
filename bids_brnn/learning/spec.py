"""The shape of a network as plain values; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from bids_brnn.errors import DataError

Normalisation = Literal["first", "norm"]
"""``first``: divide by the first coefficient. ``norm``: divide by the norm and by the phase of
the first coefficient, which stays defined where the first coefficient is small."""
Layout = Literal["residual", "nested"]


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
    """How scale and phase of M0 are removed, see :mod:`bids_brnn.learning.normalisation`."""
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
    odd: str = ""
    """Output of the residual layout that changes its sign, and alone does, when the coefficients
    are conjugated: ``w0`` where RF phases and basis are real. One half of the signals, chosen by
    :attr:`CoefficientNetwork.fold`, is then conjugated, and only the other half is learnt."""

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
        if self.odd and (self.odd not in self.outputs or self.layout == "nested"):
            raise DataError(f"the odd output {self.odd} must be one of the residual layout")

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


def residual_shapes(
    n_inputs: int, n_outputs: int, width: int, blocks: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a residual body, by their names in its state."""
    layers = {"enter": (width, n_inputs), "leave": (n_outputs, width)}
    for number in range(blocks):
        layers |= {f"widen.{number}": (width, width), f"narrow.{number}": (width, width)}
    weights = {f"{name}.weight": shape for name, shape in layers.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in layers.items()}

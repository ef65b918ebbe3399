"""The shape of a network as plain values; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from bids_brnn.errors import DataError
from bids_brnn.learning import scoring_shape

Normalisation = Literal["first", "norm"]
"""``first``: divide by the first coefficient. ``norm``: divide by the norm and by the phase of
the first coefficient, which stays defined where the first coefficient is small."""
Scale = Literal["complex", "real", "one"]
"""What is unknown of M0, as :data:`bids_brnn.signals.base.Amplitude`: a complex scale; a real one
of real values; nothing."""
Layout = Literal["residual", "nested", "scoring"]
NESTED_WIDTHS = (256, 512, 1024, 768, 512, 384, 256, 128)
"""Of the published layout."""
NESTED_NECK = 32


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
    scale: Scale = "complex"
    """Of the coefficients. Of real ones only real parts are inputs, divided by their norm, or as
    they are where M0 is known."""
    odd: str = ""
    """Output of the residual layout that changes its sign, and alone does, when the coefficients
    are conjugated: ``w0`` where RF phases and basis are real. One half of the signals, chosen by
    :attr:`CoefficientNetwork.fold`, is then conjugated, and only the other half is learnt."""

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise DataError(
                f'network layout "{self.layout}" is unknown; use {" or ".join(get_args(Layout))}'
            )
        if self.scale not in get_args(Scale):
            raise DataError(f'scale "{self.scale}" is unknown; use {", ".join(get_args(Scale))}')
        if min(self.n_coefficients, len(self.outputs), self.width, self.blocks) < 1:
            raise DataError("a network needs coefficients, outputs, width and blocks above zero")
        bounded = len(self.lower) == len(self.upper) == len(self.outputs)
        if self.layout == "nested" and not bounded:
            raise DataError("the nested layout needs one lower and one upper limit per output")
        if self.layout == "scoring" and (
            self.scale == "complex" or self.supplied != scoring_shape.SUPPLIED
        ):
            raise DataError(
                'the layout "scoring" is of networks for any protocol of Z-spectra, with supplied '
                f"{', '.join(scoring_shape.SUPPLIED)}; train with residual or nested"
            )
        unknown = sorted(set(self.logarithmic) - set(self.outputs))
        if unknown or (self.logarithmic and self.layout == "nested"):
            raise DataError(
                f"logarithmic outputs {', '.join(unknown or self.logarithmic)}: they must be "
                f"outputs ({', '.join(self.outputs)}) of the residual layout"
            )
        if self.odd and self.scale != "complex":
            raise DataError(f"real coefficients have no conjugate; {self.odd} cannot be odd")
        if self.odd and (self.odd not in self.outputs or self.layout == "nested"):
            raise DataError(f"the odd output {self.odd} must be one of the residual layout")

    @property
    def n_inputs(self) -> int:
        """Real inputs: real and imaginary parts, then the supplied parameters.

        Of scoring steps as :func:`~bids_brnn.learning.scoring_shape.n_scored` says.
        """
        if self.layout == "scoring":
            return scoring_shape.n_scored(len(self.outputs))
        parts = 2 if self.scale == "complex" else 1
        return parts * self.n_coefficients + len(self.supplied)

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


def network_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights of a network, by their names in its state."""
    rank, outputs = spec.n_coefficients, len(spec.outputs)
    body = (
        nested_shapes(spec.n_inputs, outputs)
        if spec.layout == "nested"
        else residual_shapes(spec.n_inputs, outputs, spec.width, spec.blocks)
    )
    shapes = {f"body.{name}": shape for name, shape in body.items()}
    shapes |= {"input_centre": (spec.n_inputs,), "input_scale": (spec.n_inputs,)}
    shapes |= {"output_centre": (outputs,), "output_scale": (outputs,)}
    if spec.layout == "scoring":
        steps = scoring_shape.step_shapes(rank, outputs)
        shapes |= {f"steps.{name}": shape for name, shape in steps.items()}
    return shapes | ({"fold": (rank, rank)} if spec.odd else {})


def surrogate_shapes(
    n_parameters: int, rank: int, width: int, blocks: int, harmonics: int
) -> dict[str, tuple[int, ...]]:
    """The same of a surrogate signal model."""
    body = residual_shapes(n_parameters + 2 * harmonics, 2 * rank, width, blocks)
    shapes = {f"body.{name}": shape for name, shape in body.items()}
    shapes |= {"centre": (n_parameters,), "scale": (n_parameters,)}
    return shapes | {"level": (2 * rank,), "spread": (2 * rank,)}


def error_shapes(
    n_features: int, n_outputs: int, width: int, blocks: int
) -> dict[str, tuple[int, ...]]:
    """The same of a network that knows the errors of another."""
    below = n_outputs * (n_outputs - 1) // 2
    body = residual_shapes(n_features + 1, n_outputs + below, width, blocks)
    shapes = {f"body.{name}": shape for name, shape in body.items()}
    return shapes | {"level": (n_outputs,), "noise": (2,)}


def nested_shapes(n_inputs: int, n_outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a nested body, by their names in its state."""
    a, b, c, d, e, f, g, h = NESTED_WIDTHS
    core, middle = "0.inner.3.inner.3", "0.inner.3"
    linear = {
        "0.inner.0": (n_inputs, a), f"{middle}.inner.0": (a, b), f"{core}.inner.0": (b, c),
        f"{core}.inner.3": (c, d), f"{core}.inner.6": (d, e), f"{middle}.inner.4": (e, f),
        f"{middle}.inner.7": (f, g), "0.inner.4": (g, h), "0.inner.7": (h, n_inputs),
        "1": (n_inputs, NESTED_NECK), "4": (NESTED_NECK, n_outputs),
    }  # fmt: skip
    norms = {
        "0.inner.1": a, f"{middle}.inner.1": b, f"{core}.inner.1": c, f"{core}.inner.4": d,
        f"{core}.norm": e, f"{middle}.inner.5": f, f"{middle}.norm": g, "0.inner.5": h,
        "0.norm": n_inputs, "2": NESTED_NECK,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (before, after) in linear.items():
        shapes |= {f"{name}.weight": (after, before), f"{name}.bias": (after,)}
    for name, width in norms.items():
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"{name}.{part}": (width,) for part in parts}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


def residual_shapes(
    n_inputs: int, n_outputs: int, width: int, blocks: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a residual body, by their names in its state."""
    layers = {"enter": (width, n_inputs), "leave": (n_outputs, width)}
    for number in range(blocks):
        layers |= {f"widen.{number}": (width, width), f"narrow.{number}": (width, width)}
    weights = {f"{name}.weight": shape for name, shape in layers.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in layers.items()}

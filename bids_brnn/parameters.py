"""The one table of parameters: names, units, bounds, BIDS names and words.

Network heads, NLLS bounds, dictionary grids, file names, sidecars, figures and ROI columns are
derived from here. All values are SI (s, 1/s, rad/s); see ``pulse_sequence`` for angles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from bids_brnn.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["estimated", "nuisance", "supplied"]


@dataclass(frozen=True)
class MapItem:
    """Anything that becomes a file: a parameter, a derived quantity or a quality measure."""

    name: str
    unit: str
    """CMIXF unit as written to the sidecar: ``s``, ``1/s``, ``rad/s``, ``1``, ``arbitrary``."""
    suffix: str
    """BIDS suffix; ``QMTmap`` and ``MRFmap`` carry the name in ``param-``."""
    description: str
    display: tuple[float, float] | None = None
    """Colour range of figures, in ``unit`` (arXiv 2312.11468, figures 4 and 5)."""


@dataclass(frozen=True)
class Parameter:
    """One column of ``theta``: a map item with its bounds and its role in the estimation."""

    item: MapItem
    lower: float
    upper: float
    start: float
    role: Role

    def __post_init__(self) -> None:
        if not self.lower < self.upper or not self.lower <= self.start <= self.upper:
            msg = f"{self.item.name}: need lower <= start <= upper, got {self}"
            raise ParameterError(msg)

    @property
    def name(self) -> str:
        """Name in the field's standard notation, for example ``R1f``."""
        return self.item.name

    @property
    def is_wide(self) -> bool:
        """Whether the range asks for logarithms: positive, and more than a factor 4."""
        return self.lower > 0 and self.upper > 4 * self.lower


@dataclass(frozen=True)
class Derived:
    """A map that follows from parameters; its standard deviation follows from theirs."""

    item: MapItem
    of: tuple[str, ...]
    """Parameters that it follows from; the map is written after the first of them."""
    function: Callable[..., Any] = field(repr=False)
    """Of tensors of their values, in this order; differentiable."""
    bounds: tuple[float, float] | None = None
    """What it can be; None: what the function makes of the bounds of the parameters."""

    def range(self, parameters: ParameterSet) -> tuple[float, float]:
        """Least and largest value for parameters within their bounds (monotone functions)."""
        if self.bounds is not None:
            return self.bounds
        ends = [(parameters[name].lower, parameters[name].upper) for name in self.of]
        values = [self.function(*corner) for corner in itertools.product(*ends)]
        return min(values), max(values)


TIMES = (
    Derived(
        MapItem("T1", "s", "T1map", "Longitudinal relaxation time", (0.0, 2.5)),
        ("R1",), lambda R1: 1 / R1,
    ),
    Derived(
        MapItem("T2", "s", "T2map", "Transverse relaxation time", (0.0, 0.2)),
        ("R2",), lambda R2: 1 / R2,
    ),
)  # fmt: skip
"""Rates of a single-pool model that users also want as times."""


@dataclass(frozen=True)
class ParameterSet:
    """An ordered set of parameters; its order is the order of the last axis of ``theta``."""

    items: tuple[Parameter, ...]
    derived: tuple[Derived, ...] = TIMES
    """Maps beside those of the parameters, where the set has what they follow from."""

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.items):
            raise ParameterError(f"parameter names repeat: {', '.join(self.names)}")

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Parameter:
        return self.items[self.index((name,))[0]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of ``theta``."""
        return tuple(parameter.name for parameter in self.items)

    def index(self, names: Iterable[str]) -> list[int]:
        """Columns of ``theta`` that hold ``names``.

        Raises
        ------
        ParameterError
            If a name is not in this set.
        """
        position = {name: column for column, name in enumerate(self.names)}
        wanted = list(names)
        unknown = [name for name in wanted if name not in position]
        if unknown:
            raise ParameterError(
                f"unknown parameter {', '.join(unknown)}; this model has {', '.join(self.names)}"
            )
        return [position[name] for name in wanted]

    def columns(self, *roles: Role) -> list[int]:
        """Columns of ``theta`` whose role is one of ``roles``."""
        return [column for column, item in enumerate(self.items) if item.role in roles]

    def select(self, *roles: Role) -> ParameterSet:
        """The subset with one of ``roles``, in the same order."""
        return replace(self, items=tuple(item for item in self.items if item.role in roles))

    def maps_of(self, name: str) -> list[Derived]:
        """Derived maps that follow the parameter ``name``: those of which a part is estimated."""
        estimated = set(self.select("estimated").names)
        return [
            item
            for item in self.derived
            if item.of[0] == name and estimated & set(item.of) and set(item.of) <= set(self.names)
        ]

    @property
    def needs_covariance(self) -> bool:
        """Whether a derived map follows from several parameters."""
        return any(len(item.of) > 1 for name in self.names for item in self.maps_of(name))

    def with_role(self, name: str, role: Role) -> ParameterSet:
        """A copy in which ``name`` has another role."""
        return self.replace(name, role=role)

    def replace(self, name: str, **changes: object) -> ParameterSet:
        """A copy in which fields of one parameter (bounds, start, role) are changed."""
        column = self.index((name,))[0]
        items = list(self.items)
        items[column] = replace(items[column], **changes)  # type: ignore[arg-type]
        return replace(self, items=tuple(items))

    def shown(self, name: str, display: tuple[float, float]) -> ParameterSet:
        """A copy in which figures of one parameter have another range."""
        return self.replace(name, item=replace(self[name].item, display=display))

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds, each of shape ``(P,)``, in dtype and on device of ``like``."""
        lower = like.new_tensor([item.lower for item in self.items])
        return lower, like.new_tensor([item.upper for item in self.items])

    def start(self, like: Tensor) -> Tensor:
        """Start values of shape ``(P,)``, in dtype and on device of ``like``."""
        return like.new_tensor([item.start for item in self.items])

    def to_unit(self, theta: Tensor) -> Tensor:
        """Map ``theta`` ``(..., P)`` linearly so that the bounds become 0 and 1."""
        lower, upper = self.bounds(theta)
        return (theta - lower) / (upper - lower)

    def from_unit(self, unit: Tensor) -> Tensor:
        """Inverse of :meth:`to_unit`."""
        lower, upper = self.bounds(unit)
        return lower + unit * (upper - lower)

    def theta(self, values: Mapping[str, Tensor | float], like: Tensor) -> Tensor:
        """Build ``theta`` ``(..., P)`` from named values; absent names take their start value."""
        import numpy as np  # listing parameters must cost nothing

        self.index(values)
        shape = np.broadcast_shapes(*(np.shape(value) for value in values.values()))
        theta = like.new_empty((*shape, len(self)))
        for column, item in enumerate(self.items):
            theta[..., column] = values.get(item.name, item.start)
        return theta


def _qmt(name: str, unit: str, words: str, display: tuple[float, float] | None = None) -> MapItem:
    return MapItem(name, unit, "QMTmap", words, display)


B1 = MapItem("B1", "1", "TB1map", "Actual over nominal flip angle", (0.6, 1.4))
W0 = MapItem("w0", "rad/s", "QMTmap", "Off-resonance angular frequency", (-450.0, 450.0))

QMT = ParameterSet(
    (
        Parameter(
            _qmt("m0s", "1", "Fractional size of the semi-solid spin pool", (0.0, 0.3)),
            0.0, 0.6, 0.15, "estimated",
        ),
        Parameter(
            _qmt("R1f", "1/s", "Longitudinal relaxation rate of the free pool", (0.1, 0.7)),
            0.05, 10.0, 0.5, "estimated",
        ),
        Parameter(
            _qmt("R2f", "1/s", "Transverse relaxation rate of the free pool", (8.0, 18.0)),
            0.1, 100.0, 12.5, "estimated",
        ),
        Parameter(
            _qmt("Rx", "1/s", "Exchange rate between the pools", (8.0, 25.0)),
            0.5, 80.0, 15.0, "estimated",
        ),
        Parameter(
            _qmt("R1s", "1/s", "Longitudinal relaxation rate of the semi-solid pool", (1.0, 5.0)),
            0.5, 12.0, 3.0, "estimated",
        ),
        Parameter(
            _qmt("T2s", "s", "Transverse time constant of the semi-solid pool", (8e-6, 20e-6)),
            3e-6, 30e-6, 12e-6, "estimated",
        ),
        # The model narrows these bounds to +-pi/TR of its sequence.
        Parameter(W0, -2 * math.pi * 500, 2 * math.pi * 500, 0.0, "nuisance"),
        Parameter(B1, 0.5, 1.35, 1.0, "nuisance"),
    )
)  # fmt: skip
"""Generalized Bloch model, order (m0s, R1f, R2f, Rx, R1s, T2s, w0, B1)."""

Z_SPECTRUM = (
    QMT.replace("R1s", role="supplied", start=1.0, lower=0.05)
    .replace("R1f", role="supplied", start=0.9)
    .replace("w0", role="supplied")
    .replace("B1", role="supplied", lower=0.4, upper=1.6)
    .replace("Rx", lower=0.05, upper=150.0)
    .replace("T2s", upper=50e-6)
    .shown("R1f", (0.1, 1.5))
    .shown("R2f", (0.0, 60.0))
    .shown("Rx", (0.0, 30.0))
)
"""Two pools of conventional qMT: the same; the data tell neither R1, nor the fields, which come
from maps, and Rx and T2s less well, so that these may be what published estimates of them are."""


RELAXATION = ParameterSet(
    (
        Parameter(
            MapItem("R1", "1/s", "R1map", "Longitudinal relaxation rate", (0.0, 2.0)),
            0.1, 20.0, 1.0, "estimated",
        ),
        Parameter(
            MapItem("R2", "1/s", "R2map", "Transverse relaxation rate", (0.0, 30.0)),
            0.2, 200.0, 13.0, "estimated",
        ),
        Parameter(B1, 0.4, 1.6, 1.0, "supplied"),
    )
)  # fmt: skip
"""Single-pool relaxometry (MR fingerprinting with FISP), order (R1, R2, B1)."""

BALANCED = ParameterSet(
    (RELAXATION["R1"], RELAXATION["R2"], Parameter(W0, -math.pi / 3e-3, math.pi / 3e-3, 0.0,
     "nuisance"), RELAXATION["B1"])
)  # fmt: skip
"""Single-pool relaxometry with off-resonance (balanced SSFP), order (R1, R2, w0, B1).

A pulse train narrows the bounds of w0 to +-pi/TR."""


@dataclass(frozen=True)
class MapUnit:
    """A unit in which a map of the data set may be declared."""

    name: str
    """``Units`` of the sidecar."""
    factor: float
    """To the unit of the model."""
    also: tuple[str, ...] = ()
    """Other spellings, in small letters."""
    over: tuple[str, ...] = ()
    """Keys of the sidecar; values are divided by the number under the first one that is there."""
    words: str = ""
    """What it means, for messages."""
    inverse: bool = False
    """Whether the map is one of the inverse, as T1 is of R1; the factor is that of the inverse of
    its values."""


@dataclass(frozen=True)
class FieldMap:
    """A map of the data set that supplies a parameter."""

    key: str
    """Of ``--ignore`` and ``--bids-filter-file``."""
    words: str
    """As people call it."""
    suffix: str
    """BIDS suffix of the map on the grid of a series."""
    unit: str
    """In which the model takes it."""
    units: tuple[MapUnit, ...]
    """In which it may be declared."""
    plausible: tuple[float, float]
    """Median of the absolute values in a head, in ``unit``; beyond, the declaration is wrong."""
    positive: bool
    """Whether 0 and less mean that nothing was measured."""
    inverse: str = ""
    """BIDS suffix of a map of the inverse, if there are such maps."""
    folder: str = "fmap"
    """Where a map on the grid of a series lies."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the sidecar that tell the unit."""
        return ("Units", *dict.fromkeys(key for unit in self.units for key in unit.over))


_NOMINAL = ("NominalFlipAngle", "FlipAngle")
_TURN = 2 * math.pi
_PROTON = _TURN * 42.577478518e6  # rad/s/T, CODATA 2018

FIELDS = ("B1", "w0")
"""Of :data:`FIELD_MAPS` those of the scanner; the others are of tissue."""

FIELD_MAPS: Mapping[str, FieldMap] = {
    "R1": FieldMap(
        "r1map", "R1", "R1map", "1/s",
        units=(
            MapUnit("1/s", 1.0, ("s-1", "s^-1", "s⁻¹", "1/sec")),
            MapUnit("s", 1.0, ("sec", "second", "seconds"), inverse=True),
            MapUnit("ms", 1e3, ("msec", "millisecond", "milliseconds"), inverse=True),
        ),
        plausible=(0.15, 6.0),
        positive=True,
        inverse="T1map",
        folder="anat",
    ),
    "B1": FieldMap(
        "b1map", "B1", "TB1map", "1",
        units=(
            MapUnit("percent", 0.01, ("%",), words="100 is nominal"),
            MapUnit("1", 1.0, ("1.0", "ratio", "fraction", "unitless", "dimensionless"),
                    words="1 is nominal"),
            MapUnit("degree", 1.0, ("degrees", "deg", "°"), _NOMINAL,
                    "with the nominal angle in degrees as NominalFlipAngle"),
            MapUnit("rad", 180 / math.pi, ("radian", "radians"), _NOMINAL,
                    "with NominalFlipAngle, in degrees"),
        ),
        plausible=(0.3, 2.0),
        positive=True,
    ),
    "w0": FieldMap(
        "b0map", "B0", "fieldmap", "rad/s",
        units=(
            MapUnit("Hz", _TURN, ("hertz",)),
            MapUnit("rad/s", 1.0, ("radian/s", "radians/s", "rad/sec", "rad s-1", "rad·s-1")),
            MapUnit("kHz", 1e3 * _TURN),
            MapUnit("T", _PROTON, ("tesla",)),
            MapUnit("uT", 1e-6 * _PROTON, ("µt", "μt", "microtesla")),
        ),
        plausible=(_TURN * 0.01, _TURN * 3000),
        positive=False,
    ),
}  # fmt: skip
"""Maps of the data set by name of the parameter that they supply; R1 is the observed rate, which
conventional qMT needs."""

"""What each signal model says of itself; the one place where a model is made known.

A model is a class (its file) and an entry here: everything that BIDS input and output, workflows,
toolbox and reports need to know of it. Loading this module loads no torch: classes, priors and
trains are named, and imported when they are first used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from bids_brnn.errors import DataError
from bids_brnn.parameters import (
    BALANCED,
    FIELD_MAPS,
    QMT,
    RELAXATION,
    Z_SPECTRUM,
    ParameterSet,
)
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

if TYPE_CHECKING:
    from bids_brnn.priors import Prior
    from bids_brnn.sequences.pulse_sequence import Gradient, PulseSequence, Start
    from bids_brnn.sequences.z_spectrum import ZSpectrum
    from bids_brnn.signals.base import SignalModel

EXTENSIONS = "bids_brnn.extensions"
"""Entry points of other packages: functions without arguments that register what they bring."""


@dataclass(frozen=True)
class SeriesKind:
    """A kind of series in BIDS data: one suffix, and what holds for all models of it."""

    name: str
    """Key of ``--modality`` and of ``--bids-filter-file``."""
    title: str
    suffix: str
    magnitude_allowed: bool = False
    """Whether magnitudes of time frames alone can be estimated from."""
    other_suffixes: tuple[str, ...] = ()
    """Of images that other programs call so; outputs never bear them."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of its images, ours first."""
        return (self.suffix, *self.other_suffixes)

    @property
    def map_suffix(self) -> str:
        """Suffix of maps that carry their quantity in ``param-``."""
        return f"{self.suffix}map"

    @property
    def reference_suffix(self) -> str:
        """Suffix of the mean magnitude of a series."""
        return f"{self.suffix}ref"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A signal model, and what it needs and offers."""

    name: str
    """Key of the model: of ``--model``, of ``SignalModel`` in sidecars, of model cards."""
    home: str | Callable[..., SignalModel]
    """The class, or ``module:class``; it takes a ``PulseSequence`` first."""
    kind: SeriesKind
    """Of the series that it describes."""
    label: str
    """Value of ``model-`` in file names."""
    url: str
    """Where the model is published."""
    parameters: ParameterSet
    """Of the model; its bounds for one pulse train may be narrower."""
    prior: str | Callable[[ParameterSet], Prior]
    """What tissues may look like: a function of the parameters, or ``module:function``."""
    reference: str
    """Key of the reference estimator in ``estimators.registry``."""
    called: str = ""
    """Name that users give among models of the same ``protocol``; by default ``name``."""
    observed: ParameterSet | None = None
    """Parameters as they are estimated, where these are not those of the model: an observed rate
    in the place of one that the model has."""
    protocol: Literal["pulses", "zspectrum"] = "pulses"
    """What tells the measurement: a train of RF pulses, or MT pulses by angle and offset."""
    start: Start = "thermal"
    """State before the first pulse where the metadata are silent."""
    gradient: Gradient = "balanced"
    """Between pulses, where neither table nor metadata speak of it."""
    needs_duration: bool = False
    """Whether the pulse table must say how long each pulse lasts."""
    serves: Callable[[PulseSequence], bool] = field(default=lambda sequence: True)  # noqa: ARG005
    """Whether it describes a pulse train; of a kind, the first model that does is taken."""
    conjugate: bool = False
    """Whether the signal at ``-w0`` is the conjugate of that at ``w0`` (real pulses)."""
    train: str | Callable[[], Any] | None = None
    """A train of our own, for tools that are given none."""
    methods: str = ""
    """Sentences for the methods section of a report."""
    cites: tuple[str, ...] = ()
    """Keys of publications in ``reports/methods.toml`` or in ``bibliography``."""
    bibliography: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Publications that ``reports/methods.toml`` lacks, in its form."""

    def __post_init__(self) -> None:
        if not self.called:
            object.__setattr__(self, "called", self.name)

    @property
    def sought(self) -> ParameterSet:
        """Parameters as estimators have them, with what is made known of each voxel."""
        return self.parameters if self.observed is None else self.observed

    @property
    def field_maps(self) -> tuple[str, ...]:
        """Parameters that a field map of the data set can supply."""
        known = self.sought.select("supplied", "nuisance").names
        return tuple(name for name in FIELD_MAPS if name in known)

    def build(self, sequence: PulseSequence | ZSpectrum, **options: Any) -> SignalModel:
        """The model of a pulse train."""
        model: Callable[..., SignalModel] = resolve(self.home)
        return model(sequence, **options)

    def make_prior(self, parameters: ParameterSet) -> Prior:
        """The prior for the parameters of a model that was built."""
        make: Callable[[ParameterSet], Prior] = resolve(self.prior)
        return make(parameters)

    def own_train(self) -> Any:
        """The train of our own, if there is one."""
        if self.train is None:
            return None
        return resolve(self.train)()


def resolve(home: Any) -> Any:
    """What ``module:name`` names; anything but a text is returned as it is."""
    if not isinstance(home, str):
        return home
    module, _, name = home.partition(":")
    return getattr(import_module(module), name)


_QMT = SeriesKind("qmt", "qMT", "QMT", other_suffixes=("QMTSPGR",))
_MRF = SeriesKind("mrf", "MRF", "MRF", magnitude_allowed=True)
_USUAL = "gbloch"
PROTOCOLS: Mapping[str, str] = {"pulses": "pulse trains", "zspectrum": "Z-spectra"}
"""Kinds of protocol, in words."""
_MODELS: dict[str, ModelEntry] = {}
_loaded: set[str] = set()
_searched: set[tuple[str, ...]] = set()


def register_model(entry: ModelEntry) -> ModelEntry:
    """Make a signal model known to every part of the program.

    Raises
    ------
    DataError
        If another model has this name or label, or another kind of series its suffix.
    """
    for other in _MODELS.values():
        same = (other.called, other.protocol) == (entry.called, entry.protocol)
        same = same or other.name == entry.name or other.label == entry.label
        if other is not entry and same:
            raise DataError(f'there is a signal model "{other.name}" ({other.label}) already')
    for kind in _kinds().values():
        if kind != entry.kind and {kind.name, kind.suffix} & {entry.kind.name, entry.kind.suffix}:
            raise DataError(
                f'the kind of series of "{entry.name}" contradicts {kind.title} (suffix '
                f"{kind.suffix})"
            )
    _MODELS[entry.name] = entry
    return entry


def models() -> Mapping[str, ModelEntry]:
    """All models by name, those of other packages last."""
    load_extensions()
    return _MODELS


def model_entry(name: str) -> ModelEntry:
    """The entry of a model.

    Raises
    ------
    DataError
        If there is no such model.
    """
    if name not in _MODELS and name not in models():
        raise DataError(f'signal model "{name}" is unknown; use one of {", ".join(_MODELS)}')
    return _MODELS[name]


def series_kinds() -> Mapping[str, SeriesKind]:
    """All kinds of series by name."""
    load_extensions()
    return _kinds()


def series_kind(name: str) -> SeriesKind:
    """A kind of series by name."""
    found = _kinds()
    return found[name] if name in found else series_kinds()[name]


def models_of(kind: str) -> list[ModelEntry]:
    """Models that describe a kind of series, the usual one first."""
    return [entry for entry in models().values() if entry.kind.name == kind]


def models_by_protocol(protocol: str) -> list[ModelEntry]:
    """Models of a kind of protocol, the usual one first: the generalized Bloch model."""
    found = [entry for entry in models().values() if entry.protocol == protocol]
    return sorted(found, key=lambda entry: entry.called != _USUAL)


def model_called(called: str, protocol: str) -> ModelEntry:
    """The model that users call so, of a kind of protocol.

    Raises
    ------
    DataError
        If there is none; with the names that there are.
    """
    found = models_by_protocol(protocol)
    for entry in found:
        if called in (entry.called, entry.name):
            return entry
    names = ", ".join(entry.called for entry in found)
    raise DataError(f'"{called}" is no signal model of {PROTOCOLS[protocol]}; use one of {names}')


def load_extensions() -> None:
    """Let installed packages register their models and estimators, once.

    Packages are looked for again only where the search path has changed: a look takes milliseconds
    and every question to a registry asks for one.
    """
    places = tuple(sys.path)
    if places in _searched:
        return
    _searched.add(places)
    for point in entry_points(group=EXTENSIONS):
        if point.value not in _loaded:
            _loaded.add(point.value)
            point.load()()


def _kinds() -> dict[str, SeriesKind]:
    return {entry.kind.name: entry.kind for entry in _MODELS.values()}


def _has_dephasing(sequence: PulseSequence) -> bool:
    return not set(sequence.gradient.ravel().tolist()) <= {"balanced", "crusher"}


register_model(
    ModelEntry(
        name="gbloch",
        home="bids_brnn.signals.two_pools.generalized_bloch:GeneralizedBloch",
        kind=_QMT,
        label="genbloch",
        url="https://doi.org/10.1002/mrm.29071",
        parameters=QMT,
        prior="bids_brnn.priors:qmt_prior",
        reference="nlls",
        start="antiperiodic",
        needs_duration=True,
        conjugate=True,
        train="bids_brnn.sequences.designs:hybrid_state_train",
        methods="The quantitative magnetization transfer series was described by a two-pool "
        "generalized Bloch model in its linear approximation, with a super-Lorentzian lineshape "
        "of the semi-solid pool; the steady state of every pulse train was solved exactly. "
        "Estimated were the size of the semi-solid pool (m0s), the relaxation rates of both pools "
        "(R1f, R2f, R1s), the exchange rate (Rx) and the transverse time constant of the "
        "semi-solid pool (T2s); off-resonance and the flip angle scale were nuisance parameters "
        "unless supplied as maps.",
        cites=("gbloch", "hybrid"),
    )
)
register_model(
    ModelEntry(
        name="fisp",
        home="bids_brnn.signals.one_pool.fisp:EpgFisp",
        kind=_MRF,
        label="epg",
        url="https://doi.org/10.1002/mrm.25559",
        parameters=RELAXATION,
        prior="bids_brnn.priors:relaxation_prior",
        reference="dict",
        gradient="dephasing",
        serves=_has_dephasing,
        train="bids_brnn.sequences.designs:jiang_like_train",
        methods="The MR fingerprinting series was described by extended phase graphs of a "
        "gradient-spoiled acquisition with variable flip angles and repetition times (FISP).",
        cites=("mrf", "fisp", "epg"),
    )
)
register_model(
    ModelEntry(
        name="bssfp",
        home="bids_brnn.signals.one_pool.bssfp:BalancedSsfp",
        kind=_MRF,
        label="bssfp",
        url="https://doi.org/10.1038/nature11971",
        parameters=BALANCED,
        prior="bids_brnn.priors:relaxation_prior",
        reference="dict",
        methods="The MR fingerprinting series was described by the Bloch equation of a balanced "
        "acquisition with variable flip angles and repetition times, with off-resonance.",
        cites=("mrf",),
    )
)
_Z_METHODS = (
    "The Z-spectrum (spoiled gradient echo with off-resonant MT pulses) was described by two "
    "pools in the cyclic steady state, with a super-Lorentzian line of the semi-solid pool{how}. "
    "The relaxation rate of the free pool followed from the observed R1, which was supplied as a "
    "map; the longitudinal relaxation rate of the semi-solid pool was set to 1/s. Estimated were "
    "the size of the semi-solid pool (m0s), the exchange rate (Rx), R2f and T2s; standard "
    "deviations include those of supplied maps where these were known."
)
register_model(
    ModelEntry(
        name="gbloch-zspectrum",
        called="gbloch",
        home="bids_brnn.signals.two_pools.z_spectrum.gbloch:GBlochZ",
        kind=_QMT,
        label="genblochz",
        url="https://doi.org/10.1002/mrm.29071",
        parameters=Z_SPECTRUM,
        observed=OBSERVED_R1,
        prior="bids_brnn.priors:qmt_prior",
        reference="nlls",
        protocol="zspectrum",
        train="bids_brnn.sequences.z_spectrum:usual_protocol",
        methods=_Z_METHODS.format(
            how=" that obeys the generalized Bloch equation, through the shaped off-resonant MT "
            "pulse"
        ),
        cites=("gbloch",),
    )
)
for _name, _class, _url, _how in (
    ("ramani", "Ramani", "https://doi.org/10.1016/S0730-725X(02)00598-2",
     ", the MT pulse as a continuous field of equal mean power (Ramani)"),
    ("yarnykh", "Yarnykh", "https://doi.org/10.1016/j.neuroimage.2004.04.029",
     ", the MT pulse as a continuous field for its duration (Yarnykh and Yuan)"),
    ("sled-pike-cw", "SledPikeCW", "https://doi.org/10.1002/mrm.1278",
     ", instantaneous saturation of the free pool and a continuous field on the other (Sled and "
     "Pike)"),
    ("sled-pike-rp", "SledPikeRP", "https://doi.org/10.1002/mrm.1278",
     ", instantaneous saturation of the free pool and a rectangular pulse on the other (Sled and "
     "Pike)"),
):  # fmt: skip
    register_model(
        ModelEntry(
            name=_name,
            home=f"bids_brnn.signals.two_pools.z_spectrum.models:{_class}",
            kind=_QMT,
            label=_name.replace("-", ""),
            url=_url,
            parameters=Z_SPECTRUM,
            observed=OBSERVED_R1,
            prior="bids_brnn.priors:qmt_prior",
            reference="nlls",
            protocol="zspectrum",
            train="bids_brnn.sequences.z_spectrum:usual_protocol",
            methods=_Z_METHODS.format(how=_how),
        )
    )

"""What each estimator says of itself; the one place where an estimator is made known.

An estimator is a class (its file) and an entry here: its names in files and reports, the
references, and what it can serve. Loading this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bids_brnn.errors import DataError
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.registry import ModelEntry, load_extensions, models_by_protocol, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from bids_brnn.estimators.base import Estimator
    from bids_brnn.signals.base import SignalModel

NETWORK = "brnn"
"""Name of the network estimator, and its ``desc-``; it is built from trained weights."""


@dataclass(frozen=True, kw_only=True)
class EstimatorEntry:
    """An estimator, and what it needs and offers."""

    name: str
    """Value of ``--reference`` and of ``desc-`` in file names."""
    home: str | type[Estimator]
    """The class, or ``module:class``; it takes a ``SignalModel`` first."""
    title: str
    """Over its section of a report."""
    noun: str
    """In sentences, after "the"."""
    algorithm: str
    """For sidecars."""
    url: str
    """Where the method is published."""
    words: str
    """What ``desc-<name>`` means, for ``descriptions.tsv``."""
    std_words: str
    """What ``desc-<name>Std`` means."""
    methods: str = ""
    """Sentences for the methods section of a report."""
    cites: tuple[str, ...] = ()
    """Keys of publications in ``reports/methods.toml`` or in ``bibliography``."""
    bibliography: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Publications that ``reports/methods.toml`` lacks, in its form."""
    trained: bool = False
    """Whether it is built from trained weights and cannot serve as a reference."""
    quick: bool = False
    """Whether a head takes it seconds to minutes, so that a mask can be made of its maps."""
    seeded: bool = False
    """Whether it draws, and takes ``seed``."""
    cached: bool = False
    """Whether it keeps what depends on the pulse train alone, and takes ``cache_dir``."""
    points: str = ""
    """Its option for parameter sets ``(S, P)`` to begin with, if it has one."""
    magnitudes: bool = False
    """Whether it serves magnitudes of time frames, and takes ``channels``."""
    real: bool = False
    """Whether it serves models whose M0 is real or 1, such as those of Z-spectra."""
    most_parameters: int | None = None
    """Unknown parameters above which it is of no use."""
    unmixes: bool = False
    """Whether it can fit a share of cerebrospinal fluid (``estimators.csf``)."""
    sloppy: Mapping[str, Any] = field(default_factory=dict)
    """Options with ``--sloppy``."""

    def serves(self, parameters: ParameterSet) -> bool:
        """Whether it can be used for a model with these parameters."""
        free = len(parameters.columns("estimated", "nuisance"))
        return self.most_parameters is None or free <= self.most_parameters

    def build(
        self,
        model: SignalModel,
        *,
        cache_dir: Path | None = None,
        magnitude: bool = False,
        **options: Any,
    ) -> Estimator:
        """The estimator of a model.

        Raises
        ------
        DataError
            If the data are magnitudes and it needs complex ones.
        """
        if magnitude:
            if not self.magnitudes:
                able = ", ".join(name for name, item in estimators().items() if item.magnitudes)
                raise DataError(f"{self.name} needs complex data; magnitudes are for {able}")
            options["channels"] = 1
        if self.cached and cache_dir is not None:
            options.setdefault("cache_dir", cache_dir)
        estimator: Estimator = resolve(self.home)(model, **options)
        return estimator

    def build_real(self, model: SignalModel, **options: Any) -> Estimator:
        """The estimator of a model whose M0 is real or 1.

        Raises
        ------
        DataError
            If it serves none.
        """
        if not self.real:
            able = ", ".join(name for name, item in estimators().items() if item.real)
            raise DataError(f"{self.name} does not serve Z-spectra; use {able}")
        estimator: Estimator = resolve(self.home)(model, **options)
        return estimator


_ESTIMATORS: dict[str, EstimatorEntry] = {}


def register_estimator(entry: EstimatorEntry) -> EstimatorEntry:
    """Make an estimator known to every part of the program.

    Raises
    ------
    DataError
        If another one has this name, or the name is no BIDS label.
    """
    if _ESTIMATORS.get(entry.name, entry) is not entry:
        raise DataError(f'there is an estimator "{entry.name}" already')
    if not (entry.name.isascii() and entry.name.isalnum()):
        raise DataError(f'"{entry.name}" cannot follow desc-: letters and digits only')
    _ESTIMATORS[entry.name] = entry
    return entry


def estimators() -> Mapping[str, EstimatorEntry]:
    """All estimators by name, those of other packages last."""
    load_extensions()
    return _ESTIMATORS


def references() -> tuple[str, ...]:
    """Names of the estimators that can serve as a reference."""
    return tuple(name for name, entry in estimators().items() if not entry.trained)


def comparison(reference: str, tested: str = NETWORK) -> str:
    """Value of ``desc-`` of the agreement of the network, or of another fit, with a reference."""
    return f"{tested}Vs{reference[:1].upper()}{reference[1:]}"


def variant(estimator: str, model: ModelEntry) -> str:
    """Value of ``desc-`` of a fit by another model than that of the series: ``nllsRamani``."""
    return estimator + "".join(word.capitalize() for word in model.called.split("-"))


def variants() -> Mapping[str, tuple[EstimatorEntry, ModelEntry]]:
    """Fits of a Z-spectrum by each of its models, by ``desc-``."""
    able = [entry for entry in estimators().values() if entry.real]
    return {
        variant(entry.name, model): (entry, model)
        for entry in able
        for model in models_by_protocol("zspectrum")
    }


def estimator_of(desc: str) -> EstimatorEntry:
    """The entry of the estimator of a ``desc-``: its name, or one of :func:`variants`.

    Raises
    ------
    DataError
        If there is no such estimator.
    """
    found = variants().get(desc)
    return estimator_entry(desc) if found is None else found[0]


def title_of(desc: str) -> str:
    """What a report calls the estimator of a ``desc-``."""
    found = variants().get(desc)
    if found is not None:
        return f"{found[0].title}, {found[1].called}"
    return estimators()[desc].title if desc in estimators() else desc


def estimator_entry(name: str) -> EstimatorEntry:
    """The entry of an estimator.

    Raises
    ------
    DataError
        If there is no such estimator.
    """
    if name not in _ESTIMATORS and name not in estimators():
        raise DataError(f'There is no estimator "{name}"; there are {", ".join(_ESTIMATORS)}.')
    return _ESTIMATORS[name]


register_estimator(
    EstimatorEntry(
        name=NETWORK,
        home="bids_brnn.estimators.network.estimator:NetworkEstimator",
        title="Network",
        noun="network",
        algorithm="neural network",
        url="https://doi.org/10.48550/arXiv.2312.11468",
        words="Estimate of the trained neural network",
        std_words="Standard deviation of the network estimate, as a second network has learnt it",
        # The loss follows the network: learning/loss_words.py has its words.
        methods="Estimates were computed by a neural network that was trained on simulated "
        "fingerprints with noise; its card describes prior, training and measured bias.",
        cites=("brnn",),
        trained=True,
        unmixes=True,
        quick=True,
    )
)
register_estimator(
    EstimatorEntry(
        name="nlls",
        home="bids_brnn.estimators.nlls.estimator:NllsEstimator",
        title="NLLS",
        noun="least-squares fit",
        algorithm="non-linear least squares (Levenberg-Marquardt with bounds, M0 projected out)",
        url="https://doi.org/10.1137/0710036",
        words="Nonlinear least-squares fit of the signal model",
        std_words="Standard deviation of the least-squares fit",
        methods="Reference estimates were found by non-linear least squares: a batched "
        "Levenberg-Marquardt method with bounds, exact derivatives, and the scale M0 "
        "eliminated by variable projection, started from the best of many points. "
        "Standard deviations are those of the Cramér-Rao bound at the estimate and the noise "
        "level of each voxel.",
        cites=("varpro",),
        seeded=True,
        real=True,
        unmixes=True,
        points="start",
        sloppy={"max_iterations": 10, "n_starts": 1},
    )
)
register_estimator(
    EstimatorEntry(
        name="dict",
        home="bids_brnn.estimators.dictionary.estimator:DictionaryEstimator",
        title="Dictionary matching",
        noun="dictionary",
        algorithm="dictionary matching",
        url="https://doi.org/10.1038/nature11971",
        words="Dictionary matching",
        std_words="Standard deviation of the dictionary estimate (Cramer-Rao bound at the "
        "estimate)",
        methods="Reference estimates were found by dictionary matching of coefficients in the "
        "subspace of the dictionary's singular vectors, by the largest normalised inner product, "
        "and refined between the atoms. Standard deviations are those of the Cramér-Rao bound at "
        "the estimate and the noise level of each voxel.",
        cites=("mrf", "svd"),
        quick=True,
        seeded=True,
        cached=True,
        points="atoms",
        magnitudes=True,
        most_parameters=4,
        sloppy={"n_atoms": 1000, "b1_bins": [0.5, 0.75, 1.0, 1.25, 1.5]},
    )
)

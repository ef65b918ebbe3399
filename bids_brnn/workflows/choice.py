"""Which estimators serve a series. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.config.choices import ALL
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError, UsageError
from bids_brnn.estimators.registry import NETWORK, estimator_entry, estimators, variants
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.registry import model_entry, models
from bids_brnn.zoo.choice import Choice, choose_network
from bids_brnn.zoo.recipe import EstimatorRecipe

_DEFAULT_SEED = 1  # of every estimator that draws


@dataclass(frozen=True)
class Plan:
    """How the maps of a series are made."""

    recipes: dict[str, EstimatorRecipe]
    """By ``desc-``: the network or fits by other models, if there are such, then the reference."""
    notes: tuple[str, ...] = ()
    """Networks that were left aside, and why."""
    warning: str = ""
    """Why the maps of the network must not be trusted."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What to beware of in single maps of the network, by parameter."""


def choose_recipes(
    config: RunConfig, acquisition: Acquisition, supplied: tuple[str, ...]
) -> dict[str, EstimatorRecipe]:
    """The recipes of :func:`plan_estimation`."""
    return plan_estimation(config, acquisition, supplied).recipes


def plan_estimation(
    config: RunConfig, acquisition: Acquisition, supplied: tuple[str, ...]
) -> Plan:
    """Estimators of a series, and what has to be said of the choice.

    Parameters
    ----------
    config
        What was asked for.
    acquisition
        The series.
    supplied
        Parameters known from maps.

    Raises
    ------
    UsageError
        If an estimator asked for cannot serve the series, or none is left.
    DataError, ReadError
        If the series cannot be estimated, or the network asked for cannot serve it or is absent.
    """

    def recipe(name: str) -> EstimatorRecipe:
        return EstimatorRecipe(
            estimator=name,
            model=acquisition.model,
            sequence=acquisition.sequence,
            basis=acquisition.basis,
            estimator_options=estimator_options(config, name),
            supplied=supplied,
            spreads=tuple(name for name in acquisition.companions.spreads if name in supplied),
            magnitude=acquisition.magnitude_only,
        )

    def by_network(path: Path) -> EstimatorRecipe:
        return EstimatorRecipe.of_network(
            path,
            sequence,
            acquisition.basis,
            supplied=supplied,
            spreads=recipe(NETWORK).spreads,
            estimator_options=estimator_options(config, NETWORK),
        )

    sequence = acquisition.sequence
    if isinstance(sequence, ZSpectrum):
        return _plan_spectrum(config, acquisition, recipe, by_network)
    if config.motion_correction and acquisition.representation != "time":
        raise DataError(
            f"--motion-correction cannot serve {acquisition.name}: its coefficients are sums over "
            "all frames. Use --modality mrf for a series of time frames, or leave the option out."
        )
    if acquisition.magnitude_only:
        name = check_magnitude(config, acquisition)
        return Plan({name: recipe(name)})
    recipes = {}
    network = choose_network(config.weights, acquisition, config.networks_dir)
    notes = network.notes
    if network.path is not None:
        recipes[NETWORK] = by_network(network.path)
        notes += _of_unheard(acquisition, network, supplied, recipes[NETWORK].supplied)
    reference = choose_reference(config, acquisition, has_network=network.path is not None)
    if reference is not None:
        recipes[reference] = recipe(reference)
    if not recipes:
        why = " ".join(network.notes) or "There is no network for its pulse train."
        raise UsageError(
            f"--reference none leaves nothing to estimate for {acquisition.name}. {why} Use "
            "--reference auto, or train a network (docs/training.md)."
        )
    return Plan(recipes, notes, network.warning, network.marks)


def _plan_spectrum(
    config: RunConfig,
    acquisition: Acquisition,
    recipe: Callable[[str], EstimatorRecipe],
    by_network: Callable[[Path], EstimatorRecipe],
) -> Plan:
    """Estimators of a Z-spectrum: a network where there is one, and the fits."""
    check_spectrum(config, acquisition)
    network = choose_network(config.weights, acquisition, config.networks_dir)
    recipes = {}
    if network.path is not None:
        recipes[NETWORK] = _whole(by_network(network.path))
    several = config.zspectrum_model == ALL
    reference = spectrum_reference(config, acquisition, has_network=bool(recipes) and not several)
    if reference is not None:
        main = _whole(recipe(reference))
        others = _by_other_models(main) if several else {}
        recipes = {**recipes, **others, reference: main}
    return Plan(recipes, network.notes, network.warning, network.marks)


def _of_unheard(
    acquisition: Acquisition, network: Choice, supplied: Sequence[str], heard: Sequence[str]
) -> tuple[str, ...]:
    """What is to be said where a network has no input for a map of the data set."""
    unheard = [name for name in supplied if name not in heard]
    if not unheard or network.card is None:
        return ()
    return (
        f'{acquisition.name}: the network "{network.card.name}" has no input for '
        f"{' and '.join(unheard)} and finds its own from the data; the map of it is for other "
        "estimators.",
    )


def _whole(recipe: EstimatorRecipe) -> EstimatorRecipe:
    """A recipe of data that tell no share of fluid."""
    return replace(recipe, estimator_options=without_csf(recipe.estimator_options))


def _by_other_models(main: EstimatorRecipe) -> dict[str, EstimatorRecipe]:
    """The same fit by every other model of Z-spectra, by ``desc-``."""
    return {
        desc: replace(main, model=model.name)
        for desc, (entry, model) in variants().items()
        if entry.name == main.estimator and model.name != main.model
    }


def estimator_options(config: RunConfig, name: str) -> dict[str, Any]:
    """Options of an estimator that differ from its own defaults; a network draws nothing."""
    entry = estimator_entry(name)
    options = dict(entry.sloppy) if config.sloppy else {}
    if config.csf_fraction and entry.unmixes:
        options["csf_fraction"] = True
    if entry.seeded and config.random_seed != _DEFAULT_SEED:
        options["seed"] = config.random_seed
    return options


def without_csf(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an estimator of data that tell no share of fluid."""
    return {key: value for key, value in options.items() if key != "csf_fraction"}


def without_fluid(recipes: Mapping[str, EstimatorRecipe]) -> list[str]:
    """``desc-`` of what fits no share of fluid."""
    return [name for name, made in recipes.items() if "csf_fraction" not in made.estimator_options]


def check_spectrum(config: RunConfig, acquisition: Acquisition) -> None:
    """Refuse what cannot be done with a Z-spectrum.

    Raises
    ------
    DataError
        For an option that cannot serve.
    """
    name = acquisition.name
    if config.motion_correction:
        raise DataError(
            f"--motion-correction cannot serve {name}: it is for time frames of MRF. Bring the "
            "volumes of a Z-spectrum to one position first, and leave the option out."
        )


def spectrum_reference(
    config: RunConfig, acquisition: Acquisition, *, has_network: bool
) -> str | None:
    """The reference for a Z-spectrum, or None where it is not wanted and there is a network.

    Raises
    ------
    UsageError
        If nothing would be left to estimate, or another estimator cannot serve.
    """
    name, usual = acquisition.name, model_entry(acquisition.model).reference
    if config.reference == "none" and not has_network:
        raise UsageError(
            f"--reference none leaves nothing to estimate for {name}: there is no network for its "
            f"protocol. Use --reference {usual} or auto, or train a network (docs/training.md)."
        )
    if config.reference == "none":
        return None
    if config.reference == "auto":
        return usual if config.level == "full" or not has_network else None
    if config.reference not in ("auto", usual):
        raise UsageError(
            f"--reference {config.reference} cannot serve {name}: Z-spectra are fitted by "
            f"{usual}. Use --reference {usual} or auto."
        )
    return usual


def check_magnitude(config: RunConfig, acquisition: Acquisition) -> str:
    """The estimator for a series without phase; refuses what cannot be done without it.

    Raises
    ------
    DataError
        For qMT, for coefficients, and for a network that was asked for by name.
    UsageError
        If the only estimator possible is not wanted.
    """
    name = acquisition.name
    rule = acquisition.rule
    if not rule.magnitude_allowed or acquisition.representation != "time":
        what = "a series of coefficients" if rule.magnitude_allowed else rule.title
        raise DataError(
            f"{name} holds magnitudes only, which mean nothing for {what}. "
            "Give the phase (part-phase), or real and imaginary parts."
        )
    if config.weights not in ("auto", "none"):
        raise DataError(
            f"{name} holds magnitudes only, and networks need complex data; give the phase "
            "(part-phase), or use --weights none."
        )
    able = [name for name, entry in estimators().items() if entry.magnitudes]
    usual = model_entry(acquisition.model).reference
    wanted = config.reference
    if wanted == "auto":
        return usual if usual in able else able[0]
    if wanted not in able:
        raise UsageError(
            f"--reference {wanted} cannot serve {name}: it holds magnitudes only, which only a "
            f"{estimator_entry(able[0]).noun} matches. Use --reference {able[0]}, or give the "
            "phase (part-phase)."
        )
    return wanted


def choose_reference(
    config: RunConfig, acquisition: Acquisition, *, has_network: bool
) -> str | None:
    """Name of the reference estimator, or None."""
    entry = model_entry(acquisition.model)
    if config.reference == "none":
        return None
    if config.reference == "auto":
        wanted = config.level == "full" or not has_network
        return entry.reference if wanted else None
    chosen = estimator_entry(config.reference)
    if not chosen.serves(entry.parameters):
        n = len(entry.parameters.columns("estimated", "nuisance"))
        able = {item.kind.name for item in models().values() if chosen.serves(item.parameters)}
        others = "".join(f", or --modality {kind}" for kind in sorted(able))
        raise UsageError(
            f"--reference {chosen.name} cannot serve {acquisition.name}: a {chosen.noun} over the "
            f"{n} parameters of {acquisition.rule.title} is too large. Use --reference "
            f"{entry.reference}{others}."
        )
    return chosen.name

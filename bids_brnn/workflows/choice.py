"""Which estimators serve a series. Looks at model cards only, so that no torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError, UsageError
from bids_brnn.zoo.choice import choose_network
from bids_brnn.zoo.recipe import DEFAULT_REFERENCE, NETWORK, EstimatorRecipe

SLOPPY: Mapping[str, Mapping[str, Any]] = {
    "nlls": {"max_iterations": 10, "n_starts": 1},
    "dict": {"n_atoms": 1000, "b1_bins": [0.5, 0.75, 1.0, 1.25, 1.5]},
}
"""Options of estimators with ``--sloppy``."""
_DEFAULT_SEED = 1  # of every estimator that draws


def choose_recipes(
    config: RunConfig, acquisition: Acquisition, supplied: tuple[str, ...]
) -> dict[str, EstimatorRecipe]:
    """Recipes by estimator name: the network, if there is one, then the reference.

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
        If the series cannot be estimated, or the network asked for is for another pulse train, or
        absent.
    """

    def recipe(name: str, weights: str = "", digest: str = "") -> EstimatorRecipe:
        return EstimatorRecipe(
            estimator=name,
            model=acquisition.model,
            sequence=acquisition.sequence,
            basis=acquisition.basis,
            estimator_options=estimator_options(config, name),
            supplied=supplied,
            weights=weights,
            weights_sha256=digest,
            magnitude=acquisition.magnitude_only,
        )

    if config.motion_correction and acquisition.representation != "time":
        raise DataError(
            f"--motion-correction cannot serve {acquisition.name}: its coefficients are sums over "
            "all frames. Use --modality mrf for a series of time frames, or leave the option out."
        )
    if acquisition.magnitude_only:
        check_magnitude(config, acquisition)
        return {"dict": recipe("dict")}
    recipes = {}
    network = choose_network(config.weights, acquisition)
    if network is not None:
        path, card = network
        recipes[NETWORK] = recipe(NETWORK, str(path), card.weights_sha256)
    reference = choose_reference(config, acquisition, has_network=network is not None)
    if reference is not None:
        recipes[reference] = recipe(reference)
    if not recipes:
        raise UsageError(
            f"--reference none leaves nothing to estimate for {acquisition.name}: there is no "
            "network for its pulse train. Use --reference auto, or train one with: brnn train."
        )
    return recipes


def estimator_options(config: RunConfig, name: str) -> dict[str, Any]:
    """Options of an estimator that differ from its own defaults; a network draws nothing."""
    options = dict(SLOPPY.get(name, {})) if config.sloppy else {}
    if name != NETWORK and config.random_seed != _DEFAULT_SEED:
        options["seed"] = config.random_seed
    return options


def check_magnitude(config: RunConfig, acquisition: Acquisition) -> None:
    """Refuse what cannot be done without the phase; a dictionary can match time frames.

    Raises
    ------
    DataError
        For qMT, for coefficients, and for a network that was asked for by name.
    UsageError
        If the only estimator possible is not wanted.
    """
    name = acquisition.name
    if acquisition.kind == "qmt" or acquisition.representation != "time":
        what = "qMT" if acquisition.kind == "qmt" else "a series of coefficients"
        raise DataError(
            f"{name} holds magnitudes only, which mean nothing for {what}. "
            "Give the phase (part-phase), or real and imaginary parts."
        )
    if config.weights not in ("auto", "none"):
        raise DataError(
            f"{name} holds magnitudes only, and networks need complex data; give the phase "
            "(part-phase), or use --weights none."
        )
    if config.reference not in ("auto", "dict"):
        raise UsageError(
            f"--reference {config.reference} cannot serve {name}: it holds magnitudes only, which "
            "only a dictionary matches. Use --reference dict, or give the phase (part-phase)."
        )


def choose_reference(
    config: RunConfig, acquisition: Acquisition, *, has_network: bool
) -> str | None:
    """Name of the reference estimator, or None."""
    if config.reference == "none":
        return None
    if config.reference == "auto":
        wanted = config.level == "full" or not has_network
        return DEFAULT_REFERENCE[acquisition.kind] if wanted else None
    if config.reference == "dict" and acquisition.kind == "qmt":
        raise UsageError(
            f"--reference dict cannot serve {acquisition.name}: a dictionary over the eight "
            "parameters of qMT is too large. Use --reference nlls, or --modality mrf."
        )
    return config.reference

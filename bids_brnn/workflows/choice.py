"""Which estimators serve a series. Looks at model cards only, so that no torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bids_brnn.zoo
from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError, ReadError, UsageError
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.recipe import DEFAULT_REFERENCE, NETWORK, EstimatorRecipe

WEIGHTS_VARIABLE = "BIDS_BRNN_WEIGHTS"
"""Environment variable with a further folder of models."""
SHIPPED = Path(bids_brnn.zoo.__file__).parent / "weights"
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


def choose_network(weights: str, acquisition: Acquisition) -> tuple[Path, ModelCard] | None:
    """Card of the network to use, or None.

    Raises
    ------
    ReadError
        If the network asked for is absent.
    DataError
        If it is for another signal model or pulse train.
    """
    if weights == "none":
        return None
    if weights != "auto":
        path = find_card(weights)
        card = ModelCard.from_file(path)
        if not _fits(card, acquisition):
            raise DataError(
                f'Weights "{card.name}" are for {card.model} and another pulse train than that '
                f"of {acquisition.name}. Train for this one with: brnn train."
            )
        return path, card
    found = [
        (path, card)
        for folder in weight_folders()
        for path in sorted(folder.glob("*.json"))
        for card in [ModelCard.from_file(path)]
        if _fits(card, acquisition)
    ]
    if not found:
        return None
    # Of several with the same loss the first one, in the order of folders and names.
    return min(found, key=lambda item: item[1].preference)


def _fits(card: ModelCard, acquisition: Acquisition) -> bool:
    same_train = card.sequence.get("digest") == acquisition.sequence.digest
    return card.model == acquisition.model and same_train


def weight_folders() -> list[Path]:
    """Folders of models: that of the environment variable, then that of the package."""
    extra = os.environ.get(WEIGHTS_VARIABLE, "")
    return [*([Path(extra)] if extra else []), SHIPPED]


def find_card(weights: str) -> Path:
    """Card of a model given by name or by path.

    Raises
    ------
    ReadError
        If there is none.
    """
    path = Path(weights)
    if path.suffix in (".json", ".safetensors") and path.with_suffix(".json").is_file():
        return path.with_suffix(".json").absolute()
    for folder in weight_folders():
        if (folder / f"{path.name}.json").is_file() and path.name == weights:
            return folder / f"{weights}.json"
    raise ReadError(f'There is no trained model "{weights}"; list them with: brnn models.')

"""The methods text of a run that is not made: ``--boilerplate-only``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn import __version__
from bids_brnn.config.run_config import RunConfig

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Discovery
    from bids_brnn.zoo.recipe import EstimatorRecipe

_LOG = logging.getLogger("bids_brnn.report")


def write_boilerplate(
    config: RunConfig, discovery: Discovery, records: Mapping[str, Path]
) -> list[Path]:
    """Write ``CITATION.md`` and ``.bib`` for what the options would do with the series found.

    Parameters
    ----------
    config
        What was asked for.
    discovery
        Series that can be estimated.
    records
        Folder of this run's record by participant.

    Returns
    -------
    list of Path
        Page and bibliography per participant, and those of all of them in ``logs/``.

    Raises
    ------
    OutputError
        If a page cannot be written.
    """
    from bids_brnn.estimators.registry import NETWORK
    from bids_brnn.files import write_text
    from bids_brnn.reports.methods import citation_files
    from bids_brnn.workflows.choice import choose_recipes

    planned = [
        (item.entities["subject"], item.model, choose_recipes(config, item, ()))
        for item in discovery.acquisitions
    ]

    written = []

    def write(folder: Path, rows: list[tuple[str, str, dict[str, EstimatorRecipe]]]) -> None:
        estimators = [name for _, _, recipes in rows for name in recipes]
        losses = [item[NETWORK].loss for _, _, item in rows if NETWORK in item]
        trainings = [item[NETWORK].training for _, _, item in rows if NETWORK in item]
        used = [model for _, model, _ in rows]
        samples = [words for item in rows if (words := _sample(config, item[2]))]
        texts = citation_files(used, estimators, __version__, losses, trainings, samples)
        for name, text in texts.items():
            write_text(folder / name, text)
            written.append(folder / name)

    for participant, record in records.items():
        config.to_file(record / "bids_brnn.toml")
        write(record, [row for row in planned if row[0] == participant])
    write(config.output_dir / "logs", planned)
    _LOG.info("methods: %s", config.output_dir / "logs" / "CITATION.md")
    return written


def _sample(config: RunConfig, recipes: Mapping[str, EstimatorRecipe]) -> str:
    """That the reference is run in a sample, where a number of voxels is asked for."""
    from bids_brnn.config.choices import ALL, AUTO
    from bids_brnn.estimators.registry import NETWORK, title_of
    from bids_brnn.reports.methods import sample_sentence

    if config.reference_voxels in (ALL, AUTO):
        return ""
    names = " and ".join(title_of(name) for name in recipes if name != NETWORK)
    words = (
        f"estimated in {config.reference_voxels} voxels of each series, or all of a smaller one, "
        f"drawn at random from each region by its size (seed {config.random_seed})"
    )
    return sample_sentence(names, words) if names else ""

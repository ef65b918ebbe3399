"""Networks of protocols that are made of one for any protocol: seconds each, before the maps."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.app.train_job import heard
from bids_brnn.bids.input.declared import number
from bids_brnn.errors import EXIT_OK, BidsBrnnError, ReadError
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.any_card import AnyCard, any_cards, named_any_card
from bids_brnn.zoo.cache import Job, derived_job, holding, make_unlinked
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.choice import choose_network
from bids_brnn.zoo.places import weight_folders

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Acquisition
    from bids_brnn.config.run_config import RunConfig

_LOG = logging.getLogger("bids_brnn.train")
_OFTEN = 0.5  # s between two looks at the work of another task

Maker = Callable[[Job, Path, int], None]
"""Makes the network of a job from the card of one for any protocol, with so many threads."""


def make_networks(
    config: RunConfig, acquisitions: Iterable[Acquisition], maker: Maker | None = None
) -> None:
    """Make a network for every protocol of Z-spectra that has none of its own.

    What cannot be made is said in the log, and the series has its reference; so is what would be
    made where only the methods text is wanted.

    Parameters
    ----------
    config
        Says which networks are wanted, and where those of the data set lie.
    acquisitions
        Series; those of one protocol share a network.
    maker
        What makes one; by default a process of its own.
    """
    general = _general(config)
    done: set[str] = set()
    for item in acquisitions:
        if not isinstance(item.sequence, ZSpectrum) or general is None or not _lacks(config, item):
            continue
        path, card = general
        field = number(item.metadata, "MagneticFieldStrength", item.name)
        if card.shortcoming(item.sequence, field):
            continue  # told where networks are chosen
        job = derived_job(config.networks_dir, item, card)
        if job.name in done:
            continue
        done.add(job.name)
        if config.boilerplate_only:
            if not job.card.is_file():
                _LOG.warning(
                    '%s: a network would be made of "%s" for its protocol and judged first, so '
                    "that the text does not tell of it; run without --boilerplate-only for that",
                    item.name, card.name,
                )  # fmt: skip
            continue
        try:
            _settle(config, job, path, maker or make_in_process)
        except (BidsBrnnError, OSError) as error:
            _LOG.warning(
                '%s: no network could be made of "%s" for its protocol: %s',
                item.name, card.name, error,
            )  # fmt: skip


def _general(config: RunConfig) -> tuple[Path, AnyCard] | None:
    """The network for any protocol that is wanted, if any."""
    if config.weights == "none":
        return None
    if config.weights == "auto":
        return next(iter(any_cards(weight_folders(config.networks_dir))), None)
    path = named_any_card(config.weights, config.networks_dir)
    return None if path is None else (path, AnyCard.from_file(path))


def _lacks(config: RunConfig, item: Acquisition) -> bool:
    """Whether there is no network for the protocol of a series alone, or another one is named."""
    if config.weights != "auto":
        return True
    return choose_network("auto", item, config.networks_dir).path is None


def _settle(config: RunConfig, job: Job, general: Path, maker: Maker) -> None:
    """See that the network of a job is there; one task makes it, others wait for these seconds."""
    while not job.card.is_file():
        with holding(job.lock) as lock:
            if lock is not None and not job.card.is_file():
                _make(config, job, general, maker)
        if lock is None:
            time.sleep(_OFTEN)


def _make(config: RunConfig, job: Job, general: Path, maker: Maker) -> None:
    if job.field_strength is None:
        _LOG.warning("%s: MagneticFieldStrength is missing; tissue at 3 T is expected", job.series)
    started = time.monotonic()
    make_unlinked(job.work, job.folder)
    maker(job, general, config.nprocs)
    shutil.rmtree(job.work, ignore_errors=True)
    card = ModelCard.from_file(job.card)
    verdict = f"left aside, {card.shortcoming}" if card.shortcoming else "passes the quality rule"
    _LOG.info(
        '%s: network %s for its protocol made of "%s" in %.0f s; %s (SHA-256 %s); --train-missing '
        "quick trains one for it alone in minutes, with less bias",
        job.series, job.name, general.stem, time.monotonic() - started, verdict,
        card.weights_sha256[:12],
    )  # fmt: skip


def make_in_process(job: Job, general: Path, threads: int) -> None:
    """Make the network of a job in a process that ends with this one.

    Raises
    ------
    BidsBrnnError
        What it ended with.
    ReadError
        If it ended without a word.
    """
    configuration = job.write_configuration("float32")
    words = [sys.executable, "-m", "bids_brnn.app.any_job", configuration, general, job.name]
    words += [job.folder, job.work, threads]
    found = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    if found.returncode == EXIT_OK:
        return
    errors = job.work / "errors.log"
    errors.write_text(found.stderr, encoding="utf-8")
    if (said := _error_in(found.stdout)) is not None:
        raise said
    raise ReadError(f"the process stopped ({found.returncode}); see {errors}")


def _error_in(output: str) -> BidsBrnnError | None:
    """What a process said of its end; None where it was ended, perhaps within a line."""
    for content in map(heard, output.splitlines()[::-1]):
        if "code" in content:
            return BidsBrnnError(str(content["error"]), exit_code=int(content["code"]))
    return None

"""Networks that are missing: trained once per protocol, before or instead of the maps."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bids_brnn.app.train_job import heard
from bids_brnn.config.choices import PRESETS
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import EXIT_NODE_CRASHED, EXIT_OK, BidsBrnnError, DataError, ReadError
from bids_brnn.files import make_folder
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.cache import Job, holding, job_for, make_unlinked, tell, told
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.choice import choose_network
from bids_brnn.zoo.limits import LONGER
from bids_brnn.zoo.serving import check_serves

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Acquisition

_LOG = logging.getLogger("bids_brnn.train")
USUAL = "standard"
"""Preset of the level ``train`` where no other one is named."""
_OFTEN = 2.0  # s between two looks at a training of another task
_SELDOM = 30.0  # s between two lines of progress in the log


def check_folder(config: RunConfig) -> None:
    """Refuse a folder of networks that is named, and absent and not to be filled, or no folder.

    One that holds all networks need not be writable.

    Raises
    ------
    ReadError, OutputError
        Naming it.
    """
    folder = config.weights_dir
    if folder is not None and config.train_missing is not None:
        make_folder(folder)
    elif folder is not None and not folder.is_dir():
        raise ReadError(
            f"--weights-dir names the folder of networks {folder}, which does not exist; correct "
            "it, or fill it with --train-missing."
        )


Trainer = Callable[[Job, TextIO], None]
"""Trains a job while its lock is held; a test takes another one."""


@dataclass(frozen=True)
class Outcome:
    """What became of the protocols of a run."""

    served: int = 0
    """Protocols for which there is a network now."""
    problems: tuple[BidsBrnnError, ...] = ()
    """One for each protocol without."""


def train_missing(
    config: RunConfig, acquisitions: Iterable[Acquisition], trainer: Trainer | None = None
) -> Outcome:
    """Train a network for every protocol that has none that the quality rule lets serve.

    Parameters
    ----------
    config
        Says the preset, the folder of networks, and whether to wait for other tasks.
    acquisitions
        Series; those of one protocol share a network.
    trainer
        What trains; by default a process of its own.
    """
    trainer = trainer or _Subprocess(config)
    seen: set[str] = set()
    served, problems = 0, list[BidsBrnnError]()
    for item in acquisitions:
        if why := _not_for_networks(item):
            _LOG.info("%s: no network is trained: %s", item.name, why)
            continue
        job = _job(config, item)
        if job.name in seen:
            continue
        seen.add(job.name)
        try:
            problem = _settle(config, item, job, trainer)
        except BidsBrnnError as error:
            problem = error
        if problem is None:
            served += 1
        else:
            problems.append(problem)
    return Outcome(served, tuple(problems))


def _not_for_networks(item: Acquisition) -> str:
    """Why there is nothing to train for a series; empty where there is."""
    if item.magnitude_only and not isinstance(item.sequence, ZSpectrum):
        return "it holds magnitudes only, and networks need complex data"
    return ""


def _job(config: RunConfig, item: Acquisition) -> Job:
    from bids_brnn.experiments.presets import recipe_of
    from bids_brnn.signals.registry import model_entry

    preset = config.train_missing or USUAL
    recipe = recipe_of(preset, model_entry(item.model))
    return job_for(config.networks_dir, item, preset, recipe)


def _settle(
    config: RunConfig, item: Acquisition, job: Job, trainer: Trainer
) -> BidsBrnnError | None:
    """See that there is a network for a series; why there is none, or None."""
    waited = False
    while True:
        trained = job.card.is_file()  # before the choice: it may come in between
        found = choose_network("auto", item, config.networks_dir)
        # One for any protocol serves while nothing is asked for; who asks wants a better one.
        if found.path is not None and not (found.card and found.card.is_derived):
            if waited:
                _LOG.info("%s: another task has trained %s", item.name, found.path.stem)
            return None
        if trained:
            return _refused(item, job)
        with holding(job.lock) as lock:
            if lock is not None:
                if not job.card.is_file():
                    _train(config, item, job, lock, trainer)
                continue
        if config.while_training == "reference":
            return DataError(
                f"{item.name}: another task trains the network for its protocol "
                f"({told(job.lock)}), and --while-training reference does not wait for it."
            )
        if not waited:
            _LOG.info("%s: waiting for a network that another task trains", item.name)
            waited = True
        _wait(job)


def _wait(job: Job) -> None:
    """Wait until the holder of the lock is done, or gone; say now and then how far it is."""
    said = time.monotonic()
    while not job.card.is_file():
        with holding(job.lock) as lock:
            if lock is not None:
                return
        if time.monotonic() - said > _SELDOM:
            said = time.monotonic()
            _LOG.info("%s: %s", job.name, told(job.lock) or "at work")
        time.sleep(_OFTEN)


def _refused(item: Acquisition, job: Job) -> BidsBrnnError:
    """The network of a job is there, and does not serve."""
    try:
        card = ModelCard.from_file(job.card)
        if not card.shortcoming:
            check_serves(job.card, card, item)
    except BidsBrnnError as error:  # damaged, or changed by hand
        return type(error)(
            f"{item.name}: the network that was trained for its protocol cannot serve: "
            f"{str(error).rstrip('.')}; to train it again, remove {job.card}."
        )
    why = card.shortcoming or "another one was expected in its place"
    return DataError(
        f'{item.name}: the network "{card.name}", trained with the preset {job.preset}, is left '
        f"aside: {why}. {_what_may_help(card, job)}; to use it all the same: --weights {job.card}."
    )


def _what_may_help(card: ModelCard, job: Job) -> str:
    if not card.shortcoming:
        return "Use the reference"
    if card.verdict.cure == LONGER and job.preset != PRESETS[-1]:
        return "Train longer with --train-missing and a larger preset, or use the reference"
    return f"Use the reference; or what may help: {card.cure(job.card)}"


def _train(config: RunConfig, item: Acquisition, job: Job, lock: TextIO, trainer: Trainer) -> None:
    if job.field_strength is None:
        _LOG.warning(
            "%s: MagneticFieldStrength is missing; the network learns tissue at 3 T", item.name
        )
    begun = "resumed" if any(job.work.glob("*.safetensors")) else "begins"
    _LOG.info(
        "%s: no network is for its protocol; training %s: %s, preset %s, in %s",
        item.name, begun, job.name, job.preset, config.networks_dir,
    )  # fmt: skip
    started = time.monotonic()
    tell(lock, "beginning")
    make_unlinked(job.work, job.folder)
    trainer(job, lock)
    card = ModelCard.from_file(job.card)
    verdict = f"left aside, {card.shortcoming}" if card.shortcoming else "passes the quality rule"
    _LOG.info(
        "%s: trained in %.0f s; %s (SHA-256 %s)",
        job.name, time.monotonic() - started, verdict, card.weights_sha256[:12],
    )  # fmt: skip
    shutil.rmtree(job.work, ignore_errors=True)


class _Subprocess:
    """Trains in a process of its own, which ends with this one."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def __call__(self, job: Job, lock: TextIO) -> None:
        """Train, and repeat what the process says.

        Raises
        ------
        BidsBrnnError
            What the training ended with.
        ReadError
            If it ended without a word.
        """
        from bids_brnn.experiments.presets import fastest_precision

        configuration = job.write_configuration(fastest_precision())
        words = [sys.executable, "-m", "bids_brnn.app.train_job", configuration, job.work]
        words += [job.folder, self.config.nprocs, self.config.device]
        errors = job.work / "errors.log"
        errors.unlink(missing_ok=True)  # a link that lies there is not followed
        with (
            errors.open("x", encoding="utf-8") as file,
            subprocess.Popen(
                [str(word) for word in words], stdout=subprocess.PIPE, stderr=file, text=True
            ) as process,
        ):
            assert process.stdout is not None
            last = self._listen(job, lock, process.stdout)
            code = process.wait()
        if code == EXIT_OK:
            return
        if "code" in last:
            raise BidsBrnnError(
                f"{job.series}: the training stopped: {last['error']}", exit_code=int(last["code"])
            )
        raise ReadError(
            f"{job.series}: the training stopped ({code}); see {errors}. It goes on from its last "
            "checkpoint when the command is run again."
        )

    def _listen(self, job: Job, lock: TextIO, lines: Iterable[str]) -> Mapping[str, str]:
        said, phase = 0.0, ""
        last: Mapping[str, str] = {}
        for line in lines:
            content = heard(line)
            last = content or last
            if "note" in content:
                _LOG.warning("%s: %s", job.series, content["note"])
            words = str(content.get("words", ""))
            if not words:
                continue
            tell(lock, words)
            now = time.monotonic()
            if words.partition(",")[0] != phase or now - said > _SELDOM:
                said, phase = now, words.partition(",")[0]
                _LOG.info("%s: %s", job.name, words)
        return last


def conclude(outcome: Outcome, unusable: Sequence[BidsBrnnError], folder: Path) -> int:
    """Say what the level ``train`` did; the exit code.

    Parameters
    ----------
    outcome
        Of the protocols.
    unusable
        One for each series that cannot be used at all.
    folder
        Of networks.
    """
    errors = [*unusable, *outcome.problems]
    for error in errors:
        print(f"bids_brnn: {error}", file=sys.stderr)
    _LOG.info(
        "protocols with a network: %d, without: %d; networks that were trained are in %s",
        outcome.served, len(outcome.problems), folder,
    )  # fmt: skip
    codes = {error.exit_code for error in errors}
    return EXIT_OK if not codes else codes.pop() if len(codes) == 1 else EXIT_NODE_CRASHED

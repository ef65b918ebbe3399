"""The participant level: find, build, run, and say what happened."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn import __version__
from bids_brnn.app import folders as run_folders
from bids_brnn.app.failures import Failures, sort_out
from bids_brnn.app.locks import output_locked
from bids_brnn.app.logs import log_file, messages, set_verbosity
from bids_brnn.app.selection import find, usable
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import EXIT_NODE_CRASHED, EXIT_OK
from bids_brnn.files import WRITER_VARIABLE
from bids_brnn.system.memory import uncollected

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Acquisition, Discovery

_LOG = logging.getLogger("bids_brnn.run")


def run_participants(config: RunConfig) -> int:
    """Run the participant level; the exit code.

    Raises
    ------
    BidsBrnnError
        If nothing can be done at all.
    """
    from bids_brnn.app.any_spectrum import make_networks
    from bids_brnn.app.training import check_folder

    started = time.monotonic()
    check_folder(config)
    run_folders.check_output(config.output_dir)
    base = run_folders.base_folder(config)
    run_folders.make_private(base)
    run = run_folders.run_id()
    with run_folders.inside(base), ExitStack() as whole, ExitStack() as beginning:
        whole.callback(gc.unfreeze)  # a program around this one has its garbage collected again
        beginning.enter_context(uncollected(frozen=True))
        # Imported here: Nipype looks for settings in the current folder when it is imported.
        from bids_brnn.workflows.plugins import choose_plugin
        from bids_brnn.workflows.steps import check_tools

        check_tools(config)
        choose_plugin(config)  # what cannot be followed is said before anything is read
        with messages(config.loudness, log_file(config.output_dir, run)):
            if (note := run_folders.older_note(config)) is not None:
                _LOG.info("%s", note)
            discovery = find(config)
            beginning.close()
            if config.train_missing is not None:
                train_networks(config, discovery)
            if not config.reports_only:
                make_networks(config, discovery.acquisitions)
            discovery = usable(config, discovery)
            with (
                output_locked(config.output_dir, discovery.participants, config.session_label),
                run_folders.locked(base, discovery.participants) as killed,
            ):
                run_folders.clear_leftovers(config.output_dir, base, killed)
                failures = _work(config, discovery, base, run)
                writer = os.environ.get(WRITER_VARIABLE)
                if failures.crash_files and writer:  # a worker may have been killed in writing
                    own = dict.fromkeys(discovery.participants, writer)
                    run_folders.clear_leftovers(config.output_dir, base, own)
            return conclude(config, discovery, failures, time.monotonic() - started)


def train_networks(config: RunConfig, discovery: Discovery) -> None:
    """Train what is missing; a protocol that stays without a network has its reference."""
    from bids_brnn.app.training import train_missing

    for error in train_missing(config, discovery.acquisitions).problems:
        _LOG.warning("%s", error)


def run_training(config: RunConfig) -> int:
    """Run the level ``train``: networks for all protocols of the data set; the exit code.

    Raises
    ------
    BidsBrnnError
        If a protocol has no network that may serve, or nothing can be done at all.
    """
    from bids_brnn.app.training import conclude as concluded
    from bids_brnn.app.training import train_missing

    run_folders.check_output(config.output_dir)
    run = run_folders.run_id()
    with messages(config.loudness, log_file(config.output_dir, run)):
        discovery = find(config)
        outcome = train_missing(config, discovery.acquisitions)
        return concluded(outcome, discovery.problems, config.networks_dir)


def _work(config: RunConfig, discovery: Discovery, base: Path, run: str) -> Failures:
    from bids_brnn.app.methods_text import write_boilerplate
    from bids_brnn.app.tidy import known_outputs, settle_series
    from bids_brnn.bids.output.dataset_files import earlier_version, write_dataset_files
    from bids_brnn.interfaces.manifest import finished_steps
    from bids_brnn.reports.participant import page_file, remove_reports, write_reports
    from bids_brnn.workflows.participant import TOP, init_participant_wf, participant_name

    if (warning := earlier_version(config.output_dir, __version__)) is not None:
        _LOG.warning("%s", warning)
    links = discovery.acquisitions[0].links
    write_dataset_files(config.output_dir, links=links, version=__version__)
    records = {
        participant: config.output_dir / f"sub-{participant}" / "log" / run
        for participant in discovery.participants
    }
    if config.boilerplate_only:
        write_boilerplate(config, discovery, records)
        return Failures()
    for record in records.values():
        config.to_file(record / "bids_brnn.toml")
    folders = {name: base / TOP / participant_name(name) for name in records}
    failures, before, tidied = Failures(), {}, set()
    if not config.reports_only:
        known = known_outputs(config.output_dir, base, discovery.acquisitions)
        clear_work(config, folders.values())
        before = {name: finished_steps(folder) for name, folder in folders.items()}
        with uncollected(frozen=True):
            workflow = init_participant_wf(
                config, discovery.acquisitions, base_dir=base, crash_dirs=records
            )
        if config.write_graph:
            graph = log_file(config.output_dir, run).with_suffix(".dot")
            workflow.write_graph(dotfilename=str(graph), graph2use="colored", format="dot")
        failures = execute(config, workflow, list(folders.values()), records, run)
        good = succeeded(discovery.acquisitions, records)
        tidied = settle_series(config.output_dir, base, workflow, good, known)
    errors = [str(error) for error in (*discovery.problems, *failures.errors)]
    sessions = config.session_label or ("",)
    changed = [
        name
        for name, folder in folders.items()
        if errors
        or failures.crash_files
        or name in tidied
        or before.get(name) != finished_steps(folder)
        or not all(page_file(config.output_dir, name, ses).is_file() for ses in sessions)
    ]
    if config.reports_only or (config.level == "full" and changed):
        names = list(records) if config.reports_only else changed
        write_reports(
            config.output_dir,
            names,
            records=records,
            errors=errors,
            made=None if config.reports_only else heads(config.output_dir, discovery),
            sessions=config.session_label,
            acquisitions=discovery.acquisitions,
            threads=config.omp_nthreads,
        )
    elif changed and not failures.any and not config.session_label:
        remove_reports(config.output_dir, changed)
    return failures


def succeeded(
    acquisitions: Sequence[Acquisition], records: Mapping[str, Path]
) -> list[Acquisition]:
    """Series of participants of whom no step has failed."""
    failed = {name for name, record in records.items() if any(record.glob("crash-*"))}
    return [item for item in acquisitions if item.entities["subject"] not in failed]


def heads(output_dir: Path, discovery: Discovery) -> set[str]:
    """How the names of outputs of the series of this run begin."""
    from bids_brnn.bids.output.naming import mask_path

    paths = [mask_path(output_dir, item) for item in discovery.acquisitions]
    return {path.name.partition("_desc-")[0] for path in paths}


def clear_work(config: RunConfig, folders: Iterable[Path]) -> None:
    """Remove earlier work that is not wanted any more, or that cannot be trusted."""
    from bids_brnn.interfaces.manifest import discard_broken

    for folder in folders:
        if config.clean_workdir:
            run_folders.clean(config, folder)
        for broken in discard_broken(folder):
            _LOG.info("redone, its output was lost or changed: %s", broken.name)


def execute(
    config: RunConfig,
    workflow: Any,
    folders: Sequence[Path],
    records: Mapping[str, Path],
    run: str,
) -> Failures:
    """Run the workflow, and collect what went wrong."""
    from bids_brnn.app.monitor import monitored
    from bids_brnn.interfaces.base import user_errors
    from bids_brnn.interfaces.manifest import results_from_manifests
    from bids_brnn.workflows.execution import PatientPlugin, apply_settings, execution_settings
    from bids_brnn.workflows.plugins import has_own_jobs, make_plugin

    apply_settings(execution_settings(stop_on_first_crash=config.stop_on_first_crash))
    log = log_file(config.output_dir, run)
    table = log.with_name(f"{run}_resources.tsv") if config.resource_monitor else None
    plugin = make_plugin(config, partial(prepare_worker, config.loudness, log))
    try:
        digests = not has_own_jobs(plugin)
        with monitored(table), results_from_manifests(digests=digests):
            workflow.run(plugin=plugin)
    except Exception as error:
        _LOG.debug("the workflow stopped", exc_info=True)
        errors = [found for folder in folders for found in user_errors(folder)]
        crashes = sorted(path for record in records.values() for path in record.glob("crash-*"))
        return sort_out(error, errors, crashes, (config.work_dir, config.output_dir))
    finally:
        if isinstance(plugin, PatientPlugin):
            plugin.close()
    return Failures()


def prepare_worker(verbosity: int, log: Path) -> None:
    """What each worker of a run needs before its first step."""
    from bids_brnn.interfaces.manifest import use_manifests

    set_verbosity(verbosity, log)
    use_manifests()


def conclude(config: RunConfig, discovery: Discovery, failures: Failures, seconds: float) -> int:
    """Say what happened; the exit code."""
    from bids_brnn.workflows.execution import KILLED

    errors = [*discovery.problems, *failures.errors]
    for error in errors:
        print(f"bids_brnn: {error}", file=sys.stderr)
        _LOG.debug("where it arose:", exc_info=error)
    for path in failures.crash_files:
        reason = KILLED if KILLED in path.read_text() else "A step crashed."
        print(f"bids_brnn: {reason} See {path}", file=sys.stderr)
    if not errors and not failures.crash_files:
        n = len(discovery.acquisitions)
        series = "1 series" if n == 1 else f"{n} series"
        _LOG.info("%s done in %.0f s: %s", series, seconds, config.output_dir)
        return EXIT_OK
    codes = {error.exit_code for error in errors}
    if failures.crash_files or len(codes) > 1:
        return EXIT_NODE_CRASHED
    return codes.pop()

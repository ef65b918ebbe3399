"""Where the steps of a run are processed: this process, workers, or a plugin of the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nipype.pipeline.plugins as nipype_plugins
import yaml

from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import ReadError, UsageError
from bids_brnn.system.kinds import shown
from bids_brnn.workflows.execution import PatientPlugin, execution_settings

_KEYS = {"plugin", "plugin_args"}
_SUFFIX = "Plugin"
_POOL, _IN_ORDER = "MultiProc", "Linear"
_WITHOUT_SCRIPTS = {_POOL, _IN_ORDER, "LegacyMultiProc", "Debug"}
_LATER = ("bids_brnn.zoo.match",)
"""What estimation loads: PyTorch, networks; more than a second of one core."""
_PAGES = "bids_brnn.reports.assemble"
_POLL = 2.0  # s between two questions to a batch system, each of which starts a program
_LATE = 120.0
"""Seconds that the result of a finished job of a batch system may take to be seen.

Nipype gives it 5, but a network disk shows a new file in a folder only after up to 60
(``acdirmax`` of nfs(5)), a busy one later: steps that were done would count as failed.
"""
_PLAIN = re.compile(r"[A-Za-z0-9_\-+.,/]+")


def choose_plugin(config: RunConfig) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the Nipype plugin of a run.

    ``--use-plugin`` decides. Without it, steps run one after the other in this process, or in
    workers where the CPUs allow two of them at once.

    Raises
    ------
    ReadError
        If the plugin file cannot be read.
    UsageError
        If it names no plugin of Nipype, or one that cannot be used with the other options.
    """
    in_order = "--debug pdb" if config.debugs("pdb") else "--low-mem" if config.low_mem else ""
    if config.use_plugin is None:
        several = config.nprocs // config.omp_nthreads > 1 and not in_order
        return (_POOL if several else _IN_ORDER), {}
    name, arguments = read_plugin(config, config.use_plugin)
    if in_order and name != _IN_ORDER:
        raise UsageError(
            f"{in_order} runs one step after the other, but {config.use_plugin} asks for "
            f"{name}; leave one of them out."
        )
    if name not in _WITHOUT_SCRIPTS and not _PLAIN.fullmatch(str(config.work_dir)):
        # Nipype puts the path into Python and shell text without quoting it.
        raise UsageError(
            f"{config.use_plugin}: {name} writes the work folder {config.work_dir} into scripts; "
            "choose one with -w whose path has letters, digits and _ - + . , / only."
        )
    return name, arguments


def imported_meanwhile(config: RunConfig) -> list[str]:
    """Modules that later steps need, to be loaded while files are read and decompressed.

    Only where all steps run in this process: a worker that reads may never estimate.
    """
    if choose_plugin(config)[0] != _IN_ORDER or config.omp_nthreads == 1:
        return []
    return [*_LATER, *([_PAGES] if config.level == "full" else [])]


def make_plugin(config: RunConfig, prepare: Callable[[], object] | None = None) -> Any:
    """The Nipype plugin of a run.

    ``MultiProc`` is our :class:`PatientPlugin`, with the CPUs and the memory of the run where the
    plugin file does not say. Its workers call ``prepare`` first.

    Raises
    ------
    BidsBrnnError
        See :func:`choose_plugin`.
    """
    name, arguments = choose_plugin(config)
    if name == _POOL:
        return PatientPlugin(
            n_procs=arguments.pop("n_procs", config.nprocs),
            memory_gb=arguments.pop("memory_gb", config.mem_mb / 1000),
            prepare=prepare,
            others=arguments,
        )
    return getattr(nipype_plugins, f"{name}{_SUFFIX}")(plugin_args=arguments)


def has_own_jobs(plugin: Any) -> bool:
    """Whether steps run in processes that only Nipype prepares, as jobs of a batch system do."""
    return not isinstance(plugin, PatientPlugin | nipype_plugins.LinearPlugin)


def scheduler_settings(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Nipype settings that whatever distributes the steps of a run goes by.

    Raises
    ------
    BidsBrnnError
        See :func:`choose_plugin`.
    """
    settings = execution_settings(stop_on_first_crash=config.stop_on_first_crash)
    if choose_plugin(config)[0] not in _WITHOUT_SCRIPTS:
        settings["execution"]["poll_sleep_duration"] = _POLL
        settings["execution"]["job_finished_timeout"] = _LATE
    return settings


def read_plugin(config: RunConfig, path: Path) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the plugin that a YAML file asks for, as in fMRIPrep.

    Raises
    ------
    ReadError
        If the file is absent or is no YAML.
    UsageError
        If it has other keys than ``plugin`` and ``plugin_args``, or Nipype has no such plugin.
    """
    try:
        content = yaml.safe_load(config.text_of("use_plugin"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ReadError(f"Cannot read the plugin file {path}: {error}.") from error
    if not isinstance(content, dict) or not content.keys() <= _KEYS or "plugin" not in content:
        raise UsageError(
            f'{path} must hold "plugin" and, if needed, "plugin_args", such as '
            "{plugin: MultiProc, plugin_args: {n_procs: 4}}."
        )
    name, arguments = content["plugin"], content.get("plugin_args") or {}
    known = [item.removesuffix(_SUFFIX) for item in dir(nipype_plugins) if item.endswith(_SUFFIX)]
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"{path}: Nipype has no plugin {shown(name)}; it has {', '.join(known)}.")
    if not isinstance(arguments, Mapping):
        raise UsageError(f"{path}: plugin_args must be a table of arguments by name.")
    return name, dict(arguments)

"""The command line of the BIDS App. Nothing heavy is imported here: ``--help`` is instant."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from bids_brnn import __version__
from bids_brnn.cli import options
from bids_brnn.config.run_config import (
    LOW_MEMORY_BATCH,
    AnalysisLevel,
    DebugMode,
    Denoise,
    Detail,
    Device,
    Ignorable,
    Modality,
    Reference,
    Registration,
    RunConfig,
    SkullStrip,
)

_NOT_A_VALUE = ("config_file", "notrack", "bids_exec_spec")
_MOST_THREADS = 8  # per step; beyond it two series side by side use the machine better


def build_parser() -> argparse.ArgumentParser:
    """The parser; absent options are absent from the namespace, so that a file can give them."""
    parser = argparse.ArgumentParser(
        prog="bids_brnn",
        description="Quantitative magnetization transfer and MR fingerprinting maps, with their "
        "uncertainty, from a BIDS data set.",
        argument_default=argparse.SUPPRESS,
        epilog="Exit codes: 0 done, 1 a step crashed, 2 usage, 16 invalid BIDS, 18 nothing "
        "selected, 65 wrong data, 66 no QMT or MRF series, 73 not writable, 74 not readable, "
        "75 try again.",
    )
    parser.add_argument("bids_dir", type=options.existing_folder, help="the BIDS data set")
    parser.add_argument("output_dir", type=Path, help="folder of the derivative data set")
    parser.add_argument(
        "analysis_level",
        choices=get_args(AnalysisLevel),
        help="participant: maps of each series; group: gather the tables of all participants",
    )
    parser.add_argument("--version", action="version", version=f"bids_brnn v{__version__}")
    parser.add_argument(
        "--bids-exec-spec", action=_PrintDescriptor, help="print the Boutiques descriptor"
    )
    _add_selection(parser.add_argument_group("what is processed"))
    _add_method(parser.add_argument_group("how"))
    _add_resources(parser.add_argument_group("resources"))
    _add_control(parser.add_argument_group("run control"))
    return parser


class _PrintDescriptor(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from bids_brnn.cli.boutiques import descriptor_text

        print(descriptor_text(), end="")
        parser.exit()


def _add(group: Any, *names: str, **keywords: Any) -> None:
    """Add an option under its names and, for each, the spelling with underscores."""
    spellings = list(names)
    for name in names:
        other = "--" + name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and other not in spellings:
            spellings.append(other)
    group.add_argument(*spellings, **keywords)


def _add_selection(group: Any) -> None:
    _add(
        group, "--participant-label", nargs="+", type=options.participant, metavar="LABEL",
        help="participants, with or without sub-; default: all",
    )  # fmt: skip
    _add(
        group, "--session-label", nargs="+", type=options.session, metavar="LABEL",
        help="sessions, with or without ses-; default: all",
    )  # fmt: skip
    _add(
        group, "--modality", choices=get_args(Modality),
        help="kind of series; default: auto, every kind found",
    )  # fmt: skip
    _add(
        group, "-d", "--derivatives", nargs="+", type=options.derivative, metavar="NAME=PATH",
        help="derivative data sets to read: recon (series), fmriprep (T1w, masks, labels)",
    )  # fmt: skip
    _add(
        group, "--bids-filter-file", type=options.existing_file, metavar="FILE",
        help='JSON with PyBIDS entities by kind, for example {"qmt": {"acquisition": "hsfp"}}',
    )  # fmt: skip
    _add(
        group, "--bids-database-dir", type=Path, metavar="PATH",
        help="PyBIDS database to use if it fits the data set, else one is made there",
    )  # fmt: skip
    _add(
        group, "--ignore", nargs="+", choices=get_args(Ignorable),
        help="inputs to leave aside although they exist",
    )  # fmt: skip
    _add(
        group, "--allow-links", nargs="+", type=options.existing_folder, metavar="PATH",
        help="folders outside of the data set that links in it may lead to; git-annex stores "
        "always may",
    )  # fmt: skip
    _add(
        group, "--skip-bids-validation", action="store_true",
        help="do not run the BIDS validator first",
    )  # fmt: skip


def _add_method(group: Any) -> None:
    _add(
        group, "--weights", metavar="MODEL",
        help="trained network: auto (default: the one for the pulse train, if there is one), "
        "none, a name from 'brnn models', or the path of a model card",
    )  # fmt: skip
    _add(
        group, "--reference", choices=get_args(Reference),
        help="reference estimator; default: auto, which is nlls for qMT and dict for MRF, with "
        "--level full or where there is no network",
    )  # fmt: skip
    _add(
        group, "--mask", type=options.existing_file, metavar="FILE",
        help="NIfTI mask on the grid of the series; only its voxels are estimated",
    )  # fmt: skip
    _add(
        group, "--atlas", nargs="+", type=options.atlas, metavar="NAME=FILE",
        help="label images in the scanner coordinates of the participants, any grid, for region "
        "tables; a TSV of the same name beside each holds index and name of its regions",
    )  # fmt: skip
    _add(
        group, "--erode", type=options.positive, metavar="N",
        help="take N layers of voxels off each region, against partial volume; default: none",
    )  # fmt: skip
    _add(
        group, "--skull-strip", choices=get_args(SkullStrip),
        help="auto (default): where there is no brain mask one is made with deepbet, if that is "
        "installed; skip: voxels above an intensity threshold are taken",
    )  # fmt: skip
    _add(
        group, "--registration", choices=get_args(Registration),
        help="rigid (default): the series is registered to the T1w image, whose masks and labels "
        "follow; header: both are taken to share scanner coordinates",
    )  # fmt: skip
    _add(
        group, "--output-spaces", nargs="+", metavar="SPACE",
        help="also write the maps in these spaces: T1w, or a template to which a derivative data "
        "set (-d) has a transform from T1w, TEMPLATE:res-2 for a resolution of its images; the "
        "grid of the series is always written",
    )  # fmt: skip
    _add(
        group, "--level", choices=get_args(Detail),
        help="minimal: maps; full (default): also the reference fit, region tables, report",
    )  # fmt: skip
    _add(
        group, "--device", choices=get_args(Device),
        help="auto (default) takes a CUDA device where there is one, and says so",
    )  # fmt: skip
    _add(
        group, "--denoise", choices=get_args(Denoise),
        help="denoise the series first: mppca (built in) or dwidenoise (MRtrix3); default: none. "
        "Changes the noise, so that standard deviations no longer hold",
    )  # fmt: skip
    _add(
        group, "--degibbs", action="store_true",
        help="remove Gibbs ringing with mrdegibbs (MRtrix3), for Cartesian data. Changes the "
        "noise, so that standard deviations no longer hold",
    )  # fmt: skip
    _add(
        group, "--motion-correction", action="store_true",
        help="bring the time frames of MRF to one position (rigid). Interpolates frames, which "
        "changes their noise; coefficients of a subspace are refused",
    )  # fmt: skip
    _add(
        group, "--motion-window", type=options.count, metavar="N",
        help="frames that share a position in --motion-correction; default: 0, a 20th of them",
    )  # fmt: skip
    _add(
        group, "--random-seed", type=options.count, metavar="N",
        help="seed of the start values that estimators draw; default: 1, so that runs with "
        "equal options give equal maps",
    )  # fmt: skip
    _add(
        group, "--sloppy", action="store_true",
        help="few iterations and a coarse dictionary: quick, for testing a set-up, never for "
        "results",
    )  # fmt: skip


def _add_resources(group: Any) -> None:
    _add(
        group, "--nprocs", "--nthreads", "--n-cpus", dest="nprocs", type=options.positive,
        metavar="N", help="CPUs to use; default: what Slurm or the system grants",
    )  # fmt: skip
    _add(
        group, "--omp-nthreads", type=options.positive, metavar="N",
        help=f"threads of one step; default: nprocs, at most {_MOST_THREADS}",
    )  # fmt: skip
    _add(
        group, "--mem-mb", "--mem", dest="mem_mb", type=options.positive, metavar="MB",
        help="memory to use, MB; default: what Slurm or the system grants",
    )  # fmt: skip
    _add(
        group, "--low-mem", action="store_true",
        help="less memory, more time: one step after the other, and batches of "
        f"{LOW_MEMORY_BATCH} voxels unless --batch-size is given",
    )  # fmt: skip
    _add(
        group, "--batch-size", type=options.positive, metavar="N",
        help="voxels estimated together; more need more memory, and maps do not change beyond "
        "rounding; default: what suits each estimator",
    )  # fmt: skip
    _add(
        group, "--use-plugin", "--nipype-plugin-file", dest="use_plugin",
        type=options.existing_file, metavar="FILE",
        help="YAML with a Nipype plugin (plugin, plugin_args); default: this process, or several "
        "with --nprocs at least twice --omp-nthreads",
    )  # fmt: skip
    _add(
        group, "--resource-monitor", action="store_true",
        help="write CPU and memory of the run over time to logs/<run>_resources.tsv",
    )  # fmt: skip


def _add_control(group: Any) -> None:
    _add(
        group, "-w", "--work-dir", type=Path, metavar="PATH",
        help="intermediate files, may be deleted after the run; default: ./work",
    )  # fmt: skip
    _add(group, "--clean-workdir", action="store_true", help="delete earlier work files first")
    _add(
        group, "--config-file", type=options.existing_file, metavar="FILE",
        help="TOML file with options; the command line wins",
    )  # fmt: skip
    _add(
        group, "--stop-on-first-crash", action="store_true",
        help="stop when one step fails instead of finishing the others",
    )  # fmt: skip
    _add(
        group, "--reports-only", action="store_true",
        help="make the reports from the maps that are there, estimate nothing",
    )  # fmt: skip
    _add(
        group, "--boilerplate-only", action="store_true",
        help="write the methods text for what would be done (CITATION.md, .bib), do nothing else",
    )  # fmt: skip
    _add(group, "--write-graph", action="store_true", help="write the workflow graph as dot file")
    _add(group, "--notrack", action="store_true", help="accepted; nothing is ever sent anywhere")
    _add(
        group, "--debug", nargs="*", choices=get_args(DebugMode),
        help="log (default): as -vv, with where each error arose; pdb: open the debugger where "
        "a step fails, all steps in this process; all: both",
    )  # fmt: skip
    group.add_argument(
        "-v", "--verbose", dest="verbosity", action="count", help="-v: steps, -vv: everything"
    )


def parse(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> RunConfig:
    """Command line to configuration; options of ``--config-file`` come under it.

    Raises
    ------
    BidsBrnnError
        If the options contradict each other (argparse itself exits with 2).
    """
    environment = os.environ if environment is None else environment
    given = vars(build_parser().parse_args(arguments))
    chosen = RunConfig.options_in(given["config_file"]) if "config_file" in given else {}
    chosen.update((name, value) for name, value in given.items() if name not in _NOT_A_VALUE)
    if given.get("debug") == []:
        chosen["debug"] = ["log"]
    for name in ("derivatives", "atlas"):
        if isinstance(chosen.get(name), list):
            chosen[name] = dict(chosen[name])
    chosen.setdefault("work_dir", Path("work"))
    chosen.setdefault("nprocs", options.available_cpus(environment))
    chosen.setdefault("omp_nthreads", min(chosen["nprocs"], _MOST_THREADS))
    chosen.setdefault("mem_mb", options.available_memory_mb(environment))
    return RunConfig.from_values(chosen)

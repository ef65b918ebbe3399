"""One run of the BIDS App as a frozen value: the home of every option."""

# ruff: noqa: RUF009 -- option() makes a field of the dataclass

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bids_brnn.config import choices
from bids_brnn.config.checks import check
from bids_brnn.config.choices import AUTO
from bids_brnn.config.options import option, required
from bids_brnn.config.toml import Stored


@dataclass(frozen=True, kw_only=True)
class RunConfig(Stored):
    """Everything a run was asked to do; paths are absolute.

    A new option is a new field here, in the place it shall have in the help.

    Raises
    ------
    UsageError
        If a value is impossible or two of them contradict each other.
    """

    bids_dir: Path = field(metadata=required("the BIDS data set", group="place", exists="folder"))
    output_dir: Path = field(metadata=required("folder of the derivative data set", group="place"))
    analysis_level: choices.AnalysisLevel = option(
        "participant: maps of each series; group: gather the tables of all participants; train: "
        "a network for each protocol that has none, before an array of participants",
        "participant",
        group="place",
    )

    participant_label: tuple[str, ...] = option(
        "participants, with or without sub-; default: all", (), group="selection", entity="sub"
    )
    session_label: tuple[str, ...] = option(
        "sessions, with or without ses-; default: all", (), group="selection", entity="ses"
    )
    modality: str = option(
        "kind of series; default: auto, every kind found",
        AUTO,
        group="selection",
        choices=choices.modalities,
    )
    derivatives: Mapping[str, Path] = option(
        "derivative data sets to read: recon (series), fmriprep (T1w, masks, labels)",
        {},
        group="selection",
        flags=("-d", "--derivatives"),
        exists="folder",
    )
    bids_filter_file: Path | None = option(
        'JSON with PyBIDS entities by kind, for example {"qmt": {"acquisition": "hsfp"}}',
        None,
        group="selection",
        exists="file",
        kept=True,
    )
    bids_database_dir: Path | None = option(
        "PyBIDS database to use if it fits the data set, else one is made there",
        None,
        group="selection",
    )
    ignore: tuple[choices.Ignorable, ...] = option(
        "inputs to leave aside although they exist", (), group="selection"
    )
    allow_links: tuple[Path, ...] = option(
        "folders outside of the data set that links in it may lead to; its own git-annex always "
        "may",
        (),
        group="selection",
        exists="folder",
    )
    skip_bids_validation: bool = option(
        "do not run the BIDS validator first", False, group="selection"
    )

    weights: str = option(
        "trained network: auto (default: one evaluated and found good for the pulse train; for "
        "Z-spectra else one made of any-spectrum), none, a name from 'brnn models', or the path "
        "of a model card, of its weights or of a folder of networks",
        AUTO,
        group="method",
        metavar="MODEL",
        files=(".safetensors", ".json"),
    )
    train_missing: choices.Preset | None = option(
        "train a network first for each protocol that has none: quick (minutes on 2 CPUs), "
        "standard (default, half an hour) or thorough (hours); it is kept in --weights-dir",
        None,
        group="method",
        bare=("standard",),
    )
    weights_dir: Path | None = option(
        "folder of networks trained for the data set, also looked into without --train-missing; "
        "default: code/networks in the output folder",
        None,
        group="method",
    )
    while_training: choices.WhileTraining = option(
        "where another task trains the network: wait (default), or go on with the reference",
        "wait",
        group="method",
    )
    reference: str = option(
        "reference estimator; default: auto, which is nlls for qMT and dict for MRF, with --level "
        "full or where there is no network",
        AUTO,
        group="method",
        choices=choices.references,
    )
    reference_voxels: str = option(
        "voxels that the reference is run in where a network maps all: a number (a random sample "
        "with a share of each region), or all; default: auto, which is all if they take at most "
        f"{choices.MOST_MINUTES} minutes by the measured rate or are no more than "
        f"{choices.USUAL_SAMPLE}, else {choices.USUAL_SAMPLE}",
        AUTO,
        group="method",
        metavar="N",
        or_words=(choices.ALL, AUTO),
    )
    zspectrum: Path | None = option(
        "what the sidecars of Z-spectra (conventional qMT) lack: a JSON with MTPulseShape, "
        "MTPulseDuration, FlipAngle ..., or a TSV with a row per measurement and a JSON of its "
        "name beside it",
        None,
        group="method",
        exists="file",
    )
    zspectrum_model: str = option(
        "signal model of Z-spectra; default: auto, the one that their sidecars name, else the "
        "first of these",
        AUTO,
        group="method",
        choices=choices.spectrum_models,
    )
    mask: Path | None = option(
        "NIfTI mask on the grid of the series; only its voxels are estimated",
        None,
        group="method",
        exists="file",
    )
    atlas: Mapping[str, Path] = option(
        "label images in the scanner coordinates of the participants, any grid, for region "
        "tables; a TSV of the same name beside each holds index and name of its regions",
        {},
        group="method",
        exists="file",
    )
    erode: int = option(
        "take N layers of voxels off each region, against partial volume; default: none",
        0,
        group="method",
        least=0,
    )
    skull_strip: choices.SkullStrip = option(
        "auto (default): where there is no brain mask one is made with deepbet, if that is "
        "installed; skip: voxels above an intensity threshold are taken",
        "auto",
        group="method",
    )
    registration: choices.Registration = option(
        "rigid (default): the series is registered to the T1w image, whose masks and labels "
        "follow; header: both are taken to share scanner coordinates",
        "rigid",
        group="method",
    )
    trust_header: bool = option(
        "combine images although the header of one does not tell where it lies (qform_code and "
        "sform_code 0): it is then taken to lie in the centre, its first axis pointing to the "
        "left, as nibabel does",
        False,
        group="method",
    )
    output_spaces: tuple[str, ...] = option(
        "also write the maps in these spaces: T1w (or anat), or a template to which a "
        "derivative data set (-d) has a transform from T1w, TEMPLATE:cohort-3 for a cohort, "
        "TEMPLATE:res-2 for a resolution of its images; the grid of the series is always written",
        (),
        group="method",
        metavar="SPACE",
    )
    csf_fraction: bool = option(
        "where one compartment does not explain the data of qMT or MRF, fit a second one of "
        "cerebrospinal fluid: its share in M0 (fCSF), and the parameters of the tissue beside it, "
        "by the network and by nlls",
        False,
        group="method",
    )
    level: choices.Detail = option(
        "minimal: maps; full (default): also the reference fit, region tables, report",
        "full",
        group="method",
    )
    device: choices.Device = option(
        "auto (default) takes a CUDA device where there is one, and says so",
        "auto",
        group="method",
    )
    denoise: choices.Denoise = option(
        "denoise the series first: mppca (built in) or dwidenoise (MRtrix3); default: none. "
        "Changes the noise, so that standard deviations no longer hold",
        "none",
        group="method",
    )
    degibbs: bool = option(
        "remove Gibbs ringing with mrdegibbs (MRtrix3), for Cartesian data. Changes the noise, "
        "so that standard deviations no longer hold",
        False,
        group="method",
    )
    motion_correction: bool = option(
        "bring the time frames of MRF to one position (rigid). Interpolates frames, which "
        "changes their noise; coefficients of a subspace are refused",
        False,
        group="method",
    )
    motion_window: int = option(
        "frames that share a position in --motion-correction; default: 0, a 20th of them",
        0,
        group="method",
        least=0,
    )
    random_seed: int = option(
        "seed of the start values that estimators draw; default: 1, so that runs with equal "
        "options give equal maps",
        1,
        group="method",
        least=0,
    )
    sloppy: bool = option(
        "few iterations and a coarse dictionary: quick, for testing a set-up, never for results",
        False,
        group="method",
    )

    nprocs: int = option(
        "CPUs to use; default: what Slurm or the system grants",
        1,
        group="resources",
        flags=("--nprocs", "--nthreads", "--n-cpus"),
        least=1,
    )
    omp_nthreads: int = option(
        f"threads of one step; default: nprocs, at most {choices.MOST_THREADS}",
        1,
        group="resources",
        least=1,
    )
    mem_mb: int = option(
        "memory to use, MB, or with a unit such as 8G; default: what Slurm or the system grants",
        4000,
        group="resources",
        flags=("--mem-mb", "--mem"),
        metavar="MB",
        least=100,
        unit="MB",
    )
    low_mem: bool = option(
        "less memory, more time: one step after the other, and batches of "
        f"{choices.LOW_MEMORY_BATCH} voxels unless --batch-size is given",
        False,
        group="resources",
    )
    batch_size: int | None = option(
        "voxels estimated together; more need more memory, and maps do not change beyond "
        "rounding; default: what suits each estimator",
        None,
        group="resources",
        least=1,
    )
    use_plugin: Path | None = option(
        "YAML with a Nipype plugin (plugin, plugin_args); default: this process, or several with "
        "--nprocs at least twice --omp-nthreads",
        None,
        group="resources",
        flags=("--use-plugin", "--nipype-plugin-file"),
        exists="file",
        kept=True,
    )
    resource_monitor: bool = option(
        "write CPU and memory of the run over time to logs/<run>_resources.tsv",
        False,
        group="resources",
    )

    work_dir: Path = field(
        metadata=required(
            "intermediate files, may be deleted after the run; default: ./work",
            group="control",
            flags=("-w", "--work-dir"),
        )
    )
    clean_workdir: bool = option("delete earlier work files first", False, group="control")
    stop_on_first_crash: bool = option(
        "stop when one step fails instead of finishing the others", False, group="control"
    )
    reports_only: bool = option(
        "make the reports from the maps that are there, estimate nothing", False, group="control"
    )
    boilerplate_only: bool = option(
        "write the methods text for what would be done (CITATION.md, .bib), do nothing else",
        False,
        group="control",
    )
    write_graph: bool = option("write the workflow graph as dot file", False, group="control")
    debug: tuple[choices.DebugMode, ...] = option(
        "log (default): as -vv, with where each error arose; pdb: open the debugger where a step "
        "fails, all steps in this process; all: both",
        (),
        group="control",
        bare=("log",),
    )
    verbosity: int = option(
        "-v: steps, -vv: everything",
        0,
        group="control",
        flags=("-v", "--verbose"),
        counted=True,
        least=0,
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def networks_dir(self) -> Path:
        """Where networks of the data set lie."""
        return self.weights_dir or self.output_dir / "code" / "networks"

    def debugs(self, mode: choices.DebugMode) -> bool:
        """Whether ``--debug`` asks for ``mode``."""
        return mode in self.debug or "all" in self.debug

    @property
    def loudness(self) -> int:
        """``verbosity``, or everything where the log is to be debugged."""
        return 2 if self.debugs("log") else self.verbosity

    @property
    def voxels_together(self) -> int | None:
        """Voxels estimated together, or None for what each estimator thinks best."""
        return self.batch_size or (choices.LOW_MEMORY_BATCH if self.low_mem else None)

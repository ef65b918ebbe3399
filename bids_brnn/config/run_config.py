"""One run of the BIDS App as a frozen value, and its TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from bids_brnn.config.toml import read_options, to_toml, typed
from bids_brnn.errors import EXIT_UNKNOWN_LEVEL, UsageError
from bids_brnn.files import write_text

AnalysisLevel = Literal["participant", "group"]
Modality = Literal["auto", "qmt", "mrf"]
Reference = Literal["auto", "none", "nlls", "dict"]
Detail = Literal["minimal", "full"]
Device = Literal["auto", "cpu", "cuda"]
Denoise = Literal["none", "mppca", "dwidenoise"]
Registration = Literal["rigid", "header"]
SkullStrip = Literal["auto", "skip"]
Ignorable = Literal["b1map", "b0map", "t1w", "mask", "dseg"]
DebugMode = Literal["log", "pdb", "all"]

LOW_MEMORY_BATCH = 512
"""Voxels estimated together with ``low_mem``."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run was asked to do; paths are absolute.

    Raises
    ------
    UsageError
        If a value is impossible or two of them contradict each other.
    OutputError
        If the output or the work folder cannot be written.
    """

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    analysis_level: AnalysisLevel = "participant"
    participant_label: tuple[str, ...] = ()
    """Labels without ``sub-``; empty means all."""
    session_label: tuple[str, ...] = ()
    """Labels without ``ses-``; empty means all."""
    modality: Modality = "auto"
    reference: Reference = "auto"
    weights: str = "auto"
    """``auto``: the network for the pulse train, if there is one; ``none``; a name or a path."""
    level: Detail = "full"
    """``minimal``: maps; ``full``: also the reference fit, region tables and the report."""
    device: Device = "auto"
    denoise: Denoise = "none"
    """Complex denoising before anything else; changes the noise model."""
    degibbs: bool = False
    """Removal of Gibbs ringing; changes the noise model."""
    motion_correction: bool = False
    """Rigid motion between time frames; interpolates them."""
    motion_window: int = 0
    """Frames that share a position; 0: a 20th of them."""
    mask: Path | None = None
    """NIfTI mask on the grid of the series; wins over every mask found."""
    atlas: Mapping[str, Path] = field(default_factory=dict)
    """Label images of the user by the label for ``seg-``; in scanner coordinates, any grid."""
    erode: int = 0
    """Layers of voxels to take off each region before its statistics."""
    registration: Registration = "rigid"
    """``header``: series and T1w are taken to share scanner coordinates."""
    skull_strip: SkullStrip = "auto"
    """``skip``: no brain extraction where the data set has no brain mask."""
    output_spaces: tuple[str, ...] = ()
    """``T1w`` and names of templates, ``TEMPLATE:res-2`` for one resolution; the grid of the
    series is always written."""
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    ignore: tuple[Ignorable, ...] = ()
    skip_bids_validation: bool = False
    allow_links: tuple[Path, ...] = ()
    """Folders outside of the data sets that links in them may lead to."""
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_mb: int = 4000
    low_mem: bool = False
    """One step at a time, small batches."""
    batch_size: int | None = None
    """Voxels estimated together; None leaves it to the estimators."""
    use_plugin: Path | None = None
    """YAML file with a Nipype plugin and its arguments."""
    resource_monitor: bool = False
    stop_on_first_crash: bool = False
    clean_workdir: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    sloppy: bool = False
    """Coarse and quick, for tests of a set-up."""
    random_seed: int = 1
    write_graph: bool = False
    debug: tuple[DebugMode, ...] = ()
    verbosity: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(
                    f'{name} is "{value}"; use one of {", ".join(choices)}.',
                    exit_code=EXIT_UNKNOWN_LEVEL if name == "analysis_level" else None,
                )
        for name, known in (("ignore", get_args(Ignorable)), ("debug", get_args(DebugMode))):
            for value in getattr(self, name):
                if value not in known:
                    raise UsageError(f'{name} holds "{value}"; use one of {", ".join(known)}.')
        self._check_labels()
        for name, least in _LEAST.items():
            if (getattr(self, name) or 0) < least and getattr(self, name) is not None:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.omp_nthreads > self.nprocs:
            raise UsageError(
                f"omp_nthreads ({self.omp_nthreads}) is above nprocs ({self.nprocs}); "
                "one step cannot use more threads than the run may use."
            )
        if self.reports_only and self.boilerplate_only:
            raise UsageError("--reports-only and --boilerplate-only exclude each other.")
        self._check_folders()

    def _check_labels(self) -> None:
        for entity, labels in (
            ("sub", self.participant_label),
            ("ses", self.session_label),
            ("space", [part for name in self.output_spaces for part in name.split(":res-", 1)]),
        ):
            for label in labels:
                # A label reaches file and node names: nothing but letters and digits.
                if not (label.isascii() and label.isalnum()):
                    raise UsageError(
                        f'"{label}" is no BIDS label; {entity}- is followed by letters and '
                        "digits only."
                    )
        for label in self.atlas:
            if not (label.isascii() and label.isalnum()):
                raise UsageError(
                    f'"{label}" is no name for an atlas; give letters and digits: '
                    "--atlas NAME=FILE."
                )

    def _check_folders(self) -> None:
        for name in ("bids_dir", "output_dir", "work_dir"):
            if not getattr(self, name).is_absolute():
                raise UsageError(f"{name} must be an absolute path, got {getattr(self, name)}.")
        source, target = self.bids_dir.resolve(), self.output_dir.resolve()
        if source == target:
            raise UsageError(
                "Output folder is the input folder. "
                f"Suggestion: {self.bids_dir / 'derivatives' / 'bids_brnn'}."
            )
        if source.is_relative_to(target):
            raise UsageError(
                f"Output folder {self.output_dir} holds the input folder. "
                f"Suggestion: {self.bids_dir / 'derivatives' / 'bids_brnn'}."
            )
        if self.work_dir.resolve().is_relative_to(source):
            raise UsageError(
                f"Work folder {self.work_dir} lies inside the data set {self.bids_dir}. "
                "Choose another one with -w."
            )

    def debugs(self, mode: DebugMode) -> bool:
        """Whether ``--debug`` asks for ``mode``."""
        return mode in self.debug or "all" in self.debug

    @property
    def loudness(self) -> int:
        """``verbosity``, or everything where the log is to be debugged."""
        return 2 if self.debugs("log") else self.verbosity

    @property
    def voxels_together(self) -> int | None:
        """Voxels estimated together, or None for what each estimator thinks best."""
        return self.batch_size or (LOW_MEMORY_BATCH if self.low_mem else None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by option name; options that are not set are left out."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                value = {str(key): str(path) for key, path in value.items()}
            elif isinstance(value, tuple):
                value = [str(entry) for entry in value]
            elif isinstance(value, Path):
                value = str(value)
            if value is not None:
                values[item.name] = value
        return values

    def to_file(self, path: Path) -> None:
        """Write as TOML; the file is there whole or not at all."""
        write_text(path, to_toml(self.to_dict()))

    @classmethod
    def from_file(cls, path: Path, **overrides: Any) -> RunConfig:
        """Read what :meth:`to_file` wrote; keyword arguments win over the file."""
        return cls.from_values({**cls.options_in(path), **overrides})

    @classmethod
    def options_in(cls, path: Path) -> dict[str, Any]:
        """The options that a TOML file holds, and only those."""
        return read_options(path, [item.name for item in fields(cls)])

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build from plain values (text for paths, lists for tuples)."""
        missing = [name for name in ("bids_dir", "output_dir", "work_dir") if name not in values]
        if missing:
            raise UsageError(f"{', '.join(missing)} must be given.")
        return cls(**{name: typed(name, value) for name, value in values.items()})


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "analysis_level": get_args(AnalysisLevel),
    "modality": get_args(Modality),
    "reference": get_args(Reference),
    "level": get_args(Detail),
    "device": get_args(Device),
    "denoise": get_args(Denoise),
    "registration": get_args(Registration),
    "skull_strip": get_args(SkullStrip),
}
_LEAST: Mapping[str, int] = {
    "nprocs": 1,
    "omp_nthreads": 1,
    "mem_mb": 100,
    "batch_size": 1,
    "random_seed": 0,
    "motion_window": 0,
    "verbosity": 0,
    "erode": 0,
}

"""What makes the values of a run impossible, alone or together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.config.options import Option, options_of
from bids_brnn.errors import EXIT_UNKNOWN_LEVEL, UsageError
from bids_brnn.spaces import parse_space
from bids_brnn.system.kinds import shown

if TYPE_CHECKING:
    from bids_brnn.config.run_config import RunConfig

RESERVED = "raw"
"""Name of the input data set in BIDS URIs."""
_MOST_DIGITS = 18
_DATA_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check(config: RunConfig) -> None:
    """Check every option alone, then those that depend on each other.

    Raises
    ------
    UsageError
        Naming the option and what it may be.
    """
    for item in options_of(type(config)):
        value = getattr(config, item.name)
        if value is not None:
            _check_choices(item, value)
            _check_number_or_word(item, value)
            _check_labels(item, value)
            if item.least is not None and value < item.least:
                raise UsageError(f"{item.name} is {value}; it must be at least {item.least}.")
    for name in config.output_spaces:
        try:
            parse_space(name)
        except ValueError as error:
            raise UsageError(
                f'output_spaces holds "{name}": {error}; write T1w or '
                "TEMPLATE[:cohort-LABEL][:res-LABEL]."
            ) from error
    for name in config.atlas:
        if not _is_label(name):
            raise UsageError(
                f'"{name}" is no name for an atlas; give letters and digits: --atlas NAME=FILE.'
            )
    if config.omp_nthreads > config.nprocs:
        raise UsageError(
            f"omp_nthreads ({config.omp_nthreads}) is above nprocs ({config.nprocs}); "
            "one step cannot use more threads than the run may use."
        )
    if config.reports_only and config.boilerplate_only:
        raise UsageError("--reports-only and --boilerplate-only exclude each other.")
    trains = config.train_missing is not None or config.analysis_level == "train"
    if trains and config.weights != "auto":
        raise UsageError(
            f"--weights {config.weights} names the network, so that none is missing; leave it out "
            "to train one."
        )
    if trains and (config.reports_only or config.boilerplate_only):
        raise UsageError("--reports-only and --boilerplate-only train nothing.")
    _check_derivatives(config)
    _check_folders(config)


def check_places(
    items: Sequence[Option], values: Mapping[str, Any], file: Path | None = None
) -> None:
    """See that files and folders which a configuration file names are there.

    Those whose text is stored may be absent.

    Raises
    ------
    UsageError
        Naming the first that is not, and the option.
    """
    for item in items:
        if not item.exists or item.name not in values or item.name in values.get("texts", {}):
            continue
        value = values[item.name]
        named = value.values() if item.kind == "table" else [value]
        for path in value if item.kind == "paths" else named:
            if not (path.is_file() if item.exists == "file" else path.is_dir()):
                where = f" (of {file})" if file else ""
                raise UsageError(
                    f"{item.name}{where}: there is no {item.exists} {path}; "
                    f"give it anew with {item.flags[-1]}."
                )


def _check_number_or_word(item: Option, value: Any) -> None:
    if not item.or_words or value in item.or_words:
        return
    digits = value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
    if not digits or int(value) < 1:
        words = " or ".join(item.or_words)
        raise UsageError(
            f"{item.name} is {shown(value)}; it must be a number, at least 1, or {words}."
        )


def _check_choices(item: Option, value: Any) -> None:
    known = item.known
    if not known:
        return
    single = isinstance(value, str)
    for entry in [value] if single else value:
        if entry not in known:
            raise UsageError(
                f'{item.name} {"is" if single else "holds"} "{entry}"; '
                f"use one of {', '.join(known)}.",
                exit_code=EXIT_UNKNOWN_LEVEL if item.name == "analysis_level" else None,
            )


def _check_labels(item: Option, value: Any) -> None:
    if item.entity:
        for text in value:
            _check_label(item.entity, text)


def _check_label(entity: str, text: str) -> None:
    if not _is_label(text):
        raise UsageError(
            f'"{text}" is no BIDS label; {entity}- is followed by letters and digits only.'
        )


def _is_label(text: str) -> bool:
    # A label reaches file and node names: nothing but letters and digits.
    return text.isascii() and text.isalnum()


def _check_folders(config: RunConfig) -> None:
    for name in ("bids_dir", "output_dir", "work_dir"):
        if not getattr(config, name).is_absolute():
            raise UsageError(f"{name} must be an absolute path, got {getattr(config, name)}.")
    source, target = config.bids_dir.resolve(), config.output_dir.resolve()
    suggestion = f"Suggestion: {config.bids_dir / 'derivatives' / 'bids_brnn'}."
    if source == target:
        raise UsageError(f"Output folder is the input folder. {suggestion}")
    if source.is_relative_to(target):
        raise UsageError(f"Output folder {config.output_dir} holds the input folder. {suggestion}")
    work = config.work_dir.resolve()
    for folder in (config.bids_dir, *config.derivatives.values()):
        given = folder.resolve()
        if given != source and source.is_relative_to(given):
            continue  # no data set, but a folder of them; refused where it is read
        allowed = given / "derivatives"
        if target.is_relative_to(given) and (
            target == allowed or not target.is_relative_to(allowed)
        ):
            raise UsageError(
                f"Output folder {config.output_dir} lies in the data set {folder}, whose files "
                f"it would mix with; choose one outside, or below derivatives. {suggestion}"
            )
        if work.is_relative_to(given):
            raise UsageError(
                f"Work folder {config.work_dir} lies inside the data set {folder}. "
                "Choose another one with -w."
            )


def _check_derivatives(config: RunConfig) -> None:
    for name, folder in config.derivatives.items():
        give = f"give -d NAME={folder} with another NAME"
        if name == RESERVED:
            raise UsageError(
                f'--derivatives: "{RESERVED}" is the name of BIDS_DIR itself; {give}.'
            )
        if not _DATA_SET_NAME.fullmatch(name):
            raise UsageError(
                f'--derivatives: "{name}" cannot name a data set in a BIDS URI; {give}: '
                "letters, digits, - and _ only."
            )
        if folder.resolve() == config.bids_dir.resolve():
            raise UsageError(
                f"--derivatives: {folder} is BIDS_DIR itself, not a derivative of it."
            )

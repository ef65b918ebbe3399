"""``brnn import``: series of other programs to a BIDS data set that the application takes."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_brnn.app.validation import PROGRAM, find_program, run_validator
from bids_brnn.bids.grammar import is_label
from bids_brnn.cli.toolbox.sources.arguments import declare, given_options, options_of
from bids_brnn.cli.toolbox.sources.kinds import KINDS, users
from bids_brnn.errors import EXIT_OK, InvalidBidsError, UsageError
from bids_brnn.files import expanded
from bids_brnn.importing.dataset import alone, check_new, check_read, check_root, files_of, move_in
from bids_brnn.importing.series import Series, check_maps
from bids_brnn.importing.staging import DERIVATIVE, Target, staged
from bids_brnn.system.kinds import Number, problem
from bids_brnn.voxels import times

_STRENGTH = Number(0.01, 25.0, "T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn import``."""
    parser.epilog = "what SOURCE is:\n" + "\n".join(
        f"  {name:8} {kind.words}" for name, kind in KINDS.items()
    )
    parser.epilog += (
        "\n\nUnits and geometry are never guessed: what the files do not say has an option, and\n"
        "a sentence names it. Nothing in DIR is overwritten. docs/import.md has examples."
    )
    parser.add_argument("kind", choices=tuple(KINDS), help="where the files come from")
    parser.add_argument("source", type=expanded, metavar="SOURCE", help="see below")
    parser.add_argument(
        "folder", type=expanded, metavar="DIR", help="BIDS data set to make, or to extend"
    )
    parser.add_argument("--subject", required=True, metavar="LABEL", help="label of sub-")
    parser.add_argument("--session", metavar="LABEL", help="label of ses- (default: none)")
    parser.add_argument("--run", metavar="LABEL", help="label of run- (default: none)")
    parser.add_argument(
        "--label", metavar="LABEL", help="label of acq- (default: what SOURCE is, such as qmrlab)"
    )
    parser.add_argument(
        "--field-strength", type=float, metavar="T", help="of the scanner, written to the sidecar"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="do all but writing, and say what would be written"
    )
    parser.add_argument(
        "--skip-bids-validation", action="store_true", help="leave the BIDS validator out"
    )
    declare(parser, users())


def run(options: argparse.Namespace) -> int:
    """Read, make the data set aside, read that as the application would, move it in."""
    target = _target(options)
    _check_given(options)
    check_root(target.root)  # before anything is read
    series = KINDS[options.kind].read(options)
    check_maps(series.maps)
    with staged(target, series, aside=options.dry_run) as stage:
        files = _files(stage, target)
        notes = check_read(stage, target, series)
        _validate(stage, options.skip_bids_validation)
        if not options.dry_run:
            with alone(target.root, _note):
                files = _files(stage, target)
                move_in(stage, target, files, series)
    for note in (*series.notes, *notes):
        _note(note)
    _say(target, series, files, dry=options.dry_run)
    return EXIT_OK


def _files(stage: Path, target: Target) -> list[tuple[Path, str]]:
    check_root(target.root)
    files = files_of(stage, target.root)
    check_new(files, target)
    return files


def _target(options: argparse.Namespace) -> Target:
    values = {
        "--subject": options.subject.removeprefix("sub-"),
        "--session": (options.session or "").removeprefix("ses-"),
        "--label": (options.label or options.kind).removeprefix("acq-"),
        "--run": (options.run or "").removeprefix("run-"),
    }
    for option, label in values.items():
        given = option == "--subject" or getattr(options, option[2:]) is not None
        if given and not is_label(label):
            raise UsageError(f"{option} {label!r}: labels of BIDS are letters and digits")
    if values["--run"] and not values["--run"].isdigit():
        raise UsageError(f"--run {values['--run']}: runs are numbered")
    subject, session, label, number = values.values()
    return Target(options.folder.absolute(), subject, label, session, number)


def _check_given(options: argparse.Namespace) -> None:
    kind = KINDS[options.kind]
    foreign = [name for name in given_options(options) if name not in options_of(kind.sets)]
    if foreign:
        raise UsageError(
            f"{', '.join(foreign)}: not for {options.kind}, which has no use for it, or whose "
            "files say it"
        )
    strength = options.field_strength
    if strength is not None and (text := problem(_STRENGTH, strength, "--field-strength")):
        raise UsageError(text)


def _validate(stage: Path, skip: bool) -> None:
    program = None if skip else find_program()
    if program is None:
        if not skip:
            _note(f"{PROGRAM} is not installed; the data set is not validated")
        return
    for error in run_validator(program, stage):
        code = " ".join(str(error[key]) for key in ("code", "subCode") if error.get(key))
        raise InvalidBidsError(
            f"{str(error.get('location', 'the data set')).lstrip('/')}: {code}, says the BIDS "
            "validator; nothing was written (--skip-bids-validation leaves it out)"
        )


def _note(text: str) -> None:
    sys.stderr.write(f"brnn import: {text}\n")


def _say(target: Target, series: Series, files: Sequence[tuple[Path, str]], *, dry: bool) -> None:
    """What was written or would be, and the command that comes next."""
    values = series.images.values
    form = "complex" if values.dtype.kind == "c" else "magnitudes"
    sys.stdout.write(
        f"{target.stem}_{series.suffix}: {times(values.shape)}, {form}, "
        f"{series.protocol.n_samples} samples of {series.origin}\n"
    )
    sys.stdout.write(("would write" if dry else "wrote") + f" to {target.root}:\n")
    for path, words in files:
        sys.stdout.write(f"  {path.as_posix()}  ({words})\n")
    if not dry:
        sys.stdout.write(f"next:\n  {shlex.join(_next(target, series))}\n")


def _next(target: Target, series: Series) -> list[str]:
    root = target.root
    words = ["bids_brnn", str(root), str(root / "derivatives" / "bids_brnn"), "participant"]
    words += ["--participant-label", target.subject]
    if series.maps:
        words += ["-d", f"{DERIVATIVE}={root / 'derivatives' / DERIVATIVE}"]
    return words

"""``brnn import``: series of other programs to a BIDS data set that the application takes."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bids_brnn.app.validation import PROGRAM, find_program, run_validator
from bids_brnn.bids.grammar import is_label
from bids_brnn.bids.images import times
from bids_brnn.cli.toolbox.sources.kinds import KINDS
from bids_brnn.cli.toolbox.sources.options import given_options
from bids_brnn.errors import EXIT_OK, InvalidBidsError, UsageError
from bids_brnn.files import expanded
from bids_brnn.importing.dataset import alone, check_new, check_read, check_root, files_of, move_in
from bids_brnn.importing.series import MAPS, Series, check_maps
from bids_brnn.importing.staging import DERIVATIVE, Target, staged
from bids_brnn.sequences.mt_pulse import Shape
from bids_brnn.sequences.pulse_sequence import Start
from bids_brnn.signals.registry import models_by_protocol
from bids_brnn.system.kinds import Number, problem

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
    _add_images(parser.add_argument_group("images"))
    _add_maps(parser.add_argument_group("maps that come along"))
    _add_spectra(parser.add_argument_group("Z-spectra: what the protocol does not say"))
    _add_trains(parser.add_argument_group("pulse trains"))


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--voxel-size", nargs=3, type=float, metavar=("X", "Y", "Z"),
        help="mm along each axis of arrays without header",
    )  # fmt: skip
    group.add_argument(
        "--orientation", metavar="RAS",
        help="whither each axis of arrays without header points, such as RAS or LPS, or unknown",
    )  # fmt: skip
    group.add_argument(
        "--like", type=expanded, metavar="NIFTI", help="in place of both: image on the same grid"
    )
    group.add_argument("--data", type=expanded, metavar="FILE", help="images (quit; qmrlab)")
    group.add_argument(
        "--imaginary", type=expanded, metavar="FILE",
        help="imaginary part, where SOURCE is the real part",
    )  # fmt: skip
    group.add_argument(
        "--phase", type=expanded, metavar="FILE", help="phase, where SOURCE is the magnitude"
    )
    group.add_argument("--phase-unit", choices=("rad", "deg"), help="of --phase")
    group.add_argument(
        "--magnitude", action="store_true", help="SOURCE is the magnitude, and there is no phase"
    )
    group.add_argument("--variable", metavar="NAME", help="of the images in a .mat file")


def _add_maps(group: argparse._ArgumentGroup) -> None:
    for key, kind in MAPS.items():
        words = f"{kind.words}, {' or '.join(kind.units)}" if kind.units else "voxels to estimate"
        group.add_argument(kind.option, type=expanded, metavar="FILE", help=words)
        if len(kind.units) > 1:
            group.add_argument(
                f"--{key.lower()}-unit", choices=kind.units, help=f"of the {key} map"
            )

    group.add_argument(
        "--b0-sign", choices=("water", "offset"),
        help="whether the B0 map is the frequency of water, as in BIDS, or is added to the "
        "offsets (default: offset for qmrlab and quit, which do that; water for others)",
    )  # fmt: skip


def _add_spectra(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--protocol", type=expanded, metavar="FILE",
        help="of qMRLab, if it is not the only one in SOURCE: saved model, or table of angles and "
        "offsets (.mat, .txt)",
    )  # fmt: skip
    group.add_argument(
        "--mt-off", type=expanded, metavar="FILE", help="image without MT pulse (quit)"
    )
    group.add_argument(
        "--normalised", action="store_true",
        help="the images are divided by that without MT pulse (quit; qMRLab says it)",
    )  # fmt: skip
    group.add_argument("--pulse-shape", choices=get_args(Shape), help="of the MT pulse")
    for option, words in (
        ("--pulse-duration", "of the MT pulse, s"),
        ("--pulse-bandwidth", "of the MT pulse, Hz"),
        ("--mt-delay", "from the end of the MT pulse to the excitation, s"),
        ("--excitation-duration", "of the excitation, s"),
        ("--flip-angle", "of the excitation, degrees"),
    ):
        group.add_argument(option, type=float, metavar="NUMBER", help=words)


def _add_trains(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model", help="signal model of the train: "
        + ", ".join(entry.name for entry in models_by_protocol("pulses")),
    )  # fmt: skip
    group.add_argument(
        "--train", type=expanded, metavar="FILE",
        help="rfpulses.tsv, or .mat with alpha and TRF of a hybrid-state train",
    )  # fmt: skip
    group.add_argument(
        "--trains", type=int, metavar="N", help="trains of equal length in one column of alpha"
    )
    group.add_argument(
        "--repetition-time", type=float, metavar="S",
        help="s; from pulse to pulse, of a Z-spectrum from MT pulse to MT pulse",
    )  # fmt: skip
    group.add_argument("--boundary-condition", choices=get_args(Start), help="of each train")
    group.add_argument(
        "--basis", type=expanded, metavar="FILE", help="subspace: .tsv, .mat or .cfl"
    )
    group.add_argument(
        "--rank", type=int, metavar="R", help="use the first R columns of a basis that has more"
    )
    group.add_argument(
        "--flip-angles", type=expanded, metavar="FILE",
        help="list of a FISP train, in place of --train",
    )  # fmt: skip
    group.add_argument(
        "--repetition-times", type=expanded, metavar="FILE", help="list, for --flip-angles"
    )
    group.add_argument(
        "--rf-phases", type=expanded, metavar="FILE", help="list, in --angle-unit (default: 0)"
    )
    group.add_argument("--angle-unit", choices=("rad", "deg"), help="of flip angles and phases")
    group.add_argument("--time-unit", choices=("s", "ms"), help="of the times of --flip-angles")
    group.add_argument(
        "--echo-time", type=float, metavar="T", help="pulse centre to sample, in --time-unit"
    )
    group.add_argument(
        "--inversion-time", type=float, metavar="T",
        help="centre of the inversion to the first pulse, in --time-unit; 0: no inversion",
    )  # fmt: skip


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
            with alone(target.root):
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
    foreign = [name for name in given_options(options) if name not in kind.options]
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

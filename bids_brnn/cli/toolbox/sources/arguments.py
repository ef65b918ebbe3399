"""Options of ``brnn import`` that not all kinds of source have, in sets that kinds name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from bids_brnn.files import expanded
from bids_brnn.importing.series import MAPS
from bids_brnn.importing.spectra import OPTIONS
from bids_brnn.sequences.mt_pulse import Shape
from bids_brnn.sequences.pulse_sequence import Start
from bids_brnn.signals.registry import models_by_protocol

_IMAGES = "images"
_SPECTRA = "Z-spectra: what the protocol does not say"
_TRAINS = "pulse trains"
_FILE: Mapping[str, Any] = {"type": expanded, "metavar": "FILE"}
_SHAPE = "MTPulseShape"
_CONSTANTS = {
    "MTPulseDuration": "of the MT pulse, s",
    "MTPulseBandwidth": "of the MT pulse, Hz",
    "MTDelay": "from the end of the MT pulse to the excitation, s",
    "ExcitationDuration": "of the excitation, s",
    "FlipAngle": "of the excitation, degrees",
}
_TR = "RepetitionTimeExcitation"


@dataclass(frozen=True)
class Options:
    """Options that go together."""

    title: str
    """Under which ``--help`` has them."""
    declared: Mapping[str, Mapping[str, Any]]
    """Keywords of ``add_argument`` by option."""


def _of_maps() -> dict[str, Mapping[str, Any]]:
    declared: dict[str, Mapping[str, Any]] = {}
    for key, kind in MAPS.items():
        words = f"{kind.words}, {' or '.join(kind.units)}" if kind.units else "voxels to estimate"
        declared[kind.option] = {**_FILE, "help": words}
        if len(kind.units) > 1:
            declared[f"--{key.lower()}-unit"] = {
                "choices": kind.units, "help": f"of the {key} map",
            }  # fmt: skip
    declared["--b0-sign"] = {
        "choices": ("water", "offset"),
        "help": "whether the B0 map is the frequency of water, as in BIDS, or is added to the "
        "offsets (default: offset where the program of SOURCE does that, else water)",
    }
    return declared


SETS: Mapping[str, Options] = {
    "grid": Options(_IMAGES, {
        "--voxel-size": {
            "nargs": 3, "type": float, "metavar": ("X", "Y", "Z"),
            "help": "mm along each axis of arrays without header",
        },
        "--orientation": {
            "metavar": "RAS",
            "help": "whither each axis of arrays without header points, such as RAS or LPS, or "
            "unknown",
        },
        "--like": {
            "type": expanded, "metavar": "NIFTI",
            "help": "in place of both: image on the same grid",
        },
    }),
    "data": Options(_IMAGES, {"--data": {**_FILE, "help": "images, where SOURCE has none"}}),
    "parts": Options(_IMAGES, {
        "--imaginary": {**_FILE, "help": "imaginary part, where SOURCE is the real part"},
        "--phase": {**_FILE, "help": "phase, where SOURCE is the magnitude"},
        "--phase-unit": {"choices": ("rad", "deg"), "help": "of --phase"},
        "--magnitude": {
            "action": "store_true", "help": "SOURCE is the magnitude, and there is no phase"
        },
    }),
    "variable": Options(_IMAGES, {
        "--variable": {"metavar": "NAME", "help": "of the images in a .mat file"},
    }),
    "maps": Options("maps that come along", _of_maps()),
    "saved model": Options(_SPECTRA, {
        "--protocol": {
            **_FILE, "help": "of qMRLab, if it is not the only one in SOURCE: saved model, or "
            "table of angles and offsets (.mat, .txt)",
        },
    }),
    "mt off": Options(_SPECTRA, {
        "--mt-off": {**_FILE, "help": "image without MT pulse"},
        "--normalised": {
            "action": "store_true", "help": "the images are divided by that without MT pulse"
        },
    }),
    "spectrum": Options(_SPECTRA, {
        OPTIONS[_SHAPE]: {"choices": get_args(Shape), "help": "of the MT pulse"},
        **{
            OPTIONS[key]: {"type": float, "metavar": "NUMBER", "help": words}
            for key, words in _CONSTANTS.items()
        },
    }),
    "repetition": Options("all protocols", {
        OPTIONS[_TR]: {
            "type": float, "metavar": "S",
            "help": "s; from pulse to pulse, of a Z-spectrum from MT pulse to MT pulse",
        },
    }),
    "train": Options(_TRAINS, {
        "--model": {
            "help": "signal model of the train: "
            + ", ".join(entry.name for entry in models_by_protocol("pulses")),
        },
        "--train": {
            **_FILE, "help": "rfpulses.tsv, or .mat with alpha and TRF of a hybrid-state train"
        },
        "--trains": {
            "type": int, "metavar": "N", "help": "trains of equal length in one column of alpha"
        },
        "--boundary-condition": {"choices": get_args(Start), "help": "of each train"},
    }),
    "basis": Options(_TRAINS, {
        "--basis": {**_FILE, "help": "subspace: .tsv, .mat or .cfl"},
        "--rank": {
            "type": int, "metavar": "R", "help": "use the first R columns of a basis that has more"
        },
    }),
    "lists": Options(_TRAINS, {
        "--flip-angles": {**_FILE, "help": "list of a FISP train, in place of --train"},
        "--repetition-times": {**_FILE, "help": "list, for --flip-angles"},
        "--rf-phases": {**_FILE, "help": "list, in --angle-unit (default: 0)"},
        "--angle-unit": {"choices": ("rad", "deg"), "help": "of flip angles and phases"},
        "--time-unit": {"choices": ("s", "ms"), "help": "of the times of --flip-angles"},
        "--echo-time": {
            "type": float, "metavar": "T", "help": "pulse centre to sample, in --time-unit"
        },
        "--inversion-time": {
            "type": float, "metavar": "T",
            "help": "centre of the inversion to the first pulse, in --time-unit; 0: no inversion",
        },
    }),
}  # fmt: skip
"""By the name that a kind of source has for it."""


def declare(parser: argparse.ArgumentParser, users: Mapping[str, Iterable[str]]) -> None:
    """Declare every option once.

    Parameters
    ----------
    users
        Kinds of source that have a use for a set, by its name; ``--help`` names them where it is
        not all of them.
    """
    everybody = {kind for kinds in users.values() for kind in kinds}
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, options in SETS.items():
        if options.title not in groups:
            groups[options.title] = parser.add_argument_group(options.title)
        kinds = list(users[name])
        whose = "" if everybody == set(kinds) else f" [{', '.join(kinds)}]"
        for option, how in options.declared.items():
            words = {**how, "help": f"{how['help']}{whose}"}
            groups[options.title].add_argument(option, **words)


def options_of(names: Iterable[str]) -> set[str]:
    """All options of some sets."""
    return {option for name in names for option in SETS[name].declared}


def value_of(options: argparse.Namespace, option: str) -> Any:
    """What the command line says for an option; None or False where it does not."""
    return getattr(options, option.removeprefix("--").replace("-", "_"))


def given_options(options: argparse.Namespace) -> list[str]:
    """Options of :data:`SETS` that the command line has."""
    return [
        option
        for some in SETS.values()
        for option in some.declared
        if value_of(options, option) not in (None, False)
    ]

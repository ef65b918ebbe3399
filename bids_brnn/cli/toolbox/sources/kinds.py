"""What ``brnn import`` can read, and the options that each kind of source has a use for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bids_brnn.cli.toolbox.sources.spectra import read_qmrlab, read_quit
from bids_brnn.cli.toolbox.sources.trains import LISTS, read_bart, read_frames, read_mat
from bids_brnn.importing.series import MAPS, Series
from bids_brnn.importing.spectra import OPTIONS

_GRID = ("--voxel-size", "--orientation", "--like")
_MAPS = tuple(kind.option for kind in MAPS.values())
_UNITS = ("--t1-unit", "--b1-unit", "--b0-unit", "--b0-sign")
_SPECTRUM = tuple(OPTIONS.values())
_TRAIN = ("--model", "--train", "--trains", "--repetition-time", "--boundary-condition", *LISTS)
_PARTS = ("--imaginary", "--phase", "--phase-unit", "--magnitude")


@dataclass(frozen=True)
class Kind:
    """One kind of source."""

    words: str
    """What SOURCE is."""
    options: tuple[str, ...]
    """That it has a use for, beside those of all."""
    read: Callable[[argparse.Namespace], Series]


KINDS: Mapping[str, Kind] = {
    "qmrlab": Kind(
        "folder (or .mat) with MTdata, R1map, B1map, B0map, Mask and a protocol of qMRLab",
        ("--protocol", "--data", *_GRID, *_MAPS, *_UNITS, *_SPECTRUM), read_qmrlab,
    ),
    "quit": Kind(
        "JSON input of QUIT (qi qmt) with the sequence MTSat; images by --data",
        ("--data", "--mt-off", "--normalised", *_GRID, *_MAPS, *_UNITS, *_SPECTRUM), read_quit,
    ),
    "mat": Kind(
        ".mat with complex coefficients x (and mask); --basis .mat with U, --train .mat with "
        "alpha, TRF",
        ("--variable", "--basis", "--rank", *_GRID, *_MAPS, *_UNITS, *_TRAIN), read_mat,
    ),
    "bart": Kind(
        "coefficients or frames of BART (.cfl, .hdr); --basis .cfl, --train rfpulses.tsv",
        ("--basis", "--rank", *_GRID, *_MAPS, *_UNITS, *_TRAIN), read_bart,
    ),
    "frames": Kind(
        "time frames (NIfTI, .mat, .cfl) with --train or --flip-angles; with --basis coefficients",
        ("--variable", "--basis", "--rank", *_PARTS, *_GRID, *_MAPS, *_UNITS, *_TRAIN),
        read_frames,
    ),
}  # fmt: skip
"""By the word of the command line."""

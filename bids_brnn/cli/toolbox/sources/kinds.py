"""What ``brnn import`` can read, and the options that each kind of source has a use for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bids_brnn.cli.toolbox.sources.arguments import SETS
from bids_brnn.cli.toolbox.sources.spectra import read_qmrlab, read_quit
from bids_brnn.cli.toolbox.sources.trains import read_bart, read_frames, read_mat
from bids_brnn.importing.series import Series

_SPECTRUM = ("grid", "data", "maps", "spectrum", "repetition")
_TRAIN = ("grid", "maps", "train", "basis", "lists", "repetition")


@dataclass(frozen=True)
class Kind:
    """One kind of source."""

    words: str
    """What SOURCE is."""
    sets: tuple[str, ...]
    """Of options that it has a use for (``arguments.SETS``)."""
    read: Callable[[argparse.Namespace], Series]


KINDS: Mapping[str, Kind] = {
    "qmrlab": Kind(
        "folder (or .mat) with MTdata, R1map, B1map, B0map, Mask and a protocol of qMRLab",
        ("saved model", *_SPECTRUM), read_qmrlab,
    ),
    "quit": Kind(
        "JSON input of QUIT (qi qmt) with the sequence MTSat; images by --data",
        ("mt off", *_SPECTRUM), read_quit,
    ),
    "mat": Kind(
        ".mat with complex coefficients x (and mask); --basis .mat with U, --train .mat with "
        "alpha, TRF",
        ("variable", *_TRAIN), read_mat,
    ),
    "bart": Kind(
        "coefficients or frames of BART (.cfl, .hdr); --basis .cfl, --train rfpulses.tsv",
        _TRAIN, read_bart,
    ),
    "frames": Kind(
        "time frames (NIfTI, .mat, .cfl) with --train or --flip-angles; with --basis coefficients",
        ("variable", "parts", *_TRAIN), read_frames,
    ),
}  # fmt: skip
"""By the word of the command line."""


def users() -> dict[str, list[str]]:
    """Kinds of source that have a use for a set of options, by its name."""
    return {name: [word for word, kind in KINDS.items() if name in kind.sets] for name in SETS}

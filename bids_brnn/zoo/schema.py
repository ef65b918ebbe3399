"""What a model card may hold: types, ranges and sizes, looked at before anything is built.

A card comes from anybody. What is read from it is named here; other entries are kept as they are
and never read.
"""

from __future__ import annotations

from bids_brnn.system.kinds import Flag, ListOf, Number, Optional, Table, Text, Whole

WIDTH = Whole(1, 8192)
BLOCKS = Whole(1, 64)
RANK = Whole(1, 512)
_NUMBER = Number(-1e30, 1e30)
_POSITIVE = Number(1e-30, 1e30)
_NAME = Text(longest=200, words="a text of one line")
_PROSE = Text(longest=20_000, several_lines=True)
_NAMES = ListOf(_NAME, most=64)
_PAIR = ListOf(_NUMBER, 2, 2)
_ROW = Table()

_PARAMETER = Table(
    {
        "item": Table(
            {"name": _NAME, "unit": _NAME, "suffix": _NAME, "description": _PROSE},
            {"display": Optional(_PAIR)},
        ),
        "lower": _NUMBER,
        "upper": _NUMBER,
        "start": _NUMBER,
        "role": _NAME,
    }
)
_NETWORK = Table(
    {"n_coefficients": RANK, "outputs": ListOf(_NAME, 1, 64)},
    {
        "supplied": _NAMES,
        "normalisation": _NAME,
        "layout": _NAME,
        "width": WIDTH,
        "blocks": BLOCKS,
        "lower": ListOf(_NUMBER, most=64),
        "upper": ListOf(_NUMBER, most=64),
        "logarithmic": _NAMES,
        "scale": _NAME,
        "odd": _NAME,
    },
)
_ANCHORS = Table(
    {
        "theta": ListOf(ListOf(_NUMBER, 1, 64), 1, 64),
        "coefficients": ListOf(ListOf(ListOf(_NUMBER, 2, 2), 1, 512), 1, 64),
    }
)
_STAGE = Table({}, {"loss": Table({}, {"name": _NAME})})
CARD = Table(
    {
        "name": Text(longest=100, words="a text of one line"),
        "description": _PROSE,
        "model": _NAME,
        "network": _NETWORK,
        "surrogate": Table(
            {"width": WIDTH, "blocks": BLOCKS, "conjugate": Flag()},
            {"logarithmic": _NAMES, "harmonics": Whole(0, 512)},
        ),
        "parameters": ListOf(_PARAMETER, 1, 64),
        "sequence": Table(
            {"digest": _NAME},
            {"name": _PROSE, "samples": Whole(1, 10**9), "duration": _NUMBER, "anchors": _ANCHORS},
        ),
        "subspace": _ROW,
        "prior": _ROW,
        "snr_range": ListOf(_POSITIVE, 2, 2),
        "loss": _NAME,
        "training": Table(
            {},
            {
                "config": Table({}, {"stages": ListOf(_STAGE, most=1000)}),
                "protocols": Whole(1, 10**9),
                "network": _NAME,
                "further": Whole(0, 10**9),
            },
        ),
        "thresholds": Table(
            {"residual": _POSITIVE, "inputs": _POSITIVE}, {"signal": _POSITIVE}, rest=_NUMBER
        ),
        "weights_sha256": _NAME,
    },
    {
        # Values that are no numbers are judged, not refused: an evaluation may end in NaN.
        "evaluation": Table(
            {},
            {
                "held_out": Table(rest=_ROW),
                "tissue_sets": Table(rest=Table(rest=Table(rest=_ROW))),
                "outside_training": _ROW,
            },
        ),
        "recipe": _ROW,
        "support": Table(rest=_PAIR),
        # Of files of earlier versions: nothing.
        "errors": Table({}, {"outputs": ListOf(_NAME, 1, 64), "width": WIDTH, "blocks": BLOCKS}),
        "command": _PROSE,
        "field_strength": Optional(Number(0.01, 25.0, "T")),
        "licence": _PROSE,
        "citation": _PROSE,
    },
)
ANY_CARD = Table(
    {
        "name": Text(longest=100, words="a text of one line"),
        "description": _PROSE,
        "models": _NAMES,
        "outputs": ListOf(_NAME, 1, 64),
        "width": WIDTH,
        "blocks": BLOCKS,
        "errors": Table({"width": WIDTH, "blocks": BLOCKS}),
        "snr_range": ListOf(_POSITIVE, 2, 2),
        "field_strengths": ListOf(Number(0.01, 25.0, "T"), 2, 2),
        "reach": Table(rest=_PAIR),
        "training": Table(
            {
                "protocols": Whole(1, 10**9),
                "fingerprints": Whole(1, 10**12),
                "draws": Whole(1, 10**15),
                "seconds": Number(0, 1e12),
            }
        ),
        "command": _PROSE,
        "recipe": _ROW,
        "weights_sha256": _NAME,
        "licence": _PROSE,
        "citation": _PROSE,
    }
)
"""Of a network for any protocol of Z-spectra (:mod:`bids_brnn.zoo.any_card`)."""

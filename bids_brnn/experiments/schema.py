"""Types and sizes of the entries of a training configuration.

Names, choices and what must agree are checked where they are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from bids_brnn.system.kinds import Kind, ListOf, Number, Table, Text, Whole
from bids_brnn.zoo.schema import BLOCKS, RANK, WIDTH

_PORTIONS = ListOf(
    Table({}, {"tissue": Text(), "parameters": Table(), "fingerprints": Whole(1, 10**9)}),
    most=1000,
)
_SIZES: Mapping[str, Kind] = {"width": WIDTH, "blocks": BLOCKS}
_BESIDE: Mapping[str, Kind] = {
    **_SIZES, "steps": Whole(1, 10**7), "batch": Whole(1, 10**6),
    "learning_rate": Number(1e-8, 1.0),
}  # fmt: skip
"""Of a network beside the one that estimates."""
CONFIGURATION = Table(
    {},
    {
        "off_resonance": Number(-1e9, 1e9),
        "basis_from": Text(),
        "preset": Text(),
        "tissue_at": Number(0.01, 25.0, "T"),
        "extra": _PORTIONS,
        "focus": _PORTIONS,
        # What takes memory before anything else is looked at.
        "basis_fingerprints": Whole(1, 10**6),
        "fingerprints": Whole(1, 10**9),
        "held_out": Whole(1, 10**7),
        "basis_seed": Whole(0, 2**63 - 1),
        "seed": Whole(0, 2**63 - 1),
        "rank": RANK,
        "network": Table({}, {**_SIZES, "layout": Text()}),
        "surrogate": Table({}, {**_BESIDE, "harmonics": Whole(0, 512)}),
        "errors": Table({}, dict(_BESIDE)),
    },
)

ANY_SPECTRUM = Table(
    {"protocols": Table(rest=Whole(1, 10**5)), "training": Table()},
    {
        "name": Text(longest=100, words="a text of one line"),
        "description": Text(),
        "fingerprints": Whole(1, 10**6),
        "seed": Whole(0, 2**31 - 1),
        "network": Table({}, dict(_SIZES)),
        "errors": Table({}, dict(_BESIDE)),
    },
)
"""Keys of a training over random protocols (:mod:`bids_brnn.experiments.any_spectrum`)."""

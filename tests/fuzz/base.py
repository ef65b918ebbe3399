"""What a target of the fuzzer is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mutate

from bids_brnn.errors import BidsBrnnError

Mutator = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    path: Path
    """Where a mutant is written; what lies around it is there."""
    seeds: Sequence[bytes]
    mutators: Sequence[Mutator]
    read: Callable[[Path], object]
    weight: float = 1.0
    """How often it is drawn; what is slow is drawn less."""


TEXT: Sequence[Mutator] = (mutate.of_bytes,)
JSON: Sequence[Mutator] = (mutate.of_json, mutate.of_json, mutate.of_bytes)
TOML: Sequence[Mutator] = (mutate.of_toml, mutate.of_toml, mutate.of_bytes)
TABLE: Sequence[Mutator] = (mutate.of_table, mutate.of_table, mutate.of_bytes)


def with_sentence(call: Callable[[], object]) -> None:
    """Call, and let errors with a sentence pass; what follows is to be tried too."""
    try:
        call()
    except BidsBrnnError as error:
        str(error)

"""Where trained networks lie: the folders of the user, then that of the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import bids_brnn.zoo
from bids_brnn.errors import BidsBrnnError, ReadError
from bids_brnn.files import expanded, file_state
from bids_brnn.system.reading import parse_json, read_bounded
from bids_brnn.zoo.card import MAX_CARD, ModelCard

ANY_KIND = "any-spectrum"
"""``kind`` in the card of a network for any protocol (:mod:`bids_brnn.zoo.any_card`)."""

WEIGHTS_VARIABLE = "BIDS_BRNN_WEIGHTS"
"""Environment variable with further folders of networks, separated as in ``PATH``."""
SHIPPED = Path(bids_brnn.zoo.__file__).parent / "weights"

Found = list[tuple[Path, ModelCard]]


def own_folders() -> list[Path]:
    """Folders that the environment variable names, absolute.

    Raises
    ------
    ReadError
        If one of them does not exist.
    """
    words = [word for word in os.environ.get(WEIGHTS_VARIABLE, "").split(os.pathsep) if word]
    folders = [expanded(word).absolute() for word in words]
    for folder in folders:
        if not folder.is_dir():
            raise ReadError(
                f"{WEIGHTS_VARIABLE} names the folder of networks {folder}, which does not exist; "
                "correct the variable or unset it."
            )
    return list(dict.fromkeys(folders))


def fix_folders() -> None:
    """Make the environment variable absolute, before anything changes the current folder.

    Raises
    ------
    ReadError
        As :func:`own_folders`.
    """
    if os.environ.get(WEIGHTS_VARIABLE):
        os.environ[WEIGHTS_VARIABLE] = os.pathsep.join(map(str, own_folders()))


def weight_folders(own: Path | None = None) -> list[Path]:
    """Folders of networks: ``own`` if it is there, those of the environment, that of the package.

    Raises
    ------
    ReadError
        As :func:`own_folders`.
    """
    first = [own] if own is not None and own.is_dir() else []
    return list(dict.fromkeys([*first, *own_folders(), SHIPPED]))


def read_cards(folders: Iterable[Path]) -> tuple[Found, list[str]]:
    """Cards that can be read, by folder and name, and a sentence for each file that is none.

    Those of networks for any protocol are none, and nothing is said of them.
    """
    found: Found = []
    problems = []
    for folder in folders:
        for path in sorted(folder.glob("*.json"), key=lambda item: item.stem):
            if path.name.startswith(".") or is_any_card(path):
                continue
            try:
                found.append((path, _card(path, file_state(path))))
            except BidsBrnnError as error:
                problems.append(str(error))
    return found, problems


@lru_cache(maxsize=1024)
def _card(path: Path, state: tuple[int, ...]) -> ModelCard:  # noqa: ARG001
    """A card, read and checked once: each series asks for all of them, twice."""
    return ModelCard.from_file(path)


def is_any_card(path: Path) -> bool:
    """Whether a file says that it is the card of a network for any protocol."""
    return _says_any(path, file_state(path))


@lru_cache(maxsize=1024)
def _says_any(path: Path, state: tuple[int, ...]) -> bool:  # noqa: ARG001
    try:
        text = read_bounded(path, MAX_CARD)
        if ANY_KIND.encode() not in text:  # nearly all; taking a card apart takes long
            return False
        content = parse_json(text, finite=False)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == ANY_KIND

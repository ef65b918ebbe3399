"""The BIDS inheritance principle: which sidecars and tables belong to an image.

PyBIDS reads every sidecar of a data set at once, and one broken file anywhere ends the run.
Here only the sidecars that apply to an image are read, so that trouble stays with its series;
``tests/bids/test_inheritance.py`` holds the two equal on sound data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import parse_name
from bids_brnn.bids.safe import read_json
from bids_brnn.errors import DataError, InvalidBidsError


def applicable(image: Path, root: Path, *, suffix: str, extension: str) -> list[Path]:
    """Files of ``suffix`` and ``extension`` that apply to ``image``, nearest first.

    A file applies if it lies in the folder of the image or above it, and its entities are a
    subset of those of the image. Nearest: deepest folder, then most entities.
    """
    entities = parse_name(image).entities.items()
    found = []
    for depth, folder in enumerate(_folders(image, root)):
        for path in sorted(folder.glob(f"*{suffix}{extension}")):
            try:
                name = parse_name(path)
            except InvalidBidsError:
                continue
            if name.suffix == suffix and name.entities.items() <= entities:
                found.append((depth, -len(name.entities), path))
    return [path for _, _, path in sorted(found)]


def _folders(image: Path, root: Path) -> Iterator[Path]:
    folder = image.parent
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def sidecars(image: Path, root: Path) -> list[Path]:
    """JSON files that apply to ``image``, nearest first."""
    return applicable(image, root, suffix=parse_name(image).suffix, extension=".json")


def metadata_of(image: Path, root: Path) -> dict[str, Any]:
    """Metadata of ``image``: all sidecars that apply, nearer ones overriding farther ones.

    Raises
    ------
    InvalidBidsError, ReadError
        If one of them cannot be used.
    """
    merged: dict[str, Any] = {}
    for path in reversed(sidecars(image, root)):
        merged.update(read_json(path))
    return merged


def nearest_table(image: Path, root: Path, suffix: str) -> Path | None:
    """The ``.tsv`` table of ``suffix`` that ``image`` inherits, or None.

    Raises
    ------
    DataError
        If two tables of one folder fit equally well.
    """
    tables = applicable(image, root, suffix=suffix, extension=".tsv")
    if len(tables) > 1:
        first, second = tables[:2]
        same = first.parent == second.parent
        if same and len(parse_name(first).entities) == len(parse_name(second).entities):
            raise DataError(
                f"{first.name} and {second.name} fit {image.name} equally well; name one of them "
                "in its sidecar."
            )
    return tables[0] if tables else None

"""The BIDS inheritance principle: which sidecars and tables belong to an image.

PyBIDS reads every sidecar of a data set at once, and one broken file anywhere ends the run.
Here only the sidecars that apply to an image are read, so that trouble stays with its series;
``tests/bids/input/test_inheritance.py`` holds the two equal on sound data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import parse_name
from bids_brnn.bids.safe import check_inside, read_json
from bids_brnn.errors import DataError, InvalidBidsError


def applicable(
    image: Path, root: Path, *, suffix: str, extension: str, allowed: Sequence[Path] = ()
) -> list[Path]:
    """Files of ``suffix`` and ``extension`` that apply to ``image``, nearest first.

    A file applies if it lies in the folder of the image or above it, and its entities are a
    subset of those of the image. Nearest: deepest folder, then most entities.

    Raises
    ------
    InvalidBidsError
        If one is a link that leads out of the data set, and not below ``allowed``.
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
                check_inside(path, root, allowed)
                found.append((depth, -len(name.entities), path))
    return [path for _, _, path in sorted(found)]


def _folders(image: Path, root: Path) -> Iterator[Path]:
    folder = image.parent
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def sidecars(image: Path, root: Path, allowed: Sequence[Path] = ()) -> list[Path]:
    """JSON files that apply to ``image``, nearest first."""
    suffix = parse_name(image).suffix
    return applicable(image, root, suffix=suffix, extension=".json", allowed=allowed)


def metadata_of(image: Path, root: Path, allowed: Sequence[Path] = ()) -> dict[str, Any]:
    """Metadata of ``image``: all sidecars that apply, nearer ones overriding farther ones.

    Raises
    ------
    InvalidBidsError, ReadError
        If one of them cannot be used.
    """
    merged: dict[str, Any] = {}
    for path in reversed(sidecars(image, root, allowed)):
        merged.update(read_json(path))
    return merged


def nearest_table(
    image: Path, root: Path, suffix: str, allowed: Sequence[Path] = ()
) -> Path | None:
    """The ``.tsv`` table of ``suffix`` that ``image`` inherits, or None.

    Raises
    ------
    DataError
        If two tables of one folder fit equally well.
    InvalidBidsError
        See :func:`applicable`.
    """
    tables = applicable(image, root, suffix=suffix, extension=".tsv", allowed=allowed)
    if len(tables) > 1:
        first, second = tables[:2]
        same = first.parent == second.parent
        if same and len(parse_name(first).entities) == len(parse_name(second).entities):
            raise DataError(
                f"{first.name} and {second.name} fit {image.name} equally well; name one of them "
                "in its sidecar."
            )
    return tables[0] if tables else None

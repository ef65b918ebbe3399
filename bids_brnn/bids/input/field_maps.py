"""Which field map a series has: by ``IntendedFor``, by ``B0FieldSource``, or the only one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from bids_brnn.bids.grammar import IMAGE_EXTENSIONS, FileName, parse_name, series_label
from bids_brnn.bids.input.declared import texts
from bids_brnn.bids.input.inheritance import metadata_of
from bids_brnn.bids.input.series import Series
from bids_brnn.bids.input.surroundings import Image, Surroundings, nearby
from bids_brnn.errors import DataError, InvalidBidsError
from bids_brnn.parameters import FieldMap
from bids_brnn.system.kinds import shown


def find_field(series: Series, around: Surroundings, kind: FieldMap) -> Image | None:
    """IntendedFor naming the series, else B0FieldSource, else the only one of the session.

    Parameters
    ----------
    series, around
        The series and where to look.
    kind
        What is looked for; its key is that of the filters: ``b1map``, ``b0map``, ``r1map``.

    Raises
    ------
    DataError
        If two field maps could be meant.
    """
    found = nearby(series, around, around.filters[kind.key])
    if kind.inverse:
        found = _without_inverse([item for item in found if not _aside(item)], kind)
    found = _in_scanner_space(found, around.notes)
    read = {
        image.path: metadata_of(image.path, image.dataset.root, image.dataset.allowed)
        for image in found
    }
    intended = [
        image
        for image in found
        for text in texts(read[image.path], "IntendedFor")
        if _names(text, series, image, around.links)
    ]
    own = metadata_of(series.files[0], series.dataset.root, series.dataset.allowed)
    sources = set(texts(own, "B0FieldSource"))
    named = {path: set(texts(item, "B0FieldIdentifier")) for path, item in read.items()}
    if not intended and sources:
        intended = [image for image in found if sources & named[image.path]]
    unbound = []
    for image in found:
        target = read[image.path].get("IntendedFor")
        if image in intended:
            continue
        if target not in (None, "", []):
            _note_unmatched(image, target, series, around)
        elif sources and named[image.path]:
            around.notes.append(
                f"{image.path.name}: its B0FieldIdentifier is not the B0FieldSource of "
                f"{series.name} ({', '.join(sorted(sources))}); it is not used there."
            )
        else:
            unbound.append(image)
    session = parse_name(series.files[0]).entities.get("ses")
    nearer = [image for image in unbound if image.session == session]
    choice = list(dict.fromkeys(intended)) or nearer or unbound
    if len(choice) > 1:
        names = ", ".join(image.path.name for image in choice)
        raise DataError(
            f"Two {kind.words} maps for {series.name}: {names}. Name the series in IntendedFor of "
            "one, or filter with --bids-filter-file."
        )
    return choice[0] if choice else None


def _aside(image: Image) -> bool:
    """Whether a map of tissue is a standard deviation, or a copy on the grid of a series."""
    return _spread_words(image) is not None or image.name.entities.get("desc") == "resampled"


def _spread_words(image: Image) -> str | None:
    """``desc-`` of the map that an image is the standard deviation of; None: it is a map."""
    entities = image.name.entities
    if entities.get("stat", "").lower() in _SPREAD:
        return entities.get("desc", "")
    desc = entities.get("desc", "")
    for word in sorted(_SPREAD, key=len, reverse=True):
        if desc.lower() == word or desc.endswith((word.capitalize(), word.upper())):
            return desc[: -len(word)]
    return None


_SPREAD = frozenset(("std", "sd", "stdev", "sigma", "stddev", "uncertainty", "stderr"))
"""What programs call a map of the standard deviation, in ``stat-`` or at the end of ``desc-``."""


def _without_inverse(found: list[Image], kind: FieldMap) -> list[Image]:
    """Of an R1 map and a T1 map that differ in their suffix only, the first alone."""
    rates = {(item.dataset.name, item.path.parent, *_entities(item)) for item in found
             if item.name.suffix != kind.inverse}  # fmt: skip
    return [
        item
        for item in found
        if item.name.suffix != kind.inverse
        or (item.dataset.name, item.path.parent, *_entities(item)) not in rates
    ]


def _entities(image: Image) -> list[tuple[str, str]]:
    return sorted(image.name.entities.items())


def spread_of(image: Image, series: Series, around: Surroundings) -> Path | None:
    """The map of the standard deviation of another map, beside it, or None.

    It has the suffix and labels of that map, and ``stat-std`` or ``desc-<its desc>Std``. One whose
    ``Units`` are missing is left aside: units are never guessed.
    """
    own = image.name.entities
    plain = {key: label for key, label in own.items() if key not in ("desc", "stat")}
    wanted = {"suffix": image.name.suffix, "extension": list(IMAGE_EXTENSIONS)}
    for other in nearby(series, around, wanted):
        labels = {
            key: label for key, label in other.name.entities.items() if key not in ("desc", "stat")
        }
        same = other.dataset is image.dataset and other.path.parent == image.path.parent
        if not same or other.name.suffix != image.name.suffix or labels != plain:
            continue
        if _spread_words(other) != own.get("desc", ""):
            continue
        if "Units" not in other.metadata(around.notes):
            around.notes.append(
                f"{other.path.name} is not used: it would be the standard deviation of "
                f"{image.path.name}, but its sidecar has no Units."
            )
            continue
        return other.path
    return None


def _in_scanner_space(found: list[Image], notes: list[str]) -> list[Image]:
    for image in found:
        if (space := image.name.entities.get("space")) is not None:
            notes.append(
                f"{image.path.name} is not used: it lies in the space {space}, and field maps are "
                "placed by their scanner coordinates."
            )
    return [image for image in found if "space" not in image.name.entities]


def _names(text: str, series: Series, image: Image, links: Mapping[str, Path]) -> bool:
    """Whether an entry of ``IntendedFor`` names the series, in whichever data set it lies.

    Parts are not told apart, nor the volumes of a Z-spectrum: a map for one is for the series.
    """
    relative = _relative(text, image, links)
    if relative is None:
        return False
    wanted = {path.relative_to(series.dataset.root).parent for path in series.files}
    with suppress(InvalidBidsError):
        measured = series.measured
        named = _series(parse_name(relative.name), measured=measured)
        if named == _series(parse_name(series.files[0]), measured=measured):
            return any(_tail(relative.parent, PurePosixPath(folder)) for folder in wanted)
    return False


def _series(name: FileName, *, measured: bool) -> tuple[object, ...]:
    # What is no matter of the series may stand anywhere in its name, and so may the rest.
    return name.suffix, *sorted(series_label(name, measured=measured).split("_"))


def _tail(first: PurePosixPath, second: PurePosixPath) -> bool:
    """Whether the shorter of two folders is the end of the longer one."""
    n = min(len(first.parts), len(second.parts))
    return n == 0 or first.parts[-n:] == second.parts[-n:]


def _relative(text: str, image: Image, links: Mapping[str, Path]) -> PurePosixPath | None:
    """The path that an entry names, in any form BIDS has had; None: in an unknown data set.

    BIDS URIs; relative to the participant (``ses-1/anat/...``); from the root of the data set
    (``sub-01/anat/...``); with ``./`` or a slash before, or the backslashes of Windows.
    """
    if text.startswith("bids:"):
        name, _, text = text.removeprefix("bids:").partition(":")
        if name and name not in image.dataset.linked(links):
            return None
    return PurePosixPath(text.strip().replace("\\", "/").removeprefix("file://").lstrip("/"))


def _note_unmatched(image: Image, value: Any, series: Series, around: Surroundings) -> None:
    """Say where ``IntendedFor`` names no file of the participant: the map would be lost silently.

    A sidecar that was copied, or that all participants inherit, names what somebody else has.
    """
    entries = texts({"IntendedFor": value}, "IntendedFor")
    items = value if isinstance(value, list) else [value]
    if any(_exists(text, image, around) for text in entries):
        return
    first = next(iter(entries or items))
    path = series.files[0].relative_to(series.dataset.root).as_posix()
    name = "" if series.dataset.is_raw == image.dataset.is_raw else series.dataset.name
    around.notes.append(
        f"{image.path.name} is not used: its IntendedFor names {shown(first)}, and this "
        f'participant has no such file. For {series.name} write "bids:{name}:{path}" or '
        f'"{path.partition("/")[2]}".'
    )


def _exists(text: str, image: Image, around: Surroundings) -> bool:
    relative = _relative(text, image, around.links)
    if relative is None or ".." in relative.parts:
        return False
    subject = f"sub-{image.name.entities['sub']}"
    if any(part.startswith("sub-") and part != subject for part in relative.parts[:-1]):
        return False
    inner = [relative.parts.index(subject)] if subject in relative.parts[:-1] else []
    tails = [PurePosixPath(*relative.parts[start:]) for start in [0, *inner]]
    folders = [folder for item in around.datasets for folder in (item.root, item.root / subject)]
    folders += [image.path.parent.parent]
    return any(
        os.path.isfile(folder / tail)  # noqa: PTH113 (names too long are none)
        for folder in folders
        for tail in tails
    )

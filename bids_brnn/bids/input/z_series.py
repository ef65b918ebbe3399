"""Z-spectra with one file per measurement: which files belong together, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bids_brnn.bids.grammar import PARTS, parse_name, series_entities
from bids_brnn.bids.images import Grid, read_grid, same_grid
from bids_brnn.bids.input.acquisition import Part
from bids_brnn.bids.input.folders import list_labels, natural
from bids_brnn.bids.input.series import Series
from bids_brnn.errors import DataError, InvalidBidsError
from bids_brnn.signals.registry import series_kind
from bids_brnn.voxels import times

Labels = tuple[str, str]
"""``flip-`` and ``mt-`` of a file name, empty where absent."""


@dataclass(frozen=True)
class Measurement:
    """One point of a Z-spectrum: its files."""

    labels: Labels
    repeats: tuple[Mapping[Part, Path], ...]
    """Files by part, of each repeat; they are averaged."""

    @property
    def files(self) -> list[Path]:
        """One file of each repeat."""
        return [next(iter(parts.values())) for parts in self.repeats]

    @property
    def name(self) -> str:
        """Of its first file."""
        return self.files[0].name


def measurements_of(series: Series, notes: list[str]) -> list[Measurement]:
    """The measurements of a series in the order of their labels, each with its repeats.

    Raises
    ------
    DataError
        If two files are the same repeat of a measurement, or one has no magnitude.
    """
    groups: dict[Labels, dict[str, dict[Part, Path]]] = {}
    for path in series.files:
        entities = parse_name(path).entities
        part = entities.get("part") or ("complex" if read_grid(path).is_complex else "mag")
        if part not in (*PARTS, "complex"):
            raise DataError(f"{path.name}: part-{part} is unknown; use one of {', '.join(PARTS)}.")
        repeats = groups.setdefault(_labels(entities), {})
        parts = repeats.setdefault(entities.get("run", ""), {})
        other = parts.setdefault(cast("Part", part), path)
        if other != path:
            raise DataError(
                f"{other.name} and {path.name} hold the same measurement, but are no repeats by "
                "their names: tell repeats apart by run-1, run-2 ..., other measurements by flip- "
                "and mt-, or choose one with --bids-filter-file."
            )
    found = []
    for labels in sorted(groups, key=lambda pair: [natural(label) for label in pair]):
        repeats = groups[labels]
        chosen = [_magnitude(series, repeats[run], notes) for run in sorted(repeats, key=natural)]
        found.append(Measurement(labels, tuple(chosen)))
    repeated = sum(len(item.repeats) > 1 for item in found)
    if repeated:
        notes.append(
            f"{series.name}: {repeated} of {len(found)} measurements were repeated (run-); their "
            "repeats are averaged."
        )
    return found


def _labels(entities: Mapping[str, str]) -> Labels:
    return entities.get("flip", ""), entities.get("mt", "")


def _magnitude(
    series: Series, found: Mapping[Part, Path], notes: list[str]
) -> Mapping[Part, Path]:
    """The parts whose magnitude is taken."""
    if "mag" in found:
        if len(found) > 1:
            notes.append(
                f"{series.name}: Z-spectra need the magnitude only; other parts are not used."
            )
        return {"mag": found["mag"]}
    for parts in (("complex",), ("real", "imag")):
        if set(parts) <= found.keys():
            notes.append(f"{series.name}: the images are complex; their magnitude is used.")
            return {cast("Part", part): found[cast("Part", part)] for part in parts}
    path = next(iter(found.values()))
    raise DataError(
        f"{path.name} has no magnitude beside it, which Z-spectra are estimated from; give "
        "part-mag, or part-real and part-imag."
    )


def check_volumes(series: Series, found: Sequence[Measurement]) -> Grid:
    """The grid that all volumes share.

    Raises
    ------
    DataError
        If a volume has another matrix or affine than the first, or its name belies its voxels.
    """
    first: Grid | None = None
    for path, part in _files(found):
        grid = read_grid(path)
        if grid.is_complex != (part == "complex"):
            raise DataError(f"{path.name} holds complex voxels, but its name says one part.")
        first = first or grid
        if grid.space != first.space:
            raise DataError(
                f"{series.label}: {first.path.name} is {times(first.space)}, {path.name} is "
                f"{times(grid.space)}. All volumes of a Z-spectrum need one matrix and affine."
            )
        if not same_grid(grid, first):
            raise DataError(
                f"{series.label}: the affines of {first.path.name} and {path.name} differ. All "
                "volumes of a Z-spectrum need one matrix and affine: bring them to one first."
            )
    assert first is not None, "a series has files"
    return first


def _files(found: Sequence[Measurement]) -> Iterator[tuple[Path, Part]]:
    for item in found:
        for parts in item.repeats:
            for part, path in parts.items():
                yield path, part


def check_numbering(series: Series, found: Sequence[Measurement]) -> None:
    """Refuse a gap in labels that count: a volume was lost.

    ``mt-`` counts within each ``flip-``, or through all of them.

    Raises
    ------
    DataError
        Naming what is missing.
    """
    numbered: dict[str, set[int]] = {}
    for item in found:
        flip, mt = item.labels
        if mt.isdigit():
            numbered.setdefault(flip, set()).add(int(mt))
    flips = {int(flip) for flip in numbered if flip.isdigit()}
    counts = [("flip-", flips)]
    if len(numbered) > 1 and not set.intersection(*numbered.values()):
        counts.append(("mt-", set.union(*numbered.values())))
    else:
        counts += [
            (f"flip-{flip}_mt-" if flip else "mt-", have) for flip, have in numbered.items()
        ]
    for word, have in counts:
        gaps = sorted(set(range(min({1, *have}), max(have, default=0))) - have)
        # Labels that are offsets or angles do not count.
        if gaps and len(gaps) <= len(have):
            listed = ", ".join(f"{word}{number}" for number in gaps)
            verb = "is" if len(gaps) == 1 else "are"
            raise DataError(
                f"{series.label}: {listed} {verb} missing, as the labels count on to {max(have)}. "
                "Copy what is missing; where it was left out on purpose, say so with "
                "--bids-filter-file, which selects the volumes to use."
            )


def check_cohort(series: Series, found: Sequence[Measurement], cache: dict[Path, Cohort]) -> None:
    """Refuse a series that lacks a volume which most others of the data set have.

    Only names are looked at. A set of volumes that another visit has too is a protocol.

    Raises
    ------
    DataError
        Naming what is missing.
    """
    root = series.dataset.root
    if root not in cache:
        cache[root] = _cohort(root, series_kind(series.kind).suffixes)
    own = parse_name(series.files[0]).entities
    mine = {item.labels for item in found}
    visit = (own.get("sub", ""), own.get("ses", ""))
    others = [
        labels for key, labels in cache[root].items() if key[0] != visit and key[1] == _kept(own)
    ]
    if not others or mine in others:
        return
    common = {label for other in others for label in other}
    missing = sorted(
        label
        for label in common - mine
        if 2 * sum(label in other for other in others) > len(others)
    )
    if missing:
        listed = ", ".join(_words(labels) for labels in missing)
        raise DataError(
            f"{series.label} has no volume {listed}, which other participants or sessions have: "
            "copy it. Where it was left out on purpose, say so with --bids-filter-file, which "
            "selects the volumes to use."
        )


Visit = tuple[tuple[str, str], tuple[str, ...]]
Cohort = dict[Visit, set[Labels]]
"""Labels of volumes by participant and session, and by the other entities of the series."""


def _cohort(root: Path, suffixes: Sequence[str]) -> Cohort:
    found: Cohort = {}
    for subject in list_labels(root, "sub-"):
        for pattern in ("anat/*_mt-*", "ses-*/anat/*_mt-*"):
            for path in (root / f"sub-{subject}").glob(f"{pattern}.nii*"):
                try:
                    name = parse_name(path)
                except InvalidBidsError:
                    continue
                if name.suffix in suffixes:
                    visit = (name.entities.get("sub", ""), name.entities.get("ses", ""))
                    key = (visit, _kept(name.entities))
                    found.setdefault(key, set()).add(_labels(name.entities))
    return found


def _kept(entities: Mapping[str, str]) -> tuple[str, ...]:
    keys = [key for key in series_entities() if key not in ("sub", "ses", "run")]
    return tuple(entities.get(key, "") for key in keys)


def _words(labels: Labels) -> str:
    pairs = zip(("flip", "mt"), labels, strict=True)
    return "_".join(f"{key}-{label}" for key, label in pairs if label)

"""Images that go with a series: field maps, mask, anatomy, labels, transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import FileName, parse_name, series_entities
from bids_brnn.bids.input.acquisition import Companions
from bids_brnn.bids.input.dataset import Dataset
from bids_brnn.bids.input.folders import natural
from bids_brnn.bids.input.inheritance import metadata_of
from bids_brnn.bids.input.series import Series
from bids_brnn.bids.safe import check_inside
from bids_brnn.errors import DataError, InvalidBidsError
from bids_brnn.parameters import FIELD_MAPS

_SEGMENTATION_ORDER = ("aparcaseg", "aseg", "tissue")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Where companions of a series are looked for."""

    datasets: Sequence[Dataset]
    """The raw data set first."""
    filters: Mapping[str, Mapping[str, Any]]
    links: Mapping[str, Path]
    skip: frozenset[str]
    """Keys of ``--ignore``: ``b1map``, ``b0map``, ``t1w``, ``mask``, ``dseg``."""
    allowed: Sequence[Path]
    """Folders outside of the data sets that links may lead to."""
    notes: list[str]
    """Decisions and warnings; grows."""


def find_companions(series: Series, around: Surroundings) -> Companions:
    """All images that go with ``series``.

    Raises
    ------
    DataError
        If two field maps could be meant.
    """
    supplied = {}
    for parameter, kind in FIELD_MAPS.items():
        if kind.key in around.skip:
            continue
        path = _field(series, around, kind.key, kind.words)
        if path is not None:
            supplied[parameter] = path
    elsewhere = _session_of_anatomy(series, around)
    segmentations = _segmentations(series, around, elsewhere)
    default = next((k for k in _SEGMENTATION_ORDER if k in segmentations), None)
    default = default or next(iter(segmentations), None)
    return Companions(
        supplied=supplied,
        mask=_best(series, around, "mask", elsewhere),
        t1w=_best(series, around, "t1w", elsewhere),
        dseg=segmentations[default] if default else None,
        segmentations=segmentations,
        tissue_probabilities=_labelled(series, around, "probseg", "label", elsewhere),
        transforms=_transforms(series, around, elsewhere),
        templates=_templates(series, around, elsewhere),
        session=elsewhere,
    )


def _session_of_anatomy(series: Series, around: Surroundings) -> str | None:
    """Label of another session that the anatomy is taken from; None where there is no need.

    Only where neither the session of the series nor the participant as a whole has a T1w image.
    Then T1w image, mask, labels and transforms come from one session: the last before that of the
    series, else the first after it, in natural order; sessions of a derivative before raw ones.
    """
    if "t1w" in around.skip or _t1w_images(series, around, None):
        return None
    own = parse_name(series.files[0]).entities
    everywhere = _all_candidates(series, around, around.filters["t1w"])
    found = [item for item in everywhere if _fits(series, around, item[2])]
    found = [item for item in found if not item[0].is_raw] or found
    labels = sorted({name.entities.get("ses", "") for _, _, name in found}, key=natural)
    before = [label for label in labels if natural(label) < natural(own.get("ses", ""))]
    if not labels:
        return None
    choice = before[-1] if before else labels[0]
    around.notes.append(
        f"{series.name}: its session has no T1w image; that of ses-{choice} is used, with the "
        "mask and labels that belong to it."
    )
    return choice


def _t1w_images(
    series: Series, around: Surroundings, elsewhere: str | None
) -> list[tuple[Dataset, Path, FileName]]:
    found = _candidates(series, around, around.filters["t1w"], elsewhere)
    return [item for item in found if _fits(series, around, item[2])]


def _candidates(
    series: Series,
    around: Surroundings,
    filters: Mapping[str, Any],
    elsewhere: str | None = None,
) -> list[tuple[Dataset, Path, FileName]]:
    """Files of the same participant, and of the same session, of none, or of ``elsewhere``."""
    wanted = {None, parse_name(series.files[0]).entities.get("ses"), elsewhere}
    return [
        item
        for item in _all_candidates(series, around, filters)
        if item[2].entities.get("ses") in wanted
    ]


def _all_candidates(
    series: Series, around: Surroundings, filters: Mapping[str, Any]
) -> list[tuple[Dataset, Path, FileName]]:
    """Files of the same participant."""
    own = parse_name(series.files[0]).entities
    found = []
    for dataset in around.datasets:
        for path in dataset.query(filters, own["sub"]):
            try:
                name = parse_name(path)
                check_inside(path, dataset.root, around.allowed)
            except InvalidBidsError as error:
                around.notes.append(f"Not used: {error}")
                continue
            found.append((dataset, path, name))
    return found


def _field(series: Series, around: Surroundings, key: str, words: str) -> Path | None:
    """IntendedFor naming the series, else B0FieldSource, else the only one of the session."""
    found = _candidates(series, around, around.filters[key])
    read = {path: metadata_of(path, dataset.root) for dataset, path, _ in found}
    intended = [
        path
        for dataset, path, _ in found
        if _is_intended(read[path].get("IntendedFor"), series, dataset, around.links)
    ]
    source = metadata_of(series.files[0], series.dataset.root).get("B0FieldSource")
    if not intended and source is not None:
        wanted = set(_listed(source))
        intended = [
            p for _, p, _ in found if wanted & set(_listed(read[p].get("B0FieldIdentifier")))
        ]
    unbound = [path for _, path, _ in found if not _listed(read[path].get("IntendedFor"))]
    session = parse_name(series.files[0]).entities.get("ses")
    nearer = [path for path in unbound if parse_name(path).entities.get("ses") == session]
    choice = intended or nearer or unbound
    if len(choice) > 1:
        names = ", ".join(path.name for path in choice)
        raise DataError(
            f"Two {words} maps for {series.name}: {names}. Name the series in IntendedFor of one, "
            "or filter with --bids-filter-file."
        )
    return choice[0] if choice else None


def _listed(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def _is_intended(
    value: object, series: Series, dataset: Dataset, links: Mapping[str, Path]
) -> bool:
    """Whether ``IntendedFor`` names a file of the series, in whichever data set it lies."""
    subject = parse_name(series.files[0]).entities["sub"]
    wanted = {path.relative_to(series.dataset.root) for path in series.files}
    for text in _listed(value):
        if text.startswith("bids:"):
            name, _, relative = text.removeprefix("bids:").partition(":")
            known = not name or name in dataset.linked(links)
        else:  # deprecated form: relative to the folder of the participant
            relative, known = f"sub-{subject}/{text}", True
        if known and Path(relative) in wanted:
            return True
    return False


def _best(series: Series, around: Surroundings, key: str, elsewhere: str | None) -> Path | None:
    """The mask or T1w that fits best; derivatives before raw data."""
    if key in around.skip:
        return None
    found = [
        (dataset, path, name)
        for dataset, path, name in _candidates(series, around, around.filters[key], elsewhere)
        if _fits(series, around, name)
    ]
    if not found:
        return None
    ranked = sorted(found, key=_rank(series))
    first = ranked[0]
    tied = [
        path.name
        for d, path, n in ranked
        if _rank(series)((d, path, n))[:-1] == _rank(series)(first)[:-1]
    ]
    if len(tied) > 1:
        around.notes.append(f"{series.name}: {first[1].name} is used, {', '.join(tied[1:])} not.")
    return first[1]


def _fits(series: Series, around: Surroundings, name: FileName) -> bool:
    """No template space, and made for this series or for a T1w image, not for another series."""
    if name.entities.get("space") not in (None, "T1w", "orig"):
        return False
    if name.suffix == "T1w" or "acq" not in name.entities:
        return True
    anatomical = _all_candidates(series, around, around.filters["t1w"])
    labels = {other.entities.get("acq") for _, _, other in anatomical}
    own = parse_name(series.files[0]).entities
    return name.entities["acq"] in labels | {own.get("acq")}


def _rank(series: Series) -> Callable[[tuple[Dataset, Path, FileName]], tuple[Any, ...]]:
    """Of this very series; not of another session; derivative; same session; preprocessed; name.

    A derivative of the participant as a whole comes before a raw image of the session: its mask
    and labels lie on its own T1w image.
    """
    own = parse_name(series.files[0]).entities

    def rank(item: tuple[Dataset, Path, FileName]) -> tuple[Any, ...]:
        dataset, path, name = item
        keys = [k for k in series_entities() if k not in ("sub", "ses")]
        same = any(k in own for k in keys) and all(
            name.entities.get(k) == own.get(k) for k in keys
        )
        return (
            not same,
            name.entities.get("ses") not in (None, own.get("ses")),
            dataset.is_raw,
            name.entities.get("ses") != own.get("ses"),
            name.entities.get("desc") != "preproc",
            "space" in name.entities,
            path.name,
        )

    return rank


def _segmentations(series: Series, around: Surroundings, elsewhere: str | None) -> dict[str, Path]:
    if "dseg" in around.skip:
        return {}
    found: dict[str, Path] = {}
    for _, path, name in sorted(
        _candidates(series, around, around.filters["dseg"], elsewhere), key=_rank(series)
    ):
        label = name.entities.get("seg") or name.entities.get("desc") or "tissue"
        if _fits(series, around, name):
            found.setdefault(label, path)
    return found


def _labelled(
    series: Series, around: Surroundings, suffix: str, entity: str, elsewhere: str | None
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    filters = {"suffix": suffix, "extension": [".nii", ".nii.gz"]}
    for _, path, name in sorted(
        _candidates(series, around, filters, elsewhere), key=_rank(series)
    ):
        if entity in name.entities and _fits(series, around, name):
            found.setdefault(name.entities[entity], path)
    return found


def _transforms(series: Series, around: Surroundings, elsewhere: str | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    filters = {"suffix": "xfm"}
    for _, path, name in sorted(
        _candidates(series, around, filters, elsewhere), key=_rank(series)
    ):
        if name.entities.get("from") == "T1w" and "to" in name.entities:
            found.setdefault(name.entities["to"], path)
    return found


def _templates(series: Series, around: Surroundings, elsewhere: str | None) -> dict[str, Path]:
    """Images in template spaces, whose grids finished maps can be brought to.

    Under the name of the space, and under ``SPACE:res-LABEL`` where they have a resolution.
    """
    found: dict[str, Path] = {}
    filters = {"suffix": ["T1w", "mask"], "extension": [".nii", ".nii.gz"]}
    items = _candidates(series, around, filters, elsewhere)
    # The native resolution of the template first: it has no res-.
    for _, path, name in sorted(items, key=lambda item: ("res" in item[2].entities, item[1].name)):
        space = name.entities.get("space", "")
        if space not in ("", "T1w", "orig"):
            found.setdefault(space, path)
            if "res" in name.entities:
                found.setdefault(f"{space}:res-{name.entities['res']}", path)
    return found

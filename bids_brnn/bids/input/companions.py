"""Images that go with a series: field maps, mask, anatomy, labels, transforms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import parse_name
from bids_brnn.bids.input.acquisition import Companions
from bids_brnn.bids.input.field_maps import find_field, spread_of
from bids_brnn.bids.input.folders import natural
from bids_brnn.bids.input.placement import Heads, could_be_of, lies_on_series
from bids_brnn.bids.input.series import Series
from bids_brnn.bids.input.surroundings import (
    NATIVE,
    Image,
    Surroundings,
    images_of,
    labels_of,
    nearby,
)
from bids_brnn.errors import DataError
from bids_brnn.parameters import FIELD_MAPS, FIELDS
from bids_brnn.spaces import space_of

_SEGMENTATION_ORDER = ("aparcaseg", "aseg", "tissue")
_IMAGES = (".nii", ".nii.gz")


def find_companions(
    series: Series, around: Surroundings, needed: Collection[str] = ()
) -> Companions:
    """All images that go with ``series``.

    Parameters
    ----------
    series, around
        The series and where to look.
    needed
        Parameters that its model takes from maps. Those of tissue (R1) are looked for only then:
        for other series they are maps like any.

    Raises
    ------
    DataError
        If two field maps could be meant.
    """
    supplied: dict[str, Path] = {}
    spreads: dict[str, Path] = {}
    for parameter, kind in FIELD_MAPS.items():
        if kind.key in around.skip or (parameter not in FIELDS and parameter not in needed):
            continue
        image = find_field(series, around, kind)
        if image is not None:
            supplied[parameter] = image.path
            if parameter not in FIELDS and (spread := spread_of(image, series, around)):
                spreads[parameter] = spread
    heads = Heads(series, around)
    elsewhere = _session_of_anatomy(series, around, heads)
    chosen = _T1w(series, around, heads, elsewhere)
    masks = [] if "mask" in around.skip else chosen.going_with(around.filters["mask"])
    segmentations: dict[str, Path] = {}
    for image in [] if "dseg" in around.skip else chosen.going_with(around.filters["dseg"]):
        entities = image.name.entities
        label = entities.get("seg") or entities.get("desc") or "tissue"
        segmentations.setdefault(label, image.path)
    default = next((k for k in _SEGMENTATION_ORDER if k in segmentations), None)
    default = default or next(iter(segmentations), None)
    shares: dict[str, Path] = {}
    for image in chosen.going_with({"suffix": "probseg", "extension": list(_IMAGES)}):
        if "label" in image.name.entities:
            shares.setdefault(image.name.entities["label"], image.path)
    chosen.say_refused()
    if masks:
        _note_ties(series, masks, chosen.rank, around)
    return Companions(
        supplied=supplied,
        spreads=spreads,
        mask=masks[0].path if masks else None,
        t1w=chosen.path,
        dseg=segmentations[default] if default else None,
        segmentations=segmentations,
        tissue_probabilities=shares,
        transforms=chosen.transforms(),
        templates=_templates(series, around, elsewhere),
        session=elsewhere,
        anatomies=tuple(image.path for image in heads.images),
    )


def check_rate(series: Series, companions: Companions, around: Surroundings) -> None:
    """Refuse a Z-spectrum without a map of R1, which tells m0s only together with it.

    Raises
    ------
    DataError
        With what to do.
    """
    if "R1" in companions.supplied:
        return
    name = parse_name(series.files[0]).entities
    stem = "_".join(f"{key}-{name[key]}" for key in ("sub", "ses") if key in name)
    if "r1map" in around.skip:
        raise DataError(
            f"{series.name} is a Z-spectrum, which cannot be estimated without a map of R1: leave "
            "out --ignore r1map."
        )
    raise DataError(
        f"No R1 map for {series.name}: a Z-spectrum tells m0s only together with the observed R1. "
        f'Put {stem}_R1map.nii.gz (Units "1/s") or {stem}_T1map.nii.gz (Units "s" or "ms") into '
        "its anat folder, or give the data set that holds it with -d NAME=PATH."
    )


def _session_of_anatomy(series: Series, around: Surroundings, heads: Heads) -> str | None:
    """Label of another session that the anatomy is taken from; None where there is no need.

    Only where neither the session of the series nor the participant as a whole has a T1w image.
    Then T1w image, mask, labels and transforms come from one session: the last before that of the
    series, else the first after it, in natural order; sessions of a derivative before raw ones.
    """
    filters = around.filters["t1w"]
    if "t1w" in around.skip or _native(nearby(series, around, filters)):
        return None
    own = parse_name(series.files[0]).entities.get("ses", "")
    found = _native(images_of(series, around, filters))
    found = [image for image in found if not image.dataset.is_raw] or found
    sessions = sorted({image.session or "" for image in found}, key=natural)
    before = [label for label in sessions if natural(label) < natural(own)]
    if not sessions:
        return None
    choice = before[-1] if before else sessions[0]
    filtered = any(image.session in (None, own) for image in heads.images)
    reason = "--bids-filter-file leaves no" if filtered else "its session has no"
    where = " of its session" if filtered else ""
    around.notes.append(
        f"{series.name}: {reason} T1w image{where}; that of ses-{choice} is used, with the "
        "mask and labels that belong to it."
    )
    return choice


def _native(found: Sequence[Image]) -> list[Image]:
    return [image for image in found if image.is_native]


def _note_ties(
    series: Series,
    ranked: Sequence[Image],
    rank: Callable[[Image], tuple[Any, ...]],
    around: Surroundings,
) -> None:
    """Name images that only their names rank behind the one that is used."""
    tied = [item.path.name for item in ranked if rank(item)[:-1] == rank(ranked[0])[:-1]]
    if len(tied) > 1:
        around.notes.append(f"{series.name}: {tied[0]} is used, {', '.join(tied[1:])} not.")


class _T1w:
    """The T1w image of a series, and what goes with the two."""

    def __init__(
        self, series: Series, around: Surroundings, heads: Heads, elsewhere: str | None
    ) -> None:
        self._series, self._around, self._heads = series, around, heads
        self._elsewhere = elsewhere
        self._own = parse_name(series.files[0]).entities.get("ses")
        self._refused: dict[str, frozenset[str]] = {}
        self._image = None if "t1w" in around.skip else self._choose()

    @property
    def path(self) -> Path | None:
        """The T1w image, or None."""
        return self._image.path if self._image else None

    def _nearby(self, filters: Mapping[str, Any]) -> list[Image]:
        return nearby(self._series, self._around, filters, self._elsewhere)

    def _choose(self) -> Image | None:
        masks = _native(self._nearby(self._around.filters["mask"]))

        def rank(image: Image) -> tuple[Any, ...]:
            *first, name = self._order(image)
            return *first, not any(self._heads.belong(mask, image) for mask in masks), name

        ranked = sorted(_native(self._nearby(self._around.filters["t1w"])), key=rank)
        if ranked:
            _note_ties(self._series, ranked, rank, self._around)
        return ranked[0] if ranked else None

    def _order(self, image: Image) -> tuple[Any, ...]:
        """Not of another session; derivative; same session; preprocessed; name.

        A derivative of the participant as a whole comes before a raw image of the session: its
        mask and labels lie on its own T1w image.
        """
        return (
            image.session not in (None, self._own),
            image.dataset.is_raw,
            image.session != self._own,
            image.name.entities.get("desc") != "preproc",
            "space" in image.name.entities,
            image.path.name,
        )

    def rank(self, image: Image) -> tuple[Any, ...]:
        """Of this very series first."""
        return not (self._on_series(image) and could_be_of(image, self._series)), *self._order(
            image
        )

    def _on_series(self, image: Image) -> bool:
        if self._image is None:  # of images by the labels of a T1w image nothing more is known
            return bool(image.labels) and image.labels == labels_of(self._series)
        return lies_on_series(
            image.path,
            image.metadata(self._around.notes),
            series=self._series.files[0],
            t1w=self._image.path,
            anatomies=[other.path for other in self._heads.images],
        )

    def going_with(self, filters: Mapping[str, Any]) -> list[Image]:
        """Images on the series, or made from the same head as the T1w image; best first."""
        found = []
        for image in _native(self._nearby(filters)):
            if self._goes(image):
                found.append(image)
            elif self._image is not None and image.labels in self._known_labels():
                self._refused[image.path.name] = self._heads.origin(image)
        return sorted(found, key=self.rank)

    def _goes(self, image: Image) -> bool:
        if self._image is None:
            return could_be_of(image, self._series) or image.labels in self._known_labels()
        if could_be_of(image, self._series) and self._on_series(image):
            return True
        return self._heads.belong(image, self._image)

    def _known_labels(self) -> list[dict[str, str]]:
        return [{}, *(image.labels for image in self._heads.images)]

    def say_refused(self) -> None:
        """Name images that lie on another T1w image than the one that is used."""
        if not self._refused or self._image is None:
            return
        first, origin = next(iter(self._refused.items()))
        more = len(self._refused) - 1
        others = f" and {more} more images are" if more else " is"
        made = ", ".join(sorted(origin)) if all("_T1w" in name for name in origin) else "another"
        self._around.notes.append(
            f"{self._series.name}: {first}{others} not used: made from {made}, not from "
            f"{', '.join(sorted(self._heads.origin(self._image)))} as {self._image.path.name}, "
            "where they would not fit. Choose the T1w image that they lie on with "
            "--bids-filter-file, or leave t1w out of that file."
        )

    def transforms(self) -> dict[str, Path]:
        """From the T1w image to templates, by the name of the space."""
        found: dict[str, Path] = {}
        if self._image is None:
            return found
        for image in sorted(self._nearby({"suffix": "xfm"}), key=self._order):
            entities = image.name.entities
            moves = entities.get("from") == "T1w" and "to" in entities
            if moves and self._heads.belong(image, self._image):
                found.setdefault(space_of(entities, "to").name, image.path)
        return found


def _templates(series: Series, around: Surroundings, elsewhere: str | None) -> dict[str, Path]:
    """Images in template spaces, whose grids finished maps can be brought to.

    By the name of the space with its cohort, and with ``:res-LABEL`` where they have one.
    """
    found: dict[str, Path] = {}
    filters = {"suffix": ["T1w", "mask"], "extension": list(_IMAGES)}
    images = nearby(series, around, filters, elsewhere)
    # The native resolution of the template first: it has no res-.
    for image in sorted(images, key=lambda item: ("res" in item.name.entities, item.path.name)):
        if image.name.entities.get("space") not in NATIVE:
            space = space_of(image.name.entities, "space")
            found.setdefault(space.template, image.path)
            found.setdefault(space.name, image.path)
    return found

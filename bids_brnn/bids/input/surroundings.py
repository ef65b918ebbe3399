"""Where images that go with a series are looked for, and what their names say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import FileName, measurement_entities, parse_name, series_entities
from bids_brnn.bids.input.dataset import Dataset
from bids_brnn.bids.input.inheritance import metadata_of
from bids_brnn.bids.input.series import Series
from bids_brnn.bids.safe import check_inside
from bids_brnn.errors import BidsBrnnError, InvalidBidsError

NATIVE = (None, "T1w", "orig")
"""Values of ``space-`` of images that are in no template."""


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


@dataclass(frozen=True, eq=False)
class Image:
    """A file that may go with a series."""

    dataset: Dataset
    path: Path
    name: FileName

    @property
    def session(self) -> str | None:
        """Its label; None: of the participant as a whole."""
        return self.name.entities.get("ses")

    @property
    def labels(self) -> dict[str, str]:
        """See :func:`labels`."""
        return labels(self.name)

    @property
    def is_native(self) -> bool:
        """Whether it is in no template."""
        return self.name.entities.get("space") in NATIVE

    def metadata(self, notes: list[str]) -> Mapping[str, Any]:
        """Its sidecars; those of foreign programs may be broken, which is noted."""
        try:
            return metadata_of(self.path, self.dataset.root, self.dataset.allowed)
        except BidsBrnnError as error:
            notes.append(f"Not used: {error}")
            return {}


def labels(name: FileName) -> dict[str, str]:
    """The entities that tell one image of a session from another: ``acq``, ``run`` ..."""
    keys = [key for key in series_entities() if key not in ("sub", "ses")]
    return {key: name.entities[key] for key in keys if key in name.entities}


def labels_of(series: Series) -> dict[str, str]:
    """Those of a series; what tells the volumes of a Z-spectrum apart is none of them."""
    dropped = measurement_entities() if series.measured else frozenset[str]()
    own = labels(parse_name(series.files[0]))
    return {key: label for key, label in own.items() if key not in dropped}


def images_of(series: Series, around: Surroundings, filters: Mapping[str, Any]) -> list[Image]:
    """Files of the same participant, of any session."""
    found = []
    for dataset in around.datasets:
        for path in dataset.query(filters, parse_name(series.files[0]).entities["sub"]):
            try:
                name = parse_name(path)
                check_inside(path, dataset.root, around.allowed)
            except InvalidBidsError as error:
                around.notes.append(f"Not used: {error}")
                continue
            found.append(Image(dataset, path, name))
    return found


def nearby(
    series: Series, around: Surroundings, filters: Mapping[str, Any], elsewhere: str | None = None
) -> list[Image]:
    """Files of the same participant, and of the same session, of none, or of ``elsewhere``."""
    wanted = {None, parse_name(series.files[0]).entities.get("ses"), elsewhere}
    return [image for image in images_of(series, around, filters) if image.session in wanted]

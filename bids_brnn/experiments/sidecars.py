"""A protocol as the sidecar of a series tells it, without images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import parse_name
from bids_brnn.bids.input.declared import KEYS
from bids_brnn.bids.input.folders import DESCRIPTION
from bids_brnn.bids.input.inheritance import metadata_of
from bids_brnn.bids.input.protocol import (
    Said,
    Shared,
    choose_model,
    find_table,
    read_train,
    usual_model,
)
from bids_brnn.bids.safe import resolved
from bids_brnn.errors import DataError, ReadError
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.registry import ModelEntry, series_kinds

_OF_FILES = ("PulseTrain", "SubspaceBasis", "SignalRepresentation", "NoiseStandardDeviation")


@dataclass(frozen=True, eq=False)
class SidecarProtocol:
    """Pulse train, and what else the sidecar says."""

    sequence: PulseSequence
    entry: ModelEntry
    pulses: Path
    """The pulse table."""
    image: Path
    """What the image would be called."""
    root: Path
    """Of its data set."""
    about: Said
    """All sidecars that apply, merged."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Keys that hold whatever the files are called, and however noisy they are."""
        said = self.about.metadata
        return {key: said[key] for key in KEYS if key in said and key not in _OF_FILES}

    @property
    def representation(self) -> object:
        """``SignalRepresentation`` as it is said, or None."""
        return self.about.metadata.get("SignalRepresentation")

    def find_basis(self) -> Path | None:
        """The basis table that the sidecar names or inherits, or None."""
        return find_table(self.image, self.root, self.about, "basis", {})


def read_sidecar(sidecar: Path, entry: ModelEntry | None = None) -> SidecarProtocol:
    """The protocol of a sidecar, with the tables that it names or inherits.

    Parameters
    ----------
    sidecar
        JSON of a series; its image need not exist.
    entry
        The signal model; None: the one that the sidecar names, else the first that serves.

    Raises
    ------
    ReadError
        If there is no such file.
    DataError
        If it is not that of a series of pulse trains, or names no pulse table.
    """
    if not sidecar.is_file():
        raise ReadError(f"cannot read the sidecar {sidecar}: there is no such file")
    root = _root_of(sidecar)
    image = sidecar.with_suffix(".nii.gz")
    inside = (root, resolved(sidecar).parent)  # whoever names a link means what it leads to
    metadata = metadata_of(image, root, inside)
    said = Said(
        metadata, sidecar.name, sidecar.name, model_chosen=entry is not None, inside=inside
    )
    table = find_table(image, root, said, "rfpulses", {})
    if table is None:
        raise DataError(
            f"no pulse table for {sidecar}: write rfpulses.tsv beside it, or name one in "
            '"PulseTrain"'
        )
    if entry is None:
        kind = _kind_of(sidecar)
        train = read_train(table, usual_model(kind, said), said, Shared(), [])
        entry = choose_model(kind, said, train)
    else:
        train = read_train(table, entry, said, Shared(), [])
    return SidecarProtocol(train, entry, table, image, root, said)


def _kind_of(sidecar: Path) -> str:
    suffix = parse_name(sidecar).suffix
    for kind in series_kinds().values():
        if suffix in kind.suffixes:
            return kind.name
    raise DataError(
        f"{sidecar.name} is not named as the sidecar of a series: its name must end in "
        f"{' or '.join(f'_{kind.suffix}.json' for kind in series_kinds().values())}"
    )


def _root_of(sidecar: Path) -> Path:
    """Root of the data set that holds a sidecar; its own folder where there is none."""
    folder = sidecar.parent.absolute()
    roots = (item for item in (folder, *folder.parents) if (item / DESCRIPTION).is_file())
    return next(roots, folder)

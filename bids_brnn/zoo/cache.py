"""Networks that the program trains by itself: where they lie, and who trains which. No torch.

A folder of networks holds cards and weights, as every other one. ``protocols`` below it keeps,
for each network, the pulse train (and basis) and the configuration that ``brnn train`` takes; a
training at work keeps its state in ``training/NAME``, which is removed at its end. Names hold a
key of everything that the network follows from, so that forty tasks mean the same one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import tomli_w

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.declared import number
from bids_brnn.errors import OutputError, printable
from bids_brnn.files import make_folder, write_text
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.registry import model_entry
from bids_brnn.system.locks import remove_lock, take_lock
from bids_brnn.system.reading import open_regular, read_toml
from bids_brnn.zoo.any_card import AnyCard
from bids_brnn.zoo.recipe import EstimatorRecipe

TRAINING_VERSION = 2
"""Of how the program trains by itself; with another one, networks are trained anew."""
_MOST_STATE = 200  # bytes
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, eq=False)
class Job:
    """A network that is to be trained for a series and all others of its protocol."""

    folder: Path
    """Of networks."""
    name: str
    series: str
    """Name of the series that asked for it, for messages."""
    preset: str
    field_strength: float | None
    """T; None: the sidecar does not tell, and tissue at 3 T is learnt."""
    protocol: EstimatorRecipe
    """Signal model, pulse train, and basis of coefficients."""

    @property
    def card(self) -> Path:
        """Where the card will be; its weights lie beside it."""
        return self.folder / f"{self.name}.json"

    @property
    def configuration(self) -> Path:
        """Of ``brnn train`` and ``brnn evaluate``."""
        return self.folder / "protocols" / f"{self.name}.toml"

    @property
    def work(self) -> Path:
        """State of the training."""
        return self.folder / "training" / self.name

    @property
    def lock(self) -> Path:
        """Held by who trains; holds how far that is."""
        return self.folder / "training" / f"{self.name}.lock"

    def write_configuration(self, precision: str) -> Path:
        """Write the protocol, and the configuration unless a whole one is there.

        Raises
        ------
        OutputError
            If that cannot be written, or its folder is a link.
        """
        path = self.configuration
        make_unlinked(path.parent, self.folder)
        # Not a name that ends as a card does: only the folder itself is searched for these.
        self.protocol.to_file(path.with_suffix(".json"))
        tissue = {} if self.field_strength is None else {"tissue_at": self.field_strength}
        content: dict[str, Any] = {
            "name": self.name,
            "description": f"{self.protocol.model}, trained by bids_brnn ({self.preset}) for the "
            f"protocol of {self.series}",
            "model": self.protocol.model,
            "protocol": path.with_suffix(".json").name,
            "preset": self.preset,
            **tissue,
            # A training is resumed with the arithmetic that it began with, on any machine.
            "training": {"precision": precision},
        }
        if not _is_whole(path, content):
            write_text(path, tomli_w.dumps(content))
        return path


def _is_whole(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether an earlier start wrote the configuration of this network, and it can be read."""
    try:
        found = read_toml(path)
    except (OSError, ValueError):
        return False
    return all(found.get(key) == content[key] for key in ("name", "model", "protocol"))


def make_unlinked(folder: Path, root: Path) -> None:
    """Make a folder inside ``root``, which others may write to: a link could lead anywhere.

    Raises
    ------
    OutputError
        If there is a link on the way, or it cannot be made.
    """
    for inner in (folder, *folder.parents):
        if inner == root:
            break
        if inner.is_symlink():
            raise OutputError(
                f"{inner} is a link, to {os.path.realpath(inner)}, and nothing is written through "
                "links inside a folder of networks; remove it."
            )
    make_folder(folder)


def job_for(folder: Path, acquisition: Acquisition, preset: str, recipe: Mapping[str, Any]) -> Job:
    """The network of a series.

    Parameters
    ----------
    folder
        Of networks.
    acquisition
        A series of pulse trains with phase.
    preset, recipe
        The budget, by name and by what it says.
    """
    field = number(acquisition.metadata, "MagneticFieldStrength", acquisition.name)
    sequence = acquisition.sequence
    protocol = EstimatorRecipe(
        estimator=model_entry(acquisition.model).reference,
        model=acquisition.model,
        sequence=sequence,
        basis=acquisition.basis,
    )
    words = {
        "version": TRAINING_VERSION,
        "model": acquisition.model,
        "protocol": protocol.digest,
        "field": field,
        "preset": preset,
        "recipe": recipe,
    }
    key = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:10]
    name = f"{acquisition.model}-{preset}-{key}"
    return Job(folder, name, acquisition.name, preset, field, protocol)


def derived_job(folder: Path, acquisition: Acquisition, card: AnyCard) -> Job:
    """The network of a series that is made of one for any protocol.

    Parameters
    ----------
    folder
        Of networks.
    acquisition
        A series of Z-spectra.
    card
        Of the network for any protocol.
    """
    assert isinstance(acquisition.sequence, ZSpectrum)
    field = number(acquisition.metadata, "MagneticFieldStrength", acquisition.name)
    name = card.derived_name(acquisition.model, acquisition.sequence, field)
    protocol = EstimatorRecipe(
        estimator=model_entry(acquisition.model).reference,
        model=acquisition.model,
        sequence=acquisition.sequence,
    )
    return Job(folder, name, acquisition.name, "quick", field, protocol)


@contextmanager
def holding(path: Path) -> Iterator[TextIO | None]:
    """Hold a lock for a while, on one machine or on a shared disk; None where another one does.

    The lock belongs to the process: it ends with it, however it ends. Its file is removed with it.

    Raises
    ------
    OutputError
        If the file cannot be written, is none, or its disk cannot lock.
    """
    make_unlinked(path.parent, path.parent.parent)
    try:
        handle = take_lock(path)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise OutputError(
                f"The disk of {path} cannot lock files, so that tasks would train the same "
                "network at once; choose another folder with --weights-dir."
            ) from error
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from error
    if handle is None:
        yield None
        return
    try:
        with os.fdopen(handle, "r+", encoding="utf-8", closefd=False) as file:
            tell(file, "")  # what a killed process said
            yield file
    finally:
        remove_lock(handle, path)


def tell(file: TextIO, words: str) -> None:
    """Say in a lock that is held how far the work is, for those who wait."""
    whose = f"{socket.gethostname()}, process {os.getpid()}: {words}" if words else ""
    with suppress(OSError):  # a full disk ends no training
        file.seek(0)
        file.truncate()
        file.write(whose)
        file.flush()


def told(path: Path) -> str:
    """What the holder of a lock said last."""
    try:
        with open_regular(path) as file:
            return printable(file.read(_MOST_STATE).decode("utf-8", "replace")).strip()
    except OSError:
        return ""

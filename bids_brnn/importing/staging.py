"""A data set with one imported series alone, made aside."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_brnn import __version__
from bids_brnn.bids.grammar import grammar, ignored_names
from bids_brnn.bids.input.folders import DESCRIPTION
from bids_brnn.bids.output.protocol_files import write_basis, write_pulses, write_spectrum
from bids_brnn.bids.volumes import as_mask
from bids_brnn.errors import DataError, OutputError
from bids_brnn.files import make_folder, write_text
from bids_brnn.importing.series import Companion, Series, on_grid
from bids_brnn.phantom.files import write_image, write_json
from bids_brnn.sequences.z_spectrum import ZSpectrum

DERIVATIVE = "imported"
"""Folder below ``derivatives`` of maps and masks."""
PARTICIPANTS = "participants.tsv"
TEMPORARY = ".tmp-import-"
"""Beginning of the name of a folder in which a data set is made aside."""
_README = """# Data set imported with bids_brnn

Converted from files of other programs; the sidecar of each series says from which. Maps and masks
that came along lie in `derivatives/imported`. Names that BIDS does not know are listed in
`.bidsignore`.
"""


@dataclass(frozen=True)
class Target:
    """Which series of which data set."""

    root: Path
    subject: str
    label: str
    """Of ``acq-``."""
    session: str = ""
    run: str = ""

    @property
    def inner(self) -> Path:
        """Folder of the visit below the root."""
        here = Path(f"sub-{self.subject}")
        return here / f"ses-{self.session}" if self.session else here

    @property
    def stem(self) -> str:
        """Name of the series without its suffix."""
        run = f"_run-{self.run}" if self.run else ""
        return "_".join([*self.inner.parts, f"acq-{self.label}"]) + run


@contextmanager
def staged(target: Target, series: Series, *, aside: bool) -> Iterator[Path]:
    """A data set with this series alone, in a folder that is gone after the block.

    ``aside``: in the folder for temporary files, else beside the data set, on the same disk; in
    it, where it is a disk of its own or its parent may not be written.
    """
    root = target.root
    if not aside:
        make_folder(root.parent)
    try:
        place = None if aside else _place(root)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=place))
    except OSError as error:
        raise OutputError(f"Cannot write beside {target.root}: {error.strerror}.") from error
    try:
        stage = folder / "dataset"
        _write(stage, target, series)
        yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(root: Path) -> Path:
    parent = root.parent
    if not root.is_dir():
        return parent
    apart = root.stat().st_dev != parent.stat().st_dev
    return root if apart or not os.access(parent, os.W_OK | os.X_OK) else parent


def _write(stage: Path, target: Target, series: Series) -> None:
    make_folder(stage)
    write_json(
        stage / DESCRIPTION,
        {
            "Name": target.root.name or "imported",
            "BIDSVersion": grammar()["bids"]["version"],
            "DatasetType": "raw",
        },
    )
    write_text(stage / "README.md", _README)
    write_text(stage / ".bidsignore", ignored_names("input_bidsignore"))
    write_text(stage / PARTICIPANTS, f"participant_id\nsub-{target.subject}\n")
    _write_protocol(stage, target, series)
    images, anat = series.images, stage / target.inner / "anat"
    values = images.values
    code = int(series.place.is_known)
    parts = {"mag": values}
    if np.iscomplexobj(values):
        parts = {"real": values.real, "imag": values.imag}
    # Of this visit alone: what the next one shares must not differ by the version of the program.
    converted = {
        "ConversionSoftware": "bids_brnn",
        "ConversionSoftwareVersion": __version__,
        "Description": f"Imported from {series.origin}",
    }
    write_json(anat / f"{target.stem}_{series.suffix}.json", converted)
    for part, data in parts.items():
        path = anat / f"{target.stem}_part-{part}_{series.suffix}.nii.gz"
        write_image(path, np.asarray(data, np.float32), series.place.affine, code=code)
    if series.maps:
        folder = stage / "derivatives" / DERIVATIVE
        first = anat / f"{target.stem}_part-{next(iter(parts))}_{series.suffix}.nii.gz"
        uri = f"bids:raw:{first.relative_to(stage).as_posix()}"
        _describe(folder)
        for companion in series.maps:
            _write_map(folder / target.inner, target, series, companion, uri)


def _write_protocol(stage: Path, target: Target, series: Series) -> None:
    stem = f"acq-{target.label}"
    about: dict[str, object] = {**series.metadata}
    if isinstance(series.protocol, ZSpectrum):
        write_spectrum(stage, stem, series.protocol)
    else:
        write_pulses(stage, stem, series.protocol)
        about["PulseTrain"] = f"bids::{stem}_rfpulses.tsv"
        about["BoundaryCondition"] = series.protocol.start
        about["SignalRepresentation"] = "time" if series.basis is None else "subspace"
    if series.basis is not None:
        write_basis(stage, stem, series.basis)
        about["SubspaceBasis"] = f"bids::{stem}_basis.tsv"
    write_json(stage / f"{stem}_{series.suffix}.json", about)


def _describe(folder: Path) -> None:
    words = {"Name": DERIVATIVE, "Description": "Maps and masks of other programs"}
    content = {
        "Name": "Maps and masks that came with imported series",
        "BIDSVersion": grammar()["bids"]["version"],
        "DatasetType": "derivative",
        "GeneratedBy": [words],
        "DatasetLinks": {"raw": "../.."},
    }
    write_json(folder / DESCRIPTION, content)


def _write_map(
    folder: Path, target: Target, series: Series, companion: Companion, uri: str
) -> None:
    kind, picture = companion.kind, companion.picture
    place = on_grid(companion, series.images, series.place)
    about: dict[str, object] = {"SkullStripped": False}
    if kind.suffix == "mask":
        values = as_mask(picture.values, picture.name).astype(np.uint8)
        if not values.any():
            raise DataError(f"{picture.name} selects no voxel.")
        name = f"{target.stem}_desc-brain_mask"
        about |= {"Type": "Brain", "RawSources": [uri]}
        where = folder / "anat"
    else:
        values = np.asarray(picture.values, np.float32)
        name = f"{target.stem}_{kind.suffix}"
        about |= {"Units": companion.unit, "Description": kind.words, "IntendedFor": [uri]}
        where = folder / ("anat" if kind.suffix in ("R1map", "T1map") else "fmap")
    write_image(
        where / f"{name}.nii.gz", values, place.affine, about, code=int(place.is_known)
    )  # fmt: skip

"""Z-spectra of qMRLab and QUIT, from the options of ``brnn import``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_brnn.cli.toolbox.sources.arguments import value_of
from bids_brnn.cli.toolbox.sources.options import about, geometry, maps_of
from bids_brnn.errors import DataError, UsageError
from bids_brnn.importing import qmrlab, qmrlab_folder, quit_json, spectra
from bids_brnn.importing.matlab import open_mat
from bids_brnn.importing.pictures import Picture, place_of, read_map, read_series
from bids_brnn.importing.series import Companion, Series
from bids_brnn.sequences.z_spectrum import ZSpectrum


def _mask_of(maps: Sequence[Companion]) -> Any:
    found = [item.picture.values for item in maps if item.kind.suffix == "mask"]
    return found[0] if found else None


def _spectrum_constants(options: argparse.Namespace) -> dict[str, Any]:
    return {key: value_of(options, option) for key, option in spectra.OPTIONS.items()}


def _spectrum(
    options: argparse.Namespace,
    images: Picture,
    protocol: ZSpectrum,
    maps: list[Companion],
    notes: list[str],
    origin: str,
) -> Series:
    if not any(item.kind.suffix in ("R1map", "T1map") for item in maps):
        raise UsageError(
            "there is no R1 map, without which a Z-spectrum does not tell m0s; give --r1-map or "
            "--t1-map"
        )
    values = spectra.check_images(images, protocol, _mask_of(maps))
    place = place_of(images, geometry(options), notes)
    return Series(
        "QMT", replace(images, values=values), place, protocol,
        metadata=about(options, spectra.metadata()), maps=maps, notes=notes, origin=origin,
    )  # fmt: skip


def read_qmrlab(options: argparse.Namespace) -> Series:
    """A folder of qMRLab, or a single ``.mat`` file with all inputs."""
    source: Path = options.source
    packed = source.is_file()
    path = options.protocol or (None if packed else qmrlab_folder.find_protocol(source))
    if path is None:
        raise UsageError(f"{source.name} holds data only: give --protocol, the protocol of qMRLab")
    said = qmrlab.read_protocol(path)
    constants = spectra.constants_of(said.constants, _spectrum_constants(options), said.name)
    protocol = spectra.spectrum_of(
        said.angles, said.offsets, constants, normalised=said.is_divided, name=said.name
    )
    images, found = _inputs(source, options.data)
    if options.t1_map is not None:  # the user's choice comes before what lies there
        found.pop("R1", None)
    pictures, _ = read_series(images, (qmrlab_folder.DATA,))
    notes = list(said.notes)
    if said.is_divided:
        notes.append("no image is without MT pulse: the data are divided by it, as qMRLab has it")
    maps = maps_of(options, qmrlab_folder.UNITS, notes, found)
    return _spectrum(
        options, pictures, protocol, maps, notes, f"qMRLab ({said.name})"
    )  # fmt: skip


def _inputs(source: Path, data: Path | None) -> tuple[Path, dict[str, Path]]:
    """File of the images, and those of maps by their key."""
    if source.is_file():
        return data or source, _packed(source)
    images = data or qmrlab_folder.find_image(source, qmrlab_folder.DATA)
    if images is None:
        raise DataError(
            f"{source} holds no {qmrlab_folder.DATA}.nii.gz, .nii or .mat, the images of the "
            "model; name them with --data"
        )
    found = {
        key: qmrlab_folder.find_image(source, name) for key, name in qmrlab_folder.FILES.items()
    }
    return images, {key: path for key, path in found.items() if path is not None}


def _packed(source: Path) -> dict[str, Path]:
    names = {name.lower() for name in open_mat(source).names}
    return {key: source for key, name in qmrlab_folder.FILES.items() if name.lower() in names}


def read_quit(options: argparse.Namespace) -> Series:
    """An input of ``qi qmt``, and its images."""
    said = quit_json.read_protocol(options.source, options.pulse_shape)
    if options.data is None:
        raise UsageError(f"{options.source.name} holds no images: give them with --data")
    images, _ = read_series(options.data, ("data",))
    angles, offsets, notes = list(said.angles), list(said.offsets), []
    if options.mt_off is not None:
        if options.normalised:
            raise UsageError("--mt-off and --normalised contradict one another; give one of them")
        images = _before(read_map(options.mt_off), images)
        angles, offsets = [0.0, *angles], [0.0, *offsets]
    elif not options.normalised and all(angles):
        raise UsageError(
            f"{said.name} tells of no image without MT pulse (sat_angle 0): give it with "
            "--mt-off, or --normalised if the images are divided by it"
        )
    constants = spectra.constants_of(said.constants, _spectrum_constants(options), said.name)
    protocol = spectra.spectrum_of(
        angles, offsets, constants, normalised=options.normalised, name=said.name
    )
    notes.append("QUIT has a Gaussian line by default; here it is a super-Lorentzian")
    maps = maps_of(options, quit_json.UNITS, notes)
    return _spectrum(options, images, protocol, maps, notes, f"QUIT ({said.name})")


def _before(first: Picture, images: Picture) -> Picture:
    """Images with another one before them."""
    same = first.affine is None or images.affine is None
    if first.values.shape != images.values.shape[:3] or not (
        same or np.allclose(first.affine, images.affine, atol=1e-3)  # type: ignore[arg-type]
    ):
        raise DataError(f"{first.name} and {images.name} do not lie on one grid")
    return replace(images, values=np.concatenate([first.values[..., None], images.values], axis=3))

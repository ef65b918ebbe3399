"""Small data sets of conventional qMT in the naming schemes that lie on disk, for tests.

Everything is made from formulas: :func:`tissue` gives maps, :func:`images` what a protocol
measures of them, and a writer for each scheme puts both into a folder. Writers are functions of
the folder, the images ``(X, Y, Z, N)``, the protocol and the maps; each returns a
:class:`Written` with what the command line needs. Tests get this module as fixture ``zspectra``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

Array = NDArray[np.float64]
SHAPE = (6, 6, 2)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 2, 0, -5], [0, 0, 3, -1.5], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Maps:
    """Volumes ``(X, Y, Z)``, SI units; ``theta`` by the names of ``ObservedR1.parameters``."""

    theta: Mapping[str, Array]
    m0: Array
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Written:
    """A data set, and what else a command line has to say of it."""

    root: Path
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    """By name, for ``--derivatives``."""
    protocol: Path | None = None
    """For ``--zspectrum``; None: everything needed lies in the data set."""

    @property
    def options(self) -> list[str]:
        """The options of the command line."""
        words = [f"{name}={path}" for name, path in self.derivatives.items()]
        given = [] if self.protocol is None else ["--zspectrum", str(self.protocol)]
        return [*(["--derivatives", *words] if words else []), *given]


def tissue(shape: tuple[int, int, int] = SHAPE) -> Maps:
    """White matter at one side, grey matter at the other, smooth fields, all inside the mask."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    share = (1 + x) / 2  # of white matter
    theta = {
        "m0s": 0.08 + 0.10 * share,
        "R1": 0.65 + 0.35 * share + 0.02 * y,
        "R2f": 15.0 + 8.0 * share,
        "Rx": 18.0 + 4.0 * y,
        "R1s": np.ones(shape),
        "T2s": (10.5 + 1.5 * share + 0.2 * z) * 1e-6,
        "w0": 2 * np.pi * (15 * x - 10 * y),
        "B1": 1.0 + 0.08 * x * y - 0.05 * z,
    }
    m0 = 900 + 100 * y + 50 * x
    mask = x**2 + y**2 < 1.5
    return Maps(theta, m0, mask)


def protocol(*, mt_off: bool = True, n_off: int = 1) -> ZSpectrum:
    """Two angles at five offsets, and images without MT pulse; all constants are given.

    ``mt_off`` False: none is without, and images are divided by the one that was.
    """
    offsets = [500.0, 1100.0, 2700.0, 6900.0, 17000.0]
    zeros = [0.0] * (n_off if mt_off else 0)
    angles = [*zeros, *[180.0] * 5, *[480.0] * 5]
    return ZSpectrum(
        mt_flip_angle=np.deg2rad(np.array(angles)),
        offset=np.array([*zeros, *offsets, *offsets]),
        pulse=MTPulse("GAUSSHANN", 0.0102, 200.0),
        flip_angle=math.radians(7.0),
        repetition_time=0.025,
        mt_delay=0.003,
        excitation_duration=0.0018,
        normalised=not mt_off,
        name="test",
    )


def images(
    maps: Maps,
    sequence: ZSpectrum,
    model: str = "ramani",
    *,
    sigma: float = 0.0,
    seed: int = 0,
) -> Array:
    """What is measured: ``(X, Y, Z, N)`` magnitudes, with Rician noise of ``sigma`` per channel.

    Where the protocol is normalised they are divided by an image without MT pulse that has the
    same noise, as such data are.
    """
    rng = np.random.default_rng(seed)
    known = sequence
    if sequence.normalised:
        first = np.zeros(1)
        known = replace(
            sequence,
            mt_flip_angle=np.concatenate([first, sequence.mt_flip_angle]),
            offset=np.concatenate([first, sequence.offset]),
            normalised=False,
        )
    whole = ObservedR1(build_model(model, known))
    theta = np.stack([maps.theta[name] for name in whole.parameters.names], axis=-1)
    clean = whole(torch.from_numpy(theta)).real.numpy() * maps.m0[..., None] * maps.mask[..., None]
    noise = sigma * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    found = np.abs(clean + noise)
    if sequence.normalised:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(maps.mask[..., None], found[..., 1:] / found[..., :1], 0.0)
    return found


# --- parts that the writers share ---------------------------------------------------------------


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _image(path: Path, values: NDArray[Any], sidecar: Mapping[str, Any] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.asarray(values, dtype=np.float32), AFFINE).to_filename(path)
    if sidecar is not None:
        _json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)


def _describe(root: Path, name: str, *, derivative: bool = False) -> None:
    content: dict[str, Any] = {"Name": name, "BIDSVersion": "1.11.1"}
    if derivative:
        content |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": name}]}
    _json(root / "dataset_description.json", content)


def _numbered(sequence: ZSpectrum) -> list[tuple[int, int, int]]:
    """Measurement, number of its angle and number of its offset among those of the angle."""
    angles: list[float] = []
    counts: dict[float, int] = {}
    found = []
    for index, angle in enumerate(np.round(np.rad2deg(sequence.mt_flip_angle), 6).tolist()):
        if angle == 0:
            continue
        if angle not in angles:
            angles.append(angle)
        counts[angle] = counts.get(angle, 0) + 1
        found.append((index, angles.index(angle) + 1, counts[angle]))
    return found


def constants(sequence: ZSpectrum, *without: str) -> dict[str, Any]:
    """The keys that measurements share, as a user would write them into one JSON."""
    _, found = sequence.to_table()
    return {key: value for key, value in found.items() if key not in without}


# --- the naming schemes -------------------------------------------------------------------------


def write_wand(
    root: Path,
    data: Array,
    sequence: ZSpectrum,
    maps: Maps,
    *,
    subject: str = "01",
    session: str = "02",
    repeats: Mapping[int, Array] | None = None,
    part_last: bool = True,
    inside: bool = True,
) -> Written:
    """A file per MT pulse, ``FlipAngle`` being that of the MT pulse, and ``mt-off``.

    Parameters
    ----------
    root
        Data set; further participants may be written into the same one.
    data, sequence, maps
        ``(X, Y, Z, N)``, its protocol, and the R1, B1 and B0 maps of the scan.
    repeats
        A second image ``(X, Y, Z)`` of a measurement by its number: both get ``run-``.
    part_last
        False: ``part-mag_run-1``, an order that BIDS has not, and that occurs.
    inside
        Whether the constants lie at the root of the data set, or in a file beside it for
        ``--zspectrum``.
    """
    stem = f"sub-{subject}_ses-{session}"
    folder = root / f"sub-{subject}" / f"ses-{session}"
    _describe(root, "scheme of WAND")
    repeats = repeats or {}
    names = {index: f"flip-{flip}_mt-{mt}" for index, flip, mt in _numbered(sequence)}
    for index in range(sequence.n_samples):
        angle = round(float(np.rad2deg(sequence.mt_flip_angle[index])), 6)
        if angle:
            about = {"FlipAngle": angle, "MTOffsetFrequency": float(sequence.offset[index])}
        else:
            about = {"FlipAngle": round(float(np.rad2deg(sequence.flip_angle)), 6)}
        middle = names.get(index, "mt-off")
        volumes = [data[..., index], *([repeats[index]] if index in repeats else [])]
        for run, volume in enumerate(volumes, 1):
            tail = "part-mag"
            if index in repeats:
                tail = f"run-{run}_{tail}" if part_last else f"{tail}_run-{run}"
            _image(folder / "anat" / f"{stem}_{middle}_{tail}_QMT.nii.gz", volume, about)
    _scanner_maps(folder, stem, maps, b0="fieldmap", percent=True)
    _image(folder / "anat" / f"{stem}_T1map.nii.gz", _time(maps), {"Units": "ms"})
    given = constants(sequence, "FlipAngle", "Normalised")
    if inside:
        _json(root / "zspectrum.json", given)
        return Written(root)
    file = root.parent / f"{root.name}_protocol.json"
    _json(file, given)
    return Written(root, protocol=file)


def write_qmrust(
    root: Path,
    data: Array,
    sequence: ZSpectrum,
    maps: Maps,
    *,
    subject: str = "01",
    spread: float | None = None,
) -> Written:
    """A file ``QMTSPGR`` per MT pulse with ``Angle`` and ``Offset``; maps in ``preprocessed``.

    The constants that its sidecars do not hold lie in a file for ``--zspectrum``.

    ``spread``: relative standard deviation of the R1 map, which then has a map of it.
    """
    name = f"sub-{subject}"
    _describe(root, "scheme of qmrust")
    shared = {
        "RepetitionTime": sequence.repetition_time,
        "MTPulseDuration": sequence.pulse.duration,
    }
    for index, flip, mt in _numbered(sequence):
        about = {
            "Angle": round(float(np.rad2deg(sequence.mt_flip_angle[index])), 6),
            "Offset": float(sequence.offset[index]),
            **shared,
        }
        path = root / name / "anat" / f"{name}_flip-{flip}_mt-{mt}_QMTSPGR.nii.gz"
        _image(path, data[..., index], about)
    for index in np.flatnonzero(sequence.mt_flip_angle == 0):
        path = root / name / "anat" / f"{name}_mt-off_QMTSPGR.nii.gz"
        _image(path, data[..., index], {**shared, "MTState": False})
    derived = root / "derivatives" / "preprocessed"
    _describe(derived, "preprocessed", derivative=True)
    rate = {"Units": "1/s"}
    anat = derived / name / "anat"
    _image(anat / f"{name}_R1map.nii.gz", _rate(maps), rate)
    if spread is not None:
        _image(anat / f"{name}_desc-std_R1map.nii.gz", spread * _rate(maps), rate)
    _image(anat / f"{name}_desc-brain_mask.nii.gz", maps.mask)
    _scanner_maps(derived / name, name, maps, b0="B0map", percent=False)
    file = root.parent / f"{root.name}_protocol.json"
    _json(file, constants(sequence, "RepetitionTimeExcitation", "MTPulseDuration"))
    return Written(root, {"preprocessed": derived}, file)


def write_table(
    root: Path,
    data: Array,
    sequence: ZSpectrum,
    maps: Maps,
    *,
    subject: str = "01",
    session: str = "",
    acquisition: str = "spgr",
    part: str = "mag",
    spread: float | None = None,
    in_columns: bool = False,
) -> Written:
    """One 4D image and ``zspectrum.tsv`` at the root: the layout of our own.

    A normalised protocol gives data as qMRLab users have them, already divided.

    Parameters
    ----------
    root, data, sequence, maps, subject, session
        As for :func:`write_wand`; no session level by default.
    acquisition, part
        Labels; empty: none.
    spread
        Relative standard deviation of the R1 map, which then has a map of it in a derivative.
    in_columns
        Whether the constants are columns of the table instead of keys of its JSON.
    """
    inner = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []))
    stem = "_".join(inner.parts)
    acq = [f"acq-{acquisition}"] if acquisition else []
    _describe(root, "4D image with table")
    name = "_".join([stem, *acq, *([f"part-{part}"] if part else []), "QMT"])
    _image(root / inner / "anat" / f"{name}.nii.gz", data)
    columns, shared = sequence.to_table()
    if in_columns:
        columns |= {key: [value] * sequence.n_samples for key, value in shared.items()}
        shared = {}
    cells = zip(*columns.values(), strict=True)
    rows = ["\t".join(columns), *("\t".join(map(str, row)) for row in cells)]
    path = root / f"{'_'.join([*acq, 'zspectrum'])}.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    if shared:
        _json(path.with_suffix(".json"), shared)
    _scanner_maps(root / inner, stem, maps, b0="fieldmap", percent=True)
    rate = {"Units": "1/s"}
    if spread is None:
        _image(root / inner / "anat" / f"{stem}_R1map.nii.gz", _rate(maps), rate)
        return Written(root)
    derived = root / "derivatives" / "relaxometry"
    _describe(derived, "relaxometry", derivative=True)
    anat = derived / inner / "anat"
    _image(anat / f"{stem}_desc-vfa_R1map.nii.gz", _rate(maps), rate)
    _image(anat / f"{stem}_desc-vfaStd_R1map.nii.gz", spread * _rate(maps), rate)
    return Written(root, {"relaxometry": derived})


def write_divided(
    root: Path, data: Array, sequence: ZSpectrum, maps: Maps, *, subject: str = "01"
) -> Written:
    """One 4D image divided by that without MT pulse: what qMRLab users have, with our table."""
    if not sequence.normalised:
        raise ValueError("images that are divided need a protocol that says so")
    return write_table(root, data, sequence, maps, subject=subject, acquisition="", part="")


def _rate(maps: Maps) -> Array:
    return np.where(maps.mask, maps.theta["R1"], 0.0)


def _time(maps: Maps) -> Array:
    """T1 in ms; 0 where nothing was measured."""
    return np.where(maps.mask, 1e3 / maps.theta["R1"], 0.0)


def _scanner_maps(folder: Path, stem: str, maps: Maps, *, b0: str, percent: bool) -> None:
    b1, unit = (100 * maps.theta["B1"], "percent") if percent else (maps.theta["B1"], "1")
    _image(folder / "fmap" / f"{stem}_TB1map.nii.gz", b1, {"Units": unit})
    shift = maps.theta["w0"] / (2 * np.pi)
    _image(folder / "fmap" / f"{stem}_{b0}.nii.gz", shift, {"Units": "Hz"})


SCHEMES: Mapping[str, tuple[Callable[..., Written], bool]] = {
    "wand": (write_wand, True),
    "qmrust": (write_qmrust, False),
    "table": (write_table, True),
    "divided": (write_divided, False),
}
"""Writer by scheme, and whether its data usually have an image without MT pulse."""


def write(
    scheme: str, root: Path, *, sigma: float = 0.0, seed: int = 0, **options: Any
) -> Written:
    """A data set of :func:`tissue` in one of :data:`SCHEMES`, with its usual protocol."""
    writer, mt_off = SCHEMES[scheme]
    sequence, maps = protocol(mt_off=mt_off), tissue()
    data = images(maps, sequence, sigma=sigma, seed=seed)
    return writer(root, data, sequence, maps, **options)


def names_of(root: Path, pattern: str = "*.nii.gz") -> Sequence[str]:
    """Files below a folder, relative to it, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob(pattern))

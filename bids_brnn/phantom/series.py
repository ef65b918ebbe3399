"""One kind of series of the phantom: model, protocol files, images and their truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bids_brnn.bids.tables import write_table
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.parameters import MapItem
from bids_brnn.phantom import anatomy
from bids_brnn.phantom.anatomy import Array, Head
from bids_brnn.phantom.files import write_image, write_json
from bids_brnn.priors import qmt_prior
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import ModelEntry, build_model, model_entry
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import CompressedSignal, Subspace

SCALE = 1000.0
"""|M0| of water in image units."""
_BASIS_FINGERPRINTS = 250
_BASIS_SEED = 1
_BASIS_BAND = 0.6  # of +-pi/TR: the heads stay within half of it, and the stop bands cost rank

_PULSE_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "train": {"Description": "Pulse train; each has its own steady state."},
    "onset": {"Description": "Centre of the pulse after the start of its train.", "Units": "s"},
    "flip_angle": {"Description": "Nominal flip angle.", "Units": "deg"},
    "duration": {"Description": "Duration of the rectangular pulse.", "Units": "s"},
    "phase": {"Description": "RF phase.", "Units": "deg"},
    "pulse_type": {"Description": "inversion or excitation"},
    "gradient": {"Description": "balanced, crusher, spoiler or dephasing"},
    "readout": {"Description": "1 where samples follow; these rows are those of the basis."},
    "echo_time": {"Description": "Pulse centre to sample.", "Units": "s"},
}


@dataclass(frozen=True, eq=False)
class Series:
    """How a kind of series is acquired, and what it is called."""

    model: SignalModel
    sequence: PulseSequence
    entry: ModelEntry
    acquisition: str
    parts: tuple[str, str]
    metadata: Mapping[str, object]

    @property
    def suffix(self) -> str:
        """BIDS suffix of the series."""
        return self.entry.kind.suffix


@dataclass(frozen=True, eq=False)
class Scan:
    """Where and with which noise one subject is scanned in one session."""

    head: Head
    labels: NDArray[np.uint8]
    """On the grid of the series, ``(X, Y, Z)``."""
    affine: Array
    snr: float
    """|M0| / sigma per channel for |M0| of water."""


def qmt_subspace(model: SignalModel, rank: int) -> Subspace:
    """The basis of the qMT series: CRB-optimised for the built-in prior, the same every time.

    In single precision, which nine digits of text keep exactly.
    """
    rng = torch.Generator().manual_seed(_BASIS_SEED)
    w0 = model.parameters["w0"]
    limits = {"lower": _BASIS_BAND * w0.lower, "upper": _BASIS_BAND * w0.upper}
    prior = qmt_prior(model.parameters.replace("w0", **limits))
    theta = prior.sample(_BASIS_FINGERPRINTS, rng=rng)
    return Subspace(Subspace.from_model(model, theta, rank).basis.float())


def qmt_series(sequence: PulseSequence, rank: int) -> Series:
    """Quantitative magnetization transfer, stored as coefficients of a CRB-optimised basis."""
    model = build_model("gbloch", sequence)
    subspace = qmt_subspace(model, rank)
    return Series(
        CompressedSignal(model, subspace),
        sequence,
        model_entry("gbloch"),
        acquisition="hsfp",
        parts=("real", "imag"),
        metadata={
            "PulseSequenceType": "hybrid-state free precession, generalized Bloch qMT",
            "RepetitionTimeExcitation": round(float(sequence.repetition_time[0, 0]), 9),
            "SignalRepresentation": "subspace",
            "BoundaryCondition": sequence.start,
        },
    )


def mrf_series(sequence: PulseSequence) -> Series:
    """MR fingerprinting, stored as time frames."""
    return Series(
        build_model("fisp", sequence),
        sequence,
        model_entry("fisp"),
        acquisition="fisp",
        parts=("mag", "phase"),
        metadata={
            "PulseSequenceType": "FISP-MRF",
            "SignalRepresentation": "time",
            "BoundaryCondition": sequence.start,
            "SpoilingState": True,
            "SpoilingType": "GRADIENT",
            "DephasingPerRepetition": 2 * math.pi,
        },
    )


def write_protocol(root: Path, series: Series, sigma: float) -> None:
    """Sidecar, pulse table and basis that all subjects share."""
    stem = f"acq-{series.acquisition}"
    pointers = {"PulseTrain": f"bids::{stem}_rfpulses.tsv"}
    if isinstance(series.model, CompressedSignal):
        pointers["SubspaceBasis"] = f"bids::{stem}_basis.tsv"
        basis = series.model.subspace.basis.numpy()
        names = [f"c{column + 1:02d}" for column in range(basis.shape[1])]
        columns = pd.DataFrame(basis.astype(np.float64), columns=names)
        write_table(root / f"{stem}_basis.tsv", columns)
        description = "Real orthonormal basis, one row per sample; coefficients = basis^T signal."
        write_json(root / f"{stem}_basis.json", {"Description": description})
    write_table(root / f"{stem}_rfpulses.tsv", pd.DataFrame(series.sequence.to_table()))
    write_json(root / f"{stem}_rfpulses.json", _PULSE_COLUMNS)
    write_json(
        root / f"{stem}_{series.suffix}.json",
        {
            "MagneticFieldStrength": 3,
            **series.metadata,
            **pointers,
            "NoiseStandardDeviation": sigma,
        },
    )


def write_series(
    folder: Path, stem: str, series: Series, scan: Scan, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Write both parts of a series; returns truth and bound, each ``(V, P)`` inside the brain."""
    inside = scan.labels > 0
    points = anatomy.points_of(scan.labels.shape, scan.affine)
    theta = _theta(series, scan.head, scan.labels[inside], points[inside])
    m0 = SCALE * anatomy.scale_map(scan.head, scan.labels[inside], points[inside])
    sigma = SCALE / scan.snr
    clean = series.model(torch.from_numpy(theta)).numpy()
    shape = (*scan.labels.shape, clean.shape[-1])
    data = sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    data[inside] += m0[:, None] * clean
    name = f"{stem}_acq-{series.acquisition}"
    first, second = series.parts
    pair = (data.real, data.imag) if first == "real" else (np.abs(data), np.angle(data))
    for part, values in zip((first, second), pair, strict=True):
        sidecar = {"Units": "rad"} if part == "phase" else None
        path = folder / f"{name}_part-{part}_{series.suffix}.nii.gz"
        write_image(path, values, scan.affine, sidecar)
    bound = cramer_rao_bound(series.model, torch.from_numpy(theta)).numpy()
    return theta, np.sqrt(bound) * (sigma / np.abs(m0))[:, None]


def _theta(series: Series, head: Head, labels: NDArray[np.uint8], points: Array) -> Array:
    columns = []
    for item in series.model.parameters:
        if item.name == "B1":
            columns.append(anatomy.transmit_field(head, points))
        elif item.name == "w0":
            columns.append(anatomy.off_resonance(head, points))
        else:
            columns.append(anatomy.parameter_map(head, item.name, labels, points))
    return np.stack(columns, axis=-1)


def write_truth(
    folder: Path, stem: str, series: Series, scan: Scan, theta: Array, std: Array
) -> None:
    """Maps named as the application names its own, with ``desc-truth`` and ``desc-truthStd``."""
    name = f"{stem}_acq-{series.acquisition}"
    inside = scan.labels > 0
    for column, item in enumerate(series.model.parameters):
        for desc, values in (("truth", theta[:, column]), ("truthStd", std[:, column])):
            if desc == "truth" or item.role == "estimated":
                _write_map(folder, name, series, item.item, desc, values, inside, scan.affine)
            if item.name in ("R1", "R2"):
                inverse = 1 / theta[:, column]
                time = inverse if desc == "truth" else values * inverse**2
                words = item.item.description.replace("rate", "time")
                twin = MapItem(f"T{item.name[1]}", "s", f"T{item.name[1]}map", words)
                _write_map(folder, name, series, twin, desc, time, inside, scan.affine)
    write_image(
        folder / "anat" / f"{name}_desc-truth_dseg.nii.gz",
        scan.labels,
        scan.affine,
        {"SkullStripped": True, "Description": "Labels on the grid of the series"},
    )


def _write_map(
    folder: Path,
    name: str,
    series: Series,
    item: MapItem,
    desc: str,
    values: Array,
    inside: NDArray[np.bool_],
    affine: Array,
) -> None:
    volume = np.zeros(inside.shape)
    volume[inside] = values
    middle = ""
    if item.suffix == series.entry.kind.map_suffix:
        middle = f"_model-{series.entry.label}_param-{item.name}"
    words = item.description
    if desc == "truthStd":
        words += ": Cramer-Rao bound (standard deviation) at the truth"
    write_image(
        folder
        / ("fmap" if item.suffix == "TB1map" else "anat")
        / f"{name}{middle}_desc-{desc}_{item.suffix}.nii.gz",
        volume,
        affine,
        {"SkullStripped": True, "Units": item.unit, "Description": words},
    )

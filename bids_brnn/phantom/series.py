"""One kind of series of the phantom: model, protocol files and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_brnn.bids.output.protocol_files import write_basis, write_pulses, write_spectrum
from bids_brnn.phantom import anatomy
from bids_brnn.phantom.anatomy import Array, Head
from bids_brnn.phantom.files import write_image, write_json
from bids_brnn.phantom.ideal import Ideal, ideal
from bids_brnn.priors import qmt_prior
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import ModelEntry, build_model, model_entry
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import CompressedSignal, Subspace

SCALE = 1000.0
"""|M0| of water in image units."""
_BASIS_FINGERPRINTS = 250
_BASIS_SEED = 1
_BASIS_BAND = 0.6  # of +-pi/TR: the heads stay within half of it, and the stop bands cost rank

_PARTS: Mapping[str, Callable[[NDArray[Any]], Array]] = {
    "real": lambda data: data.real,
    "imag": lambda data: data.imag,
    "mag": np.abs,
    "phase": np.angle,
}


Tissue = Callable[[Head, str, NDArray[np.uint8], Array], Array]
"""A parameter (by name) of a head at labels ``(V,)`` and points ``(V, 3)``, SI units."""


@dataclass(frozen=True, eq=False)
class Series:
    """How a kind of series is acquired, and what it is called."""

    model: SignalModel
    sequence: PulseSequence | ZSpectrum
    entry: ModelEntry
    acquisition: str
    parts: tuple[str, ...]
    metadata: Mapping[str, object]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Parameters that maps of the data set supply, and the names of these after ``sub-01_``."""
    tissue: Tissue = anatomy.parameter_map
    """Parameters of the head as the model of this series has them."""
    quality: float = 1.0
    """SNR over that of the data set."""
    stream: tuple[int, ...] = ()
    """Random numbers of its own, so that its files do not depend on which other series there are;
    empty: those of the visit, in the order of series."""
    band: float = 1.0
    """Off-resonance over that of the head."""

    @property
    def is_divided(self) -> bool:
        """Whether the images are divided by that without MT pulse, so that they have no M0."""
        return isinstance(self.sequence, ZSpectrum) and self.sequence.normalised

    @property
    def scale(self) -> float:
        """|M0| of water in units of the images."""
        return 1.0 if self.is_divided else SCALE

    @property
    def suffix(self) -> str:
        """BIDS suffix of the series."""
        return self.entry.kind.suffix

    @property
    def extent(self) -> str:
        """How much is measured, in words."""
        if isinstance(self.sequence, ZSpectrum):
            return f"{self.sequence.n_samples} images"
        return f"{self.sequence.duration:.1f} s of pulses"

    def image(self, stem: str, part: str) -> str:
        """Name of the image of one of ``parts``."""
        return f"{stem}_acq-{self.acquisition}_part-{part}_{self.suffix}.nii.gz"


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
        fields={"B1": "TB1map"},
        metadata={
            "PulseSequenceType": "FISP-MRF",
            "SignalRepresentation": "time",
            "BoundaryCondition": sequence.start,
            "SpoilingState": True,
            "SpoilingType": "GRADIENT",
            "DephasingPerRepetition": 2 * math.pi,
        },
    )


def write_protocol(root: Path, series: Series, snr: float) -> None:
    """Sidecar and tables that all subjects share; ``snr`` is that of the data set."""
    stem = f"acq-{series.acquisition}"
    if isinstance(series.sequence, ZSpectrum):
        write_spectrum(root, stem, series.sequence)
        pointers = {}
    else:
        pointers = _write_train(root, stem, series.model, series.sequence)
    write_json(
        root / f"{stem}_{series.suffix}.json",
        {
            "MagneticFieldStrength": 3,
            **series.metadata,
            **pointers,
            "NoiseStandardDeviation": series.scale / snr / series.quality,
        },
    )


def _write_train(
    root: Path, stem: str, model: SignalModel, sequence: PulseSequence
) -> dict[str, str]:
    """Pulse table, and the basis if there is one; what the sidecar says of them."""
    pointers = {"PulseTrain": f"bids::{stem}_rfpulses.tsv"}
    if isinstance(model, CompressedSignal):
        pointers["SubspaceBasis"] = f"bids::{stem}_basis.tsv"
        write_basis(root, stem, model.subspace.basis.numpy())
    write_pulses(root, stem, sequence)
    return pointers


def write_series(
    folder: Path,
    stem: str,
    series: Series,
    scan: Scan,
    rng: np.random.Generator,
    spread: Mapping[str, float],
) -> Ideal:
    """Write all parts of a series; returns what an ideal estimator finds inside the brain.

    ``spread``: relative standard deviation of supplied maps, by parameter.
    """
    inside = scan.labels > 0
    points = anatomy.points_of(scan.labels.shape, scan.affine)
    theta = _theta(series, scan.head, scan.labels[inside], points[inside])
    m0 = series.scale * anatomy.scale_map(scan.head, scan.labels[inside], points[inside])
    if series.is_divided:
        m0 = np.ones_like(m0)
    sigma = series.scale / (scan.snr * series.quality)
    clean = series.model(torch.from_numpy(theta)).numpy()
    shape = (*scan.labels.shape, clean.shape[-1])
    data = sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    data[inside] += m0[:, None] * clean
    for part in series.parts:
        sidecar = {"Units": "rad"} if part == "phase" else None
        write_image(folder / series.image(stem, part), _PARTS[part](data), scan.affine, sidecar)
    return ideal(series.model, theta, sigma / np.abs(m0), _absolute(series, theta, spread))


def _absolute(series: Series, theta: Array, spread: Mapping[str, float]) -> dict[str, Array]:
    columns = series.model.parameters.index(spread)
    return {
        name: share * theta[:, column]
        for (name, share), column in zip(spread.items(), columns, strict=True)
    }


def _theta(series: Series, head: Head, labels: NDArray[np.uint8], points: Array) -> Array:
    columns = []
    for item in series.model.parameters:
        if item.name == "B1":
            columns.append(anatomy.transmit_field(head, points))
        elif item.name == "w0":
            columns.append(series.band * anatomy.off_resonance(head, points))
        else:
            columns.append(series.tissue(head, item.name, labels, points))
    return np.stack(columns, axis=-1)

"""Series of the phantom for protocols of one's own: a pulse train or a Z-spectrum table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from bids_brnn.errors import DataError
from bids_brnn.parameters import FIELD_MAPS
from bids_brnn.phantom.series import Series
from bids_brnn.phantom.spgr import spgr_series
from bids_brnn.priors import TISSUES
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.registry import ModelEntry
from bids_brnn.signals.subspace import CompressedSignal, Subspace

MAPS: Mapping[str, str] = {"B1": "TB1map", "w0": "fieldmap"}
"""Suffix of the map that supplies a parameter."""
_FINGERPRINTS, _SEED = 400, 2024  # of a basis that is designed
_LARGEST = 400.0  # rad/s: off-resonance of the heads
_SHARE = 0.5  # of the pass band that heads fill; in stop bands nothing can be estimated


def pulses_series(
    sequence: PulseSequence,
    entry: ModelEntry,
    acquisition: str,
    *,
    subspace: Subspace | None = None,
    metadata: Mapping[str, object] | None = None,
    fields: Sequence[str] = (),
    stream: int = 10,
) -> Series:
    """A series of a pulse train: time frames, or coefficients where a subspace is given.

    Parameters
    ----------
    sequence, entry
        The train, and the model that makes its signal.
    acquisition
        Label of ``acq-``.
    subspace
        With a row for each sample of the train.
    metadata
        Further keys of its sidecar.
    fields
        Parameters of :data:`MAPS` that maps of the data set supply.
    stream
        Tells its random numbers from those of other series.

    Raises
    ------
    DataError
        If the phantom knows no tissue values for a parameter of the model, or the model has
        no use for a map.
    """
    model: SignalModel = entry.build(sequence)
    _check(model, entry, fields)
    is_mrf = entry.kind.magnitude_allowed
    dephases = bool((sequence.gradient == "dephasing").any())
    known: dict[str, object] = {
        "PulseSequenceType": f"pulse train of its own ({entry.name})",
        "SignalModel": entry.name,
        "SignalRepresentation": "time" if subspace is None else "subspace",
        "BoundaryCondition": sequence.start,
    }
    if dephases:
        known |= {"SpoilingState": True, "SpoilingType": "GRADIENT"}
        known |= {"DephasingPerRepetition": 2 * math.pi}
    return Series(
        model if subspace is None else CompressedSignal(model, subspace),
        sequence,
        entry,
        acquisition=acquisition,
        parts=("mag", "phase") if is_mrf and subspace is None else ("real", "imag"),
        metadata={**known, **(metadata or {})},
        fields={name: f"acq-{acquisition}_{MAPS[name]}" for name in fields},
        stream=(stream,),
        band=_band(model),
    )


def spectrum_series(
    protocol: ZSpectrum,
    entry: ModelEntry,
    acquisition: str,
    *,
    metadata: Mapping[str, object] | None = None,
    fields: Sequence[str] = tuple(MAPS),
    stream: int = 10,
) -> Series:
    """Magnitudes of a Z-spectrum with an R1 map; parameters as of :func:`pulses_series`."""
    made = spgr_series(
        protocol, model=entry.name, acquisition=acquisition, fields=fields, quality=1.0
    )
    # Read with another model, the same images give other maps: m0s may be a fifth larger.
    known = {**made.metadata, "SignalModel": entry.name}
    return replace(made, metadata={**known, **(metadata or {})}, stream=(stream,))


def design(sequence: PulseSequence, entry: ModelEntry, rank: int) -> Subspace:
    """A basis that keeps bounds low for the prior of a model; in single precision."""
    model: Any = entry.build(sequence)
    parameters = model.parameters
    if "w0" in parameters.names:
        w0 = parameters["w0"]
        parameters = parameters.replace("w0", lower=_SHARE * w0.lower, upper=_SHARE * w0.upper)
    rng = torch.Generator().manual_seed(_SEED)
    theta = entry.make_prior(parameters).sample(_FINGERPRINTS, rng=rng)
    return Subspace(Subspace.from_model(model, theta, rank).basis.float())


def _band(model: SignalModel) -> float:
    if "w0" not in model.parameters.names:
        return 1.0
    return min(1.0, _SHARE * float(model.parameters["w0"].upper) / _LARGEST)


def _check(model: SignalModel, entry: ModelEntry, fields: Sequence[str]) -> None:
    known = set.intersection(*(set(values) for values in TISSUES.values())) | set(FIELD_MAPS)
    for name in model.parameters.names:
        if name not in known:
            raise DataError(
                f"the phantom has no tissue values of {name}, a parameter of {entry.name}; it "
                f"knows {', '.join(sorted(known))}"
            )
    for name in fields:
        if name not in model.parameters.names:
            raise DataError(
                f"the model {entry.name} has no {name}, which a {MAPS[name]} would supply; leave "
                "it out of --field-maps"
            )

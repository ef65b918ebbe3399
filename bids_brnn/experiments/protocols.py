"""What a training configuration says of the acquisition: pulse train or protocol, and basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bids_brnn.bids.input.declared import number
from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.errors import DataError
from bids_brnn.experiments.inputs import read_sequence
from bids_brnn.experiments.sidecars import read_sidecar
from bids_brnn.files import expanded
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.sequences.z_spectrum import ZSpectrum, usual_protocol
from bids_brnn.signals import ModelEntry
from bids_brnn.zoo.recipe import EstimatorRecipe

OWN_TRAINS: Mapping[str, Callable[[], PulseSequence | ZSpectrum]] = {
    "hybrid-state": hybrid_state_train,
    "jiang": jiang_like_train,
    "spgr": usual_protocol,
    "spgr-demo": demo_protocol,
}
"""Trains and protocols by formula, by their name in a configuration."""


@dataclass(frozen=True, eq=False)
class Protocol:
    """Pulse train, the name of its table, and the basis table if there is one."""

    sequence: PulseSequence | ZSpectrum
    pulses: str
    basis: Path | None
    field_strength: float | None = None
    """T: as a sidecar says."""
    columns: NDArray[Any] | None = None
    """The basis itself, of a stored protocol."""


def read_protocol(path: Path, content: Mapping[str, Any], entry: ModelEntry) -> Protocol:
    """What a configuration says of the acquisition."""
    ways = [
        key for key in ("train", "sidecar", "pulses", "protocol", "zspectrum") if key in content
    ]
    if entry.protocol == "zspectrum":
        return _spectrum(path, content, ways)
    if len(ways) != 1 or ways == ["zspectrum"]:
        raise DataError(
            f"{path.name}: name the pulse train by exactly one of sidecar (JSON of the series), "
            f"pulses (rfpulses.tsv), protocol (JSON of the App) or train ({', '.join(OWN_TRAINS)})"
        )
    basis = named_file(path, content, "basis") if "basis" in content else None
    if ways == ["train"]:
        return Protocol(_own(path, content, PulseSequence), str(content["train"]), basis)
    if ways == ["protocol"]:
        stored = EstimatorRecipe.from_file(named_file(path, content, "protocol"))
        if not isinstance(stored.sequence, PulseSequence):
            raise DataError(f"{path.name}: protocol is no pulse train")
        return Protocol(stored.sequence, path.name, basis, columns=stored.basis)
    if ways == ["pulses"]:
        pulses = named_file(path, content, "pulses")
        return Protocol(read_sequence(pulses, entry.name, {}), pulses.name, basis)
    found = read_sidecar(named_file(path, content, "sidecar"), entry)
    if basis is None and "basis_from" not in content:
        basis = found.find_basis()
    field = number(found.about.metadata, "MagneticFieldStrength", found.about.name)
    return Protocol(found.sequence, found.pulses.name, basis, field)


def _own(
    path: Path, content: Mapping[str, Any], kind: type[PulseSequence] | type[ZSpectrum]
) -> PulseSequence | ZSpectrum:
    """A train or protocol by formula, of the kind that the signal model describes."""
    trains = {name: make for name, make in OWN_TRAINS.items() if isinstance(make(), kind)}
    if content["train"] not in trains:
        raise DataError(f"{path.name}: train must be one of {', '.join(trains)} for this model")
    return trains[content["train"]]()


def _spectrum(path: Path, content: Mapping[str, Any], ways: list[str]) -> Protocol:
    """The protocol of a Z-spectrum, which needs no basis."""
    unused = sorted({"rank", "basis", "basis_from"} & set(content))
    if unused:
        raise DataError(f"{path.name}: {', '.join(unused)}: a Z-spectrum has no basis")
    if ways not in (["train"], ["zspectrum"], ["protocol"]):
        raise DataError(
            f"{path.name}: name the protocol by exactly one of zspectrum (zspectrum.tsv with its "
            "JSON beside it), protocol (JSON of the App) or train (spgr)"
        )
    if ways == ["train"]:
        return Protocol(_own(path, content, ZSpectrum), str(content["train"]), None)
    if ways == ["protocol"]:
        stored = EstimatorRecipe.from_file(named_file(path, content, "protocol"))
        if not isinstance(stored.sequence, ZSpectrum):
            raise DataError(f"{path.name}: protocol is no Z-spectrum")
        return Protocol(stored.sequence, path.name, None)
    table = named_file(path, content, "zspectrum")
    return Protocol(read_z_protocol(table), table.name, None)


def named_file(path: Path, content: Mapping[str, Any], key: str) -> Path:
    """A file that a configuration names, relative to its folder."""
    text = content[key]
    if not isinstance(text, str):
        raise DataError(f"{path.name}: {key} = {text!r} is no path")
    return path.parent / expanded(text)

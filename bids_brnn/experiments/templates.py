"""Templates for a protocol of one's own: tables, sidecar and training, valid as they are.

What they say in comments is what the readers of these files declare: columns
(``sequences.columns``, ``sequences.z_words``), keys of the sidecar (``bids.input.declared``) and
of the training (``experiments.keys``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bids_brnn.bids.input.declared import ABOUT
from bids_brnn.bids.output.derivatives import json_bytes
from bids_brnn.bids.output.protocol_files import write_basis, write_pulses, write_spectrum
from bids_brnn.errors import DataError, OutputError
from bids_brnn.experiments.keys import DEFAULTS, KEYS
from bids_brnn.experiments.template_page import page
from bids_brnn.files import make_folder, write_bytes, write_text
from bids_brnn.sequences.columns import COLUMNS
from bids_brnn.sequences.designs import balanced_train, hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import CONSTANTS, ZSpectrum
from bids_brnn.sequences.z_words import MEANINGS
from bids_brnn.signals.registry import ModelEntry, models_by_protocol
from bids_brnn.signals.subspace import Subspace

_TRAINS: Mapping[str, Callable[[], PulseSequence]] = {
    "gbloch": lambda: hybrid_state_train(n_pulses=200),
    "fisp": lambda: jiang_like_train(200),
    "bssfp": lambda: balanced_train(200),
}
"""Short trains by model; others bring one of their own. Half as many pulses of qMT would not tell
exchange and T2s of grey matter from the rest."""
SPECTRUM = "zspectrum"
"""Kind of a template in place of the name of a model of pulse trains."""
_RANKS: Mapping[str, int] = {"qmt": 15, "mrf": 5}
_USUAL_RANK = 8


def kinds() -> tuple[str, ...]:
    """What there are templates for: models of pulse trains, and Z-spectra."""
    found = [
        entry.name
        for entry in models_by_protocol("pulses")
        if entry.name in _TRAINS or entry.train is not None
    ]
    return (*found, SPECTRUM)


def template_train(entry: ModelEntry) -> PulseSequence:
    """The train of the template of a model."""
    if entry.name in _TRAINS:
        return _TRAINS[entry.name]()
    own: PulseSequence = entry.own_train()
    return own


def usual_rank(entry: ModelEntry, sequence: PulseSequence) -> int:
    """Coefficients that suit a kind of series."""
    return min(_RANKS.get(entry.kind.name, _USUAL_RANK), sequence.n_samples)


def write_train(
    folder: Path,
    label: str,
    entry: ModelEntry,
    sequence: PulseSequence,
    *,
    subspace: Subspace | None = None,
    source: str = "",
) -> list[Path]:
    """Pulse table, sidecar, training configuration and a page for one train.

    Parameters
    ----------
    folder
        Made if it is not there; must be empty.
    label
        Of ``acq-``.
    entry, sequence
        Signal model and train.
    subspace
        Makes the series one of coefficients, with a basis table.
    source
        Where the train is from, for the page; empty: it is an example.

    Returns
    -------
    list of Path
        The files, the sidecar first.

    Raises
    ------
    OutputError
        If the folder is not empty or cannot be written.
    DataError
        If the sidecar cannot say how long the last interval of a train is.
    """
    _fresh(folder)
    stem = f"acq-{label}"
    table = write_pulses(folder, stem, sequence, row_comments(sequence))
    made = [table]
    if subspace is not None:
        made.append(write_basis(folder, stem, subspace.basis.numpy()))
    sidecar = folder / f"{stem}_{entry.kind.suffix}.json"
    keys = sidecar_keys(entry, sequence, stem, with_basis=subspace is not None)
    notes = {key: _note(key, entry) for key in ABOUT if _applies(key, entry, keys)}
    write_bytes(sidecar, json_bytes({"Comments": notes, **keys}))
    config = folder / f"{label}.toml"
    rank = None if subspace is not None else usual_rank(entry, sequence)
    needed = {"model": entry.name, "sidecar": sidecar.name}
    write_text(config, training_text(needed if rank is None else {**needed, "rank": rank}))
    readme = folder / "README.md"
    columns = 0 if subspace is None else subspace.rank
    text = page(label, entry, source=source, table=table, columns=COLUMNS, rank=columns)
    write_text(readme, text)
    return [sidecar, *made, config, readme]


def write_z_template(folder: Path, label: str, protocol: ZSpectrum) -> list[Path]:
    """Table of a Z-spectrum with its constants, configuration of a training, and a page.

    Errors as of :func:`write_train`.
    """
    _fresh(folder)
    notes = {key: _z_note(key) for key in CONSTANTS}
    table = write_spectrum(folder, f"acq-{label}", protocol, {"Comments": notes})
    config = folder / f"{label}.toml"
    model = models_by_protocol("zspectrum")[0].name
    write_text(config, training_text({"model": model, "zspectrum": table.name}))
    readme = folder / "README.md"
    write_text(readme, page(label, None, source="", table=table, columns={}))
    return [table, table.with_suffix(".json"), config, readme]


def sidecar_keys(
    entry: ModelEntry, sequence: PulseSequence, stem: str, *, with_basis: bool
) -> dict[str, object]:
    """Keys of the sidecar of a train.

    Raises
    ------
    DataError
        See :func:`write_train`.
    """
    keys: dict[str, object] = {
        "SignalRepresentation": "subspace" if with_basis else "time",
        "SignalModel": entry.name,
        "PulseTrain": f"bids::{stem}_rfpulses.tsv",
        "BoundaryCondition": sequence.start,
        "MagneticFieldStrength": 3,
    }
    if with_basis:
        keys["SubspaceBasis"] = f"bids::{stem}_basis.tsv"
    if (sequence.gradient == "dephasing").any():
        keys["DephasingPerRepetition"] = round(2 * np.pi, 9)
    elif entry.gradient != "dephasing" and entry.kind.name == "mrf":
        keys["SpoilingState"] = False
    last = last_interval(sequence)
    if last is not None:
        keys["RepetitionTimeExcitation"] = last
    return keys


def last_interval(sequence: PulseSequence) -> float | None:
    """s, where the interval after the last pulse must be said: it is not the one before it.

    Raises
    ------
    DataError
        If it differs between trains, or is longer or shorter than all others.
    """
    used = ~sequence.padding
    ends = [int(np.flatnonzero(row)[-1]) for row in used]
    last = np.array([sequence.repetition_time[k, end] for k, end in enumerate(ends)])
    before = np.array([sequence.repetition_time[k, max(end - 1, 0)] for k, end in enumerate(ends)])
    if np.allclose(last, before, rtol=0, atol=1e-9):
        return None
    steps = sequence.repetition_time[:, :-1]
    steps = steps[steps > 0]
    fits = steps.size and steps.min() - 1e-6 <= last[0] <= steps.max() + 1e-6
    if not np.allclose(last, last[0], rtol=0, atol=1e-9) or not fits:
        raise DataError(
            f"the interval after the last pulse, {last[0]:g} s, is not among those between "
            "pulses, so that a sidecar cannot hold it; end the table with a row of flip_angle 0"
        )
    return round(float(last[0]), 9)


def row_comments(sequence: PulseSequence) -> list[str]:
    """A remark where a row is the first of its kind, else an empty text."""
    found: list[str] = []
    seen: set[str] = set()
    frame = 0
    for train, padding in enumerate(sequence.padding):
        for pulse in range(len(padding)):
            samples = int(np.isfinite(sequence.echo_time[train, pulse]).sum())
            if sequence.inversion[train, pulse]:
                kind = "an inversion pulse"
            elif not sequence.flip_angle[train, pulse] > 0:
                kind = "a repetition without RF pulse"
            else:
                kind = "an excitation"
            words = f"{kind}; {_of_samples(frame, samples)}"
            text = "" if kind in seen else words
            if train and not pulse:
                text = f"train {train + 1} begins: onset counts from 0 again"
            seen.add(kind)
            frame += samples
            found.append(text)
    return found


def _of_samples(before: int, count: int) -> str:
    """Which frames a row makes, that comes after so many of them."""
    if not count:
        return "nothing is sampled: readout 0 and echo_time n/a"
    if count == 1:
        return f"its sample is row {before + 1} of the basis, frame {before + 1}"
    rows = f"{before + 1} to {before + count}"
    return f"its samples are rows {rows} of the basis, frames {rows}"


def training_text(needed: Mapping[str, object]) -> str:
    """A training configuration: what is needed, and every other key as a comment.

    Without a rank among ``needed`` the basis of a train has a table; a Z-spectrum has none.
    """
    spectrum = "zspectrum" in needed
    lines = [
        "# What brnn train learns; paths are relative to this file. A line that begins with #",
        "# stands for what holds without it; remove the sign to change it.",
        "",
        *(f"{key} = {_value(value)}" for key, value in needed.items()),
    ]
    if "rank" not in needed and not spectrum:
        lines.append("# rank: that of the basis table")
    for keys in KEYS:
        if keys.names[0] in ("model", "sidecar", "rank"):
            continue
        if spectrum and keys.names[0] in ("basis", "basis_from", "basis_fingerprints"):
            continue
        lines += ["", f"# {_plain(keys.shown)}: {_plain(keys.meaning)} ({_plain(keys.fallback)})"]
        lines += [
            f"# {name} = {_value(DEFAULTS[name])}" for name in keys.names if name in DEFAULTS
        ]
    return "\n".join(lines) + "\n"


def _fresh(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not an empty folder; choose another one")
    make_folder(folder)


def _applies(key: str, entry: ModelEntry, keys: Mapping[str, object]) -> bool:
    """Whether a key concerns this kind of series."""
    return key in keys or bool(getattr(ABOUT[key], _column(entry)))


def _column(entry: ModelEntry) -> str:
    return "qmt" if entry.kind.name == "qmt" else "mrf"


def _note(key: str, entry: ModelEntry) -> str:
    item = ABOUT[key]
    need = getattr(item, _column(entry))
    absent = f"; if absent: {item.absent}" if item.absent else ""
    return _plain(f"{item.values}; {need or 'optional'}{absent}")


def _z_note(key: str) -> str:
    unit, meaning = MEANINGS[key]
    needed, _ = CONSTANTS[key]
    return f"{meaning}{f', in {unit}' if unit else ''} ({'required' if needed else 'optional'})"


def _plain(text: str) -> str:
    return text.replace("`", "")


def _value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value}"

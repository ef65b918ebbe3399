"""Protocols of qMT-SPGR of qMRLab: a saved model, a protocol of older versions or a table.

The model ``qmt_spgr`` (https://qmrlab.readthedocs.io, doi:10.21105/joss.02343) prescribes units:
angles in degrees, offsets in Hz, times in s. Images with an angle below 1 degree are without MT
pulse; where there is none, data are divided by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError, ReadError, UsageError
from bids_brnn.importing.lists import read_numbers
from bids_brnn.importing.matlab import MatFile, listed, open_mat
from bids_brnn.system.kinds import abridged

_MODEL = "qmt_spgr"
_TIMES = {"Tmt": "MTPulseDuration", "Ts": "MTDelay", "Tp": "ExcitationDuration"}
_OLD_TIMES = {"Tm": "MTPulseDuration", "Ts": "MTDelay", "Tp": "ExcitationDuration"}
_LEAST_ANGLE = 1.0  # deg: below, the model takes an image to be without MT pulse
_FERMI = 33.81  # durations over the width of the edge, as it is here
_SAME = 1e-3  # relative
_MODELS = {
    "SledPikeRP": "sled-pike-rp", "SledPikeCW": "sled-pike-cw", "Yarnykh": "yarnykh",
    "Ramani": "ramani",
}  # fmt: skip
_WIDTHS = ("MT_Pulse_BandwidthHz", "MT_Pulse_Bandwidth")  # newer versions, older ones
_TEXT = (".txt", ".scheme", ".csv")


@dataclass(frozen=True)
class Protocol:
    """What a protocol of qMRLab says."""

    name: str
    """Of its file."""
    angles: Sequence[float]
    """deg; 0 where there was no MT pulse."""
    offsets: Sequence[float]
    """Hz."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """By the names of BIDS, where the file says them."""
    notes: tuple[str, ...] = ()

    @property
    def is_divided(self) -> bool:
        """Whether the model takes the data to be divided by the image without MT pulse."""
        return all(angle > 0 for angle in self.angles)


def read_protocol(path: Path) -> Protocol:
    """A saved model, a protocol of older versions, or a table of angles and offsets.

    Raises
    ------
    ReadError, DataError
        If the file is none of these, or contradicts itself.
    """
    if path.suffix in _TEXT:
        return _of_table(read_numbers(path), path.name)
    if path.suffix != ".mat":
        raise UsageError(
            f"{path.name}: protocols of qMRLab end in .mat, {', '.join(_TEXT)}; save it as one "
            "of these"
        )
    file = open_mat(path)
    names = {*file.names}
    if "Prot" in names:
        return _of_model(file)
    if {"Angles", "Offsets"} <= names:
        return _of_older(file)
    values = file[file.names[0]] if len(names) == 1 else None
    if isinstance(values, np.ndarray):
        return _of_table(values, path.name)
    raise DataError(
        f"{path.name} holds {listed(file.names)}; a protocol of qMRLab has Prot (saved model), "
        "Angles and Offsets, or one table of two columns"
    )


def _of_table(table: NDArray[Any], name: str, columns: Sequence[str] = ()) -> Protocol:
    if table.ndim != 2 or table.shape[1] != 2 or not np.isrealobj(table):
        raise DataError(
            f"{name}: the protocol is {'x'.join(map(str, table.shape))}; a row for each image and "
            "two columns are needed, angle of the MT pulse (degrees) and offset (Hz)"
        )
    order = [0, 1]
    if columns:
        heads = [re.split(r"[\s(]", text.strip().lower())[0] for text in columns]
        if sorted(heads) != ["angle", "offset"]:
            raise DataError(
                f"{name}: columns of the protocol are {', '.join(map(abridged, columns))}; Angle "
                "and Offset are needed"
            )
        order = [heads.index("angle"), heads.index("offset")]
    return _rows(table[:, order[0]], table[:, order[1]], name)


def _rows(angles: NDArray[Any], offsets: NDArray[Any], name: str) -> Protocol:
    angles, offsets = (np.asarray(cells, np.float64).ravel() for cells in (angles, offsets))
    if angles.shape != offsets.shape or not (np.isfinite(angles).all()):
        raise DataError(
            f"{name} has {angles.size} angles and {offsets.size} offsets; one finite number of "
            "each is needed for each image"
        )
    off = angles < _LEAST_ANGLE
    if (angles < 0).any():
        raise DataError(f"{name}: an angle is {angles.min():g} degrees; it is 0 or more")
    return Protocol(name, np.where(off, 0.0, angles).tolist(), np.where(off, 0, offsets).tolist())


def _of_model(file: MatFile) -> Protocol:
    name, model = file.path.name, _text(file, "ModelName")
    if model and model != _MODEL:
        raise DataError(
            f"{name} is a saved model {abridged(model)}; only {_MODEL} (spoiled gradient echo) "
            "can be imported"
        )
    prot = file["Prot"]
    table = _inner(prot, name, "MTdata")
    timing = _inner(prot, name, "TimingTable")
    matrix = table.get("Mat")
    if not isinstance(matrix, np.ndarray):
        raise DataError(f"{name}: Prot.MTdata has no table Mat")
    rows = _of_table(matrix, name, _texts(table.get("Format")))
    times = _timing(timing, name)
    options = file["options"] if "options" in file.names else {}
    options = options if isinstance(options, dict) else {}
    shape = options.get("MT_Pulse_Shape")
    constants: dict[str, Any] = {
        **{key: times.get(word) for word, key in _TIMES.items()},
        "RepetitionTimeExcitation": _repetition(times, "Tmt", name),
        "FlipAngle": _number(options.get("Readpulsealpha"), "Readpulsealpha", name),
    }
    if isinstance(shape, str):
        product = _number(options.get("MT_Pulse_SincTBW"), "Sinc TBW", name)
        width = _number(_first(options, _WIDTHS), "Bandwidth", name)
        edge = _number(options.get("MT_Pulse_Fermitransitiona"), "Fermi transition", name)
        constants |= _pulse(shape, product, width, edge, times.get("Tmt"), name)
    return _with(rows, constants, _notes(options))


def _of_older(file: MatFile) -> Protocol:
    name = file.path.name
    rows = _rows(_array(file, "Angles"), _array(file, "Offsets"), name)
    times: dict[str, float | None] = {
        key: _number(file[key], key, name)
        for key in ("Tm", "Ts", "Tp", "Tr", "TR")
        if key in file.names
    }
    constants: dict[str, Any] = {
        **{key: times.get(word) for word, key in _OLD_TIMES.items()},
        "RepetitionTimeExcitation": _repetition(times, "Tm", name),
    }
    if "Alpha" in file.names:
        constants["FlipAngle"] = _number(file["Alpha"], "Alpha", name)
    pulse = file["MTpulse"] if "MTpulse" in file.names else {}
    if isinstance(pulse, dict) and isinstance(pulse.get("shape"), str):
        opt = pulse.get("opt")
        opt = opt if isinstance(opt, dict) else {}
        product, width, edge = (_number(opt.get(key), key, name) for key in ("TBW", "bw", "slope"))
        constants |= _pulse(pulse["shape"], product, width, edge, times.get("Tm"), name)
    return _with(rows, constants, ())


def _with(rows: Protocol, constants: Mapping[str, Any], notes: tuple[str, ...]) -> Protocol:
    kept = {key: value for key, value in constants.items() if value is not None}
    return Protocol(rows.name, rows.angles, rows.offsets, kept, notes)


def _pulse(
    shape: str,
    product: float | None,
    width: float | None,
    edge: float | None,
    duration: float | None,
    name: str,
) -> dict[str, Any]:
    """Shape and bandwidth; refuses pulses that differ from those of that name here."""
    word = shape.upper()
    if word in ("SINC", "SINCHANN", "SINCGAUSS") and product is None:
        product = 4.0  # of qMRLab, where nothing is said
    if word == "FERMI" and None not in (edge, duration):
        usual = float(duration or 0) / _FERMI
        if not math.isclose(float(edge or 0), usual, rel_tol=1e-2):
            raise DataError(
                f"{name}: the transition of the Fermi pulse is {edge:g} s; only the usual one, "
                f"duration over {_FERMI} ({usual:.4g} s), is known here"
            )
    if word in ("SINC", "SINCHANN", "SINCGAUSS") and duration:
        sinc = float(product or 0) / duration
        if (
            word == "SINCGAUSS"
            and width is not None
            and not math.isclose(sinc, width, rel_tol=_SAME)
        ):
            raise DataError(
                f"{name}: sinc and Gaussian of the pulse have the bandwidths {sinc:g} and "
                f"{width:g} Hz; a SINCGAUSS pulse has one for both here"
            )
        width = sinc
    return {"MTPulseShape": word, "MTPulseBandwidth": width}


def _notes(options: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    model, line = options.get("Model"), options.get("Lineshape")
    if model in _MODELS:
        notes.append(
            f"qMRLab was set to the model {model}; to compare with its maps run bids_brnn with "
            f"--zspectrum-model {_MODELS[model]}"
        )
    if isinstance(line, str) and line != "SuperLorentzian":
        notes.append(f"qMRLab was set to the line {abridged(line)}; here it is a super-Lorentzian")
    return tuple(notes)


def _timing(table: Mapping[str, Any], name: str) -> dict[str, float]:
    """Times in s by their word."""
    heads, values = _texts(table.get("Format")), table.get("Mat")
    cells = np.asarray(values if isinstance(values, np.ndarray) else [], np.float64).ravel()
    if len(heads) != len(cells):
        raise DataError(f"{name}: Prot.TimingTable has {len(heads)} names, {len(cells)} numbers")
    found = {}
    for head, cell in zip(heads, cells, strict=True):
        word, _, unit = head.partition("(")
        if unit.strip(" )") not in ("", "s"):
            raise DataError(f"{name}: {abridged(head)} of Prot.TimingTable is not in s")
        found[word.strip()] = float(cell)
    return found


def _repetition(times: Mapping[str, float | None], pulse: str, name: str) -> float | None:
    """TR; it must be the sum of its parts, which is how the model has it."""
    parts = [times.get(word) for word in (pulse, "Ts", "Tp", "Tr")]
    whole, known = times.get("TR"), [part for part in parts if part is not None]
    if len(known) < len(parts):
        return whole
    total = math.fsum(known)
    if whole is not None and not math.isclose(whole, total, rel_tol=_SAME):
        raise DataError(
            f"{name}: TR is {whole:g} s, but {pulse}, Ts, Tp and Tr add up to {total:g} s; "
            "correct one of them"
        )
    return round(total, 9)


def _inner(prot: Any, name: str, key: str) -> Mapping[str, Any]:
    found = prot.get(key) if isinstance(prot, dict) else None
    if not isinstance(found, dict):
        raise DataError(f"{name} has no Prot.{key}; is it a model of {_MODEL}?")
    return found


def _array(file: MatFile, key: str) -> NDArray[Any]:
    values = file[key]
    if not isinstance(values, np.ndarray) or not np.isrealobj(values):
        raise ReadError(f"{file.path.name}: {key} is no array of numbers")
    return values


def _text(file: MatFile, key: str) -> str:
    value = file[key] if key in file.names else ""
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def _first(options: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((options[name] for name in names if name in options), None)


def _number(value: Any, key: str, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.size == 1 and np.isrealobj(value):
        number = float(value.ravel()[0])
        if math.isfinite(number):
            return number
    raise DataError(f"{name}: {key} is no finite number")

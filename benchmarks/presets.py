"""What a budget of training buys: nine protocols that nothing was tuned on, by each preset.

    python benchmarks/presets.py OUT --protocol fisp-800 --preset quick

trains as ``brnn train --preset`` does, on time frames and one thread, and prints the row of the
table in ``docs/training.md``: processor seconds of everything (design of the subspace,
simulation, training, surrogate, errors, evaluation) and what the card says. Without ``--protocol``
all are trained, one after the other. Trains are smooth random modulations; a seed each, and none
was drawn twice. A training that was stopped goes on; its seconds are then added up.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bids_brnn.bids.output.protocol_files import write_pulses, write_spectrum
from bids_brnn.config.choices import PRESETS
from bids_brnn.sequences.designs import Lobe, hybrid_state_train, value_noise
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.card import ModelCard

_LOBES = 4  # bumps of one qMT train
_TRAIN_KEYS = {
    "gbloch": {"BoundaryCondition": "antiperiodic"},
    "fisp": {"BoundaryCondition": "thermal", "DephasingPerRepetition": 2 * math.pi},
}


def fisp(pulses: int, repetition_time: tuple[float, float], seed: int) -> PulseSequence:
    """Inversion, then flip angles between 5 and 60 degrees that change smoothly."""
    degrees = np.round(5 + 55 * value_noise(pulses, n_nodes=5, seed=seed), 3)
    low, high = repetition_time
    times = np.round(low + (high - low) * value_noise(pulses, seed=seed + 1), 6)
    times[-1] = times[-2]
    shape = (1, pulses + 1)
    inversion = np.zeros(shape, dtype=bool)
    inversion[0, 0] = True
    echoes = np.full((*shape, 1), 2e-3)
    echoes[0, 0] = np.nan
    return PulseSequence(
        flip_angle=np.radians(np.concatenate([[180.0], degrees]))[None],
        rf_duration=np.zeros(shape),
        rf_phase=np.zeros(shape),
        repetition_time=np.concatenate([[20e-3], times])[None],
        echo_time=echoes,
        gradient=np.where(inversion, "spoiler", "dephasing"),
        inversion=inversion,
        start="thermal",
    )


def qmt(trains: int, pulses: int, repetition_time: float, seed: int) -> PulseSequence:
    """Hybrid-state trains of random lobes."""
    rng = np.random.default_rng(seed)
    lobes = [
        [
            Lobe(rng.uniform(0, 1), rng.uniform(0.1, 0.4), rng.uniform(20, 90),
                 rng.uniform(100, 500))
            for _ in range(_LOBES)
        ]
        for _ in range(trains)
    ]  # fmt: skip
    return hybrid_state_train(lobes, n_pulses=pulses, repetition_time=repetition_time)


def spectrum(
    angles: tuple[float, ...], offsets: tuple[float, ...], pulse: MTPulse, flip_angle: float,
    repetition_time: float,
) -> ZSpectrum:  # fmt: skip
    """Every angle (deg) at every offset (Hz), and one image without a pulse."""
    grid = [(0.0, 0.0), *((angle, offset) for angle in angles for offset in offsets)]
    angle, offset = np.array(grid).T
    return ZSpectrum(
        np.radians(angle), offset, pulse, math.radians(flip_angle), repetition_time, 1.5e-3, 1e-3
    )


PROTOCOLS: dict[str, tuple[str, float, Callable[[], PulseSequence | ZSpectrum]]] = {
    "fisp-480": ("fisp", 3.0, lambda: fisp(480, (7e-3, 9e-3), 11)),
    "fisp-800": ("fisp", 7.0, lambda: fisp(800, (10e-3, 10e-3), 13)),
    "fisp-1500": ("fisp", 1.5, lambda: fisp(1500, (12e-3, 16e-3), 17)),
    "qmt-4x600": ("gbloch", 3.0, lambda: qmt(4, 600, 4e-3, 19)),
    "qmt-6x500": ("gbloch", 7.0, lambda: qmt(6, 500, 4.5e-3, 23)),
    "qmt-8x300": ("gbloch", 1.5, lambda: qmt(8, 300, 3e-3, 29)),
    "z-13": (
        "gbloch-zspectrum", 3.0,
        lambda: spectrum(
            (250, 700), (400, 1000, 2500, 6000, 12000, 25000), MTPulse("GAUSSIAN", 12e-3), 8, 0.032
        ),
    ),
    "z-22": (
        "gbloch-zspectrum", 7.0,
        lambda: spectrum(
            (330, 630, 900), (300, 1000, 2000, 4000, 8000, 16000, 30000),
            MTPulse("GAUSSHANN", 9e-3, 200.0), 5, 0.055,
        ),
    ),
    "z-9": (
        "gbloch-zspectrum", 1.5,
        lambda: spectrum(
            (300, 600), (800, 2000, 5000, 12000), MTPulse("SINC", 8e-3, 500.0), 7, 0.04
        ),
    ),
}  # fmt: skip
"""Signal model, field strength (T) and protocol."""


def write_protocol(name: str, folder: Path) -> Path:
    """Table, sidecar and configuration of a training; the last is returned."""
    model, field_strength, made = PROTOCOLS[name]
    protocol = made()
    folder.mkdir(parents=True, exist_ok=True)
    label = "acq-" + name.replace("-", "")
    field = {"MagneticFieldStrength": field_strength}
    if isinstance(protocol, ZSpectrum):
        table = write_spectrum(folder, label, protocol, field)
        source = f'zspectrum = "{table.name}"\nfield_strength = {field_strength}'
    else:
        table = write_pulses(folder, label, protocol)
        suffix = "MRF" if model == "fisp" else "QMT"
        sidecar = folder / f"{label}_{suffix}.json"
        content = {
            "SignalRepresentation": "time", "SignalModel": model,
            "PulseTrain": f"bids::{table.name}", **_TRAIN_KEYS[model], **field,
        }  # fmt: skip
        sidecar.write_text(json.dumps(content), encoding="utf-8")
        (folder / "dataset_description.json").write_text(
            json.dumps({"Name": name, "BIDSVersion": "1.10.0"}), encoding="utf-8"
        )
        source = f'sidecar = "{sidecar.name}"'
    config = folder / f"{name}.toml"
    config.write_text(
        f'model = "{model}"\n{source}\ntissue_at = {field_strength}\n', encoding="utf-8"
    )
    return config


def train(name: str, preset: str, out: Path) -> str:
    """Train, and the row of the table."""
    config = write_protocol(name, out / name)
    work = out / f"{name}-{preset}"
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bids_brnn.cli.toolbox.main", "train", str(config), str(work)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (work / "log.txt").open("a", encoding="utf-8") as log:
        subprocess.run(
            [*command, "--preset", preset, "--threads", "1"], stdout=log, stderr=log, check=True
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    counted = work / "seconds.txt"
    spent += float(counted.read_text()) if counted.is_file() else 0.0
    counted.write_text(f"{spent:.1f}", encoding="utf-8")
    return row(name, preset, ModelCard.from_file(work / f"{name}.json"), spent)


def row(name: str, preset: str, card: ModelCard, spent: float) -> str:
    """One line of Markdown."""
    overall = card.evaluation["held_out"]["all"]
    slopes = []
    for parameter in card.network["outputs"]:
        least: dict[str, tuple[float, str]] = {}
        for tissue, levels in card.evaluation["tissue_sets"].items():
            for snr, figures in levels.items():
                if parameter in figures:
                    found = (figures[parameter]["slope"], tissue)
                    least[snr] = min(least.get(snr, found), found)
        words = ", ".join(f"{slope:.2f} ({tissue})" for slope, tissue in least.values())
        if words:
            slopes.append(f"{parameter} {words}")
    verdict = f"refused: {card.shortcoming}" if card.shortcoming else "serves"
    if card.marks:
        verdict += f"; {', '.join(card.marks)} marked"
    rank = card.subspace["rank"] if card.subspace else "-"
    return (
        f"| {name} | {preset} | {rank} | {spent:.0f} | {overall['squared_bias_over_crb']:.3f}, "
        f"{overall['variance_over_crb']:.2f} | {'; '.join(slopes)} | {verdict} |"
    )


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append")
    parser.add_argument("--preset", choices=PRESETS, action="append")
    options = parser.parse_args()
    for preset in options.preset or PRESETS:
        for name in options.protocol or PROTOCOLS:
            print(train(name, preset, options.out), flush=True)


if __name__ == "__main__":
    main()

"""Pulseq files for the fuzzer; none where ``pypulseq`` is not installed."""

from __future__ import annotations

import importlib.util
import math
import warnings
from pathlib import Path

from base import TEXT, Target

from bids_brnn.pulseq.reading import read_timeline
from bids_brnn.pulseq.translate import sequence_of
from bids_brnn.signals.registry import model_entry


def pulseq_targets(folder: Path) -> list[Target]:
    """A short FISP train with an inversion."""
    if importlib.util.find_spec("pypulseq") is None:
        return []
    root = folder / "pulseq"
    root.mkdir()
    seed = _seed(root / "seed.seq")

    def read(path: Path) -> None:
        found = sequence_of(read_timeline(path), model_entry("fisp"), name=path.name)
        assert found.sequence.to_table()

    return [Target("pulseq", root / "a.seq", [seed], TEXT, read, 2)]


def _seed(path: Path) -> bytes:
    import pypulseq

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        system = pypulseq.Opts(rf_dead_time=0, rf_ringdown_time=0, adc_dead_time=0)
        sequence = pypulseq.Sequence(system)
        spoiler = pypulseq.make_trapezoid("z", area=1000, system=system)
        adc = pypulseq.make_adc(4, dwell=2e-5, system=system)
        for degrees, use in ((180, "inversion"), (10, "excitation"), (20, "excitation")):
            sequence.add_block(
                pypulseq.make_block_pulse(
                    math.radians(degrees), duration=1e-4, use=use, system=system
                )
            )
            if use == "excitation":
                sequence.add_block(adc, pypulseq.make_label("LIN", "INC", 1))
            sequence.add_block(spoiler)
        sequence.write(str(path))
    return path.read_bytes()

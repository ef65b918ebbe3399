"""Files of other programs for the fuzzer: ``.mat``, BART, QUIT and lists of numbers."""

from __future__ import annotations

import io
import json
import random
import zlib
from pathlib import Path

import mutate
import numpy as np
import scipy.io
from base import JSON, TEXT, Target, with_sentence

from bids_brnn.importing import lists, qmrlab, quit_json
from bids_brnn.importing.bart import basis_of, images_of, read_cfl
from bids_brnn.importing.matlab import open_mat
from bids_brnn.importing.pictures import read_map, read_series
from bids_brnn.importing.trains import controls_of


def foreign_targets(folder: Path) -> list[Target]:
    root = folder / "foreign"
    root.mkdir()
    rows = np.array([[0.0, 0], [142, 443], [426, 1088]])
    older = {
        "Angles": rows[:, :1], "Offsets": rows[:, 1:], "Tm": 0.0102, "Ts": 0.003, "Tp": 0.0018,
        "Tr": 0.01, "TR": 0.025, "Alpha": 7.0, "MTpulse": {"shape": "sinc", "opt": {"TBW": 6.0}},
    }  # fmt: skip
    model = {
        "ModelName": "qmt_spgr",
        "Prot": {
            "MTdata": {"Format": np.array(["Angle", "Offset"], object), "Mat": rows},
            "TimingTable": {
                "Format": np.array(["Tmt (s)", "Ts (s)", "Tp (s)", "Tr (s)", "TR (s)"], object),
                "Mat": np.array([[0.0102, 0.003, 0.0018, 0.01, 0.025]]).T,
            },
        },
        "options": {"MT_Pulse_Shape": "gausshann", "MT_Pulse_Bandwidth": 200.0},
    }
    images = {"x": np.ones((3, 2, 2, 2), np.complex64), "mask": np.ones((3, 2, 2), np.uint8)}
    controls = {"alpha": np.full((4, 2), 0.3), "TRF": np.full((4, 2), 3e-4)}
    seeds = [_mat(content) for content in (older, model, images, controls)]

    def mat(path: Path) -> None:
        file = open_mat(path)
        for name in file.names:
            with_sentence(lambda name=name: file[name])
        for read in (qmrlab.read_protocol, read_series, read_map, controls_of):
            with_sentence(lambda read=read: read(path))

    def cfl(path: Path) -> None:
        values = read_cfl(path)
        with_sentence(lambda: images_of(values, path.name))
        with_sentence(lambda: basis_of(values, path.name))

    (root / "a.cfl").write_bytes(bytes(8 * 24))
    sequence = {
        "TR": 0.055, "Trf": 0.015, "FA": 5, "sat_f0": [1000, 2750], "sat_angle": [332, 628],
        "pulse": {"name": "Gauss", "p1": 0.416, "p2": 0.295},
    }  # fmt: skip
    quit_seed = json.dumps({"MTSat": sequence}).encode()
    return [
        Target("mat", root / "a.mat", seeds, (mutate.of_bytes, _inside), mat, 3),
        Target("cfl header", root / "a.hdr", [b"# Dimensions\n4 3 2 1 1 1 1 1\n"], TEXT, cfl),
        Target("quit", root / "a.json", [quit_seed], JSON, quit_json.read_protocol, 0.5),
        Target("list", root / "a.txt", [b"# deg\n1 2\n3, 4\n"], TEXT, lists.read_numbers),
    ]


def _mat(content: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, content)
    return stream.getvalue()


def _inside(rng: random.Random, content: bytes) -> bytes:
    """A mutant whose elements are compressed, as MATLAB writes them."""
    changed = mutate.of_bytes(rng, content[128:])
    packed = zlib.compress(changed, 1)
    return content[:128] + b"\x0f\0\0\0" + len(packed).to_bytes(4, "little") + packed

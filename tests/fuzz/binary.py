"""Targets of the fuzzer that are binary, and model cards, which go with weights."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import mutate
import nibabel as nib
import numpy as np
from base import JSON, TEXT, Target, with_sentence

from bids_brnn.bids.images import read_array, read_grid
from bids_brnn.bids.volumes import read_volume
from bids_brnn.imaging.resampling import read_transform
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.parameters import RELAXATION
from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.card import ModelCard, parameters_to
from bids_brnn.zoo.store import load_model, save_model
from bids_brnn.zoo.weights_file import read_weights

LIMIT = 64 * 2**20  # bytes of an image


def model_targets(folder: Path) -> list[Target]:
    import torch

    root = folder / "models"
    root.mkdir()
    parameters = RELAXATION
    basis = np.linalg.qr(np.random.default_rng(5).standard_normal((24, 3)))[0]
    spec = NetworkSpec(3, ("R1", "R2"), ("B1",), width=4, blocks=1)
    body = SurrogateNetwork(len(parameters), 3, 4, 1)
    row = {"squared_bias_over_crb": 0.1, "variance_over_crb": 1.0}
    card = ModelCard(
        name="a", description="x", model="fisp", network=spec.to_dict(),
        surrogate={"width": 4, "blocks": 1, "conjugate": False},
        parameters=parameters_to(parameters), sequence={"digest": "d", "name": "n"},
        subspace={"rank": 3}, prior={}, snr_range=(10, 50), loss="efficient",
        training={"config": {"stages": [{"loss": {"name": "efficient"}}]}},
        thresholds={"residual": 0.1, "inputs": 2.0}, command="brnn train x.toml OUT",
        evaluation={"fingerprints": 100, "held_out": {"R1": row}, "bf16_error_over_crb_std": 0.1},
        field_strength=3.0,
    )  # fmt: skip
    path = save_model(
        root, card, build_network(spec), SurrogateModel(body, parameters),
        Subspace(torch.as_tensor(basis)),
    )  # fmt: skip
    good, content = path.with_suffix(".safetensors").read_bytes(), path.read_bytes()
    (root / "b.safetensors").write_bytes(good)
    (root / "c.json").write_bytes(content)

    def use(found: ModelCard) -> None:
        assert found.preference >= 0
        assert found.last_loss
        assert isinstance(found.shortcoming, str)
        found.evaluate_command(path)

    def of_card(mutant: Path) -> None:
        found = ModelCard.from_file(mutant)
        use(found)
        read_weights(mutant, found)
        load_model(mutant).estimator_in_training_basis()

    def of_weights(mutant: Path) -> None:
        digest = hashlib.sha256(mutant.read_bytes()).hexdigest()
        text = {**json.loads(content), "weights_sha256": digest}
        mutant.with_suffix(".json").write_text(json.dumps(text))
        load_model(mutant).estimator_in_training_basis()

    return [
        Target("card", root / "b.json", [content], JSON, of_card, 6),
        Target(
            "safetensors", root / "c.safetensors", [good], (mutate.of_safetensors,), of_weights, 3
        ),
    ]


def image_targets(folder: Path) -> list[Target]:
    root = folder / "images"
    root.mkdir()
    seeds = []
    rng = np.random.default_rng(0)
    for values in (
        rng.normal(size=(4, 5, 3, 2)).astype(np.float32),
        rng.integers(0, 9, (4, 5, 3)).astype(np.int16),
        rng.normal(size=(3, 3, 2, 2)).astype(np.complex64),
    ):
        for kind in (nib.Nifti1Image, nib.Nifti2Image):
            seeds.append(kind(values, np.diag([2.0, 2, 3, 1])).to_bytes())

    def image(path: Path) -> None:
        grid = read_grid(path, max_bytes=LIMIT)
        with_sentence(lambda: read_volume(grid))
        read_array(grid)

    text = (b"#Insight Transform File V1.0\n#Transform 0\nTransform: "
                         b"AffineTransform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 2 3 4\n"
                         b"FixedParameters: 0 0 0\n")  # fmt: skip
    packed = (
        lambda rng, content: mutate.squeezed(rng, mutate.of_header(rng, gzip.decompress(content))),
    )
    return [
        Target("nifti", root / "a.nii", seeds, (mutate.of_header, mutate.of_bytes), image, 3),
        Target(
            "nifti.gz",
            root / "b.nii.gz",
            [gzip.compress(seed) for seed in seeds],
            packed,
            image,
            3,
        ),
        Target("transform", root / "a_xfm.txt", [text], TEXT, read_transform),
    ]

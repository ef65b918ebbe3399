"""Targets of the fuzzer around trainings: configurations, stored protocols, state, caches."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import tomli_w
import torch
from base import JSON, TOML, Mutator, Target
from safetensors import safe_open

from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.dictionary import cache
from bids_brnn.estimators.dictionary.atoms import Dictionary
from bids_brnn.estimators.results import Results
from bids_brnn.experiments.make import cached_network
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.run import TrainingRun
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.learning.surrogate import SurrogateNetwork
from bids_brnn.learning.training_set import TrainingSet, load_training_set, save_training_set
from bids_brnn.parameters import RELAXATION
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.tensor_files import write_tensors
from bids_brnn.zoo.recipe import EstimatorRecipe
from bids_brnn.zoo.recipe_file import digest_of

RANK = 3
Z_MODEL = "ramani"  # the fastest
STATE: tuple[Mutator, ...] = (mutate.of_safetensors,)


def trained_targets(folder: Path) -> list[Target]:
    root = folder / "trained"
    root.mkdir()
    return [*_configurations(root), *_state(root), *_caches(root)]


def _configurations(root: Path) -> list[Target]:
    """A configuration, and the protocol (JSON and arrays) that it names."""
    train = jiang_like_train(12)
    basis = np.linalg.qr(np.random.default_rng(3).normal(size=(train.n_samples, RANK)))[0]
    recipe = EstimatorRecipe(estimator="dictionary", model="fisp", sequence=train, basis=basis)
    stored = recipe.to_file(root / "p.json")
    for name in ("q", "r"):
        recipe.to_file(root / f"{name}.json")
    spectrum = replace(recipe, model=Z_MODEL, sequence=demo_protocol(), basis=None)
    z_stored = spectrum.to_file(root / "z.json")
    spectrum.to_file(root / "y.json")
    z_arrays = z_stored.with_suffix(".npz").read_bytes()
    arrays = stored.with_suffix(".npz").read_bytes()
    configuration = {
        "name": "a", "description": "x", "model": "fisp", "protocol": "p.json",
        "preset": "quick", "tissue_at": 3.0, "fingerprints": 100, "held_out": 10, "seed": 1,
        "field_strength": 3.0,
        "network": {"width": 8, "blocks": 1}, "surrogate": {"width": 8, "steps": 10},
        "extra": [{"tissue": "parenchyma", "parameters": {"R1": {"uniform": [0.2, 1.0]}},
                   "fingerprints": 5}],
        "training": {"precision": "float32", "snr_range": [10, 50], "seed": 3,
                     "stages": [{"loss": {"name": "mse-crb"}, "steps": 10, "batch": 8,
                                 "learning_rate": 0.01}]},
    }  # fmt: skip

    def named(name: str, model: str = "fisp") -> Callable[[Path], None]:
        path = root / f"{name}.toml"
        short = {"model": model, "protocol": f"{name}.json"}
        path.write_text(tomli_w.dumps(short))

        def read(mutant: Path) -> None:
            if mutant.suffix == ".npz":  # the digest is right, so that the arrays are looked at
                _with_digest(mutant)
            read_experiment(path)

        return read

    text = tomli_w.dumps(configuration).encode()
    return [
        Target("training", root / "a.toml", [text], TOML, read_experiment, 0.5),
        Target("protocol", root / "q.json", [stored.read_bytes()], JSON, named("q")),
        Target("protocol arrays", root / "r.npz", [arrays], (of_npz,), named("r"), 0.3),
        Target(
            "protocol of a spectrum",
            root / "z.json",
            [z_stored.read_bytes()],
            JSON,
            named("z", Z_MODEL),
            0.1,
        ),
        Target(
            "protocol of a spectrum, arrays",
            root / "y.npz",
            [z_arrays],
            (of_npz,),
            named("y", Z_MODEL),
            0.1,
        ),
    ]


def _with_digest(path: Path) -> None:
    try:
        with np.load(path) as stored:
            digest = digest_of({name: stored[name] for name in stored.files})
    except Exception:  # it is for the reader to say
        return
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps({**json.loads(beside.read_bytes()), "digest": digest}))


def of_npz(rng: random.Random, content: bytes) -> bytes:
    """An array of other shape, type or values; or its bytes, or those of the archive."""
    if rng.random() < 0.3:
        return mutate.of_bytes(rng, content)
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = rng.choice(sorted(arrays))
    values = arrays[name]
    with np.errstate(all="ignore"):
        _change(rng, arrays, name, values)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _change(rng: random.Random, arrays: dict[str, Any], name: str, values: Any) -> None:
    match rng.randrange(6):
        case 0:
            kinds = ("i1", "u8", "f2", "c16", "S8", "?", "U9")
            text = values.dtype.kind == "U"
            arrays[name] = values.astype(rng.choice(("S8", "U1", "U99") if text else kinds))
        case 1:
            arrays[name] = values.reshape(-1)[: rng.randrange(values.size + 1)]
        case 2:
            arrays[name] = np.broadcast_to(values, (2, *values.shape))
        case 3:
            arrays[name] = np.full_like(values, rng.choice((0, 1, 100)))
        case 4 if values.dtype.kind == "f":
            arrays[name] = values * rng.choice(mutate.FLOATS)
        case _:
            del arrays[name]


def _training_set(n: int = 64) -> TrainingSet:
    rng = torch.Generator().manual_seed(1)
    n_parameters = len(RELAXATION)
    lower, upper = RELAXATION.bounds(torch.empty(0))
    theta = lower + (upper - lower) * torch.rand(n, n_parameters, generator=rng)
    coefficients = torch.randn(n, RANK, generator=rng, dtype=torch.complex64)
    gain = torch.randn(n, n_parameters, RANK, generator=rng, dtype=torch.complex64)
    return TrainingSet(coefficients, theta, torch.ones(n, n_parameters), gain)


def _state(root: Path) -> list[Target]:
    """Of a training that was ended half-way."""
    data = _training_set()
    config = TrainingConfig.from_dict(
        {"stages": [{"loss": "mse", "steps": 4, "batch": 8}], "report_every": 1}
    )
    spec = NetworkSpec(RANK, ("R1", "R2"), ("B1",), width=4, blocks=1)

    def run() -> TrainingRun:
        return TrainingRun(build_network(spec), data, RELAXATION, config, None, None, ("a", ""))

    begun = run()
    begun.standardise()
    begun.advance()
    path = root / "a.checkpoint.safetensors"
    begun.save(path)

    def resume(mutant: Path) -> None:
        going_on = run()
        going_on.restore(mutant)
        while going_on.step < going_on.total:
            going_on.advance()

    return [Target("checkpoint", path, [path.read_bytes()], STATE, signed(resume), 0.1)]


def sign(path: Path) -> None:
    """Let a changed file be one that somebody wrote so, not one that is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            about = {k: v for k, v in (file.metadata() or {}).items() if k != "content"}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        write_tensors(path, tensors, about)
    except Exception:  # it is for the reader to say
        return


def signed(read: Callable[[Path], object]) -> Callable[[Path], object]:
    def call(path: Path) -> object:
        sign(path)
        return read(path)

    return call


def _caches(root: Path) -> list[Target]:
    """What is only kept to save time: unusable ones are made again, or refused."""
    fingerprints = root / "fingerprints.safetensors"
    save_training_set(fingerprints, _training_set(), key="k")
    network = SurrogateNetwork(len(RELAXATION), RANK, 4, 1)
    surrogate = root / "surrogate.safetensors"
    write_tensors(surrogate, network.state_dict(), {"key": "k"})
    atoms = torch.randn(5, RANK, dtype=torch.complex64)
    cache.store(root, "k", Dictionary(torch.rand(5, 3), atoms, torch.randn(9, RANK)))
    dictionary = root / "dictionary-k.safetensors"
    partial = root / "partial.safetensors"

    def remaining() -> Estimate:
        results = Results(torch.zeros(4, RANK, dtype=torch.complex64), 2, {"n": torch.int32})
        blocks = torch.arange(4).split(2)
        for _, voxels in results.remaining(blocks, None, Checkpoint(partial, 0.0), "k"):
            done = {name: torch.ones(2, 2) for name in ("theta", "std")}
            results.put(voxels, {**done, "m0": torch.ones(2), "residual": torch.ones(2)})
        return results.estimate()

    remaining()
    return [
        Target("fingerprints", fingerprints, [fingerprints.read_bytes()], STATE,
               signed(lambda path: load_training_set(path, key="k"))),
        Target("surrogate", surrogate, [surrogate.read_bytes()], STATE,
               signed(lambda path: cached_network(
                   path, "k", lambda: SurrogateNetwork(len(RELAXATION), RANK, 4, 1)))),
        Target("dictionary", dictionary, [dictionary.read_bytes()], STATE,
               signed(lambda path: cache.load(root, "k", torch.device("cpu")))),
        Target("partial maps", partial, [partial.read_bytes()], STATE,
               signed(lambda path: remaining()), 0.3),
    ]  # fmt: skip

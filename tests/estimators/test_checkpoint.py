"""Partial results: read back whole, and never those of another run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from safetensors import safe_open

from bids_brnn.estimators.base import heard
from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.estimators.checkpoint import Checkpoint, content_key, describe
from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.learning.networks import NetworkSpec, build_network
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp

MODEL = EpgFisp(jiang_like_train(40))
SPEC = NetworkSpec(40, ("R1", "R2"), supplied=("B1",), width=16, blocks=1)
ESTIMATORS = {
    "nlls": NllsEstimator(MODEL, start=spread_candidates(MODEL.parameters, 100), block_size=4),
    "dict": DictionaryEstimator(MODEL, n_atoms=100, block_size=4),
    "brnn": NetworkEstimator(build_network(SPEC).requires_grad_(False), MODEL, block_size=4),
}
# Of one B1, so that blocks of the dictionary hold as many voxels as those of the others.
B1 = torch.linspace(0.99, 1.01, 12, dtype=torch.float64)


class _KilledError(Exception):
    pass


def _first_call(estimator, checkpoint: Checkpoint, data=None, supplied=None, sigma=None) -> int:
    """Voxels done when progress is told for the first time; the run is then killed."""
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        raise _KilledError

    if data is None:
        data = MODEL(
            MODEL.parameters.from_unit(torch.linspace(0.2, 0.8, 12)[:, None].expand(12, 3))
        )
    known = {"B1": B1} if supplied is None else supplied
    with pytest.raises(_KilledError):
        estimator.estimate(data, known, sigma=sigma, checkpoint=checkpoint, progress=stop)
    return seen[0]


def _variants(estimator):
    """Estimators that differ from one in one option."""
    for field in fields(estimator):
        value = getattr(estimator, field.name)
        if isinstance(value, bool):
            yield field.name, replace(estimator, **{field.name: not value})
        elif isinstance(value, int | float):
            step = -1 if field.name == "channels" else 1  # there are one or two of them
            yield field.name, replace(estimator, **{field.name: value + step})
    model = EpgFisp(jiang_like_train(40), inversion_efficiency=0.9)
    yield "model", replace(estimator, model=model)
    if isinstance(estimator, NllsEstimator):
        yield "start", replace(estimator, start=estimator.start + 1e-9)
        yield "single", replace(estimator, single=True)
    elif isinstance(estimator, DictionaryEstimator):
        yield "atoms", replace(estimator, atoms=spread_candidates(MODEL.parameters, 100))
        yield "bins", replace(estimator, b1_bins=(0.9, 1.0))
        yield "rank", replace(estimator, rank=4)
    else:
        yield "weights", replace(estimator, network=build_network(SPEC, seed=1))
        yield "rotation", replace(estimator, rotation=torch.eye(40))
        yield "spread", replace(estimator, spread="none")
        yield "precision", replace(estimator, precision="bf16")


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_partial_results_of_another_run_are_not_used(name, tmp_path):
    estimator, path = ESTIMATORS[name], tmp_path / "partial.safetensors"
    assert _first_call(estimator, Checkpoint(path, interval=0.0)) == 4
    assert _first_call(estimator, Checkpoint(path)) == 8
    for option, other in _variants(estimator):
        done = _first_call(other, Checkpoint(path))
        assert done == (5 if option == "block_size" else 4), option
    wide = MODEL(MODEL.parameters.from_unit(torch.full((12, 3), 0.4, dtype=torch.float64)))
    for changes in (
        {"data": wide},
        {"data": wide.to(torch.complex64)},
        {"sigma": 0.1},
        {"sigma": torch.full((12,), 0.1)},
        {"supplied": {"B1": B1.flip(0)}},
        {"supplied": {"R1": torch.ones(12), "B1": B1}},
    ):
        names = tuple(changes.get("supplied", ()))
        if heard(estimator, names) != names:
            continue
        assert _first_call(estimator, Checkpoint(path), **changes) == 4, changes
    assert _first_call(estimator, Checkpoint(path)) == 8  # nothing but the key was in the way


def test_where_the_dictionary_is_kept_does_not_matter(tmp_path):
    path = tmp_path / "partial.safetensors"
    _first_call(ESTIMATORS["dict"], Checkpoint(path, interval=0.0))
    other = replace(ESTIMATORS["dict"], cache_dir=tmp_path / "dictionaries")
    assert _first_call(other, Checkpoint(path)) == 8


def test_a_network_that_does_not_tell_its_weights_starts_afresh(tmp_path):
    class Opaque:
        spec = SPEC

        def __init__(self, network):
            self.prepare, self._network = network.prepare, network

        def __call__(self, inputs):
            return self._network(inputs)

    estimator = replace(ESTIMATORS["brnn"], network=Opaque(ESTIMATORS["brnn"].network))
    path = tmp_path / "partial.safetensors"
    assert _first_call(estimator, Checkpoint(path, interval=0.0)) == 4
    assert _first_call(estimator, Checkpoint(path)) == 4


def test_the_content_of_a_network_is_shape_names_and_weights():
    def content(seed: int = 0, **changes):
        return describe(build_network(replace(SPEC, **changes), seed=seed))

    assert content() == content()
    assert content() != content(seed=1)
    assert content() != content(normalisation="first")  # not told by the weights
    with pytest.raises(TypeError, match="a object does not tell its content"):
        describe(object())


def test_keys_tell_values_shapes_and_types_apart():
    values = torch.arange(6.0)
    kinds = [values, values.reshape(2, 3), values.double(), values[:0], values[0], values + 1, "x"]
    assert len({content_key(kind) for kind in kinds}) == len(kinds)
    assert content_key(values) == content_key(values.clone())


_READ = """
import sys, torch
from pathlib import Path
from bids_brnn.estimators.checkpoint import Checkpoint
values = Checkpoint(Path(sys.argv[1])).load(sys.argv[2])["m0"]
kept = torch.zeros(7, dtype=torch.complex128)
kept[torch.arange(7)] = torch.view_as_complex(values)
print(abs(kept - (1 + 2j)).max().item())
"""


def test_double_precision_is_read_from_any_place_in_the_file(tmp_path):
    """At an address that is no multiple of 16, complex128 ends the process."""
    path, starts = tmp_path / "partial.safetensors", set()
    for key in ("k" * 8, "k" * 16):
        Checkpoint(path).save({"m0": torch.tensor([[1.0, 2.0]] * 7).double()}, key)
        with safe_open(path, framework="pt") as stored:
            starts.add(stored.get_tensor("m0").data_ptr() % 16)
        told = subprocess.run(
            [sys.executable, "-c", _READ, str(path), key],
            capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        assert float(told.stdout) == 0
    assert len(starts) == 2  # both cases were there

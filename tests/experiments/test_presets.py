"""Presets are whole trainings, and what a configuration says wins over them."""

from __future__ import annotations

import importlib.util
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bids_brnn.config.choices import PRESETS
from bids_brnn.errors import DataError
from bids_brnn.experiments import presets
from bids_brnn.experiments.presets import precision_of, preset, recipe_of, with_preset
from bids_brnn.experiments.progress import Meter, State, duration
from bids_brnn.experiments.protocols import OWN_TRAINS, read_protocol
from bids_brnn.experiments.rank import (
    LARGEST,
    MOST_LOSS,
    designed_subspace,
    needed_rank,
    subspace_note,
)
from bids_brnn.experiments.reading import build_experiment
from bids_brnn.information.bounds import bound_by_rank, covariance
from bids_brnn.priors import at_field, tissue_set, tissue_values
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.registry import model_entry
from bids_brnn.signals.subspace import Subspace

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "presets.py"


def draws(training):
    return sum(s["steps"] * s["batch"] * s.get("realisations", 1) for s in training["stages"])


@pytest.mark.parametrize("kind", ["gbloch", "fisp", "bssfp"])
def test_larger_budgets_buy_more_of_everything(kind):
    found = [preset(name, model_entry(kind)) for name in PRESETS]
    for less, more in pairwise(found):
        assert draws(less["training"]) < draws(more["training"])
        assert less["fingerprints"] < more["fingerprints"]
        assert less["network"]["width"] < more["network"]["width"]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("kind", "train"), [("gbloch", "hybrid-state"), ("fisp", "jiang")])
def test_every_preset_is_a_training_that_can_be_read(tmp_path, name, kind, train):
    content = {"model": kind, "train": train, "preset": name, "rank": 4, "basis_fingerprints": 20}
    experiment = build_experiment(content, tmp_path / "a.toml")
    assert experiment.training.snr_range == (10, 100)
    assert experiment.training.stages[-1].loss.name == "efficient"
    assert bool(experiment.extra) == (kind == "gbloch")
    assert experiment.source == content  # the card holds what was said


def test_what_a_configuration_says_wins_over_its_preset():
    entry = model_entry("fisp")
    content = {"preset": "quick", "fingerprints": 7, "network": {"width": 9}}
    found = with_preset(content, entry)
    assert found["fingerprints"] == 7
    assert found["network"] == {**preset("quick", entry)["network"], "width": 9}
    assert found["training"] == preset("quick", entry)["training"]
    assert with_preset({"rank": 3}, entry) == {"rank": 3}
    with pytest.raises(DataError, match='preset = "huge": use quick, standard, thorough'):
        with_preset({"preset": "huge"}, entry)


def test_the_key_of_a_preset_does_not_depend_on_the_processor(monkeypatch):
    keys = []
    for precision in ("bf16", "float32"):
        monkeypatch.setattr(presets, "fastest_precision", lambda word=precision: word)
        keys.append(recipe_of("standard", model_entry("fisp")))
    assert keys[0] == keys[1]


@pytest.mark.parametrize("fast", [True, False])
def test_a_configuration_that_names_no_precision_has_that_of_the_processor(monkeypatch, fast):
    monkeypatch.setattr(presets, "has_bf16", lambda: fast)
    expected = "bf16" if fast else "float32"
    assert precision_of({}) == precision_of({"precision": "auto"}) == expected
    assert precision_of({"precision": "bf16"}) == "bf16"
    plan = {"model": "fisp", "train": "jiang", "rank": 3, "fingerprints": 100}
    assert build_experiment(plan, Path("x.toml")).training.precision == expected


def test_the_designed_rank_is_the_least_that_keeps_the_bounds():
    model = EpgFisp(jiang_like_train(200))
    prior = model_entry("fisp").make_prior(model.parameters)
    subspace = designed_subspace(model, prior)
    theta = tissue_set(model.parameters, "WM", 8, rng=torch.Generator().manual_seed(2024))
    signal, derivatives = model.linearize(theta)
    derivatives = derivatives[..., :2]
    full = covariance(signal, derivatives).diagonal(dim1=-2, dim2=-1)
    bound = bound_by_rank(signal, derivatives, subspace.basis.double(), [subspace.rank])[0]
    assert float((bound / full).sqrt().median(0).values.max()) <= MOST_LOSS
    assert needed_rank(model, Subspace(subspace.basis[:, :-1].contiguous())) == subspace.rank - 1
    assert subspace.rank < LARGEST
    assert subspace_note(model, subspace) == ""
    thin = Subspace(subspace.basis[:, :2].contiguous())
    assert "a subspace of 2 coefficients does not hold all" in subspace_note(model, thin)


@pytest.mark.parametrize("field", [0.55, 1.5, 7.0])
@pytest.mark.parametrize("kind", ["gbloch", "fisp"])
def test_tissue_at_another_field_relaxes_as_there_and_fluids_stay(kind, field):
    entry = model_entry(kind)
    prior = entry.make_prior(entry.parameters)
    moved = at_field(prior, field)
    rate = "R1f" if kind == "gbloch" else "R1"
    column = entry.parameters.names.index(rate)

    def median(of, tissue):
        rng = torch.Generator().manual_seed(0)
        return float(of.part(tissue, {}).sample(2000, rng=rng)[:, column].median())

    ratio = median(moved, "parenchyma") / median(prior, "parenchyma")
    # Cut at the bounds of the model, which takes something at low field.
    assert ratio == pytest.approx((field / 3) ** -0.38, rel=0.2)
    assert median(moved, "CSF") == median(prior, "CSF")
    assert moved.field_strength == field


@pytest.mark.parametrize("field", [0.064, 0.55])
@pytest.mark.parametrize("kind", ["gbloch", "fisp"])
def test_tissue_at_low_field_has_a_T2_below_its_T1(kind, field):
    entry = model_entry(kind)
    names = entry.parameters.names
    slow, fast = (names.index(name) for name in entry.parameters.names[:3] if name[:2] in "R1R2")
    moved = at_field(entry.make_prior(entry.parameters), field)
    theta = moved.part("parenchyma", {}).sample(500, rng=torch.Generator().manual_seed(0))
    assert (theta[:, fast] >= theta[:, slow]).all()
    like = torch.zeros(1, dtype=torch.float64)
    for tissue in ("WM", "GM"):
        value = tissue_values(entry.parameters, tissue, like, field)
        assert 7 < float(value[fast]) < 13
        assert float(value[fast]) > 1.5 * float(value[slow])


def test_progress_only_rises_and_tells_the_time_that_is_left(tmp_path):
    content = {"model": "fisp", "train": "jiang", "preset": "quick", "rank": 4,
               "basis_fingerprints": 20}  # fmt: skip
    experiment = build_experiment(content, tmp_path / "a.toml")
    said: list[State] = []
    times = iter(range(0, 10_000, 10))
    progress = Meter(experiment, said.append, clock=lambda: next(times)).progress()
    for done in (0, 50, 100):
        progress.simulation(done, 100)
    for step in range(0, 3001, 200):
        progress.training("x", {"step": step})
    for step in range(0, 2501, 500):
        progress.surrogate(step, 0.1)
    for step in range(0, 2501, 500):
        progress.errors(step, 0.1)
    fractions = [state.fraction for state in said]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == pytest.approx(1)
    assert said[0].left is None
    assert said[-1].left == pytest.approx(0, abs=1)
    assert "training, 5" in " ".join(state.words for state in said)
    assert " left" in said[-3].words
    assert [duration(value) for value in (40, 200, 5000)] == ["40 s", "3 min", "83 min"]


def test_a_slow_simulation_does_not_spoil_the_time_left(tmp_path):
    content = {"model": "fisp", "train": "jiang", "preset": "quick", "rank": 4}
    experiment = build_experiment({**content, "basis_fingerprints": 20}, tmp_path / "a.toml")
    left = []
    for simulated in (10.0, 5000.0):  # s; it is taken to be a twentieth of the whole
        now, said = [0.0], list[State]()
        progress = Meter(experiment, said.append, clock=lambda now=now: now[0]).progress()
        for done in (0, 50, 100):
            progress.simulation(done, 100)
            now[0] += simulated / 2
        assert {state.left for state in said} == {None}
        for step in range(0, 1801, 200):
            progress.training("x", {"step": step})
            now[0] += 20
        left.append(said[-1].left)
    assert left[0] == left[1]


@pytest.fixture(scope="module")
def benchmark():
    """The script that measures presets."""
    spec = importlib.util.spec_from_file_location("presets_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_protocols_that_presets_are_measured_on_are_nine_others(benchmark, tmp_path):
    """They are read as files of a user are, and the program ships none of them."""
    digests = {train().digest for train in OWN_TRAINS.values()}
    for name, (model, field_strength, made) in benchmark.PROTOCOLS.items():
        config = benchmark.write_protocol(name, tmp_path / name)
        content = tomllib.loads(config.read_text(encoding="utf-8"))
        protocol = read_protocol(config, content, model_entry(model))
        assert protocol.sequence.digest == made().digest
        assert content["tissue_at"] == field_strength
        digests.add(protocol.sequence.digest)
    assert len(digests) == len(OWN_TRAINS) + 9

"""Training on a problem whose best estimators are known in closed form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from bids_brnn.errors import DataError, ReadError
from bids_brnn.information.noise import add_noise
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.draws import network_inputs
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.networks import NetworkSpec, build_network
from bids_brnn.learning.trainer import train
from bids_brnn.learning.training_set import simulate_fingerprints
from bids_brnn.tensor_files import read_metadata, read_tensors, write_tensors


def _network(**changes):
    options = {"normalisation": "first", "width": 16, "blocks": 1, **changes}
    return build_network(NetworkSpec(2, ("slope",), **options))


def _config(*stages: Stage, **changes) -> TrainingConfig:
    options = {
        "snr_range": (20.0, 20.0), "precision": "float32", "averaging": 0.98,
        "report_every": 100, **changes,
    }  # fmt: skip
    return TrainingConfig(stages, **options)


START = Stage(Loss("mse-crb", mirrored=False), 200, 512, learning_rate=3e-3, warmup=20)


def _reduce(**changes) -> Stage:
    loss = Loss("bias-reduced", **changes)
    return Stage(loss, 400, 512, 4 if loss.gate == "critic" else 8, learning_rate=3e-3, warmup=20)


def _slope(network, line) -> tuple[float, float]:
    """Slope of the mean estimate against the truth, and mean variance over the bound."""
    truth = torch.linspace(-0.1, 0.1, 9)[:, None]
    rng = torch.Generator().manual_seed(1)
    data = add_noise(line.model(truth).expand(5000, 9, 2), line.snr, rng=rng)
    with torch.no_grad():
        estimates = network(network_inputs(network, data, truth, line.model.parameters))
    slope = (estimates.mean(0) * truth).sum() / truth.square().sum()
    return float(slope), float((estimates.var(0) * line.snr**2).mean())


@pytest.fixture(scope="module")
def posterior_mean(line):
    return train(_network(), line.data, line.model.parameters, _config(START)).network


def test_mse_crb_finds_the_posterior_mean(posterior_mean, line):
    slope, spread = _slope(posterior_mean, line)
    # prior variance over (prior variance + noise variance) = 1/2; a short training errs by 3 %
    assert slope == pytest.approx(0.5, abs=0.03)
    assert spread == pytest.approx(0.25, abs=0.03)


def test_bias_reduced_finds_the_unbiased_estimator_with_four_realisations(line):
    result = train(_network(), line.data, line.model.parameters, _config(START, _reduce()))
    slope, spread = _slope(result.network, line)
    assert 0.9 < slope < 1.03
    assert spread < 1.05
    assert result.draws == 200 * 512 + 400 * 512 * 4


def test_efficient_regression_finds_the_efficient_estimator_with_one_realisation(line):
    data = simulate_fingerprints(line.model, line.data.theta, with_gain=True)
    stage = Stage(Loss("efficient", weight=0.0), 300, 512, learning_rate=3e-3, warmup=20)
    result = train(_network(), data, line.model.parameters, _config(stage))
    slope, spread = _slope(result.network, line)
    # from scratch, with a fraction of the draws of bias-reduced
    assert slope == pytest.approx(1.0, abs=0.03)
    assert spread == pytest.approx(1.0, abs=0.05)
    assert result.draws == 300 * 512


def test_the_efficient_loss_needs_gains(line):
    stage = Stage(Loss("efficient", weight=0.0), 3, 64)
    with pytest.raises(DataError, match="with_gain"):
        train(_network(), line.data, line.model.parameters, _config(stage))


def test_a_hinge_on_a_noisy_variance_stays_biased(line):
    config = _config(START, _reduce(gate="halves", mirrored=False))
    slope, _ = _slope(train(_network(), line.data, line.model.parameters, config).network, line)
    assert 0.7 < slope < 0.88  # twice the draws of the test above


@pytest.mark.parametrize("optimiser", ["adamw", "radam"])
def test_other_optimisers_learn_too(line, optimiser):
    config = _config(replace(START, optimiser=optimiser, learning_rate=1e-2))
    slope, _ = _slope(train(_network(), line.data, line.model.parameters, config).network, line)
    assert slope == pytest.approx(0.5, abs=0.06)


def test_batch_normalisation_and_bounded_heads_are_trained_and_averaged(line):
    network = _network(layout="nested", lower=(-0.5,), upper=(0.5,))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stage = replace(START, steps=4, batch=64, optimiser="radam", decay="inverse")
    result = train(network, line.data, line.model.parameters, _config(stage, averaging=0.5))
    after = result.network.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert any("running_mean" in name for name in changed)
    # the weights of the first layer reach the loss through every skip
    assert {"body.0.inner.0.weight", "body.4.weight", "body.4.bias"} <= set(changed)


def test_the_same_seed_gives_the_same_weights(line):
    config = _config(replace(START, steps=5), replace(_reduce(), steps=5))
    one, other = (
        train(_network(), line.data, line.model.parameters, config).network for _ in range(2)
    )
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    changed = train(_network(), line.data, line.model.parameters, replace(config, seed=1)).network
    assert not torch.equal(changed.body.leave.weight, one.body.leave.weight)


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(line, tmp_path, optimiser):
    stages = [replace(stage, steps=6, optimiser=optimiser) for stage in (START, _reduce())]
    config = _config(*stages, report_every=4)
    whole = train(_network(), line.data, line.model.parameters, config, held_out=line.data)
    path = tmp_path / "state.safetensors"
    for _ in range(4):  # stops in the middle of stages and at their border
        parts = train(
            _network(), line.data, line.model.parameters, config,
            held_out=line.data, checkpoint=path, max_steps=3,
        )  # fmt: skip
    torch.testing.assert_close(
        parts.network.state_dict(), whole.network.state_dict(), rtol=0, atol=0
    )
    assert parts.draws == whole.draws
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.history]
            for run in (parts, whole)]  # fmt: skip
    assert rows[0] == rows[1]
    assert len(rows[0]) == 3


def test_a_stage_may_be_added_to_a_finished_training(line, tmp_path):
    stages = [replace(stage, steps=4) for stage in (START, _reduce(), _reduce())]
    path = tmp_path / "state.safetensors"
    whole = train(_network(), line.data, line.model.parameters, _config(*stages))
    train(_network(), line.data, line.model.parameters, _config(*stages[:2]), checkpoint=path)
    longer = train(_network(), line.data, line.model.parameters, _config(*stages), checkpoint=path)
    torch.testing.assert_close(
        longer.network.state_dict(), whole.network.state_dict(), rtol=0, atol=0
    )
    assert longer.draws == whole.draws
    with pytest.raises(DataError, match="another training configuration"):
        train(_network(), line.data, line.model.parameters, _config(*stages[:2]), checkpoint=path)


def test_a_training_goes_on_in_the_arithmetic_of_another_processor(line, tmp_path):
    path, parts = tmp_path / "state.safetensors", (line.data, line.model.parameters)
    short, long = (_config(*[replace(START, steps=2)] * n) for n in (1, 2))
    train(_network(), *parts, replace(short, precision="bf16"), checkpoint=path)
    gone_on = train(_network(), *parts, replace(long, precision="float32"), checkpoint=path)
    assert gone_on.draws == 2 * train(_network(), *parts, short).draws


def test_a_checkpoint_of_another_configuration_is_refused(line, tmp_path):
    path = tmp_path / "state.safetensors"
    config = _config(replace(START, steps=2))
    train(_network(), line.data, line.model.parameters, config, checkpoint=path)
    with pytest.raises(DataError, match="another training configuration"):
        train(
            _network(), line.data, line.model.parameters, replace(config, seed=3), checkpoint=path
        )
    with pytest.raises(DataError, match="other fingerprints"):
        train(
            _network(), line.data, line.model.parameters, config, checkpoint=path, data_key="new"
        )
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ReadError, match="not a checkpoint"):
        train(_network(), line.data, line.model.parameters, config, checkpoint=path)


def test_a_focus_moves_the_optimum_of_a_biased_loss(line):
    # The posterior mean of a prior that lies in one place: with half of all draws at 0.1 the
    # estimates shrink towards it, and less than before towards zero.
    theta = torch.full((64, 1), 0.1)
    focus = simulate_fingerprints(line.model, theta)
    parameters = line.model.parameters
    stage = replace(START, focus=0.5)
    network = train(_network(), line.data, parameters, _config(stage), focus=focus).network
    plain = train(_network(), line.data, parameters, _config(START)).network
    rng = torch.Generator().manual_seed(1)
    noisy = add_noise(focus.coefficients[:1].expand(20000, 2), line.snr, rng=rng)
    rows = theta[:1].expand(20000, 1)
    biases = []
    for found in (plain, network):
        with torch.no_grad():
            estimates = found(network_inputs(found, noisy, rows, parameters))
        biases.append(float(estimates.mean()) - 0.1)
    assert biases[0] < 2 * biases[1] < 0
    with pytest.raises(DataError, match="no fingerprints in focus"):
        train(_network(), line.data, parameters, _config(stage))


def test_the_focus_may_change_until_it_was_used(line, tmp_path):
    parameters = line.model.parameters
    stages = (replace(START, steps=2), replace(START, steps=2, focus=0.5))
    for path, upto in ((tmp_path / "before", 2), (tmp_path / "within", 3)):
        settings = {"focus": line.data, "checkpoint": path}
        train(
            _network(), line.data, parameters, _config(*stages), max_steps=upto, focus_key="old",
            **settings,
        )  # fmt: skip
        if upto == 2:
            found = train(
                _network(), line.data, parameters, _config(*stages), focus_key="new", **settings
            )
            assert found.draws == 4 * START.batch
        else:
            with pytest.raises(DataError, match="or focus changed"):
                train(
                    _network(), line.data, parameters, _config(*stages), focus_key="new",
                    **settings,
                )  # fmt: skip


def test_live_curves_name_every_output(line):
    rows = []
    config = _config(replace(START, steps=4), report_every=2)
    train(
        _network(), line.data, line.model.parameters, config, held_out=line.data, log=rows.append
    )
    assert [row["step"] for row in rows] == [2, 4]
    for key in ("loss", "slope_squared_bias_over_crb", "slope_variance_over_crb", "learning_rate"):
        assert key in rows[0]


def test_a_loss_that_diverges_is_reported(line):
    data = replace(line.data, bound=torch.full_like(line.data.bound, torch.nan))
    with pytest.raises(DataError, match="lower learning_rate"):
        train(_network(), data, line.model.parameters, _config(replace(START, steps=3)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stages": [{"loss": "bias-reduced", "steps": 5, "realisations": 2}]}, "at least 4"),
        ({"stages": [{"loss": "mse", "steps": 5, "realisations": 3}]}, "come in pairs"),
        ({"stages": [{"loss": "mse", "steps": 5, "focus": 1}]}, "from 0 to below 1"),
        ({"stages": [{"loss": "mse", "steps": 5, "epochs": 3}]}, "stage 1: unknown key epochs"),
        ({"stages": [{"loss": {"name": "mse", "power": 2}, "steps": 5}]}, "unknown key power"),
        ({"stages": [{"loss": "mse", "steps": 5, "decay": "steps"}]}, "decay must be one of"),
        ({"stages": [{"loss": "mse"}]}, "steps"),
        ({"stages": [], "seed": 1}, "at least one"),
        ({"stages": [{"loss": "mse", "steps": 5}], "snr_range": [0, 5]}, "0 < low"),
    ],
)
def test_impossible_configurations_are_refused(values, words):
    with pytest.raises(DataError, match=words):
        TrainingConfig.from_dict(values)


def test_a_configuration_survives_json_types():
    config = _config(START, _reduce())
    assert TrainingConfig.from_dict(config.to_dict()) == config


def test_learning_rates_rise_then_fall():
    stage = Stage(Loss("mse"), 100, learning_rate=1.0, warmup=10)
    assert stage.rate(0) == pytest.approx(0.1)
    assert stage.rate(99) < 1e-3
    assert replace(stage, horizon=200).rate(99) == pytest.approx(0.5, abs=0.01)
    flat = replace(stage, decay="none")
    assert flat.rate(50) == 1.0
    published = replace(stage, decay="inverse", decay_rate=0.01, warmup=0)
    assert published.rate(50) == pytest.approx(1 / 1.5)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rng", torch.zeros(9), "no state of the random generator"),
        ("optimiser.1.0.step", torch.tensor(1e30), "moments of other weights"),
        ("optimiser.1.99.step", torch.tensor(1.0), "moments of other weights"),
        ("optimiser.0.0.exp_avg", torch.zeros(3), "moments of other weights"),
        ("network.more", torch.zeros(3), "a network of another shape"),
    ],
)
def test_a_checkpoint_that_somebody_changed_is_refused(line, tmp_path, key, value, words):
    path = tmp_path / "state.safetensors"
    config = _config(replace(START, steps=4))
    train(_network(), line.data, line.model.parameters, config, checkpoint=path, max_steps=2)
    tensors, about = read_tensors(path), read_metadata(path)
    write_tensors(path, {**tensors, key: value}, about)
    with pytest.raises(ReadError, match=words):
        train(_network(), line.data, line.model.parameters, config, checkpoint=path)
    for note in ({"step": -1}, {"step": "1"}, {"loss": []}, {"history": 3}, {"config": []}):
        changed = {"note": json.dumps({**json.loads(about["note"]), **note})}
        write_tensors(path, tensors, changed)
        with pytest.raises(ReadError, match=r"checkpoint|losses"):
            train(_network(), line.data, line.model.parameters, config, checkpoint=path)

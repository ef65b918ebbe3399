"""Networks: shapes, published size, invariance, limits."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.learning.networks import NetworkSpec, build_network, count_weights

OUTPUTS = ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s", "w0", "B1")


def _coefficients(n: int, rank: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.view_as_complex(torch.randn(n, rank, 2, generator=rng))


def test_the_nested_layout_has_the_published_number_of_weights():
    spec = NetworkSpec(
        15, OUTPUTS, layout="nested", normalisation="first", lower=(0.0,) * 8, upper=(1.0,) * 8
    )
    # counted in the published layout: physics/qmt_signal_model.md section 8
    assert count_weights(build_network(spec)) == 2_187_138


def test_the_residual_layout_is_four_times_smaller():
    assert count_weights(build_network(NetworkSpec(15, OUTPUTS))) == pytest.approx(537e3, rel=0.01)


@pytest.mark.parametrize("normalisation", ["first", "norm"])
def test_a_complex_factor_on_the_coefficients_changes_no_input(normalisation):
    network = build_network(NetworkSpec(5, ("R1",), normalisation=normalisation, width=8))
    data = _coefficients(20, 5)
    # float32 round-off of numbers near one
    torch.testing.assert_close(
        network.prepare(data, {}), network.prepare(data * (3e4 - 2e4j), {}), rtol=0, atol=3e-5
    )


def test_logarithmic_outputs_are_positive_and_standardised_as_logarithms():
    spec = NetworkSpec(4, ("m0s", "R2f"), logarithmic=("R2f",), width=8)
    network = build_network(spec)
    truth = torch.stack([torch.linspace(-1, 1, 50), torch.logspace(-1, 2, 50)], dim=-1)
    inputs = network.prepare(_coefficients(50, 4), {})
    network.standardise(inputs, truth)
    assert float(network.output_centre[1]) == pytest.approx(0.5 * 2.302585, rel=1e-5)
    with torch.no_grad():
        found = network(inputs)
        far = network(1e6 * inputs)
    assert (found[:, 1] > 0).all()
    assert torch.isfinite(far).all()
    again = build_network(NetworkSpec.from_dict(spec.to_dict()))
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(inputs), network(inputs), rtol=0, atol=0)


def test_logarithms_of_unknown_outputs_or_bounded_heads_are_refused():
    with pytest.raises(DataError, match="R2f: they must be outputs"):
        NetworkSpec(4, ("m0s",), logarithmic=("R2f",))
    with pytest.raises(DataError, match="residual layout"):
        NetworkSpec(4, ("R2f",), layout="nested", lower=(0.0,), upper=(1.0,), logarithmic=("R2f",))


def _rotating(n: int, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Signals whose phase grows from coefficient to coefficient, and the rate of it."""
    rng = torch.Generator().manual_seed(seed)
    rate = 2 * torch.rand(n, generator=rng) - 1
    noise = torch.view_as_complex(0.05 * torch.randn(n, rank, 2, generator=rng))
    return torch.exp(1j * rate[:, None] * torch.arange(rank)) + noise, rate


def test_a_conjugated_signal_gives_the_same_but_for_the_odd_output():
    spec = NetworkSpec(4, ("m0s", "w0"), odd="w0", width=8)
    network = build_network(spec)
    data, rate = _rotating(4000, 4, 0)
    truth = torch.stack([torch.rand(4000), 300 * rate], dim=-1)
    network.standardise(network.prepare(data, {}), truth)
    fresh, rate = _rotating(500, 4, 1)
    with torch.no_grad():
        found = network(network.prepare(fresh, {}))
        other = network(network.prepare(fresh.conj(), {}))
    mirror = torch.tensor([1.0, -1.0])
    # norm and phase of c and of its conjugate are rounded separately
    torch.testing.assert_close(other, found * mirror, rtol=1e-4, atol=1e-3)
    # the fold tells the sign, so that the learnt half starts near the mean of |w0|
    assert ((found[:, 1] > 0) == (rate > 0)).double().mean() > 0.9
    assert network.standardised(network.prepare(fresh, {})).mean().abs() < 0.1
    again = build_network(NetworkSpec.from_dict(spec.to_dict()))
    again.load_state_dict(network.state_dict())
    inputs = network.prepare(fresh, {})
    torch.testing.assert_close(again(inputs), network(inputs), rtol=0, atol=0)


def test_an_odd_output_must_be_one_of_the_residual_layout():
    with pytest.raises(DataError, match="odd output w0"):
        NetworkSpec(4, ("m0s",), odd="w0")
    with pytest.raises(DataError, match="odd output w0"):
        NetworkSpec(4, ("w0",), layout="nested", lower=(0.0,), upper=(1.0,), odd="w0")


def test_supplied_values_are_the_last_inputs():
    network = build_network(NetworkSpec(3, ("R1",), supplied=("B1",), width=8))
    b1 = torch.tensor([0.8, 1.2])
    inputs = network.prepare(_coefficients(2, 3), {"B1": b1})
    assert inputs.shape == (2, 7)
    torch.testing.assert_close(inputs[:, -1], b1)


def test_bounded_heads_stay_within_their_limits():
    spec = NetworkSpec(4, ("a", "b"), layout="nested", lower=(0.1, -2.0), upper=(0.3, -1.0))
    network = build_network(spec)
    outputs = network(50 * torch.randn(64, 8, generator=torch.Generator().manual_seed(1)))
    assert (outputs >= torch.tensor([0.1, -2.0])).all()
    assert (outputs <= torch.tensor([0.3, -1.0])).all()
    assert outputs.std(0).min() > 0


def test_standardised_ends_map_spread_to_one_and_ignore_constant_columns():
    network = build_network(NetworkSpec(2, ("T2s",), width=8))
    rng = torch.Generator().manual_seed(2)
    inputs = 3 + 0.1 * torch.randn(5000, 4, generator=rng)
    inputs[:, 0] = 1.0
    truth = 1e-5 + 2e-6 * torch.randn(5000, 1, generator=rng)
    network.standardise(inputs, truth)
    standard = (inputs - network.input_centre) / network.input_scale
    torch.testing.assert_close(standard[:, 1:].std(0), torch.ones(3), rtol=1e-4, atol=0)
    assert standard[:, 0].abs().max() == 0
    # outputs start near the mean of the truth, in its own units
    assert (network(inputs) - 1e-5).abs().max() < 1e-4


def test_half_precision_keeps_the_ends_in_float32():
    network = build_network(NetworkSpec(6, OUTPUTS[:6], width=32, blocks=3)).eval()
    inputs = torch.randn(256, 12, generator=torch.Generator().manual_seed(3))
    exact = network(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(inputs)
    assert half.dtype == torch.float32
    error = ((half - exact).std(0) / exact.std(0)).max()
    # bf16 has 8 bits: 0.4 % per product, averaged over the width; 0 would mean it was not used
    assert 0 < error < 0.02


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    spec = NetworkSpec(3, ("R1",), width=8)
    one, other = build_network(spec, seed=1), build_network(spec, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(one.state_dict(), other.state_dict())
    assert not torch.equal(build_network(spec, seed=2).body.enter.weight, one.body.enter.weight)


def test_a_description_survives_json_types():
    spec = NetworkSpec(
        4, ("a", "b"), ("B1",), "first", "nested", lower=(0.0, 1.0), upper=(1.0, 2.0)
    )
    assert NetworkSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout": "transformer"}, "residual or nested"),
        ({"layout": "nested"}, "one lower and one upper limit"),
        ({"width": 0}, "above zero"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_impossible_descriptions_are_refused(changes, words):
    with pytest.raises(DataError, match=words):
        NetworkSpec.from_dict({"n_coefficients": 4, "outputs": ["a"], **changes})

"""The contract of estimators, uncertainty and distrust of the network estimator.

The network here is a linear map with known Jacobian, so that every number can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from bids_brnn.errors import DataError, ParameterError
from bids_brnn.estimators.base import Estimator
from bids_brnn.estimators.network.devices import on_device
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.learning.networks import NetworkSpec, build_network
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.signals.base import SignalModel, forward_derivatives
from bids_brnn.signals.supplied import SuppliedModel

N = 40


def _parameter(name: str, low: float, high: float, role) -> Parameter:
    return Parameter(MapItem(name, "1", "QMTmap", name), low, high, (low + high) / 2, role)


@dataclass(frozen=True)
class Polynomial:
    """Coefficients (1, a, b, gain * a * b) of a signal at M0 = 1."""

    parameters: ParameterSet = field(
        default=ParameterSet(
            (
                _parameter("a", -2, 2, "estimated"),
                _parameter("b", -2, 2, "nuisance"),
                _parameter("gain", 0.5, 1.5, "supplied"),
            )
        )
    )
    n_samples: int = 4

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        a, b, gain = theta.unbind(-1)
        signal = torch.stack([torch.ones_like(a), a, b, gain * a * b], dim=-1)
        signal = torch.complex(signal, torch.zeros_like(signal))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return forward_derivatives(lambda values: self(values, basis), theta)


@dataclass(frozen=True)
class Spec:
    outputs: tuple[str, ...] = ("a", "b")
    supplied: tuple[str, ...] = ("gain",)
    n_coefficients: int = 4
    scale: str = "complex"


class Ratios:
    """Reads a and b off the coefficients: the shape of a trained network."""

    spec = Spec()

    def prepare(self, coefficients: Tensor, supplied) -> Tensor:
        ratios = (coefficients[..., 1:3] / coefficients[..., :1]).real
        return torch.cat([ratios, supplied["gain"][..., None]], dim=-1)

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs[..., :2]


@pytest.fixture
def truth() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(N, 3, generator=rng, dtype=torch.float64) + torch.tensor([-0.5, -0.5, 0.5])


def _data(truth: Tensor, sigma: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    signal = Polynomial()(truth)
    scale = torch.polar(1 + truth[:, 0].abs(), truth[:, 1])[:, None]
    noise = torch.randn((*signal.shape, 2), generator=rng, dtype=torch.float64)
    return scale * signal + sigma * torch.view_as_complex(noise), {"gain": truth[:, 2]}


def _estimator(**options) -> NetworkEstimator:
    return NetworkEstimator(Ratios(), Polynomial(), **options)


def test_it_keeps_the_protocol_and_finds_the_truth(truth):
    estimator = _estimator()
    assert isinstance(estimator, Estimator)
    assert isinstance(estimator.model, SignalModel)
    assert estimator.name == "brnn"
    data, supplied = _data(truth)
    result = estimator.estimate(data, supplied)
    # arithmetic is in float32; results follow the precision of the data
    torch.testing.assert_close(result.theta, truth, rtol=1e-5, atol=1e-6)
    assert (result.theta.dtype, result.m0.dtype) == (torch.float64, torch.complex128)
    expected = torch.polar(1 + truth[:, 0].abs(), truth[:, 1])
    torch.testing.assert_close(result.m0, expected, rtol=1e-5, atol=0)
    assert result.residual.max() < 1e-5
    single = estimator.estimate(data.to(torch.complex64), supplied)
    assert (single.theta.dtype, single.m0.dtype) == (torch.float32, torch.complex64)


@pytest.mark.parametrize("factor", [1e-9, 1e9, 3.0j, -0.2 + 0.7j])
def test_a_complex_factor_changes_m0_only(truth, factor):
    data, supplied = _data(truth, 0.01)
    plain = _estimator().estimate(data, supplied)
    scaled = _estimator().estimate(data * factor, supplied)
    for name in ("theta", "residual", "std"):  # float32 round-off
        torch.testing.assert_close(
            getattr(scaled, name), getattr(plain, name), rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(scaled.m0, plain.m0 * factor, rtol=1e-5, atol=0)


def test_order_split_and_block_size_do_not_matter(truth):
    data, supplied = _data(truth, 0.02)
    whole = _estimator().estimate(data, supplied)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    shuffled = _estimator(block_size=7).estimate(data[order], {"gain": supplied["gain"][order]})
    torch.testing.assert_close(shuffled.theta, whole.theta[order], rtol=1e-6, atol=0)
    torch.testing.assert_close(shuffled.std, whole.std[order], rtol=1e-5, atol=0)
    one = _estimator().estimate(data[3:4], {"gain": supplied["gain"][3:4]})
    torch.testing.assert_close(one.theta, whole.theta[3:4], rtol=1e-6, atol=0)


def test_bad_voxels_are_nan_there_and_nowhere_else(truth):
    data, supplied = _data(truth, 0.02)
    clean = _estimator().estimate(data, supplied)
    data[3, 1] = torch.nan
    data[5] = 0
    data[7, 0] = torch.inf
    supplied["gain"] = supplied["gain"].clone()
    supplied["gain"][9] = 7.0  # outside the bounds
    result = _estimator().estimate(data, supplied)
    bad = torch.zeros(N, dtype=torch.bool)
    bad[[3, 5, 7, 9]] = True
    for name in ("theta", "std", "residual", "m0"):
        values = getattr(result, name).reshape(N, -1)
        assert torch.isnan(values[bad]).all(), name
        torch.testing.assert_close(values[~bad], getattr(clean, name).reshape(N, -1)[~bad])
    assert torch.isnan(result.quality["distance"][bad]).all()


def test_estimates_stay_within_the_bounds(truth):
    data, supplied = _data(truth)
    data[:, 1] *= 100
    theta = _estimator().estimate(data, supplied).theta
    assert theta[:, 0].abs().max() == 2.0


def test_what_the_network_has_no_input_for_is_refused(truth):
    data, supplied = _data(truth, 0.01)
    known = {**supplied, "b": truth[:, 1]}
    refused = pytest.raises(DataError, match="the network has no input for b,")
    with refused:
        _estimator().estimate(data, known)
    with refused:
        _estimator().residual_energy(data, known, sigma=0.01)
    with refused:
        _tested().covariance(data, known, sigma=0.01)
    with refused:
        NetworkEstimator(Ratios(), SuppliedModel(Polynomial(), ("b",)))


class Fixed(Ratios):
    """Without an input for the gain, which it takes for its start value."""

    spec = Spec(supplied=())

    def prepare(self, coefficients: Tensor, supplied) -> Tensor:
        return (coefficients[..., 1:3] / coefficients[..., :1]).real


def test_a_constant_that_the_network_takes_for_granted_may_be_supplied(truth):
    data, _ = _data(truth)
    estimator = NetworkEstimator(Fixed(), Polynomial(), nuisance_steps=0)
    same, start = torch.ones(N), Polynomial().parameters["gain"].start
    found = estimator.estimate(data, {"gain": same * start})
    torch.testing.assert_close(found.theta, estimator.estimate(data).theta)
    with pytest.raises(DataError, match="the network has no input for gain,"):
        estimator.estimate(data, {"gain": same * start * 1.01})


def test_least_squares_that_begin_at_a_network_may_know_more_than_it(truth):
    data, supplied = _data(truth)
    known = {**supplied, "b": truth[:, 1]}
    found = NllsEstimator(Polynomial(), start=_estimator()).estimate(data, known)
    torch.testing.assert_close(found.theta, truth, rtol=1e-6, atol=1e-6)
    assert found.quality["starts"].max() == 1


def test_absent_supplied_values_take_their_start_value(truth):
    data, _ = _data(truth)
    assert (_estimator().estimate(data).theta[:, 2] == 1.0).all()


def test_the_standard_deviation_is_that_of_the_estimator(truth):
    sigma = 0.01
    data, supplied = _data(truth)
    result = _estimator().estimate(data, supplied, sigma=sigma)
    # a = Re(y1 / y0): variance sigma^2 (1 + a^2) / |m0|^2
    expected = sigma * (1 + truth[:, :2].square()).sqrt() / result.m0.abs()[:, None]
    torch.testing.assert_close(result.std[:, :2], expected, rtol=1e-4, atol=0)
    draws = torch.stack(
        [
            _estimator().estimate(data + sigma * torch.view_as_complex(noise), supplied).theta
            for noise in torch.randn(
                300, N, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
            )
        ]
    )
    ratio = (draws.std(0)[:, :2] / result.std[:, :2]).mean()
    assert float(ratio) == pytest.approx(1.0, abs=0.02)


def test_without_sigma_the_residual_tells_the_noise(truth):
    data, supplied = _data(truth, 0.01)
    known = _estimator().estimate(data, supplied, sigma=0.01).std
    found = _estimator().estimate(data, supplied).std
    # 4 degrees of freedom per voxel: the mean of 40 is known to 10 %
    assert float((found / known)[:, 0].square().mean()) == pytest.approx(1.0, abs=0.35)


def test_the_bound_can_be_reported_instead(truth):
    data, supplied = _data(truth)
    result = _estimator(spread="bound").estimate(data, supplied, sigma=0.02)
    bound = cramer_rao_bound(Polynomial(), truth).sqrt() * 0.02 / result.m0.abs()[:, None]
    torch.testing.assert_close(result.std[:, :2], bound[:, :2], rtol=1e-3, atol=0)
    assert _estimator(spread="none").estimate(data, supplied).std is None


def test_the_distance_tells_data_that_the_model_does_not_explain(truth):
    data, supplied = _data(truth, 0.01)
    estimator = _estimator(typical_residual=0.01)
    usual = estimator.estimate(data, supplied, sigma=0.01).quality["distance"]
    assert float((usual > 1).double().mean()) < 0.1
    strange = data.clone()
    strange[:, 3] += 0.5 * data[:, 0]
    found = estimator.estimate(strange, supplied, sigma=0.01).quality["distance"]
    assert (found > 1).all()
    # without a noise level, the lowest SNR of training is the excuse
    excused = _estimator(lowest_snr=1.0).estimate(strange, supplied).quality["distance"]
    assert float((excused > 1).double().mean()) < 0.1


def test_a_rotation_is_undone_first(truth):
    data, supplied = _data(truth, 0.01)
    rng = torch.Generator().manual_seed(4)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=rng, dtype=torch.float64))[0]
    turn = turn.to(torch.complex128)
    plain = _estimator().estimate(data, supplied)
    turned = _estimator(rotation=turn.mH).estimate(data @ turn, supplied)
    torch.testing.assert_close(turned.theta, plain.theta, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(turned.std, plain.std, rtol=1e-3, atol=0)


def test_nuisances_are_fitted_to_the_signal_and_estimated_parameters_are_not(truth):
    class Careless(Ratios):
        def __call__(self, inputs):
            return inputs[..., :2] + torch.tensor([0.01, 0.3])

    data, supplied = _data(truth)
    result = NetworkEstimator(Careless(), Polynomial(), nuisance_steps=3).estimate(data, supplied)
    torch.testing.assert_close(result.theta[:, 0], truth[:, 0] + 0.01, rtol=0, atol=1e-5)
    error = (result.theta[:, 1] - truth[:, 1]).abs()
    assert error.max() < 0.02  # 0.3 before; what is left answers for the error of the other
    assert result.residual.max() < 0.02
    raw = NetworkEstimator(Careless(), Polynomial(), nuisance_steps=0).estimate(data, supplied)
    torch.testing.assert_close(raw.theta[:, 1], truth[:, 1] + 0.3, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_any_scale_of_single_precision(truth, scale):
    data, supplied = _data(truth, 0.01)
    plain = _estimator().estimate(data.to(torch.complex64), supplied)
    scaled = _estimator().estimate((data * scale).to(torch.complex64), supplied)
    # Numbers as small as 1e-40 have five digits.
    tolerance = 1e-2 if scale == 1e-40 else 1e-5
    torch.testing.assert_close(scaled.theta, plain.theta, rtol=tolerance, atol=1e-3 * tolerance)
    assert torch.isfinite(scaled.m0.abs()).all()


def test_weights_go_where_the_data_are_and_those_that_were_given_stay():
    network = build_network(NetworkSpec(4, ("a",), width=4, blocks=1))
    surrogate = SurrogateModel(SurrogateNetwork(3, 4, 4, 1), Polynomial().parameters)
    here, there = torch.device("cpu"), torch.device("meta")
    assert on_device(network, here) is network
    assert on_device(surrogate, here) is surrogate
    for part in (Ratios(), Polynomial()):
        assert on_device(part, there) is part
    assert {weight.device for weight in on_device(network, there).parameters()} == {there}
    moved = on_device(surrogate, there)
    assert moved.network.level.device == there
    assert moved.parameters is surrogate.parameters
    assert {weight.device for weight in network.parameters()} == {here}
    assert surrogate.network.level.device == here


def test_progress_counts_voxels(truth):
    data, supplied = _data(truth)
    seen = []
    _estimator(block_size=16).estimate(data, supplied, progress=lambda *done: seen.append(done))
    assert seen == [(16, N), (32, N), (N, N)]


def test_wrong_data_are_refused(truth):
    data, supplied = _data(truth)
    with pytest.raises(DataError, match=r"\(voxels, 4\)"):
        _estimator().estimate(data[:, :3], supplied)
    with pytest.raises(DataError, match="40 voxels"):
        _estimator().estimate(data, {"gain": supplied["gain"][:3]})
    with pytest.raises(ParameterError, match="unknown parameter c"):
        _estimator().estimate(data, {"c": supplied["gain"]})
    with pytest.raises(DataError, match="block_size"):
        _estimator(block_size=0)


def test_a_network_for_another_number_of_coefficients_is_refused():
    network = Ratios()
    network.spec = Spec(n_coefficients=5)
    with pytest.raises(DataError, match="takes 5 coefficients"):
        NetworkEstimator(network, Polynomial())


def test_values_beyond_training_are_told_unless_noise_explains_them(truth):
    data, supplied = _data(truth)
    narrow = {"a": (-2.0, 0.2)}
    found = _estimator(support=narrow, spread="none").estimate(data, supplied)
    torch.testing.assert_close(found.quality["edge"] > 0, truth[:, 0] > 0.2 + 1e-3)
    assert _estimator().estimate(data, supplied).quality["edge"].sum() == 0
    # at a noise of 0.5 no value of at most 0.5 is beyond 0.2
    noisy = _estimator(support=narrow).estimate(data, supplied, sigma=1.0)
    assert noisy.quality["edge"].sum() == 0


class Known:
    """Errors of ``Ratios``: as small as the noise."""

    def deviations(self, features: Tensor, noise: Tensor) -> Tensor:
        return noise[:, None].expand(-1, 2) * 1.2

    def covariance(self, features: Tensor, noise: Tensor) -> Tensor:
        return torch.diag_embed(self.deviations(features, noise).square())


class Told(Ratios):
    """The same with features for an error network."""

    def with_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self(inputs), inputs


def _tested(**options) -> NetworkEstimator:
    options = {"errors": Known(), "error_names": ("a",), "exact": Polynomial(), **options}
    return NetworkEstimator(Told(), Polynomial(), **options)


def test_noise_is_marked_at_the_stated_rate_and_misfit_is_marked(truth):
    data, supplied = _data(truth.repeat(50, 1), 0.02)
    found = _tested().estimate(data, supplied, sigma=0.02).quality["distance"]
    # 2000 voxels at 0.5 %: 10 expected; above 1 % with a probability of 0.002
    assert float((found > 1).double().mean()) < 0.01
    data[:, 3] += 0.4 * data[:, 0]
    found = _tested().estimate(data, supplied, sigma=0.02).quality["distance"]
    assert float((found > 1).double().mean()) > 0.99


class Deaf(Told):
    """Says that b is 0, whatever the data are."""

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs[..., :2] * torch.tensor([1.0, 0.0])


class Gifted(Deaf):
    """The same with an input for b, which it leaves aside."""

    spec = Spec(supplied=("gain", "b"))


@pytest.mark.parametrize("network", [Gifted(), Deaf()])
def test_nuisances_beyond_training_are_told_though_the_estimate_is_within(truth, network):
    data, supplied = _data(truth)
    known = "b" in network.spec.supplied
    supplied |= {"b": truth[:, 1]} if known else {}
    estimator = _tested(support={"b": (-2.0, 0.1)}, nuisance_steps=0)
    found = replace(estimator, network=network).estimate(data, supplied, sigma=0.001)
    assert (found.quality["distance"] < 1).all()
    if not known:
        assert (found.theta[:, 1] == 0).all()
    torch.testing.assert_close(found.quality["edge"] > 0, truth[:, 1] > 0.1)


def test_what_nothing_explains_is_not_told_to_lie_beyond_training(truth):
    data, supplied = _data(truth)
    data[:, 3] += 0.4 * data[:, 0]
    estimator = replace(_tested(support={"b": (0.0, 0.0)}, nuisance_steps=0), network=Deaf())
    found = estimator.estimate(data, supplied, sigma=0.001)
    assert (found.quality["distance"] > 1).all()
    assert not found.quality["edge"].any()


def test_another_noise_for_the_test_leaves_everything_else(truth):
    data, supplied = _data(truth, 0.02)
    plain = _tested().estimate(data, supplied, sigma=0.02)
    other = _tested().estimate(data, supplied, sigma=0.02, test_noise=torch.full((N,), 0.04))
    torch.testing.assert_close(other.std, plain.std)
    assert (other.quality["distance"] < plain.quality["distance"]).all()


def test_noise_excuses_no_more_than_noise_of_training(truth):
    data, supplied = _data(truth, 0.02)
    data[:, 3] += 0.4 * data[:, 0]
    sigma = torch.full((N,), 1.0)
    excused = _tested().estimate(data, supplied, sigma=sigma).quality["distance"]
    assert (excused < 1).all()
    for freedom in (None, 3.0):
        quiet = _tested(freedom=freedom, lowest_snr=30.0)
        assert (quiet.estimate(data, supplied, sigma=sigma).quality["distance"] > 1).any()


class Faint(Polynomial):
    """A hundredth of its signal, so that M0 is found a hundred times as large."""

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        return super().__call__(theta, basis) / 100


@pytest.mark.parametrize("known", [False, True])
def test_mere_noise_is_no_tissue_of_almost_no_signal(truth, known):
    many = truth.repeat(50, 1)
    tissue, supplied = _data(many, 1 / 60)
    noise = _data(0 * many, 1.0)[0] - Polynomial()(0 * many)

    def flagged(data: Tensor, sigma: float, least_signal: float) -> float:
        estimator = _tested(exact=Faint(), lowest_snr=30.0, least_signal=least_signal)
        found = replace(estimator, model=Faint()).estimate(
            data, supplied, sigma=sigma if known else None
        )
        return float((found.quality["distance"] > 1).double().mean())

    assert flagged(noise, 1.0, 0.0) < 0.2  # its M0 is as large as that of tissue
    assert flagged(noise, 1.0, 1.0) > 0.9
    assert flagged(tissue, 1 / 60, 1.0) < 0.01


class Unwanted(Polynomial):
    """An exact model that must not be asked: its first signal compiles a kernel."""

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise AssertionError("an exact signal was asked for")


@pytest.mark.parametrize("sigma", [None, 1.0])
def test_no_exact_signal_is_asked_for_where_it_decides_nothing(truth, sigma):
    data, supplied = _data(truth, 0.02)
    found = _tested(exact=Unwanted()).estimate(data, supplied, sigma=sigma)
    assert found.quality["distance"].isfinite().all()

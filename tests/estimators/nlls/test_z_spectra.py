"""Least squares of Z-spectra: M0 real or 1, weights, spreads of supplied maps, efficiency."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.stats import chi2 as chi2_distribution

from bids_brnn.errors import DataError, ParameterError
from bids_brnn.estimators.maps import named_maps
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.recipe import EstimatorRecipe

_OFFSETS = (443.0, 1088.0, 2732.0, 6862.0, 17235.0)
PROTOCOL = ZSpectrum(
    mt_flip_angle=np.deg2rad([0.0, *[142.0] * 5, *[426.0] * 5]),
    offset=np.array([0.0, *_OFFSETS, *_OFFSETS]),
    pulse=MTPulse("GAUSSHANN", 0.0102, 200.0),
    flip_angle=math.radians(7),
    repetition_time=0.025,
    mt_delay=0.003,
    excitation_duration=0.0018,
)
TISSUES = {
    "WM": (0.13, 1.1, 35.0, 15.0, 1.0, 11.5e-6, 0.0, 1.0),
    "GM": (0.07, 0.65, 18.0, 18.0, 1.0, 10.5e-6, 30.0, 0.95),
    "lesion": (0.04, 0.6, 12.0, 14.0, 1.0, 10.5e-6, -60.0, 1.05),
}
MAPS = {"R1": 1, "w0": 6, "B1": 7}
FREE = [0, 2, 3, 5]


def recipe(model="ramani", protocol=PROTOCOL, **options):
    return EstimatorRecipe(
        "nlls", model, protocol, supplied=tuple(MAPS), magnitude=True, estimator_options=options
    )


def tissues():
    return torch.tensor(list(TISSUES.values()), dtype=torch.float64)


def known(theta):
    return {name: theta[:, column] for name, column in MAPS.items()}


@pytest.mark.parametrize("scale", [1, 730.0])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_images_of_any_scale_give_the_tissues(scale, dtype):
    estimator = recipe().build()
    theta = tissues()
    result = estimator.estimate((scale * estimator.model(theta)).to(dtype), known(theta))
    unit = estimator.parameters.to_unit
    assert (unit(result.theta.double()) - unit(theta)).abs().max() < 3e-3  # of float32 data
    torch.testing.assert_close(result.m0.real.double(), torch.full((3,), scale).double(),
                               rtol=1e-3, atol=0)  # fmt: skip
    assert (result.m0.imag == 0).all()


def test_divided_images_have_no_scale_to_give():
    estimator = recipe(protocol=replace(PROTOCOL, normalised=True)).build()
    theta = tissues()
    data = estimator.model(theta)
    right = estimator.estimate(data, known(theta))
    assert right.residual.max() < 1e-6
    assert (right.m0 == 1).all()
    assert estimator.estimate(0.9 * data, known(theta)).residual.min() > 0.01


@pytest.mark.parametrize(("normalised", "freedom"), [(False, 11 - 1 - 4), (True, 11 - 4)])
def test_noise_from_the_residual_has_its_degrees_of_freedom(normalised, freedom):
    estimator = recipe(protocol=replace(PROTOCOL, normalised=normalised)).build()
    n, sigma = 600, 1e-4
    theta = tissues()[:1].expand(n, -1)
    noise = torch.randn(n, 11, generator=torch.Generator().manual_seed(3)).double()
    data = (estimator.model(theta).real + sigma * noise).to(torch.complex128)
    result = estimator.estimate(data, known(theta))
    squares = (result.residual * data.abs().square().sum(-1).sqrt() / sigma).square().sum()
    low, high = chi2_distribution.interval(0.999, n * freedom)
    assert low < float(squares) < high


@pytest.mark.parametrize("model", ["ramani", "sled-pike-rp"])
def test_small_noise_is_used_to_the_bound(model):
    """Bias below a quarter and spread near one standard deviation of the bound at SNR 100.

    R2f and T2s reach it; the exchange rate of 10 to 30 % is beyond the linear regime, so that the
    spread of m0s and Rx may exceed it.
    """
    estimator = recipe(model).build()
    n = 300
    rng = torch.Generator().manual_seed(5)
    for theta in tissues().split(1):
        signal = estimator.model(theta).real
        sigma = 0.01 * float(signal[0, 0])
        noise = torch.randn(n, 11, generator=rng).double()
        data = (signal + sigma * noise).to(torch.complex128)
        result = estimator.estimate(data, known(theta.expand(n, -1)), sigma=sigma)
        bound = sigma * cramer_rao_bound(estimator.model, theta)[0, FREE].sqrt()
        z = (result.theta[:, FREE] - theta[0, FREE]) / bound
        half = 3.3 / math.sqrt(n)  # 99.9 % of the mean
        assert (z.mean(0).abs() < 0.25 + half).all()
        spread = z.std(0)
        half = 3.3 / math.sqrt(2 * n)
        assert (spread > 0.97 * (1 - half)).all()
        assert (spread[[1, 3]] < 1.02 * (1 + half)).all()
        assert (spread[[0, 2]] < 1.4 * (1 + half)).all()
        told = result.std[:, FREE].median(0).values / bound
        assert ((told - 1).abs() < 0.1).all()


def test_averages_count_by_their_number():
    weights = np.array([4.0, *[1.0] * 10])
    estimator = recipe(protocol=replace(PROTOCOL, weights=weights)).build()
    plain = recipe().build()
    theta = tissues()
    bound = cramer_rao_bound(estimator.model, theta)
    assert (bound[:, FREE] < cramer_rao_bound(plain.model, theta)[:, FREE]).all()
    # An image that was averaged from four is as good as the four.
    four = ZSpectrum(**{**vars(PROTOCOL), "weights": None,
                        "mt_flip_angle": np.r_[[0.0] * 3, PROTOCOL.mt_flip_angle],
                        "offset": np.r_[[0.0] * 3, PROTOCOL.offset]})  # fmt: skip
    torch.testing.assert_close(
        bound[:, FREE], cramer_rao_bound(recipe(protocol=four).build().model, theta)[:, FREE]
    )
    data = estimator.model(theta).clone()
    noise = 0.01 * torch.randn(3, 11, generator=torch.Generator().manual_seed(0)).double()
    data = (data.real + noise).to(torch.complex128)
    repeated = torch.cat([data[:, :1].expand(-1, 3), data], dim=1)
    one = estimator.estimate(data, known(theta), sigma=0.01)
    other = recipe(protocol=four).build().estimate(repeated, known(theta), sigma=0.01)
    unit = estimator.parameters.to_unit
    torch.testing.assert_close(unit(one.theta), unit(other.theta), rtol=0, atol=1e-4)
    torch.testing.assert_close(one.std, other.std, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "name"), [*(("ramani", name) for name in MAPS), ("sled-pike-rp", "B1")]
)
def test_what_supplied_maps_are_unsure_of_is_in_the_standard_deviation(model, name):
    # The last one has tables of each voxel that know no derivatives by its fields.
    estimator = recipe(model).build()
    theta = tissues()
    data = estimator.model(theta)
    size = {"R1": 0.02, "w0": 2.0, "B1": 0.01}[name]
    spread = {name: torch.full((3,), size).double()}
    sure = estimator.estimate(data, known(theta), sigma=1e-6)
    unsure = estimator.estimate(data, known(theta), sigma=1e-6, spread=spread)
    torch.testing.assert_close(sure.theta, unsure.theta)
    moved = []
    for sign in (1, -1):
        maps = known(theta)
        maps[name] = maps[name] + sign * 0.1 * size
        moved.append(estimator.estimate(data, maps, sigma=1e-6).theta)
    change = (moved[0] - moved[1]).abs() / 0.2
    torch.testing.assert_close(unsure.std[:, FREE], change[:, FREE], rtol=0.05, atol=1e-7)
    assert (sure.std[:, :4] < unsure.std[:, :4]).any()
    torch.testing.assert_close(unsure.std[:, MAPS[name]], spread[name])


def test_spreads_belong_to_maps_that_are_there():
    estimator = recipe().build()
    data = estimator.model(tissues())
    one = torch.ones(3)
    with pytest.raises(ParameterError, match="unknown parameter R1f"):
        estimator.estimate(data, known(tissues()), spread={"R1f": one})
    with pytest.raises(DataError, match="standard deviation of m0s and no map of m0s itself"):
        estimator.estimate(data, known(tissues()), spread={"m0s": one})
    with pytest.raises(DataError, match="standard deviation of R1 has shape"):
        estimator.estimate(data, known(tissues()), spread={"R1": one[:2]})


def test_phases_are_refused():
    estimator = recipe().build()
    data = estimator.model(tissues()) * (1 + 0.1j)
    with pytest.raises(DataError, match=r"imaginary parts .*; this model describes magn"):
        estimator.estimate(data, known(tissues()))


def test_derived_maps_have_the_spread_of_what_they_follow_from():
    estimator = recipe().build()
    n, theta = 800, tissues()[:1]
    rng = torch.Generator().manual_seed(8)
    sigma, spread = 5e-4, 0.01
    data = estimator.model(theta).real + sigma * torch.randn(n, 11, generator=rng).double()
    maps = known(theta.expand(n, -1).clone())
    maps["R1"] = maps["R1"] + spread * torch.randn(n, generator=rng).double()
    result = estimator.estimate(data.to(torch.complex128), maps, sigma=sigma,
                                spread={"R1": torch.full((n,), spread)})  # fmt: skip
    found = {item.item.name: item for item in named_maps(result, estimator.parameters, "QMTmap")}
    assert list(found)[:9] == ["m0s", "F", "R1f", "R2f", "T2f", "Rx", "kr", "kf", "T2s"]
    for name in ("F", "R1f", "T2f", "kr", "kf"):
        item = found[name]
        ratio = float(item.values.std() / item.std.median())
        # 3.3 standard errors of a spread; values bend by some percent
        assert abs(ratio - 1) < 3.3 / math.sqrt(2 * n) + 0.05, name
        low, high = item.bounds
        assert ((item.values >= low) & (item.values <= high)).all()
    m0s, Rx = theta[0, 0].item(), theta[0, 3].item()
    assert float(found["F"].values.median()) == pytest.approx(m0s / (1 - m0s), rel=0.02)
    assert float(found["kf"].values.median()) == pytest.approx(m0s * Rx, rel=0.02)


def test_no_other_fit_has_a_lower_sum_of_squares():
    """Against SciPy over the same model from several starts, in voxels with much noise."""
    estimator = recipe(protocol=replace(PROTOCOL, normalised=True)).build()
    theta = tissues()
    noise = torch.randn(3, 11, generator=torch.Generator().manual_seed(2)).double()
    data = estimator.model(theta).real + 0.03 * noise
    result = estimator.estimate(data.to(torch.complex128), known(theta))
    cost = (result.residual.square() * data.square().sum(-1)).tolist()
    lower, upper = estimator.parameters.bounds(theta)
    span = (upper - lower)[FREE]
    rng = np.random.default_rng(0)
    for voxel in range(3):

        def point(x, voxel=voxel):
            whole = theta[voxel].clone()
            whole[FREE] = lower[FREE] + torch.from_numpy(x) * span
            return torch.minimum(torch.maximum(whole, lower), upper)[None]

        def residual(x, voxel=voxel):
            return (estimator.model(point(x))[0].real - data[voxel]).numpy()

        def jacobian(x):
            return (estimator.model.linearize(point(x))[1][0].real[:, FREE] * span).numpy()

        fits = [
            least_squares(residual, rng.uniform(0.02, 0.5, 4), jacobian, bounds=(0, 1),
                          x_scale="jac", xtol=1e-10, ftol=1e-10, max_nfev=60)
            for _ in range(4)
        ]  # fmt: skip
        assert cost[voxel] <= (1 + 1e-6) * min(2 * fit.cost for fit in fits)


@pytest.mark.parametrize(("model", "n"), [("ramani", 4200), ("gbloch-zspectrum", 150)])
def test_few_voxels_keep_all_threads_busy_and_threads_change_nothing(monkeypatch, model, n):
    if model != "ramani":  # tables of these fields are made once; blocks as of many voxels
        monkeypatch.setattr("bids_brnn.estimators.nlls.estimator._TABLES_BLOCK", (64, 64, 2))
    estimator = recipe(model).build()
    theta = tissues()[torch.arange(n) % len(TISSUES)]
    noise = torch.randn(n, 11, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    data = (estimator.model(theta).real + 0.01 * noise).to(torch.complex128)
    before, found, sizes = torch.get_num_threads(), [], {}
    whole = type(estimator)._estimate_block

    def block(self, inputs, voxels):
        sizes.setdefault(torch.get_num_threads(), []).append(len(voxels))
        return whole(self, inputs, voxels)

    monkeypatch.setattr(type(estimator), "_estimate_block", block)
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            sizes.clear()
            found.append(estimator.estimate(data, known(theta)))
            parts = [size for of in sizes.values() for size in of]
            # None waits for another one with all of the voxels; a lone last block would be waste.
            assert len(parts) >= min(threads, 2)
            assert min(parts) > max(parts) / 3
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for name in ("theta", "std", "m0", "residual"):  # bit for bit
            one, two = getattr(found[0], name), getattr(other, name)
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


def test_a_rough_model_chooses_starts_but_not_results(monkeypatch):
    estimator = recipe("gbloch-zspectrum").build()
    theta = tissues().repeat(4, 1)
    noise = torch.randn(12, 11, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    data = (estimator.model(theta).real + 0.005 * noise).to(torch.complex128)
    quick = estimator.estimate(data, known(theta))
    # Without it every start is one of the exact model.
    monkeypatch.setattr("bids_brnn.estimators.nlls.estimator.rough_of", lambda _: None)
    slow = recipe("gbloch-zspectrum").build().estimate(data, known(theta))
    # Both stop within 1e-3 standard deviations of the minimum: 1e-6 / 6 of the cost.
    torch.testing.assert_close(quick.residual**2, slow.residual**2, rtol=1e-6, atol=0)
    assert quick.quality["iterations"].sum() < slow.quality["iterations"].sum()


@pytest.mark.parametrize("model", ["ramani", "gbloch-zspectrum"])
def test_arrays_of_a_model_give_what_its_tensors_give(monkeypatch, model):
    estimator = recipe(model).build()
    theta = tissues().repeat(20, 1)
    rng = torch.Generator().manual_seed(8)
    noise = torch.randn(len(theta), PROTOCOL.n_samples, generator=rng, dtype=torch.float64)
    data = estimator.model(theta) + 0.005 * noise
    first = estimator.estimate(data, known(theta))
    monkeypatch.setattr("bids_brnn.estimators.nlls.problem.arrays_of", lambda _: None)
    other = estimator.estimate(data, known(theta))
    # The same steps, but for round-off.
    torch.testing.assert_close(first.residual, other.residual, rtol=1e-6, atol=0)
    torch.testing.assert_close(first.theta, other.theta, rtol=1e-4, atol=0)
    torch.testing.assert_close(first.std, other.std, rtol=1e-3, atol=0)

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.information import bounds
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.signals.base import check_parameters, forward_derivatives
from bids_brnn.signals.subspace import CompressedSignal, Subspace

RATE = Parameter(MapItem("R2", "1/s", "R2map", "rate"), 0.0, 100.0, 10.0, "estimated")
OFFSET = Parameter(MapItem("w0", "rad/s", "QMTmap", "offset"), -500.0, 500.0, 0.0, "nuisance")
PARAMETERS = ParameterSet((RATE, OFFSET))


@dataclass(frozen=True)
class Decay:
    """exp(-R2 t + i w0 t): rate and frequency are collinear over the complex numbers."""

    n_samples: int = 24
    parameters: ParameterSet = field(default=PARAMETERS)

    def __call__(self, theta, basis=None):
        time = torch.arange(1, self.n_samples + 1, dtype=theta.dtype) * 0.004
        signal = torch.exp(torch.complex(-theta[..., :1] * time, theta[..., 1:] * time))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta, basis=None):
        return forward_derivatives(lambda value: self(value, basis), theta)


def full_matrix_inverse(signal, derivatives):
    columns = torch.cat([signal[:, None], 1j * signal[:, None], derivatives], dim=1)
    return torch.linalg.inv((columns.mH @ columns).real)[2:, 2:]


def test_projecting_out_m0_equals_two_real_columns_in_the_full_matrix():
    generator = torch.Generator().manual_seed(2)
    parts = torch.randn(2, 20, 4, generator=generator, dtype=torch.float64)
    signal, derivatives = torch.complex(parts[0], parts[1]).split([1, 3], dim=1)
    signal = signal[:, 0]
    expected = full_matrix_inverse(signal, derivatives)
    # Only round-off separates a Schur complement from the full inverse.
    assert torch.allclose(bounds.covariance(signal, derivatives), expected, rtol=1e-9, atol=0)


def test_the_efficient_gain_is_unbiased_blind_to_m0_and_attains_the_bound():
    theta = torch.tensor([12.0, 40.0], dtype=torch.float64)
    signal, derivatives = Decay().linearize(theta)
    gain, covariance = bounds.efficient_gain(signal, derivatives)
    # a small change of the parameters is returned as it is, one of M0 not at all
    torch.testing.assert_close((gain @ derivatives).real, torch.eye(2, dtype=torch.float64))
    scale = torch.stack([signal, 1j * signal], dim=-1)
    torch.testing.assert_close((gain @ scale).real, torch.zeros(2, 2, dtype=torch.float64))
    # noise of unit variance in each channel
    torch.testing.assert_close((gain @ gain.mH).real, covariance)
    torch.testing.assert_close(covariance, full_matrix_inverse(signal, derivatives))


def test_complex_gram_matrix_is_singular_where_the_real_information_is_not():
    theta = torch.tensor([12.0, 40.0], dtype=torch.float64)
    signal, derivatives = Decay().linearize(theta)
    columns = torch.cat([signal[:, None], derivatives], dim=1)
    columns = columns / columns.abs().square().sum(0).sqrt()
    assert torch.linalg.cond(columns.mH @ columns) > 1e12
    assert torch.isfinite(bounds.covariance(signal, derivatives)).all()


def test_complex_bound_is_never_below_the_real_one(complex_gram_bound):
    generator = torch.Generator().manual_seed(1)
    parts = torch.randn(2, 50, 20, 4, generator=generator, dtype=torch.float64)
    columns = torch.complex(parts[0], parts[1])
    loose = complex_gram_bound(columns[..., 0], columns[..., 1:])
    tight = bounds.covariance(columns[..., 0], columns[..., 1:]).diagonal(dim1=-2, dim2=-1)
    assert (loose >= tight * (1 - 1e-9)).all()
    assert (loose > tight * 1.01).any()


def test_bound_of_mrf_reference_signals(shared):
    reference = np.load(shared / "reference" / "mrf_spot.npz")
    signal = torch.from_numpy(reference["signal"].T.copy())
    derivatives = torch.from_numpy(reference["jacobian_R1_R2_B1"][..., :2])
    variance = bounds.covariance(signal, derivatives).diagonal(dim1=-2, dim2=-1)
    expected = torch.from_numpy(reference["crb_R1_R2"])
    # Independent implementation in float64; its own finite precision is near 1e-8.
    assert torch.allclose(variance, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["crb_real_rank15", "crb_complex_rank15"])
def test_bound_of_qmt_reference_coefficients(shared, complex_gram_bound, kind):
    reference = np.load(shared / "reference" / "qmt_spot.npz")
    signal = torch.from_numpy(reference["coefficients"])
    derivatives = torch.from_numpy(reference["coefficient_derivatives"])
    if kind == "crb_real_rank15":
        variance = bounds.covariance(signal, derivatives).diagonal(dim1=-2, dim2=-1)
    else:
        variance = complex_gram_bound(signal, derivatives)
    expected = torch.from_numpy(reference[kind])
    # The stored derivatives carry about 1e-8, amplified by the condition of the information.
    assert torch.allclose(variance, expected, rtol=1e-5, atol=0)


def test_compression_never_lowers_the_bound():
    model = Decay()
    generator = torch.Generator().manual_seed(3)
    basis, _ = torch.linalg.qr(torch.randn(24, 6, generator=generator, dtype=torch.float64))
    theta = torch.tensor([[5.0, 10.0], [20.0, -100.0]], dtype=torch.float64)
    compressed = bounds.cramer_rao_bound(CompressedSignal(model, Subspace(basis)), theta)
    assert (compressed >= bounds.cramer_rao_bound(model, theta) * (1 - 1e-9)).all()


def test_knowing_a_parameter_gives_zero_variance_and_never_hurts_the_others():
    theta = torch.tensor([12.0, 40.0], dtype=torch.float64)
    model = Decay()
    known = Decay(parameters=model.parameters.with_role("w0", "supplied"))
    free, fixed = bounds.cramer_rao_bound(model, theta), bounds.cramer_rao_bound(known, theta)
    assert fixed[1] == 0
    assert fixed[0] <= free[0] * (1 + 1e-12)
    assert torch.equal(bounds.cramer_rao_bound(known, theta, over="all"), free)


def test_least_squares_reaches_the_bound():
    """Linearised estimator, 4000 draws: std/CRB std within the 99.9 % interval of a std."""
    theta = torch.tensor([12.0, 40.0], dtype=torch.float64)
    signal, derivatives = Decay().linearize(theta)
    columns = torch.cat([signal[:, None], 1j * signal[:, None], derivatives], dim=1)
    design = torch.cat([columns.real, columns.imag])
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(48, 4000, generator=generator, dtype=torch.float64)
    errors = torch.linalg.lstsq(design, noise).solution[2:]
    ratio = errors.std(dim=1) / bounds.cramer_rao_bound(Decay(), theta).sqrt()
    assert (ratio - 1).abs().max() < 3.3 / np.sqrt(2 * 4000)


def test_singular_information_is_infinite_not_an_exception():
    assert torch.isinf(bounds.inverse_information(torch.zeros(2, 2))).all()
    broken = torch.full((2, 2), torch.nan)
    stacked = bounds.inverse_information(torch.stack([broken, torch.eye(2)]))
    assert torch.isinf(stacked[0]).all()
    assert torch.equal(stacked[1], torch.eye(2))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 101.0])
def test_impossible_parameters_are_named_with_row_and_value(value):
    theta = torch.tensor([[10.0, 0.0], [value, 0.0]])
    with pytest.raises(DataError, match=r"R2 = .* in row 2 is outside \[0, 100\] 1/s"):
        check_parameters(theta, Decay().parameters)


def test_wrong_number_of_columns_lists_the_names():
    with pytest.raises(DataError, match="theta has 3 columns; the model needs 2: R2, w0"):
        check_parameters(torch.zeros(1, 3), Decay().parameters)


def test_basis_and_train_must_agree():
    with pytest.raises(DataError, match="the basis has 30 rows, the pulse train has 24 samples"):
        CompressedSignal(Decay(), Subspace(torch.eye(30)[:, :3]))
    with pytest.raises(DataError, match="not orthonormal"):
        Subspace(2 * torch.eye(5)[:, :2])

"""Every registered signal model keeps the promises of ``signals.base.SignalModel``.

A new model is covered by its entry in the registry, on the train of its own that it names there; a
shorter train, or options to try, stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.errors import BidsBrnnError, DataError, ParameterError
from bids_brnn.information.bounds import cramer_rao_bound, fisher_information
from bids_brnn.parameters import ParameterSet
from bids_brnn.sequences.designs import TRAINS, hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model, models
from bids_brnn.signals.base import SignalModel, for_voxels, silent_of
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from tests.elsewhere import DEVICES


def _balanced() -> PulseSequence:
    rng = np.random.default_rng(5)
    shape = (1, 40)
    return PulseSequence(
        flip_angle=rng.uniform(0.1, 1.2, shape),
        rf_duration=np.zeros(shape),
        rf_phase=np.pi * (np.arange(40)[None] % 2),
        repetition_time=np.full(shape, 6e-3),
        echo_time=np.full((*shape, 1), 3e-3),
        gradient=np.full(shape, "balanced"),
        inversion=np.zeros(shape, dtype=bool),
        start="antiperiodic",
    )


_FIELDS = ("B1", "w0")
"""What models of known voxels compute tables of."""
_SEQUENCES: Mapping[str, Callable[[], PulseSequence]] = MappingProxyType(
    {
        "gbloch": lambda: hybrid_state_train(TRAINS[:2], n_pulses=40),
        "fisp": lambda: jiang_like_train(60),
        "bssfp": _balanced,
    }
)


@dataclass(frozen=True)
class Case:
    """A model, parameters inside its bounds, and how exact its derivatives are."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    derivatives: float = 1e-6
    """Relative L2 error against finite differences of the model itself."""
    projection: float = 1e-9
    """Relative L2 error against coefficients of the whole signal."""

    @property
    def tells_all(self) -> bool:
        """Whether the data tell supplied parameters too; Z-spectra tell no R1."""
        return models()[self.kind].protocol == "pulses"

    @property
    def name(self) -> str:
        """For the names of tests."""
        return "-".join([self.kind, *(str(value) for value in self.options.values())])

    def build(self) -> SignalModel:
        """The model on its train."""
        return build_model(self.kind, _sequence(self.kind), **self.options)


_CASES = (
    # the compiled kernel promises 3e-5 and 3e-4, and leaves complex bases to the readable path
    Case("gbloch", derivatives=1e-3, projection=1e-3),
    Case("gbloch", {"method": "split"}),
    Case("gbloch", {"method": "split", "apparent_R1": True}),
    Case("gbloch", {"method": "split", "saturation": "sled"}),
    Case("gbloch", {"method": "exact"}),
    Case("fisp"),
    Case("bssfp"),
    # tables of two panels meet to 2e-7, which a difference divides by its step
    Case("gbloch-zspectrum", derivatives=1e-3),
)
CASES = (*_CASES, *(Case(name) for name in models() if name not in [c.kind for c in _CASES]))


def _sequence(kind: str) -> PulseSequence:
    """A short train that the model understands."""
    train = _SEQUENCES[kind]() if kind in _SEQUENCES else models()[kind].own_train()
    assert train is not None, f"{kind} names no train of its own, and there is none here"
    return train


def test_every_model_has_a_case():
    assert {case.kind for case in CASES} == set(models())


@pytest.fixture(scope="module", params=CASES, ids=[case.name for case in CASES])
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def model(case) -> SignalModel:
    return case.build()


@pytest.fixture(scope="module")
def theta(model) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    unit = torch.rand(4, len(model.parameters), generator=generator, dtype=torch.float64)
    return model.parameters.from_unit(0.2 + 0.6 * unit)


@pytest.fixture(scope="module")
def linearized(model, theta) -> tuple[Tensor, Tensor]:
    return model.linearize(theta)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest relative L2 error over samples."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def test_protocol(case, model):
    assert isinstance(model, SignalModel)
    assert isinstance(model.parameters, ParameterSet)
    assert model.n_samples == _sequence(case.kind).n_samples


def test_shapes_follow_theta(model, theta, linearized):
    signal, derivatives = linearized
    n, p = model.n_samples, len(model.parameters)
    assert signal.shape == (4, n)
    assert derivatives.shape == (4, n, p)
    for shape in ((2, 2), (4, 1), (1, 4)):
        found, slopes = model.linearize(theta.reshape(*shape, p))
        assert found.shape == (*shape, n)
        assert slopes.shape == (*shape, n, p)
        torch.testing.assert_close(found.reshape(4, n), signal, rtol=1e-9, atol=1e-12)
    assert model(theta[0]).shape == (n,)
    assert model(theta[:0]).shape == (0, n)
    assert model.linearize(theta[:0])[1].shape == (0, n, p)


def test_call_and_linearize_agree(model, theta, linearized):
    assert relative(model(theta), linearized[0]) < 1e-10


def test_rows_are_independent(model, theta, linearized):
    order = torch.tensor([2, 0, 3, 1])
    signal, derivatives = model.linearize(theta[order])
    torch.testing.assert_close(signal, linearized[0][order], rtol=1e-9, atol=1e-12)
    alone = model(theta[3:])
    torch.testing.assert_close(alone, linearized[0][3:], rtol=1e-9, atol=1e-12)
    assert relative(derivatives, linearized[1][order]) < 1e-9


def test_same_input_same_output_and_input_untouched(model, theta, linearized):
    before = theta.clone()
    strided = theta.T.contiguous().T  # same values, other memory layout
    signal, derivatives = model.linearize(strided)
    torch.testing.assert_close(theta, before, rtol=0, atol=0)
    torch.testing.assert_close(signal, linearized[0], rtol=1e-12, atol=1e-14)
    assert relative(derivatives, linearized[1]) < 1e-11


def test_results_belong_to_the_caller_who_may_change_them(model, theta, linearized):
    # As models around others do with derivatives.
    for part in model.linearize(theta):
        part.zero_()
    model(theta).zero_()
    torch.testing.assert_close(model.linearize(theta), linearized, rtol=1e-12, atol=1e-14)


def test_derivatives_that_a_model_of_known_voxels_lacks_are_named(model, theta, linearized):
    names = model.parameters.names
    known = {name: theta[:, column] for column, name in enumerate(names) if name in _FIELDS}
    of_voxels = for_voxels(model, known)(torch.arange(len(theta)))
    slopes = of_voxels.linearize(theta)[1]
    for column, name in enumerate(names):
        if name not in silent_of(of_voxels):
            expected = linearized[1][..., column]
            close = 1e-8 * float(expected.abs().max())
            torch.testing.assert_close(slopes[..., column], expected, rtol=1e-8, atol=close)


def test_signal_of_unit_magnetization(linearized):
    signal = linearized[0]
    assert signal.is_complex()
    assert torch.isfinite(signal.abs()).all()
    assert 1e-3 < signal.abs().max() <= 1


def test_precision_follows_theta(model, theta, linearized):
    """Stated: signals in float32 agree with float64 to 1e-4, derivatives to 1e-3."""
    signal, derivatives = model.linearize(theta.float())
    assert linearized[0].dtype == linearized[1].dtype == torch.complex128
    assert signal.dtype == derivatives.dtype == torch.complex64
    wide = model.linearize(theta.float().double())
    assert relative(signal, wide[0]) < 1e-4
    assert relative(derivatives, wide[1]) < 1e-3


@pytest.mark.parametrize("moved", DEVICES)
def test_results_lie_where_theta_does(case, model, theta, linearized, moved):
    if not type(model).__module__.startswith("bids_brnn."):
        pytest.skip("a model of others may bring tensors along inside of torch.func")
    elsewhere = moved(theta)
    signal, slopes = model.linearize(elsewhere)
    assert {part.device for part in (signal, slopes, model(elsewhere))} == {elsewhere.device}
    # Another device may take another path, as exact as derivatives are promised to be.
    for found, expected in ((signal.cpu(), linearized[0]), (slopes.cpu(), linearized[1])):
        error = (found - expected).norm() / expected.norm()
        assert error < max(case.derivatives, 1e-5)


def test_derivatives(case, model, theta, linearized):
    lower, upper = model.parameters.bounds(theta)
    for column in range(theta.shape[1]):
        step = torch.zeros_like(theta)
        h = 3e-4 * (upper - lower)[column]
        step[:, column] = h
        # five points: the error is of the order h^4
        difference = 8 * (model(theta + step) - model(theta - step))
        difference -= model(theta + 2 * step) - model(theta - 2 * step)
        found, expected = linearized[1][..., column], difference / (12 * h)
        name = model.parameters.names[column]
        floor = max(case.derivatives, 1e-9 / float(h * expected.norm(dim=1).min()))
        assert relative(found, expected) < floor, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_projection_during_simulation(case, model, theta, linearized, dtype):
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(model.n_samples, 5, generator=generator, dtype=dtype))[0]
    coefficients, slopes = model.linearize(theta, basis)
    wide = basis.conj().to(torch.complex128)
    expected = linearized[0] @ wide
    assert relative(coefficients, expected) < case.projection
    assert relative(model(theta, basis), expected) < case.projection
    projected = torch.einsum("bnp,nr->brp", linearized[1], wide)
    assert relative(slopes, projected) < 10 * case.projection


@pytest.mark.parametrize("change", [-1, 1])
def test_a_basis_of_another_train_is_refused(model, theta, change):
    basis = torch.eye(model.n_samples + change, 3, dtype=torch.float64)
    with pytest.raises(DataError, match=f"the basis has {model.n_samples + change} rows"):
        model(theta, basis)


def test_parameters_can_be_told_apart(model, linearized):
    signal, derivatives = linearized
    free = model.parameters.columns("estimated", "nuisance")  # of others nothing is promised
    information = fisher_information(signal, derivatives[..., free])
    torch.testing.assert_close(information, information.mT)
    scale = information.diagonal(dim1=-2, dim2=-1).sqrt()
    unit = information / (scale[..., :, None] * scale[..., None, :])
    assert torch.linalg.eigvalsh(unit).min() > 1e-9


def test_knowing_a_parameter_never_hurts(case, model, theta):
    everything = cramer_rao_bound(model, theta, over="all")
    if case.tells_all:
        assert torch.isfinite(everything).all()
        assert (everything > 0).all()
    supplied = model.parameters.columns("supplied")
    if supplied:
        free = cramer_rao_bound(model, theta)
        assert (free[:, supplied] == 0).all()
        known = everything.isfinite() & (everything > 0)
        assert (free <= everything * (1 + 1e-9))[known].all()


class TestBadInput:
    def test_a_bad_row_is_named_or_spoils_no_other(self, model, theta, linearized):
        for column, item in enumerate(model.parameters):
            bad = theta.clone()
            bad[2, column] = torch.nan
            try:
                signal = model(bad)
            except ParameterError as error:
                message = str(error)
                assert f"{item.name} = nan in row 3" in message
                assert "\n" not in message
            else:
                assert not torch.isfinite(signal[2].abs()).any()
                good = [0, 1, 3]
                torch.testing.assert_close(
                    signal[good], linearized[0][good], rtol=1e-9, atol=1e-12
                )

    def test_basis_of_another_train(self, model):
        basis = torch.eye(model.n_samples + 1, 3, dtype=torch.float64)
        with pytest.raises(DataError, match=f"{model.n_samples + 1} rows"):
            CompressedSignal(model, Subspace(basis))

    def test_sequence_of_another_kind(self, case):
        other = {"fisp": "gbloch"}.get(case.kind, "fisp")
        with pytest.raises(BidsBrnnError):
            build_model(case.kind, _sequence(other), **case.options)

    def test_unknown_option(self, case):
        with pytest.raises(DataError, match="has no option magic; it has"):
            replace(case, options={"magic": 1}).build()


def test_unknown_model():
    with pytest.raises(DataError, match='"magic" is unknown; use one of gbloch, fisp, bssfp'):
        build_model("magic", _balanced())

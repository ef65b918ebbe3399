"""The generalized Bloch model against independent values, brute force and closed forms."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from bids_brnn.errors import DataError, ParameterError, SequenceError
from bids_brnn.information.bounds import covariance
from bids_brnn.parameters import QMT
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch

_spec = importlib.util.spec_from_file_location(
    "lab_frame", Path(__file__).with_name("lab_frame.py")
)
lab_frame = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab_frame)

METHODS = ("exact", "split")
SIGNALS = {"exact": 1e-8, "split": 1e-5}
"""Relative error of signals that is reached; required are 1e-5 and 3e-5."""
SLOPES = {"exact": 2e-6, "split": 5e-5}
"""Relative error of derivatives that is reached; required are 1e-4 and 3e-4."""
TISSUE = torch.tensor(
    [
        [0.2, 0.5, 13.0, 17.0, 3.0, 12e-6, 0.0, 1.0],
        [0.1, 0.9, 20.0, 30.0, 5.0, 8e-6, 210.0, 1.2],
        [0.3, 0.3, 9.0, 12.0, 2.0, 18e-6, -600.0, 0.7],
    ],
    dtype=torch.float64,
)


def relative(found: Tensor, expected: Tensor) -> Tensor:
    """Relative L2 error over samples, for each row (and column of derivatives)."""
    return (found - expected).norm(dim=1) / expected.norm(dim=1)


def brute_force(sequence: PulseSequence, repetitions: int = 1, theta: Tensor = TISSUE) -> Tensor:
    rows = [
        lab_frame.lab_frame_signal(sequence, row, repetitions=repetitions) for row in theta.numpy()
    ]
    return torch.tensor(np.array(rows))


@pytest.fixture(scope="module", params=METHODS)
def method(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(spot, method) -> GeneralizedBloch:
    return GeneralizedBloch(spot.sequence, method=method)


@pytest.fixture(scope="module")
def linearized(spot, model) -> tuple[Tensor, Tensor]:
    return model.linearize(spot.theta, spot.basis)


class TestIndependentValues:
    def test_signals(self, spot, model, method):
        assert relative(model(spot.theta), spot.values["signal"]).max() < SIGNALS[method]

    def test_coefficients_and_derivatives(self, spot, linearized, method):
        coefficients, derivatives = linearized
        assert relative(coefficients, spot.values["coefficients"]).max() < SIGNALS[method]
        expected = spot.values["coefficient_derivatives"]
        assert relative(derivatives, expected).max() < SLOPES[method]

    def test_bounds(self, spot, linearized, method, complex_gram_bound):
        # an inverse of nearly collinear columns amplifies the error of the derivatives
        limit = {"rtol": 10 * SLOPES[method], "atol": 0}
        bound = covariance(*linearized).diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(bound, spot.values["crb_real_rank15"], **limit)
        looser = complex_gram_bound(*linearized)
        torch.testing.assert_close(looser, spot.values["crb_complex_rank15"], **limit)

    def test_single_precision(self, spot, model, method):
        """Stated: 1e-4 for exact, whose matrix exponentials lose digits, 1e-5 for split."""
        limit = {"exact": 1e-4, "split": 1e-5}[method]
        found, derivatives = model.linearize(spot.theta.float(), spot.basis.float())
        assert found.dtype == derivatives.dtype == torch.complex64
        assert relative(found, spot.values["coefficients"]).max() < limit
        assert relative(derivatives, spot.values["coefficient_derivatives"]).max() < 5 * limit


def test_bound_without_basis(spot):
    model = GeneralizedBloch(spot.sequence, method="split")
    bound = covariance(*model.linearize(spot.theta)).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(bound, spot.values["crb_real_full"], rtol=3e-4, atol=0)


def test_published_example(train, method):
    """100 pulses of 90 degrees; the last digits are those of the authors' table."""
    sequence = train(
        [math.pi / 2] * 100, duration=5e-4, repetition_time=4e-3,
        first="crusher", start="antiperiodic",
    )  # fmt: skip
    theta = torch.tensor([[0.1, 1, 15, 30, 6.5, 1e-5, 0, 1]], dtype=torch.float64)
    signal = GeneralizedBloch(sequence, method=method)(theta)[0]
    limit = {"exact": 2e-7, "split": 1e-5}[method]
    assert signal[0].real.item() == pytest.approx(-0.0293059877745, rel=limit)
    assert signal[-1].real.item() == pytest.approx(0.0622363377031, rel=limit)
    assert signal.imag.abs().max() < 1e-12


FLIPS = [math.pi, 0.9, 0.4, 1.3, 0.0, 0.7, 1.7]
DURATIONS = [5e-4, 3e-4, 1e-4, 5e-4, 5e-4, 2e-4, 4e-4]
QUADRATIC = [0.7 * n * n for n in range(7)]


class TestBruteForce:
    """Frames, phases, gradients, starts and echoes against a simulation in a fixed frame."""

    @pytest.fixture
    def limit(self, method) -> float:
        return {"exact": 1e-8, "split": 2e-5}[method]

    @pytest.mark.parametrize("first", ["balanced", "crusher", "spoiler"])
    @pytest.mark.parametrize(
        ("start", "repetitions"),
        [("thermal", 1), ("inversion", 1), ("periodic", 4000), ("antiperiodic", 4000)],
    )
    def test_starts_and_gradients(self, train, method, limit, first, start, repetitions):
        sequence = train(
            FLIPS, duration=DURATIONS, phase=QUADRATIC, first=first, start=start,
            repetition_time=[3.5e-3, 4e-3, 5e-3, 3.5e-3, 3.5e-3, 8e-3, 6e-3],
        )  # fmt: skip
        found = GeneralizedBloch(sequence, method=method)(TISSUE)
        # 4000 repetitions of 34 ms: what is left of the start is below 1e-15
        assert relative(found, brute_force(sequence, repetitions)).max() < limit

    def test_several_samples_per_pulse(self, train, method, limit):
        sequence = train(FLIPS, duration=DURATIONS, echoes=(0.1, 0.4, 0.8), start="thermal")
        found = GeneralizedBloch(sequence, method=method)(TISSUE)
        assert found.shape == (3, 21)
        assert relative(found, brute_force(sequence)).max() < limit

    def test_equal_rates_of_both_pools(self, train, method, limit):
        """The eigenvalues of relaxation and exchange coincide, where their formula is 0/0."""
        theta = TISSUE.clone()
        theta[:, 0] = torch.tensor([0.0, 1e-6, 1e-3])
        theta[:, 1], theta[:, 3], theta[:, 4] = 9.99, 7.0, 3.0
        theta[0, 1] = 10.0
        theta[:, 6] /= 20
        sequence = train(FLIPS, duration=DURATIONS, start="periodic", repetition_time=0.05)
        model = GeneralizedBloch(sequence, method=method)
        assert relative(model(theta), brute_force(sequence, 4000, theta)).max() < limit
        _, slopes = model.linearize(theta)
        ahead, behind = theta.clone(), theta.clone()
        ahead[:, 3] += 1e-3
        behind[:, 3] -= 1e-3
        difference = (model(ahead) - model(behind)) / 2e-3
        torch.testing.assert_close(slopes[2, :, 3], difference[2], rtol=1e-5, atol=1e-10)

    def test_pulses_without_sample(self, train, method, limit):
        whole = train(FLIPS, duration=DURATIONS, first="crusher", start="thermal")
        echo = whole.echo_time.copy()
        echo[0, [0, 3, 4]] = np.nan
        sequence = _replace(whole, echo_time=echo)
        model = GeneralizedBloch(sequence, method=method)
        kept = [1, 2, 5, 6]
        torch.testing.assert_close(
            model(TISSUE), GeneralizedBloch(whole, method=method)(TISSUE)[:, kept],
            rtol=1e-9, atol=1e-12,
        )  # fmt: skip


def _replace(sequence: PulseSequence, **changes: object) -> PulseSequence:
    fields = {name: getattr(sequence, name) for name in PulseSequence.__dataclass_fields__}
    return PulseSequence(**{**fields, **changes})


class TestTrains:
    @pytest.mark.parametrize("start", ["antiperiodic", "thermal"])
    def test_shorter_trains_are_padded_without_effect(self, train, start):
        long = train(FLIPS, duration=DURATIONS, start=start, first="crusher")
        short = train(FLIPS[:4], duration=DURATIONS[:4], start=start, first="crusher")
        tables = [long.to_table(), short.to_table()]
        tables[1]["train"] = ["2"] * 4
        both = PulseSequence.from_table(
            {key: tables[0][key] + tables[1][key] for key in tables[0]},
            start=start, last_repetition_time=3.5e-3,
        )  # fmt: skip
        assert both.padding.sum() == 3
        found, slopes = GeneralizedBloch(both, method="split").linearize(TISSUE)
        parts = [
            GeneralizedBloch(part, method="split").linearize(TISSUE) for part in (long, short)
        ]
        torch.testing.assert_close(found, torch.cat([part[0] for part in parts], 1))
        torch.testing.assert_close(slopes, torch.cat([part[1] for part in parts], 1))

    def test_offset_of_opposite_sign_conjugates(self, train):
        sequence = train(FLIPS, duration=DURATIONS, first="crusher", start="antiperiodic")
        model = GeneralizedBloch(sequence, method="split")
        mirrored = TISSUE.clone()
        mirrored[:, 6] *= -1
        torch.testing.assert_close(model(mirrored), model(TISSUE).conj())
        assert model(TISSUE)[0].imag.abs().max() < 1e-14  # the first row is on resonance

    def test_dropping_the_alternation_shifts_the_offset(self, train):
        """Phases 0, 180, 0 ... see w0 as equal phases see w0 + pi/TR, for short pulses."""
        common = {"duration": 3e-5, "start": "periodic"}
        flips = [0.3, 0.2, 0.4, 0.1]
        alternating = train(flips, **common)
        constant = train(flips, phase=[0.0] * 4, **common)
        theta = TISSUE[:1].clone()
        theta[0, 6] = -500.0
        shifted = theta.clone()
        shifted[0, 6] += math.pi / 3.5e-3
        found = GeneralizedBloch(constant, method="split")(shifted)
        expected = GeneralizedBloch(alternating, method="split")(theta)
        # the phase pi/TR * TR/2 accrues until the sample; pulses of 1 % of TR blur the rest
        assert relative(found * -1j, expected).item() < 0.01

    def test_result_does_not_depend_on_how_rows_are_cut(self, train):
        sequence = train(FLIPS * 4, duration=DURATIONS * 4, first="crusher", start="antiperiodic")
        model = GeneralizedBloch(sequence, method="split")
        many = TISSUE.repeat(200, 1)
        signal, slopes = model.linearize(many)
        single, single_slopes = model.linearize(TISSUE)
        torch.testing.assert_close(signal, single.repeat(200, 1), rtol=1e-11, atol=1e-13)
        scale = single_slopes.abs().amax(1, keepdim=True)
        difference = (slopes - single_slopes.repeat(200, 1, 1)) / scale.repeat(200, 1, 1)
        assert difference.abs().max() < 1e-10


class TestClosedForms:
    def test_balanced_steady_state_of_one_pool(self, train):
        flip, tr, R1, R2 = 0.6, 10e-3, 1.0, 15.0
        sequence = train([flip, flip], duration=3e-5, repetition_time=tr, start="periodic")
        theta = torch.tensor([[0.0, R1, R2, 10, 3, 12e-6, 0, 1]], dtype=torch.float64)
        E1, E2 = math.exp(-R1 * tr), math.exp(-R2 * tr)
        steady = (1 - E1) * math.sin(flip) / (1 - (E1 - E2) * math.cos(flip) - E1 * E2)
        found = GeneralizedBloch(sequence, method="split")(theta)
        # no relaxation during a pulse in the formula: 0.3 % of TR
        expected = torch.full((1, 2), steady * math.sqrt(E2), dtype=torch.complex128)
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-6)

    def test_two_pools_recover_from_an_inversion(self, train):
        waits = 40
        flips = [0.0] * waits + [math.pi / 2]
        sequence = train(flips, duration=3e-5, repetition_time=20e-3, start="inversion")
        signal = GeneralizedBloch(sequence, method="exact")(TISSUE[:1])[0, -1]
        m0s, R1f, R2f, Rx, R1s = TISSUE[0, :5].tolist()
        rates = np.array([[-R1f - Rx * m0s, Rx * (1 - m0s)], [Rx * m0s, -R1s - Rx * (1 - m0s)]])
        equilibrium = np.array([1 - m0s, m0s])
        inverted = np.array([-(1 - m0s), m0s])
        zf = (equilibrium + expm(rates * waits * 20e-3) @ (inverted - equilibrium))[0]
        # the pulse lasts 30 us
        assert signal.real.item() == pytest.approx(zf * math.exp(-R2f * 10e-3), abs=2e-4)
        assert abs(zf) > 0.1

    def test_no_rf_no_signal(self, train):
        sequence = train([0.0] * 4, first="crusher", start="antiperiodic")
        signal, slopes = GeneralizedBloch(sequence, method="split").linearize(TISSUE)
        assert signal.abs().max() == 0
        assert slopes.abs().max() == 0

    def test_lorentzian_line_saturates_like_bloch(self, train, method):
        """With a Lorentzian line R2s is 1/T2s whatever the pulse: two Bloch pools."""
        flips = [math.pi / 3] * 3
        sequence = train(flips, duration=2e-4, start="thermal")
        model = GeneralizedBloch(sequence, method=method, lineshape="lorentzian")
        found = model(TISSUE[:1])[0].numpy()
        theta = TISSUE[0].numpy()
        m0s, T2s = theta[0], theta[5]
        w1 = flips[0] / 2e-4
        pulse = lab_frame._Train(sequence, 0, theta)
        state = np.array([0, 0, 1 - m0s, 0, m0s, 1.0])
        for expected_sign, sample in zip((1, -1, 1), found, strict=True):
            state = expm(pulse.generator(expected_sign * w1, 1 / T2s) * 2e-4) @ state
            state = pulse.wait(state, 1.65e-3)
            assert sample.real == pytest.approx(expected_sign * state[0], abs=2e-6)
            state = pulse.wait(state * [1, 1, 1, 0, 1, 1], 1.65e-3)


class TestOptions:
    def test_saturation_models_differ_as_known(self, train):
        sequence = train([1.0] * 200, duration=2e-4, start="antiperiodic")
        signals = {
            name: GeneralizedBloch(sequence, saturation=name, method="split")(TISSUE[:1])
            for name in ("gbloch", "graham", "sled")
        }
        differences = {
            name: relative(signal, signals["gbloch"]).item() for name, signal in signals.items()
        }
        assert 1e-3 < differences["sled"] < 0.1
        assert 1e-3 < differences["graham"] < 0.3

    @pytest.mark.parametrize("saturation", ["graham", "sled"])
    def test_methods_agree_on_every_saturation(self, train, saturation):
        sequence = train(FLIPS, duration=DURATIONS, first="crusher", start="antiperiodic")
        exact, split = (
            GeneralizedBloch(sequence, saturation=saturation, method=method).linearize(TISSUE)
            for method in METHODS
        )
        assert relative(split[0], exact[0]).max() < 2e-5
        assert relative(split[1], exact[1]).max() < 1e-4

    def test_apparent_R1(self, train):
        sequence = train(FLIPS, duration=DURATIONS, first="crusher", start="antiperiodic")
        full = GeneralizedBloch(sequence, method="split")
        tied = GeneralizedBloch(sequence, method="split", apparent_R1=True)
        assert tied.parameters.names == ("m0s", "R1a", "R2f", "Rx", "T2s", "w0", "B1")
        both = TISSUE.clone()
        both[:, 1] = both[:, 4]
        signal, slopes = tied.linearize(both[:, [0, 1, 2, 3, 5, 6, 7]])
        expected, derivatives = full.linearize(both)
        torch.testing.assert_close(signal, expected)
        torch.testing.assert_close(slopes[..., 1], derivatives[..., 1] + derivatives[..., 4])
        torch.testing.assert_close(slopes[..., 4], derivatives[..., 5])

    def test_bounds_suit_the_sequence(self, train):
        model = GeneralizedBloch(train([math.radians(200)] * 2, duration=5e-4))
        bounds = model.parameters
        assert bounds["w0"].upper == pytest.approx(math.pi / 3.5e-3)
        assert bounds["B1"].upper == pytest.approx(1.38 * 180 / 200)
        assert bounds["T2s"].upper == QMT["T2s"].upper
        short = GeneralizedBloch(train([0.1] * 2, duration=2e-5)).parameters
        assert short["T2s"].upper == pytest.approx(20e-6)


class TestBadInput:
    @pytest.fixture
    def sequence(self, train) -> PulseSequence:
        return train([math.radians(200), 0.5], duration=[5e-4, 1e-4])

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            (0, 1.2, r"m0s = 1\.2 in row 2 is outside"),
            (1, -0.5, r"R1f = -0\.5 in row 2"),
            (2, math.nan, r"R2f = nan in row 2"),
            (5, 12.0, r"T2s = 12"),
            (5, 1e-6, r"T2s = 1e-06 in row 2"),
            (6, 1e4, r"w0 = 10000 in row 2"),
            (7, 1.3, r"RF pulse 1 of train 1 has flip angle x B1 = 260 degrees with B1 = 1\.3 in "
                     r"row 2; above the limit of 248\.4 degrees"),
            (7, -1.0, r"B1 = -1 in row 2"),
        ],
    )  # fmt: skip
    def test_parameters(self, sequence, column, value, message):
        theta = TISSUE[:2].clone()
        theta[:, 7] = 1
        theta[1, column] = value
        model = GeneralizedBloch(sequence, method="split")
        with pytest.raises(ParameterError, match=message):
            model(theta)
        with pytest.raises(ParameterError, match=message):
            model.linearize(theta)

    def test_wrong_number_of_parameters(self, sequence):
        with pytest.raises(ParameterError, match="theta has 7 columns; the model needs 8"):
            GeneralizedBloch(sequence)(TISSUE[:, :7])

    def test_basis_of_other_trains(self, sequence):
        with pytest.raises(DataError, match="the basis has 5 rows, the pulse train has 2 samples"):
            GeneralizedBloch(sequence)(TISSUE, torch.eye(5, dtype=torch.float64))

    def test_pulse_beyond_the_linear_approximation(self, train):
        with pytest.raises(SequenceError, match=r"pulse 2 of train 1 .* 270 degrees .* 248\.4"):
            GeneralizedBloch(train([0.5, math.radians(270)]))

    def test_pulse_too_short_or_too_long_for_the_table(self, train):
        with pytest.raises(
            SequenceError, match=r"pulse 1 of train 1 lasts 5e-06 s, 0\.4167 times"
        ):
            GeneralizedBloch(train([0.5, 0.5], duration=[5e-6, 5e-4]))
        with pytest.raises(SequenceError, match=r"pulse 2 of train 1 lasts 0\.02 s"):
            GeneralizedBloch(train([0.5, 0.5], duration=[5e-4, 0.02], repetition_time=0.05))

    def test_sequences_of_other_models(self, train):
        with pytest.raises(SequenceError, match="pulse 1 of train 1 has the gradient dephasing"):
            GeneralizedBloch(train([0.5, 0.5], first="dephasing"))
        with pytest.raises(SequenceError, match="pulse 1 of train 1 has a duration of 0 s"):
            GeneralizedBloch(train([0.5, 0.5], duration=[0, 1e-4]))

    @pytest.mark.parametrize(
        "option", [{"method": "magic"}, {"saturation": "none"}, {"lineshape": "voigt"}]
    )
    def test_unknown_options(self, sequence, option):
        name = next(iter(option.values()))
        with pytest.raises(DataError, match=f'"{name}" is unknown; use one of'):
            GeneralizedBloch(sequence, **option)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu(train, method):
    sequence = train(FLIPS, duration=DURATIONS, first="crusher", start="antiperiodic")
    model = GeneralizedBloch(sequence, method=method)
    expected = model.linearize(TISSUE)
    found = model.linearize(TISSUE.cuda())
    for here, there in zip(expected, found, strict=True):
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-9)

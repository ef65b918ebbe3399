"""Distributions, mixtures and the TOML form of priors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import QMT, RELAXATION, W0, Parameter, ParameterSet
from bids_brnn.priors import (
    TISSUES,
    Prior,
    TissueClass,
    constant,
    loguniform,
    normal,
    qmt_prior,
    relaxation_prior,
    tissue_values,
    uniform,
)


def _rng(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _u(n: int = 4000) -> torch.Tensor:
    return torch.rand(n, generator=_rng(), dtype=torch.float64)


# p < 1e-6 of the Kolmogorov-Smirnov test means: another distribution, whatever the seed.
@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (normal(0.15, 0.15, 0, 0.35), stats.truncnorm(-1, 4 / 3, loc=0.15, scale=0.15)),
        (uniform(-2, 3), stats.uniform(-2, 5)),
        (loguniform(0.1, 5), stats.loguniform(0.1, 5)),
    ],
)
def test_draws_follow_the_named_distribution(distribution, expected):
    values = distribution.quantile(_u()).numpy()
    assert stats.kstest(values, expected.cdf).pvalue > 1e-6
    low, high = distribution.support
    assert low <= values.min() < values.max() <= high


def test_reciprocal_describes_the_time_of_a_rate():
    rate = normal(4, 0.75, 1, 7, reciprocal=True)
    assert rate.support == (1 / 7, 1.0)
    times = 1 / rate.quantile(_u()).numpy()
    assert np.median(times) == pytest.approx(4, abs=0.06)  # 5 standard errors of a median


@pytest.mark.parametrize(
    "make",
    [
        lambda: normal(1, 0, 0, 2),
        lambda: normal(1, 1, 2, 0),
        lambda: uniform(1, 1),
        lambda: loguniform(0, 1),
        lambda: normal(1, 1, -1, 2, reciprocal=True),
    ],
)
def test_impossible_distributions_are_refused(make):
    with pytest.raises(ParameterError):
        make()


@pytest.mark.parametrize("prior", [qmt_prior(), relaxation_prior()], ids=lambda p: p.name)
def test_built_in_priors_stay_inside_the_model(prior):
    theta = prior.sample(2000, rng=_rng())
    lower, upper = prior.parameters.bounds(theta)
    assert theta.shape == (2000, len(prior.parameters))
    assert bool(((theta >= lower) & (theta <= upper)).all())


def test_qmt_prior_has_the_published_shares_and_conditions():
    n = 900
    theta = qmt_prior().sample(n, rng=_rng())
    pool, r1f, r2f, w0 = (theta[:, QMT.index((k,))[0]] for k in ("m0s", "R1f", "R2f", "w0"))
    fluid_or_fat = pool == 1e-3
    assert int(fluid_or_fat.sum()) == 180  # 9 + 9 of 90
    assert int((fluid_or_fat & (r1f < 1.05)).sum()) == 90  # CSF: T1 of 1 s and more
    assert bool((r2f >= r1f)[~fluid_or_fat].all())
    assert float(w0.abs().max()) > 0.98 * QMT["w0"].upper
    assert not torch.equal(fluid_or_fat[:90], torch.ones(90, dtype=torch.bool))


def test_off_resonance_follows_the_bounds_of_the_model():
    limit = math.pi / 3.5e-3
    narrowed = QMT.replace("w0", lower=-limit, upper=limit)
    w0 = qmt_prior(narrowed).sample(500, rng=_rng())[:, narrowed.index(("w0",))[0]]
    assert 0.95 * limit < float(w0.abs().max()) <= limit


def test_qmt_prior_and_tissues_know_the_apparent_rate():
    from bids_brnn.sequences.designs import hybrid_state_train
    from bids_brnn.signals import build_model

    model = build_model("gbloch", hybrid_state_train(n_pulses=20), apparent_R1=True)
    theta = qmt_prior(model.parameters).sample(90, rng=_rng())
    rate, r2f = (theta[:, model.parameters.index((name,))[0]] for name in ("R1a", "R2f"))
    assert theta.shape == (90, len(model.parameters.names))
    assert float(rate.min()) < 0.35
    assert bool((r2f[theta[:, 0] != 1e-3] >= rate[theta[:, 0] != 1e-3]).all())
    white = tissue_values(model.parameters, "WM", torch.zeros(1).double())
    assert float(white[model.parameters.index(("R1a",))[0]]) == pytest.approx(1 / 1.084)


def test_relaxation_prior_keeps_t2_below_t1_and_has_no_holes():
    theta = relaxation_prior().sample(3000, rng=_rng())
    t1, t2 = 1 / theta[:, 0], 1 / theta[:, 1]
    assert bool((t2 <= t1).all())
    counts = np.histogram(np.log(t1.numpy()), bins=10, range=np.log([0.12, 4.5]))[0]
    assert counts.min() > 0


def test_relaxation_prior_covers_off_resonance_where_the_model_has_it():
    limit = 200.0
    parameters = ParameterSet((*RELAXATION.items, Parameter(W0, -limit, limit, 0.0, "nuisance")))
    theta = relaxation_prior(parameters).sample(400, rng=_rng())
    assert 0.95 * limit < float(theta[:, 3].abs().max()) <= limit


def test_a_part_is_one_class_with_other_ranges():
    part = qmt_prior().part("CSF", {"w0": {"uniform": [600, 700]}, "B1": 0.8})
    theta = part.sample(500, rng=_rng())
    w0 = theta[:, QMT.index(("w0",))[0]]
    assert ((w0 > 600) & (w0 < 700)).all()
    assert (theta[:, QMT.index(("B1",))[0]] == 0.8).all()
    assert (theta[:, QMT.index(("m0s",))[0]] == 1e-3).all()
    assert theta[:, QMT.index(("R1f",))[0]].std() > 0.01
    with pytest.raises(ParameterError, match="no tissue class"):
        qmt_prior().part("bone", {})
    with pytest.raises(ParameterError, match="outside the model"):
        qmt_prior().part("CSF", {"w0": {"uniform": [600, 7000]}})


def test_sampling_depends_on_the_generator_alone():
    prior = qmt_prior()
    assert torch.equal(prior.sample(50, rng=_rng(5)), prior.sample(50, rng=_rng(5)))
    assert not torch.equal(prior.sample(50, rng=_rng(5)), prior.sample(50, rng=_rng(6)))
    assert prior.sample(3, rng=_rng(), dtype=torch.float32).dtype == torch.float32


def test_contradicting_conditions_end_with_a_message():
    fixed = {"R1": constant(5), "R2": constant(4), "B1": constant(1)}
    impossible = Prior(RELAXATION, (TissueClass("odd", 1, fixed, (("R2", "R1"),)),))
    with pytest.raises(ParameterError, match=r"odd.*conditions"):
        impossible.sample(4, rng=_rng())


TOML = """
name = "mine"
[[class]]
name = "tumour"
weight = 3
require = ["R2 >= R1"]
[class.parameters]
R1 = {normal = [1.6, 0.3], within = [0.8, 3.0], reciprocal = true}
R2 = {loguniform = [0.03, 0.4], reciprocal = true}
B1 = "bounds"
[[class]]
name = "oil"
[class.parameters]
R1 = 4.0
R2 = {uniform = [10, 20]}
B1 = {constant = 1.0}
"""


def test_a_user_writes_a_prior_in_toml():
    prior = Prior.from_toml(TOML, RELAXATION)
    theta = prior.sample(400, rng=_rng())
    oil = theta[:, 0] == 4.0
    assert (prior.name, int(oil.sum())) == ("mine", 100)
    assert float(1 / theta[~oil, 0].max()) >= 0.8
    assert float(1 / theta[~oil, 0].min()) <= 3.0
    assert float(theta[~oil, 2].max()) > 1.5  # "bounds": up to 1.6
    assert bool(((theta[oil, 1] >= 10) & (theta[oil, 1] <= 20)).all())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("R1 = 4.0\n", "", '"oil": parameter R1 is missing'),
        ("R1 = 4.0", "T1 = 0.25\nR1 = 4.0", '"oil": unknown parameter T1'),
        ("R1 = 4.0", "R1 = 400.0", '"oil": R1 may be 400 ... 400 1/s, outside the model'),
        ("R1 = 4.0", "R1 = true", "oil.*R1.*neither a number"),
        ("uniform = [10, 20]", "uniform = [10]", r"R2: \[10\] is not a list of 2 numbers"),
        ("uniform = [10, 20]", "normal = [10, 20]", "R2: normal .* needs within"),
        ("uniform = [10, 20]", "gauss = [10, 20]", "R2: name exactly one of"),
        ("uniform = [10, 20]", "uniform = [20, 10]", "R2: uniform needs a lower end"),
        ("weight = 3", "weight = -3", '"tumour": weight = -3'),
        ("weight = 3", 'weight = "3"', "tumour.*not a number"),
        ("R2 >= R1", "R2 > R1", 'condition "R2 > R1"'),
        ("R2 >= R1", "R2 >= T1", "unknown parameter T1"),
        ("weight = 3", "share = 3", "unknown key share"),
        ("[[class]]", "[[tissue]]\n[[class]]", "not tissue"),
        ("name =", "name ", "not valid TOML"),
    ],
)
def test_a_wrong_prior_is_refused_with_the_place(old, new, message):
    with pytest.raises(ParameterError, match=message):
        Prior.from_toml(TOML.replace(old, new), RELAXATION)


@pytest.mark.parametrize("parameters", [QMT, RELAXATION])
def test_canonical_tissues_lie_inside_the_models(parameters):
    like = torch.zeros(1, dtype=torch.float64)
    lower, upper = parameters.bounds(like)
    for tissue in TISSUES:
        theta = tissue_values(parameters, tissue, like)
        assert bool(((theta >= lower) & (theta <= upper)).all()), tissue
        assert float(theta[parameters.index(("B1",))[0]]) == 1


def test_unknown_tissue_is_named():
    with pytest.raises(ParameterError, match="bone"):
        tissue_values(QMT, "bone", torch.zeros(1))

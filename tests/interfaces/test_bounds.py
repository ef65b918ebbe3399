from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_brnn.information.design import FULL, crb_rows
from bids_brnn.interfaces.bounds import bounds_of
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.priors import TISSUES, tissue_values
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.zoo.recipe import EstimatorRecipe

SERIES = SeriesRecord("s", "qmt", "ramani", {}, {}, [], {})


def bounds(snr=None, maps=("R1", "B1", "w0"), **changes):
    recipe = EstimatorRecipe("nlls", "ramani", **{"sequence": demo_protocol(), **changes})
    ratios = [] if snr is None else [np.array([np.nan, snr, snr / 2, 2 * snr])]
    return bounds_of(SERIES, recipe, ratios, list(maps))


def test_first_order_bounds_are_those_of_the_toolbox_at_the_snr_of_the_maps():
    found = bounds(snr=80.0)
    assert (found.snr, found.measured) == (80.0, True)
    assert found.known == ["R1", "R1s (assumed)", "w0", "B1"]
    model = ObservedR1(build_model("ramani", demo_protocol()))
    like = torch.zeros(1, dtype=torch.float64)
    theta = torch.stack([tissue_values(model.parameters, name, like) for name in TISSUES])
    rows, _ = crb_rows(model, list(TISSUES), theta, None, [])
    table = {
        (row.tissue, row.parameter): row.std / 80
        for row in rows if row.rank == FULL and set(row.known.split("+")) >= {"R1", "B1", "w0"}
    }  # fmt: skip
    for row in found.rows:
        assert row.first == pytest.approx(table[row.tissue, row.parameter], rel=1e-9)
        assert row.second >= row.first * (1 - 1e-9)


def test_bounds_are_those_of_the_model_that_was_fitted():
    found = [bounds(model_options={"R1s": word}) for word in ("fixed", "equal")]
    values = [[row.first for row in item.rows if row.tissue == "WM"] for item in found]
    assert values[0] == [row.first for row in bounds().rows if row.tissue == "WM"]
    assert not np.allclose(*values, rtol=1e-3)


def test_both_bounds_are_one_where_there_is_hardly_noise():
    for row in bounds(snr=1e6).rows:
        assert row.second == pytest.approx(row.first, rel=1e-4)  # they differ by 1 / SNR^2


def test_an_unknown_snr_and_assumed_maps_are_told():
    found = bounds(maps=("R1",))
    assert (found.snr, found.measured) == (40.0, False)
    assert found.known == ["R1", "R1s (assumed)", "w0 (assumed)", "B1 (assumed)"]


def test_semisolid_parameters_have_no_bound_in_fluid():
    named = {row.parameter for row in bounds().rows if row.tissue == "CSF"}
    assert named & {"Rx", "T2s"} == set()
    assert "m0s" in named


def test_a_model_that_cannot_be_evaluated_costs_the_table_alone(caplog):
    assert bounds(basis=np.eye(3)) is None
    assert "no bounds on the page: a Z-spectrum has no basis" in caplog.text


def test_tissue_is_that_of_the_field_of_the_series():
    def values(field):
        record = replace(SERIES, metadata={"MagneticFieldStrength": field})
        recipe = EstimatorRecipe("nlls", "ramani", demo_protocol())
        found = bounds_of(record, recipe, [], ["R1"])
        assert found.field_strength == field
        return {(row.tissue, row.parameter): row.value for row in found.rows}

    usual, other = values(3.0), values(7.0)
    assert other["WM", "R2f"] == pytest.approx(usual["WM", "R2f"] * (7 / 3) ** 0.3)
    assert other["WM", "m0s"] == usual["WM", "m0s"]
    assert other["CSF", "R2f"] == usual["CSF", "R2f"]

import pytest
import torch

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import QMT, RELAXATION, MapItem, Parameter, ParameterSet


def test_order_of_the_qmt_table_is_the_order_of_the_papers():
    assert QMT.names == ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s", "w0", "B1")
    assert QMT.index(("T2s", "m0s")) == [5, 0]
    assert QMT.select("estimated").names == QMT.names[:6]


def test_unknown_name_lists_what_exists():
    with pytest.raises(ParameterError, match="unknown parameter T2; this model has R1, R2, B1"):
        RELAXATION.index(("T2",))


def test_unit_interval_round_trip_hits_the_bounds():
    lower, upper = QMT.bounds(torch.zeros((), dtype=torch.float64))
    assert torch.equal(QMT.to_unit(lower), torch.zeros(8, dtype=torch.float64))
    assert torch.allclose(QMT.to_unit(upper), torch.ones(8, dtype=torch.float64))
    theta = lower + 0.3 * (upper - lower)
    assert torch.allclose(QMT.from_unit(QMT.to_unit(theta)), theta, rtol=1e-12)


def test_theta_fills_absent_names_with_start_values():
    like = torch.zeros((), dtype=torch.float64)
    theta = RELAXATION.theta({"R1": torch.tensor([1.0, 2.0])}, like)
    assert theta.shape == (2, 3)
    assert theta.dtype == torch.float64
    assert theta[:, 0].tolist() == [1.0, 2.0]
    assert torch.equal(theta[0, 1:], RELAXATION.start(like)[1:])
    with pytest.raises(ParameterError, match="unknown parameter"):
        RELAXATION.theta({"R3": 1.0}, like)


def test_changing_a_role_leaves_the_original_alone():
    changed = QMT.with_role("B1", "supplied")
    assert changed["B1"].role == "supplied"
    assert QMT["B1"].role == "nuisance"
    assert changed.columns("estimated", "nuisance") == [0, 1, 2, 3, 4, 5, 6]


def test_nonsense_tables_are_refused():
    item = MapItem("R1", "1/s", "R1map", "rate")
    with pytest.raises(ParameterError, match="lower <= start <= upper"):
        Parameter(item, 0.0, 1.0, 2.0, "estimated")
    row = Parameter(item, 0.0, 1.0, 0.5, "estimated")
    with pytest.raises(ParameterError, match="names repeat"):
        ParameterSet((row, row))

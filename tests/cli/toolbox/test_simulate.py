"""``brnn simulate``: keys, shapes, numbers and the sentences for bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_BAD_DATA, EXIT_READ_ERROR
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.signals import build_model
from bids_brnn.signals.subspace import Subspace

FISP = "R1\tR2\tB1\n1.2\t14\t1\n0.7\t9\t0.9\n"
QMT = (
    "m0s\tR1f\tR2f\tRx\tR1s\tT2s\tw0\tB1\n0.2\t0.5\t13\t16\t3\t12e-6\t0\t1\n"
    "0.1\t0.4\t12\t14\t2.6\t13e-6\t150\t0.9\n"
)


def _table(path: Path, columns: dict[str, list[str]]) -> Path:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join(["\t".join(columns), *("\t".join(row) for row in rows)]) + "\n")
    return path


def _train(kind: str):
    return hybrid_state_train(n_pulses=40) if kind == "gbloch" else jiang_like_train(40)


@pytest.fixture
def files(tmp_path):
    """Writes the input of one model and returns the words of the command."""

    def write(kind: str, *, pulses=None, parameters=None, basis=None) -> list[str]:
        table = _train(kind).to_table()
        table.update(pulses or {})
        words = ["simulate", "--model", kind, "--out", str(tmp_path / "out.npz")]
        words += ["--pulses", str(_table(tmp_path / "rfpulses.tsv", table))]
        text = parameters or (QMT if kind == "gbloch" else FISP)
        (tmp_path / "params.tsv").write_text(text)
        words += ["--parameters", str(tmp_path / "params.tsv")]
        if basis is not None:
            np.savetxt(
                tmp_path / "basis.tsv",
                basis,
                delimiter="\t",
                comments="",
                header="\t".join(f"c{k}" for k in range(basis.shape[1])),
            )
            words += ["--basis", str(tmp_path / "basis.tsv")]
        return words

    return write


@pytest.mark.parametrize("kind", ["fisp", "gbloch"])
def test_signals_derivatives_and_bounds_are_those_of_the_library(kind, files, tmp_path, capsys):
    assert main([*files(kind), "--derivatives", "--crb"]) == 0
    assert "parameter sets/s" in capsys.readouterr().out
    with np.load(tmp_path / "out.npz", allow_pickle=False) as out:
        arrays = dict(out)
    model = build_model(kind, _train(kind))
    text = QMT if kind == "gbloch" else FISP
    theta = torch.tensor(
        [[float(v) for v in line.split("\t")] for line in text.splitlines()[1:]]
    ).double()
    signal, jacobian = model.linearize(theta)
    assert set(arrays) == {"signal", "derivatives", "crb", "parameter_names"}
    assert arrays["parameter_names"].tolist() == list(model.parameters.names)
    # 12 digits of flip angle and 9 of time in the table
    np.testing.assert_allclose(arrays["signal"], signal.numpy(), rtol=0, atol=1e-7)
    # The compiled kernel interpolates in tables whose fit moves with the last digit of a train.
    scale = np.abs(jacobian.numpy()).max((0, 1))
    np.testing.assert_allclose(
        arrays["derivatives"] / scale, jacobian.numpy() / scale, rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        arrays["crb"], cramer_rao_bound(model, theta).numpy(), rtol=1e-3
    )  # conditioning of the Fisher matrix of a very short train


def test_with_a_basis_the_output_is_coefficients(files, tmp_path):
    model = build_model("fisp", _train("fisp"))
    theta = torch.tensor([[1.2, 14, 1], [0.7, 9, 0.9], [2, 20, 1.1], [0.3, 2, 1]]).double()
    basis = Subspace.from_signals(model(theta), 3).basis.numpy()
    assert main([*files("fisp", basis=basis), "--rank", "2", "--crb"]) == 0
    out = np.load(tmp_path / "out.npz")
    assert set(out) == {"coefficients", "crb", "parameter_names"}
    assert out["coefficients"].shape == (2, 2)
    expected = model(theta[:2]).numpy() @ basis[:, :2]
    np.testing.assert_allclose(out["coefficients"], expected, atol=1e-7)


def test_known_parameters_have_bound_zero_and_lower_those_of_others(files, tmp_path):
    words = files("fisp")
    bounds = []
    for known in ([], ["--known"], ["--known", "B1", "R2"]):
        assert main([*words, "--crb", *known]) == 0
        bounds.append(np.load(tmp_path / "out.npz")["crb"])
    default, unknown, both = bounds
    assert (default[:, 2] == 0).all()  # a map supplies B1
    assert (unknown[:, 2] > 0).all()
    assert (unknown[:, 1] > default[:, 1]).all()
    assert (both[:, 1:] == 0).all()
    assert (both[:, 0] < default[:, 0]).all()


def test_float32_is_close_to_float64(files, tmp_path):
    words = files("fisp")
    assert main(words) == 0
    wide = np.load(tmp_path / "out.npz")["signal"]
    assert main([*words, "--precision", "float32"]) == 0
    narrow = np.load(tmp_path / "out.npz")["signal"]
    assert narrow.dtype == np.complex64
    assert np.linalg.norm(narrow - wide) < 1e-5 * np.linalg.norm(wide)


def test_absent_nuisance_columns_take_their_start_value(files, tmp_path):
    short = "\n".join("\t".join(line.split("\t")[:6]) for line in QMT.splitlines()[:2])
    assert main(files("gbloch", parameters=short + "\n")) == 0
    first = np.load(tmp_path / "out.npz")["signal"]
    assert main(files("gbloch")) == 0
    second = np.load(tmp_path / "out.npz")["signal"]
    np.testing.assert_allclose(first[0], second[0], atol=1e-12)


def test_boundary_condition_can_be_chosen(files, tmp_path):
    words = files("gbloch")
    signals = []
    for extra in (
        [],
        ["--boundary-condition", "antiperiodic"],
        ["--boundary-condition", "thermal"],
    ):
        assert main([*words, *extra]) == 0
        signals.append(np.load(tmp_path / "out.npz")["signal"])
    np.testing.assert_array_equal(signals[0], signals[1])
    assert np.abs(signals[2] - signals[0]).max() > 1e-3


def _replaced(text: str, row: int, column: str, value: str) -> str:
    lines = [line.split("\t") for line in text.splitlines()]
    lines[row][lines[0].index(column)] = value
    return "\n".join("\t".join(line) for line in lines) + "\n"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("R1f", "-0.5"),
        ("m0s", "1.2"),
        ("m0s", "-0.1"),
        ("T2s", "12"),
        ("T2s", "60e-6"),
        ("R2f", "nan"),
        ("Rx", "fast"),
        ("B1", "0"),
    ],
)
def test_impossible_parameters_are_refused_with_field_row_and_value(column, value, files, capsys):
    text = _replaced(QMT, 2, column, value)
    assert main(files("gbloch", parameters=text)) == EXIT_BAD_DATA
    message = capsys.readouterr().err
    shown = value if value in ("nan", "fast") else f"{float(value):g}"
    assert f"params.tsv: {column} = {shown} in row 2" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("R1\tT2\n1\t0.1\n", "unknown column T2"),
        ("R1\tB1\n1\t1\n", "no column R2"),
        ("R1\tR2\n", "no row"),
    ],
)
def test_parameter_tables_with_other_columns_are_refused(text, message, files, capsys):
    assert main(files("fisp", parameters=text)) == EXIT_BAD_DATA
    assert message in capsys.readouterr().err


def _cells(kind: str, column: str, row: int, value: str) -> dict[str, list[str]]:
    cells = list(_train(kind).to_table()[column])
    cells[row - 1] = value
    return {column: cells}


@pytest.mark.parametrize(
    ("column", "row", "value", "parts"),
    [
        ("onset", 5, "0.0035", ("onset = 0.0035", "row 5")),
        ("onset", 5, "0.0107", ("shorter than half of this pulse", "0.0002", "4")),
        ("duration", 4, "0", ("duration = 0", "row 4")),
        ("duration", 4, "-1e-4", ("duration = -0.0001", "row 4")),
        ("echo_time", 3, "0.0036", ("echo_time = 0.0036", "3")),
        ("echo_time", 3, "1e-5", ("echo_time = 1e-05", "3")),
        ("flip_angle", 6, "361", ("flip_angle = 361", "row 6")),
        ("flip_angle", 6, "-3", ("flip_angle = -3", "row 6")),
        ("flip_angle", 6, "nan", ("flip_angle", "row 6")),
        ("phase", 6, "left", ("phase = left", "row 6")),
        ("pulse_type", 2, "adiabatic", ("pulse_type = adiabatic", "row 2")),
        ("gradient", 2, "strong", ("gradient = strong", "2")),
    ],
)
def test_impossible_pulse_tables_are_refused(column, row, value, parts, files, capsys):
    words = files("gbloch", pulses=_cells("gbloch", column, row, value))
    assert main(words) == EXIT_BAD_DATA
    message = capsys.readouterr().err
    assert message.startswith("brnn simulate: rfpulses.tsv: ")
    for part in parts:
        assert part in message
    assert message.count("\n") == 1


def test_missing_files_and_wrong_bases_are_named(files, tmp_path, capsys):
    words = files("fisp")
    words[words.index("--pulses") + 1] = str(tmp_path / "absent.tsv")
    assert main(words) == EXIT_READ_ERROR
    assert "absent.tsv" in capsys.readouterr().err
    assert main(files("fisp", basis=np.eye(39, 2))) == EXIT_BAD_DATA
    words = "basis.tsv has 39 rows, rfpulses.tsv has 40 rows with readout = 1"
    assert words in capsys.readouterr().err
    assert main(files("fisp", basis=np.ones((40, 2)))) == EXIT_BAD_DATA
    assert "not orthonormal" in capsys.readouterr().err
    assert main([*files("fisp", basis=np.eye(40, 2)), "--rank", "3"]) == EXIT_BAD_DATA
    assert "rank 3 is outside 1 ... 2" in capsys.readouterr().err
    assert main([*files("fisp"), "--rank", "3"]) == EXIT_BAD_DATA
    assert "--rank needs --basis" in capsys.readouterr().err
    assert main([*files("fisp"), "--known", "T1", "--crb"]) == EXIT_BAD_DATA
    assert "unknown parameter T1" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()

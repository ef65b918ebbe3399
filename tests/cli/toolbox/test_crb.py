"""``brnn crb``: tables, plots and bases."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_BAD_DATA, EXIT_READ_ERROR, EXIT_USAGE
from bids_brnn.information.bounds import covariance, cramer_rao_bound
from bids_brnn.priors import tissue_values
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _pulses(path: Path, train) -> str:
    table = train.to_table()
    rows = ["\t".join(table), *("\t".join(row) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def fisp(tmp_path) -> list[str]:
    train = jiang_like_train(120)
    return ["crb", "--model", "fisp", "--pulses", _pulses(tmp_path / "rfpulses.tsv", train)]


def test_table_holds_the_bounds_of_the_library(fisp, tmp_path, capsys):
    assert main([*fisp, "--snr", "40", "--out", str(tmp_path / "out")]) == 0
    model = build_model("fisp", jiang_like_train(120))
    theta = tissue_values(model.parameters, "GM", torch.zeros(1).double())
    signal, jacobian = model.linearize(theta)
    rows = _rows(tmp_path / "out" / "crb.tsv")
    for known, free in (("n/a", [0, 1, 2]), ("B1", [0, 1])):
        expected = covariance(signal, jacobian[:, free]).diagonal().sqrt().tolist()
        found = {r["parameter"]: r for r in rows if r["tissue"] == "GM" and r["known"] == known}
        assert len(found) == len(free)
        for column, std in zip(free, expected, strict=True):
            row = found[model.parameters.names[column]]
            # Times in the table have nine digits; the Fisher matrix amplifies them.
            assert float(row["std"]) == pytest.approx(std, rel=1e-4)
            percent = 100 * std / 40 / float(theta[column])
            assert float(row["percent_at_snr_40"]) == pytest.approx(percent, rel=1e-4)
    shown = capsys.readouterr().out
    assert "|M0|/sigma = 40" in shown
    assert "B1 known" in shown
    assert (tmp_path / "out" / "crb.png").read_bytes()[:4] == b"\x89PNG"


def test_a_b1_map_never_hurts(fisp, tmp_path):
    assert main([*fisp, "--no-plots", "--out", str(tmp_path)]) == 0
    rows = _rows(tmp_path / "crb.tsv")
    std = {(r["tissue"], r["parameter"], r["known"]): float(r["std"]) for r in rows}
    for (tissue, parameter, known), value in std.items():
        if known == "B1":
            assert value <= std[tissue, parameter, "n/a"] * (1 + 1e-9)
    assert not (tmp_path / "crb.png").exists()


def test_correlations_are_those_of_a_covariance(fisp, tmp_path):
    assert main([*fisp, "--no-plots", "--out", str(tmp_path)]) == 0
    rows = [r for r in _rows(tmp_path / "correlation.tsv") if r["tissue"] == "WM"]
    matrix = np.array([[float(r[name]) for name in ("R1", "R2", "B1")] for r in rows])
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1)
    assert np.abs(matrix).max() <= 1


def test_designed_basis_is_written_and_gives_the_same_bounds_when_read(fisp, tmp_path):
    out = tmp_path / "out"
    design = ["--design-basis", "8", "--ranks", "3", "8", "--no-plots"]
    assert main([*fisp, *design, "--out", str(out)]) == 0
    first = [r for r in _rows(out / "crb.tsv") if r["rank"] != "full"]
    read = ["--basis", str(out / "basis.tsv"), "--ranks", "3", "8", "--no-plots"]
    assert main([*fisp, *read, "--out", str(tmp_path / "again")]) == 0
    second = [r for r in _rows(tmp_path / "again" / "crb.tsv") if r["rank"] != "full"]
    assert {r["rank"] for r in first} == {"3", "8"}
    assert {r["known"] for r in first} == {"B1"}  # B1 comes from a map in FISP
    for a, b in zip(first, second, strict=True):
        assert float(a["std"]) == pytest.approx(float(b["std"]), rel=1e-4)
    std = {(r["tissue"], r["parameter"], r["rank"]): float(r["std"]) for r in first}
    for (tissue, parameter, rank), value in std.items():
        if rank == "8":
            assert value <= std[tissue, parameter, "3"] * (1 + 1e-9)


def test_own_parameters_prior_and_plots_of_ranks(fisp, tmp_path):
    (tmp_path / "params.tsv").write_text("R1\tR2\n2.0\t20\n")
    (tmp_path / "prior.toml").write_text(
        '[[class]]\nname = "x"\n[class.parameters]\n'
        "R1 = {uniform = [1, 3]}\nR2 = {uniform = [10, 30]}\nB1 = 1.0\n"
    )
    words = ["--parameters", str(tmp_path / "params.tsv"), "--out", str(tmp_path)]
    words += ["--design-basis", "5", "--prior", str(tmp_path / "prior.toml"), "--weight", "0.9"]
    assert main([*fisp, *words]) == 0
    assert {r["tissue"] for r in _rows(tmp_path / "crb.tsv")} == {"row 1"}
    assert (tmp_path / "crb.png").stat().st_size > 10_000


def test_a_third_model_needs_no_special_case(tmp_path, capsys):
    table = jiang_like_train(60).to_table()
    table["gradient"] = ["spoiler"] + ["balanced"] * 60
    table["phase"] = ["0"] + [str(180 * (pulse % 2)) for pulse in range(60)]
    rows = ["\t".join(table), *("\t".join(row) for row in zip(*table.values(), strict=True))]
    (tmp_path / "rfpulses.tsv").write_text("\n".join(rows) + "\n")
    words = ["--pulses", str(tmp_path / "rfpulses.tsv"), "--design-basis", "8"]
    assert main(["crb", "--model", "bssfp", *words]) == 0
    shown = capsys.readouterr().out
    assert "w0+B1 known" in shown
    assert "rank 8" in shown
    (tmp_path / "params.tsv").write_text("R1\tR2\n1.0\t12\n")
    words = ["--parameters", str(tmp_path / "params.tsv"), "--out", str(tmp_path / "s.npz")]
    assert (
        main(["simulate", "--model", "bssfp", "--pulses", str(tmp_path / "rfpulses.tsv"), *words])
        == 0
    )
    assert np.load(tmp_path / "s.npz")["signal"].shape == (1, 60)


def test_qmt_without_pulses_takes_our_own_train(capsys):
    assert main(["crb", "--model", "gbloch"]) == 0
    shown = capsys.readouterr().out
    assert f"{hybrid_state_train().duration:.1f} s of pulses" in shown
    assert "w0+B1 known" in shown
    white = next(line.split() for line in shown.splitlines() if line.startswith("WM       m0s"))
    assert float(white[2]) == 0.2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], EXIT_USAGE, "--model is missing"),
        (["--model", "bssfp"], EXIT_USAGE, "--pulses is missing"),
        (["--model", "fisp", "--snr", "0"], EXIT_USAGE, "--snr 0: a finite number above 0"),
        (["--model", "fisp", "--snr", "inf"], EXIT_USAGE, "--snr inf: a finite number above 0"),
        (
            ["--model", "ramani", "--protocol", "z.tsv", "--pulses", "x.tsv"],
            EXIT_USAGE,
            "without a pulse train",
        ),
        (["--model", "fisp", "--ranks", "3"], EXIT_USAGE, "need --basis or --design-basis"),
        (["--model", "fisp", "--basis", "a", "--design-basis", "3"], EXIT_USAGE, "one of them"),
        (
            ["--model", "fisp", "--design-basis", "3", "--ranks", "9"],
            EXIT_BAD_DATA,
            "outside 1 ... 3",
        ),
        (["--model", "fisp", "--design-basis", "0"], EXIT_BAD_DATA, "rank 0"),
        (
            ["--model", "fisp", "--design-basis", "3", "--prior", "absent.toml"],
            EXIT_READ_ERROR,
            "absent.toml",
        ),
    ],
)
def test_impossible_requests_are_refused(words, code, message, fisp, capsys):
    if "fisp" in words:
        words = [*words, "--pulses", fisp[-1]]
    assert main(["crb", *words]) == code
    assert message in capsys.readouterr().err


class TestZSpectra:
    """What a protocol of conventional qMT determines with R1 observed."""

    @pytest.fixture
    def protocol(self, tmp_path):
        table = tmp_path / "z.tsv"
        rows = ["0\t0\toff", *(f"{angle}\t{offset}\ton" for angle in (142, 426)
                               for offset in (443, 1088, 2732, 6862, 17235))]  # fmt: skip
        table.write_text("mt_flip_angle\toffset\tmt_state\n" + "\n".join(rows) + "\n")
        constants = {
            "MTPulseShape": "GAUSSHANN", "MTPulseDuration": 0.0102, "MTPulseBandwidth": 200,
            "FlipAngle": 7, "RepetitionTimeExcitation": 0.025,
        }  # fmt: skip
        (tmp_path / "z.json").write_text(json.dumps(constants))
        return table

    def test_the_table_tells_what_is_estimated(self, protocol, tmp_path, capsys):
        arguments = [
            "--model",
            "ramani",
            "--protocol",
            str(protocol),
            "--out",
            str(tmp_path / "o"),
        ]
        assert main(["crb", *arguments, "--no-plots"]) == 0
        rows = _rows(tmp_path / "o" / "crb.tsv")
        known = "R1+R1s+w0+B1"
        told = {row["parameter"] for row in rows if row["known"] == known}
        assert told == {"m0s", "R2f", "Rx", "T2s"}
        model = ObservedR1(build_model("ramani", read_z_protocol(protocol)))
        theta = tissue_values(model.parameters, "WM", torch.zeros(1).double())
        theta[4] = 1.0  # what estimators assume
        expected = cramer_rao_bound(model, theta[None])[0].sqrt()
        for row in rows:
            if row["tissue"] == "WM" and row["known"] == known:
                column = model.parameters.index((row["parameter"],))[0]
                assert float(row["std"]) == pytest.approx(float(expected[column]), rel=1e-4)
        assert known in capsys.readouterr().out

    def test_a_model_of_pulse_trains_is_refused_with_the_names_that_serve(self, protocol, capsys):
        code = main(["crb", "--model", "fisp", "--protocol", str(protocol)])
        assert code == EXIT_BAD_DATA
        said = capsys.readouterr().err
        assert '"fisp" is no signal model of Z-spectra; use one of' in said
        assert "ramani" in said

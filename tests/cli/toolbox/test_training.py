"""``brnn train``, ``evaluate`` and ``models`` from a configuration to figures."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_BAD_DATA, EXIT_OK, EXIT_READ_ERROR, DataError
from bids_brnn.zoo.places import WEIGHTS_VARIABLE
from bids_brnn.zoo.store import load_model

CONFIG = """
name = "tiny"
model = "fisp"
pulses = "rfpulses.tsv"
basis_from = "signals"
basis_fingerprints = 100
rank = 4
prior = "prior.toml"
fingerprints = 600
held_out = 100
[network]
width = 16
blocks = 1
[errors]
steps = 40
width = 16

[surrogate]
width = 16
blocks = 1
steps = 150
[training]
snr_range = [40, 60]
report_every = 30
averaging = 0.9
stages = [
  { loss = { name = "mse-crb", mirrored = false }, steps = 60, batch = 256, warmup = 5 },
  { loss = "bias-reduced", steps = 30, batch = 64, realisations = 4, warmup = 5 },
]
"""
PRIOR = """
[[class]]
name = "all"
[class.parameters]
R1 = { uniform = [0.5, 2.0] }
R2 = { uniform = [6, 20] }
B1 = { uniform = [0.8, 1.2] }
"""


def _pulses(n=120) -> str:
    rows = ["onset\tflip_angle\tpulse_type\treadout\techo_time"]
    rows.append("0\t180\tinversion\t0\tn/a")
    for k in range(n):
        angle = 10 + 40 * np.sin(np.pi * (k % 60) / 60) ** 2
        rows.append(f"{0.02 + 0.012 * k:.6f}\t{angle:.4f}\texcitation\t1\t0.002")
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A configuration and the models that ``brnn train`` made from it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "tiny.toml").write_text(CONFIG)
    (folder / "prior.toml").write_text(PRIOR)
    (folder / "rfpulses.tsv").write_text(_pulses())
    code = main(["train", str(folder / "tiny.toml"), str(folder / "out"), "--device", "cpu"])
    assert code == EXIT_OK
    return folder


def test_training_writes_models_cards_and_live_curves(project, capsys):
    out = project / "out"
    stored = load_model(out / "tiny.json")
    assert stored.basis.shape == (120, 4)  # time frames can be projected
    assert stored.card.training["config"]["snr_range"] == [40, 60]
    lines = (out / "tiny-msecrb.curves.tsv").read_text().splitlines()
    assert len(lines) == 3
    assert "R1_squared_bias_over_crb" in lines[0]


def test_a_second_call_trains_nothing_again(project, capsys):
    before = (project / "out" / "tiny.safetensors").stat().st_mtime_ns
    assert main(["train", str(project / "tiny.toml"), str(project / "out")]) == EXIT_OK
    captured = capsys.readouterr()
    assert "simulated" not in captured.err
    assert "tiny.json" in captured.out.splitlines()[0]
    assert (project / "out" / "tiny.safetensors").stat().st_mtime_ns == before


def test_evaluation_writes_numbers_figures_and_the_card(project, tmp_path, capsys):
    shutil.copytree(project / "out", tmp_path / "out")
    card = tmp_path / "out" / "tiny.json"
    arguments = [
        "evaluate", str(card), "--config", str(project / "tiny.toml"), "--fingerprints", "60",
        "--draws", "40", "--peer", "nlls", "--update-card", "--out", str(tmp_path / "report"),
    ]  # fmt: skip
    assert main(arguments) == EXIT_OK
    text = capsys.readouterr().out
    assert "WM, nlls" in text
    assert "WM, least std without bias / bound at SNR" in text
    found = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert found["loss"] == "bias-reduced"
    for name in ("R1", "R2", "all"):
        assert np.isfinite(found["held_out"][name]["squared_bias_over_crb"])
        assert found["held_out"][name]["variance_over_crb"] > 0
    curve = found["tissues"]["GM"]["nlls"]["R1"]
    # R1 and R2 bend little at SNR 50
    for key in ("unbiased_percent", "bound_percent"):
        assert curve[key][-1] == pytest.approx(curve["bound_percent"][-1], rel=0.02)
    assert curve["unbiased_percent"][0] > curve["bound_percent"][0]
    # least squares is efficient here: 200 draws know a std to 5 %
    assert curve["std_over_bound"][-1] == pytest.approx(1.0, abs=0.2)
    sets = found["tissue_sets"]
    assert list(sets) == ["WM", "GM", "lesion", "oedema"]
    row = sets["lesion"]["40"]["R1"]
    assert np.isfinite(list(row.values())).all()
    assert 0 <= row["least_coverage"] <= row["coverage"] <= 1
    # std over slope is what compares with the bounds, and the second-order one is never below 1
    assert row["second_order_over_crb"] >= 0.999
    assert "std/slope" in text
    assert found["outside_training"]["flagged_noise_only"] > 0.9
    assert {p.name for p in (tmp_path / "report").glob("*.png")} == {
        "snr_WM.png", "snr_GM.png", "snr_CSF.png", "sweep.png", "distribution.png",
        "tissue_sets.png",
    }  # fmt: skip
    assert load_model(card).card.evaluation["draws"] == 40


def test_models_are_listed_and_shown(project, monkeypatch, capsys):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(project / "out"))
    assert main(["models"]) == EXIT_OK
    assert "tiny-msecrb" in capsys.readouterr().out
    assert main(["models", "tiny"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    assert main(["models", "absent"]) == EXIT_READ_ERROR


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rank = 4", ""), "rank is missing"),
        (('model = "fisp"', 'model = "spgr"'), 'model = "spgr"'),
        (('pulses = "rfpulses.tsv"', ""), "exactly one of sidecar"),
        (('pulses = "rfpulses.tsv"', 'train = "mystery"'), "train must be one of"),
        (("rank = 4", "ranks = 4"), 'did you mean "rank"?'),
        (("rank = 4", "rank = 4\nfield_strength = 30000"), "is 30000; write one number from 0.01"),
        (("rank = 4", "rank = 4\nmodel_options = { n_state = 9 }"), 'mean "n_states"?'),
        (("[network]", "[network]\nwidht = 9"), "[network]: unknown key widht; "),
        (("[surrogate]", "[surrogate]\nepochs = 9"), "[surrogate]: unknown key epochs; "),
        (("steps = 150", "steps = 0"), "steps of surrogate of "),
        (("[surrogate]", "[surrogate]\nharmonics = -1"), "write one whole number from 0 to 512"),
        (("steps = 40", 'steps = "many"'), "steps of errors of "),
        (("rank = 4", 'rank = "four"'), "rank = 'four' must be a whole number of at least 1"),
        (("rank = 4", "rank = 4.5"), "rank = 4.5 must be a whole number"),
        (("held_out = 100", "held_out = 0"), "held_out = 0 must be a whole number of at least 1"),
        (('name = "tiny"', 'name = "../tiny"'), "cannot be a path"),
        (('name = "tiny"', "name = 5"), "name must be a text"),
        (('pulses = "rfpulses.tsv"', "pulses = 5"), "pulses = 5 is no path"),
        (('pulses = "rfpulses.tsv"', 'pulses = "absent.tsv"'), "absent.tsv"),
        (("rank = 4", "rank = 4\nmodel_options = { tr = 1 }"), "[model_options]: unknown key tr"),
        (
            ("rank = 4", 'rank = 4\nmodel_options = { inversion_efficiency = "full" }'),
            "inversion_efficiency of tiny.toml, [model_options] is 'full'; write a number",
        ),
        (
            ("rank = 4", 'rank = 4\nmodel_options = { slice_profile = "sinc" }'),
            "[model_options] cannot be used: ",
        ),
        (("snr_range = [40, 60]", "snr_range = 40"), "[training] cannot be read"),
        (("report_every = 30", "report_every = 0"), "report_every and checkpoint_every"),
        (('basis_from = "signals"', 'basis_from = "noise"'), "derivatives or signals"),
        (('prior = "prior.toml"', 'prior = "absent.toml"'), "cannot read the prior"),
        (('pulses = "rfpulses.tsv"', 'sidecar = "absent.json"'), "cannot read the sidecar"),
        (('name = "tiny"', "name = "), "cannot read the training configuration"),
        (("realisations = 4", "realisations = 2"), "at least 4"),
        (("rank = 4", 'rank = 4\nextra = [{ tissue = "all" }]'), "an [[extra]] table"),
        (
            ("rank = 4", 'rank = 4\nextra = [{tissue="fat", parameters={}, fingerprints=9}]'),
            'no tissue class "fat"',
        ),
        (
            ("rank = 4", 'rank = 4\nextra = [{tissue="all", parameters={w0=1}, fingerprints=9}]'),
            "unknown parameter w0",
        ),
    ],
)
def test_wrong_configurations_are_one_sentence(project, tmp_path, capsys, change, words):
    for name in ("prior.toml", "rfpulses.tsv"):
        shutil.copy(project / name, tmp_path)
    path = tmp_path / "tiny.toml"
    assert change[0] in CONFIG
    path.write_text(CONFIG.replace(*change))
    code = main(["train", str(path), str(tmp_path / "out")])
    assert code in (EXIT_BAD_DATA, EXIT_READ_ERROR)
    message = capsys.readouterr().err
    assert words in message
    assert len(message.strip().splitlines()) == 1


def test_extra_fingerprints_are_never_held_out(tmp_path):
    from bids_brnn.experiments.fingerprints import training_data
    from bids_brnn.experiments.reading import build_experiment

    recipe = {
        "model": "gbloch", "train": "hybrid-state", "rank": 3, "basis_fingerprints": 20,
        "fingerprints": 30, "held_out": 10,
    }  # fmt: skip
    edge = {"w0": {"uniform": [500, 800]}}
    extra = {"tissue": "CSF", "parameters": edge, "fingerprints": 15}
    plain = build_experiment(recipe, tmp_path / "a.toml")
    dense = build_experiment({**recipe, "extra": [extra]}, tmp_path / "b.toml")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    few, held_out = training_data(plain, tmp_path / "a")
    many, again = training_data(dense, tmp_path / "b")
    assert (len(few), len(many)) == (30, 45)
    assert torch.equal(again.theta, held_out.theta)
    assert torch.equal(many.theta[15:], few.theta)
    w0 = many.theta[:15, plain.parameters.index(("w0",))[0]]
    assert ((w0 > 500) & (w0 < 800)).all()
    # the cache of one is not taken for that of the other
    assert len(training_data(dense, tmp_path / "a")[0]) == 45
    # a real basis: only one side of w0 is learnt
    assert plain.spec.odd == "w0"


def test_a_sidecar_names_train_and_basis(project, tmp_path):
    from bids_brnn.experiments.reading import read_experiment

    shutil.copy(project / "rfpulses.tsv", tmp_path / "sub-01_rfpulses.tsv")
    shutil.copy(project / "prior.toml", tmp_path)
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((120, 4)))[0]
    header = "\t".join(f"c{k}" for k in range(4))
    np.savetxt(tmp_path / "sub-01_basis.tsv", basis, delimiter="\t", header=header, comments="")
    sidecar = {"BoundaryCondition": "thermal", "PulseTrain": "bids::sub-01_rfpulses.tsv"}
    (tmp_path / "sub-01_MRF.json").write_text(json.dumps(sidecar))
    text = 'model = "fisp"\nsidecar = "sub-01_MRF.json"\nrank = 3\n'
    (tmp_path / "short.toml").write_text(text)
    experiment = read_experiment(tmp_path / "short.toml")
    assert experiment.name == "short"
    np.testing.assert_allclose(experiment.subspace.basis.numpy(), basis[:, :3], atol=1e-12)
    assert experiment.spec.outputs == ("R1", "R2")
    assert experiment.spec.supplied == ("B1",)
    assert not experiment.training.conjugate


def test_the_field_strength_of_a_network_is_that_of_its_tissue(project, tmp_path):
    from bids_brnn.experiments.reading import build_experiment

    shutil.copy(project / "rfpulses.tsv", tmp_path / "rfpulses.tsv")
    shutil.copy(project / "prior.toml", tmp_path)

    def field(said, **changes):
        sidecar = {"BoundaryCondition": "thermal", "MagneticFieldStrength": said}
        (tmp_path / "sub-01_MRF.json").write_text(json.dumps(sidecar))
        recipe = {
            "model": "fisp",
            "sidecar": "sub-01_MRF.json",
            "rank": 3,
            "basis_from": "signals",
        }
        return build_experiment({**recipe, **changes}, tmp_path / "a.toml").field_strength

    assert field(2.89) == 3.0  # of the prior that comes with the package
    with pytest.raises(DataError, match=r"the prior describes tissue at 3 T, .* is 7 T; give"):
        field(7)
    assert field(7, field_strength=7) == 7
    assert field(7, prior="prior.toml") == 7


def test_a_model_of_another_train_is_not_evaluated(project, tmp_path, capsys):
    (tmp_path / "rfpulses.tsv").write_text(_pulses(119))
    shutil.copy(project / "prior.toml", tmp_path)
    (tmp_path / "tiny.toml").write_text(CONFIG)
    arguments = ["evaluate", str(project / "out" / "tiny.json")]
    assert main([*arguments, "--config", str(tmp_path / "tiny.toml")]) == EXIT_BAD_DATA
    assert "another pulse train" in capsys.readouterr().err


def test_a_card_is_not_judged_on_other_tissue_than_its_network_learnt(project, tmp_path, capsys):
    for name in ("tiny.toml", "rfpulses.tsv"):
        shutil.copy(project / name, tmp_path)
    (tmp_path / "prior.toml").write_text(PRIOR.replace("[6, 20]", "[6, 12]"))
    card = project / "out" / "tiny.json"
    before = card.read_bytes()
    arguments = ["evaluate", str(card), "--config", str(tmp_path / "tiny.toml"), "--update-card"]
    assert main(arguments) == EXIT_BAD_DATA
    assert "leave out --update-card" in capsys.readouterr().err
    assert card.read_bytes() == before


def test_a_focus_has_fingerprints_of_its_own(tmp_path):
    from bids_brnn.experiments.fingerprints import focus_data, training_data
    from bids_brnn.experiments.reading import build_experiment

    narrow = {"m0s": {"uniform": [0.19, 0.21]}}
    recipe = {
        "model": "gbloch", "train": "hybrid-state", "rank": 3, "basis_fingerprints": 20,
        "fingerprints": 30, "held_out": 10,
        "focus": [{"tissue": "parenchyma", "parameters": narrow, "fingerprints": 12}],
    }  # fmt: skip
    experiment = build_experiment(recipe, tmp_path / "a.toml")
    assert len(training_data(experiment, tmp_path)[0]) == 30
    focus = focus_data(experiment, tmp_path)
    assert focus.gain is not None
    pool = focus.theta[:, experiment.parameters.index(("m0s",))[0]]
    assert len(pool) == 12
    assert ((pool > 0.19) & (pool < 0.21)).all()
    del recipe["focus"]
    assert focus_data(build_experiment(recipe, tmp_path / "b.toml"), tmp_path) is None
    recipe["training"] = {"stages": [{"loss": "mse", "steps": 1, "focus": 0.5}]}
    with pytest.raises(DataError, match=r"there is no \[\[focus\]\] table"):
        build_experiment(recipe, tmp_path / "c.toml")

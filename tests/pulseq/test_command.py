"""``brnn import-pulseq``: from a ``.seq`` file to a protocol that every command reads."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_BAD_DATA, EXIT_READ_ERROR
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.experiments.sidecars import read_sidecar

pytest.importorskip("pypulseq", reason="pypulseq (extra pulseq) is not installed")


def test_a_file_becomes_a_protocol(maker, tmp_path, capsys):
    maker.add(maker.pulse(180, use="inversion"))
    maker.add(maker.spoiler)
    maker.fisp(np.linspace(5, 40, 20))
    folder = tmp_path / "own"
    words = ["import-pulseq", str(maker.write()), str(folder), "--model", "fisp"]
    assert main([*words, "--label", "x"]) == 0
    assert "1 trains of up to 21 RF pulses, 20 samples" in capsys.readouterr().out
    found = read_sidecar(folder / "acq-x_MRF.json")
    assert found.entry.name == "fisp"
    np.testing.assert_allclose(np.degrees(found.sequence.flip_angle[0, 1:]),
                               np.linspace(5, 40, 20), atol=1e-3)  # fmt: skip
    assert read_experiment(folder / "x.toml").sequence.digest == found.sequence.digest
    assert "own.seq" in (folder / "README.md").read_text()


@pytest.mark.parametrize(("pause", "is_told"), [(0.1, True), (8.0, False)])
def test_a_train_that_is_played_again_before_recovery_is_told(
    maker, tmp_path, capsys, pause, is_told
):
    for _ in range(2):
        maker.fisp(np.linspace(5, 40, 20))
        maker.wait(pause)
    words = ["import-pulseq", str(maker.write()), str(tmp_path / "own"), "--model", "fisp"]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "plays its train 2 times" in told
    assert ("before tissue has recovered" in told) == is_told
    assert (
        main([*words[:2], str(tmp_path / "b"), *words[3:], "--boundary-condition", "thermal"]) == 0
    )
    assert "before tissue has recovered" not in capsys.readouterr().err


def test_a_train_of_another_model_is_refused(maker, tmp_path, capsys):
    maker.fisp(np.linspace(5, 40, 20))
    words = [str(maker.write()), str(tmp_path / "own"), "--model", "bssfp"]
    assert main(["import-pulseq", *words]) == EXIT_BAD_DATA
    assert 'needs "balanced"' in capsys.readouterr().err
    assert not (tmp_path / "own").exists()


def test_what_is_no_sequence_is_told(tmp_path, capsys):
    (tmp_path / "a.seq").write_text("train\tonset\n1\t0\n")
    words = ["import-pulseq", str(tmp_path / "a.seq"), str(tmp_path / "own"), "--model", "fisp"]
    assert main(words) == EXIT_READ_ERROR
    assert "a.seq is no Pulseq file" in capsys.readouterr().err

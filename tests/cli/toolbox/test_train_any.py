"""``brnn train`` over many protocols: from a configuration to a card that the program finds."""

from __future__ import annotations

import json

import pytest

from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_OK, EXIT_USAGE
from bids_brnn.zoo.any_store import load_any
from tests.cli.test_commands import check, words_of

TINY = """
name = "tiny"
fingerprints = 30
network = { width = 8, blocks = 1 }
errors = { width = 8, blocks = 1, steps = 3, batch = 64 }
[protocols]
ramani = 2
[training]
snr_range = [30, 300]
precision = "float32"
[[training.stages]]
loss = { name = "efficient", weight = 0.0, mirrored = false }
steps = 3
batch = 64
warmup = 1
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_it_writes_a_network_for_any_protocol_that_models_lists(
    config, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    assert main(["train", str(config), str(out), "--threads", "1", "--seed", "5"]) == EXIT_OK
    said = capsys.readouterr().out
    assert said.startswith(str(out / "tiny.json"))
    (line,) = said.partition("next:\n")[2].splitlines()
    check(words_of(line.strip()), whole=True)
    assert line.endswith(f"--weights {out / 'tiny.json'}")
    card = load_any(out / "tiny.json").card
    assert card.training["protocols"] == 2
    monkeypatch.setenv("BIDS_BRNN_WEIGHTS", str(out))
    assert main(["models"]) == EXIT_OK
    assert "for any protocol of Z-spectra" in capsys.readouterr().out
    assert main(["models", "tiny"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["kind"] == "any-spectrum"


def test_a_preset_is_refused(config, tmp_path, capsys):
    words = ["train", str(config), str(tmp_path / "out"), "--preset", "quick"]
    assert main(words) == EXIT_USAGE
    assert "trains over many protocols" in capsys.readouterr().err

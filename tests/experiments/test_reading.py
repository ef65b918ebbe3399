"""What a training configuration must not mean by chance."""

from __future__ import annotations

import pytest

from bids_brnn.errors import DataError
from bids_brnn.experiments.reading import build_experiment


@pytest.mark.parametrize("text", ["no", "false", 0])
def test_a_text_is_not_taken_as_true(tmp_path, text):
    content = {
        "model": "gbloch-zspectrum",
        "train": "spgr-demo",
        "model_options": {"saturating_excitation": text},
    }
    with pytest.raises(DataError, match=r"saturating_excitation of .*; write true or false"):
        build_experiment(content, tmp_path / "my.toml")

"""The scripts that reproduce the paper: their claims can fail, and their page says so."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "pipelines" / "reproduce"


@pytest.fixture
def script(monkeypatch):
    """Modules of the folder by name; nothing of them stays imported."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (SCRIPTS / f"{name}.py").is_file():
            del sys.modules[name]


def test_an_interval_around_the_limit_tells_nothing(script):
    shared = script("shared")
    assert shared.above(0.96, 0.98, 0.95) is True
    assert shared.above(0.90, 0.94, 0.95) is False
    assert shared.above(0.94, 0.96, 0.95) is None
    assert shared.below(0.94, 0.96, 0.95) is None
    assert shared.below(0.90, 0.94, 0.95) is True


def test_intervals_cover_what_they_should(script):
    shared = script("shared")
    rng = np.random.default_rng(1)
    hits = sum(
        low <= 0 <= high
        for _ in range(200)
        for _, low, high in [shared.bootstrap(rng.standard_normal(60), np.mean, repeats=200)]
    )
    # 95 % of 200 less four standard errors of a binomial share, and 1 % for small samples
    assert hits / 200 > 0.95 - 4 * (0.95 * 0.05 / 200) ** 0.5 - 0.01
    # Wilson (1927) for 0 of 10 and for 5 of 10, from the closed form
    assert shared.share(0, 10)[2] == pytest.approx(0.2775, abs=1e-4)
    assert shared.share(5, 10)[1:] == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_a_claim_that_fails_is_called_so(script, tmp_path):
    shared, run = script("shared"), script("run")
    wrong = shared.Claim("the moon is near", 384_400.0, 384_000.0, 385_000.0, False, "km")
    shared.Result("figure1", "Moon", "Looked at.", [wrong], tables={"t": {"a": {"b": 1.5}}}).write(
        tmp_path
    )
    page = run.page(tmp_path)
    assert "| the moon is near | 3.84e+05 | 3.84e+05 to 3.85e+05 | does not hold | km |" in page
    assert "| a | 1.5 |" in page


def test_the_networks_are_judged_by_their_cards(script, tmp_path):
    script("cards").reproduce(None).write(tmp_path)
    content = json.loads((tmp_path / "cards.json").read_text())
    assert {"qmt-invivo", "mrf-jiang"} <= set(content["tables"])
    for claim in content["claims"]:
        assert claim["low"] <= claim["number"] <= claim["high"]


def test_the_results_hold_what_the_cards_of_this_version_say(script, tmp_path):
    script("cards").reproduce(None).write(tmp_path)
    made = script("run").page(tmp_path).splitlines()
    kept = (SCRIPTS / "results" / "results.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in made if line.startswith("|")]
    assert len(rows) > 50
    assert [line for line in rows if line not in kept] == []


def test_fingerprinting_is_reproduced_from_the_shipped_weights(script, tmp_path):
    result = script("figure5").reproduce(None, small=True)
    result.write(tmp_path)
    assert (tmp_path / "figure5.png").stat().st_size > 10_000
    regions = result.tables["regions"]["left white matter"]
    # 60 voxels of a region at SNR 15: the mean error of R1 is known to half a per cent.
    assert abs(regions["R1"]["Bias-Reduced"]) < 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figure1", "figure2", "figure3", "losses", "outside", "pools"])
def test_every_script_runs(script, tmp_path, name):
    options = {"folder": tmp_path} if name == "losses" else {}
    result = script(name).reproduce(None, small=True, **options)
    assert result.claims

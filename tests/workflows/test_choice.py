"""Which estimators serve which series, and what is said where none does."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bids_brnn.errors import DataError, ReadError, UsageError
from bids_brnn.workflows.choice import choose_recipes, plan_estimation
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import WEIGHTS_VARIABLE


@pytest.fixture
def models(tmp_path, monkeypatch, acquisitions, save_network):
    """Networks for the MRF train, one of them for the comparison loss."""
    folder = tmp_path / "models"
    for name, loss in (
        ("a-mse", "mse-crb"),
        ("b-reduced", "bias-reduced"),
        ("c-new", "efficient"),
    ):
        save_network(folder, name, acquisitions["mrf"], loss=loss)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    return folder


def names(config, acquisition, supplied=()):
    return list(choose_recipes(config, acquisition, supplied))


def test_without_networks_each_kind_has_its_reference(make_config, acquisitions):
    for level in ("full", "minimal"):
        config = make_config(level=level)
        assert names(config, acquisitions["qmt"]) == ["nlls"]
        assert names(config, acquisitions["mrf"]) == ["dict"]


def test_the_network_comes_first_and_minimal_leaves_the_reference_out(
    make_config, acquisitions, models
):
    assert names(make_config(), acquisitions["mrf"]) == ["brnn", "dict"]
    assert names(make_config(level="minimal"), acquisitions["mrf"]) == ["brnn"]
    assert names(make_config(reference="none"), acquisitions["mrf"]) == ["brnn"]
    assert names(make_config(reference="nlls", level="minimal"), acquisitions["mrf"]) == [
        "brnn", "nlls",
    ]  # fmt: skip
    assert names(make_config(weights="none"), acquisitions["mrf"]) == ["dict"]
    # Another train: the network is not for it.
    assert names(make_config(), acquisitions["qmt"]) == ["nlls"]


def test_the_least_biased_network_is_preferred(make_config, acquisitions, models):
    recipe = choose_recipes(make_config(), acquisitions["mrf"], ("B1",))["brnn"]
    assert recipe.weights == str(models / "c-new.json")
    assert recipe.weights_sha256 == ModelCard.from_file(models / "c-new.json").weights_sha256
    assert recipe.supplied == ("B1",)


@pytest.mark.parametrize("by", ["name", "card", "weights"])
def test_a_network_can_be_named(make_config, acquisitions, models, by):
    wanted = {
        "name": "a-mse",
        "card": str(models / "a-mse.json"),
        "weights": str(models / "a-mse.safetensors"),
    }[by]
    recipe = choose_recipes(make_config(weights=wanted), acquisitions["mrf"], ())["brnn"]
    assert recipe.weights == str(models / "a-mse.json")


def test_a_network_for_another_train_is_refused(make_config, acquisitions, models):
    with pytest.raises(DataError, match='the network "a-mse" is for fisp signals'):
        choose_recipes(make_config(weights="a-mse"), acquisitions["qmt"], ())


@pytest.mark.parametrize("weights", ["absent", "../models/a-mse", "/no/such/card.json"])
def test_an_absent_network_is_refused(make_config, acquisitions, models, weights):
    with pytest.raises(ReadError, match="no trained model"):
        choose_recipes(make_config(weights=weights), acquisitions["mrf"], ())


def at_field(models, trained, acquisition, field):
    """All cards say ``trained``, the series says ``field`` (T)."""
    for path in models.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"field_strength": trained}))
    return replace(acquisition, metadata={"MagneticFieldStrength": field})


@pytest.mark.parametrize("field", [2.89, 3, 3.2])
def test_a_network_serves_its_field_strength(make_config, acquisitions, models, field):
    series = at_field(models, 3.0, acquisitions["mrf"], field)
    assert names(make_config(), series) == ["brnn", "dict"]
    assert names(make_config(weights="a-mse"), series) == ["brnn", "dict"]


@pytest.mark.parametrize("field", [0.55, 1.5, 7])
def test_a_network_of_another_field_strength_is_left_out_or_refused(
    make_config, acquisitions, models, field
):
    series = at_field(models, 3.0, acquisitions["mrf"], field)
    assert names(make_config(), series) == ["dict"]
    words = rf'"c-new" was trained for tissue at 3 T, MagneticFieldStrength of .* is {field} T'
    notes = plan_estimation(make_config(), series, ()).notes
    assert any(re.search(words, note) for note in notes)
    with pytest.raises(DataError, match=words.replace("c-new", "a-mse")):
        choose_recipes(make_config(weights="a-mse"), series, ())


def test_a_card_without_field_strength_is_noted(make_config, acquisitions, models):
    for path in models.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"field_strength": None}))
    plan = plan_estimation(make_config(), acquisitions["mrf"], ())
    assert list(plan.recipes) == ["brnn", "dict"]
    assert any('"c-new" does not say at which field strength' in note for note in plan.notes)


def test_nothing_to_estimate_is_said(make_config, acquisitions):
    with pytest.raises(UsageError, match="leaves nothing to estimate for sub-01_acq-qmt_QMT"):
        choose_recipes(make_config(reference="none"), acquisitions["qmt"], ())


def test_a_dictionary_for_qmt_is_refused(make_config, acquisitions):
    with pytest.raises(UsageError, match="Use --reference nlls, or --modality mrf"):
        choose_recipes(make_config(reference="dict"), acquisitions["qmt"], ())


def magnitudes_of(series, **changes):
    return replace(series, parts={"mag": next(iter(series.parts.values()))}, **changes)


def test_magnitudes_of_frames_are_matched_and_networks_are_skipped(
    make_config, acquisitions, models
):
    alone = magnitudes_of(acquisitions["mrf"])
    for level in ("full", "minimal"):
        recipes = choose_recipes(make_config(level=level), alone, ("B1",))
        assert list(recipes) == ["dict"]
        assert recipes["dict"].magnitude
        assert recipes["dict"].supplied == ("B1",)
    assert not choose_recipes(make_config(), acquisitions["mrf"], ())["dict"].magnitude


def test_magnitudes_that_mean_nothing_are_refused(make_config, acquisitions, models):
    alone = magnitudes_of(acquisitions["mrf"])
    with pytest.raises(DataError, match="mean nothing for a series of coefficients"):
        choose_recipes(make_config(), replace(alone, representation="subspace"), ())
    with pytest.raises(DataError, match="mean nothing for qMT"):
        choose_recipes(make_config(), magnitudes_of(acquisitions["qmt"]), ())
    with pytest.raises(DataError, match="networks need complex data"):
        choose_recipes(make_config(weights="a-mse"), alone, ())
    for reference in ("nlls", "none"):
        with pytest.raises(UsageError, match="Use --reference dict"):
            choose_recipes(make_config(reference=reference), alone, ())


def test_a_note_says_that_no_network_is_used(make_config, acquisitions, tmp_path, caplog):
    from bids_brnn.workflows import init_series_wf

    caplog.set_level("INFO")
    init_series_wf(make_config(), magnitudes_of(acquisitions["mrf"]), base_dir=tmp_path)
    assert "no network is used, they need complex data" in caplog.text


def test_maps_that_know_no_share_of_fluid_are_named(
    make_config, acquisitions, models, tmp_path, caplog
):
    from bids_brnn.workflows import init_series_wf

    def said(**options):
        caplog.clear()
        init_series_wf(make_config(**options), acquisitions["mrf"], base_dir=tmp_path)
        return re.findall("--csf-fraction changes nothing (.*?)[,;]", caplog.text)

    assert said(csf_fraction=True) == ["in the maps desc-dict"]
    assert said(csf_fraction=True, weights="none") == ["here"]
    assert said(csf_fraction=True, reference="nlls") == []
    assert said() == []


def test_a_missing_b1_map_is_said_for_fingerprinting(make_config, acquisitions, tmp_path, caplog):
    from bids_brnn.bids import Companions
    from bids_brnn.workflows import init_series_wf

    series = replace(acquisitions["mrf"], companions=Companions())
    init_series_wf(make_config(), series, base_dir=tmp_path)
    assert "there is no B1 map for it; flip angles are taken as nominal" in caplog.text
    caplog.clear()
    init_series_wf(make_config(), acquisitions["mrf"], base_dir=tmp_path)
    assert "no B1 map" not in caplog.text

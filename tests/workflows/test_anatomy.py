"""Which mask is planned for a series, and that every plan makes a whole workflow."""

from __future__ import annotations

import dataclasses

import nibabel
import numpy as np
import pytest

from bids_brnn.workflows import anatomy, init_preparation_wf
from bids_brnn.workflows.anatomy import find_anatomy
from bids_brnn.workflows.masking import Anatomy

ESTIMATIONS = {"dict": {"recipe": "d"}, "brnn": {"recipe": "n"}}


@pytest.fixture
def image(tmp_path):
    """An image of ``n`` voxels of 5 mm in each direction, four values each."""

    def write(name, n):
        path = tmp_path / name
        nibabel.Nifti1Image(np.zeros((n, n, n), np.uint8), np.diag([5, 5, 5, 1])).to_filename(path)
        return path

    return write


@pytest.fixture
def bare(acquisitions, image, monkeypatch):
    """A thick series with nothing around it, where deepbet is installed."""
    monkeypatch.setattr(anatomy, "deepbet_installed", lambda: True)
    item = acquisitions["mrf"]
    return dataclasses.replace(
        item,
        parts={"real": image("series.nii", 10)},
        companions=dataclasses.replace(item.companions, mask=None, t1w=None),
    )


def with_t1w(item, path, mask=None):
    companions = dataclasses.replace(item.companions, t1w=path, mask=mask)
    return dataclasses.replace(item, companions=companions)


def test_a_mask_given_or_found_makes_extraction_superfluous(bare, make_config, image):
    item = with_t1w(bare, image("t1w.nii", 12), image("sub-01_desc-brain_mask.nii", 12))
    found = find_anatomy(make_config(), item, ESTIMATIONS)
    assert found.mask_in_t1w
    assert not found.strip_t1w
    given = find_anatomy(make_config(mask=item.mask), item, ESTIMATIONS)
    assert not given.mask_in_t1w


def test_the_t1w_image_is_stripped_before_one_is_made_up(bare, make_config, image):
    found = find_anatomy(make_config(), with_t1w(bare, image("t1w.nii", 12)), ESTIMATIONS)
    assert found.strip_t1w
    assert found.quick is None


def test_without_a_t1w_image_the_network_makes_one(bare, make_config):
    assert find_anatomy(make_config(), bare, ESTIMATIONS).quick == {"recipe": "n"}
    only = {"dict": ESTIMATIONS["dict"]}
    assert find_anatomy(make_config(), bare, only).quick == {"recipe": "d"}
    slow = find_anatomy(make_config(), bare, {"nlls": {"recipe": "s"}})
    assert slow.quick is None
    assert "there is no quick estimate" in slow.hint


def test_thin_series_are_not_stripped(bare, make_config, image):
    thin = dataclasses.replace(bare, parts={"real": image("thin.nii", 6)})
    found = find_anatomy(make_config(), thin, ESTIMATIONS)
    assert (found.quick, found.strip_t1w) == (None, False)
    assert "too thin for deepbet" in found.hint


def test_no_extraction_without_deepbet_or_where_it_is_skipped(bare, make_config, monkeypatch):
    skipped = find_anatomy(make_config(skull_strip="skip"), bare, ESTIMATIONS)
    assert skipped.quick is None
    assert "--skull-strip" in skipped.hint
    monkeypatch.setattr(anatomy, "deepbet_installed", lambda: False)
    assert "pip install bids_brnn[mask]" in find_anatomy(make_config(), bare, ESTIMATIONS).hint


@pytest.mark.parametrize("kind", ["t1w", "quick"])
def test_extraction_feeds_the_mask(kind, image, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text("{}")
    quick = {"recipe": recipe, "suffix": "MRFmap", "supplied": ["B1"]}
    plan = {
        "t1w": Anatomy(t1w=image("t1w.nii", 12), strip_t1w=True),
        "quick": Anatomy(quick=quick),
    }[kind]
    workflow = init_preparation_wf(
        parts={"complex": image("series.nii", 10)},
        masks={},
        supplied={"B1": (image("b1.nii", 10), {"Units": "percent"})},
        anatomy=plan,
    )
    into = {
        (a.name, b.name): sorted(data["connect"])
        for a, b, data in workflow._graph.edges(data=True)
    }
    assert into["strip", "mask"] == [("mask", "stripped")]
    if kind == "t1w":
        assert workflow.get_node("strip").inputs.in_file.endswith("t1w.nii")
        # Units and noise are told from the brain.
        assert ("mask", "noise") in into
    else:
        # Estimation needs a mask first, and that is the head.
        assert ("prepare", "noise") in into
        assert ("prepare", "fields") in into
        fed = {field for (_, b), pairs in into.items() if b == "quick_estimation_wf"
               for _, field in pairs}  # fmt: skip
        assert fed == {
            f"inputnode.{n}" for n in ("coefficients", "mask", "noise_level", "supplied")
        }
        assert into["synthesise", "strip"] == [("out_file", "in_file")]


@pytest.mark.parametrize(
    ("options", "reason", "hint"),
    [
        ({}, "no brain mask was found", "Give a mask with --mask or --derivatives"),
        ({"derivatives": ["prep"]}, "prep holds no brain mask", "Give a mask with --mask"),
        ({"derivatives": ["prep", "more"]}, "more hold no brain mask", "Give a mask with --mask"),
        ({"ignore": ("mask",)}, "are left out by --ignore mask", "leave out --ignore mask"),
    ],
)
@pytest.mark.parametrize("strip", ["auto", "skip"])
@pytest.mark.parametrize("n", [10, 2])
def test_no_advice_is_to_do_what_was_done(
    bare, make_config, image, tmp_path, options, reason, hint, strip, n
):
    names = options.get("derivatives", ())
    options = {**options, "derivatives": {name: tmp_path / name for name in names}}
    item = dataclasses.replace(bare, parts={"real": image("series.nii", n)})
    found = find_anatomy(make_config(**options, skull_strip=strip), item, ESTIMATIONS)
    assert reason in found.reason
    assert not names or found.reason.endswith("of sub-01")
    assert hint in found.hint
    assert not names or "--derivatives" not in found.hint
    assert ("leave out --skull-strip" in found.hint) == (strip == "skip" and n == 10)

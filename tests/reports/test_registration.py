"""The panel and the words on registration and mask."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from bids_brnn.reports import assemble
from bids_brnn.reports.content import SeriesView, SubjectView
from bids_brnn.reports.drawing import Raster
from bids_brnn.reports.methods import methods
from bids_brnn.reports.preparation import (
    preparation_facts,
    preparation_methods,
    preparation_notes,
)
from bids_brnn.reports.registration import registration_check, sections
from tests.reports.marks import of


def series_of(shape):
    mask = np.zeros(shape, bool)
    mask[2:-2, 2:-2] = True
    image = np.random.default_rng(0).random(shape)
    facts = [("T1w image", "rigid registration, 1.0 degrees")]
    return SeriesView("sub-01_MRF", "MRF", image, mask, [], t1w=image, facts=facts)


@pytest.mark.parametrize(("slices", "columns"), [(1, 1), (3, 3), (12, 6)])
def test_thick_images_are_cut_in_three_directions(slices, columns):
    series = series_of((10, 12, slices))
    figure = registration_check(series.reference, series.t1w, series.mask, (2.0, 2.0, 3.0))
    assert len(of(figure, Raster)) == 3 * columns
    assert {axis for axis, _ in sections(series.mask)} == ({0, 1, 2} if slices == 12 else {2})


def test_the_chequerboard_holds_both_images():
    series = series_of((12, 12, 1))
    dark, bright = np.zeros((12, 12, 1)), np.ones((12, 12, 1))
    figure = registration_check(bright, dark, series.mask, (1.0, 1.0, 1.0))
    # 255 is the upper end of the colours, 1 the lower one.
    shown = [(image.pixels - 1.0) / 254 for image in of(figure, Raster)]
    assert (shown[0] == 1).all()
    assert (shown[1] == 0).all()
    assert 0.3 < shown[2].mean() < 0.7


def test_the_panel_is_on_the_page_only_with_a_t1w_image(tmp_path):
    def panels(series):
        def write_text(path, text):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

        view = SubjectView("01", "1.0", [series], [], [])
        assemble.render_subject(view, tmp_path / "sub-01.html", write_text)
        return (tmp_path / "sub-01.html").read_text()

    series = series_of((10, 12, 3))
    page = panels(series)
    assert re.search(r'id="s1-registration">.*?<img src="data:image', page, re.DOTALL)
    assert "T1w image: rigid registration, 1.0 degrees." in page
    assert 'id="s1-registration"' not in panels(dataclasses.replace(series, t1w=None))


GOOD = {
    "MaskMethod": "found",
    "MaskCheck": "passed",
    "Registration": {"Method": "rigid", "Description": "rigid registration"},
}


def test_nothing_is_noted_where_all_is_well():
    assert preparation_notes(GOOD) == []
    assert preparation_notes({}) == []
    assert preparation_notes({**GOOD, "MaskMethod": "user", "MaskCheck": "not checked"}) == []
    assert preparation_facts(GOOD) == [
        ("mask check", "passed"),
        ("T1w image", "rigid registration"),
    ]
    assert preparation_facts({}) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MaskMethod": "threshold"}, "skull included"),
        ({"MaskCheck": "2.30 l is outside 0.9 to 2 l"}, "Check the mask: 2.30 l"),
        (
            {"Registration": {"Method": "header", "Description": "registration failed: why"}},
            "Registration failed: why.",
        ),
    ],
)
def test_what_looks_wrong_is_noted(change, words):
    (note,) = preparation_notes({**GOOD, **change})
    assert words in note


def test_methods_tell_what_was_done():
    assert preparation_methods(GOOD) == ["rigid"]
    assert preparation_methods({"MaskMethod": "deepbet"}) == ["deepbet"]
    paragraphs, references = methods(["fisp"], ["rigid", "deepbet", "dict"], "1.0")
    assert any("registered rigidly" in text for text in paragraphs)
    assert any("deepbet" in item.text for item in references)

"""Marks and their SVG, as a browser would read it."""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np

from bids_brnn.reports.canvas import indexed, outline, palette
from bids_brnn.reports.drawing import Box, Dots, Drawing, Lines, Raster, Words
from bids_brnn.reports.embed import Fineness, figure_uri
from bids_brnn.reports.plots import Plot, legend_rows, padded
from tests.reports.marks import of

NAME = "{http://www.w3.org/2000/svg}"


def elements(drawing, fineness=None):
    uri = figure_uri(drawing, *([] if fineness is None else [fineness]))
    kind, _, content = uri.partition(",")
    assert kind == "data:image/svg+xml"
    assert not set(content) & set('"<>&#\n')  # it lies between double quotes of a page
    return list(ElementTree.fromstring(unquote(content)))[1:]  # after the ground


def test_marks_lie_where_they_were_put():
    drawing = Drawing(4.0, 2.0)
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    run = np.array([[0.0, 0.0], [1.0, 0.5]])
    drawing.add(
        Raster(Box(1.0, 0.5, 2.0, 1.0), pixels, palette("gray")),
        Lines([run], "#123456", 0.72), Dots(run, "#123", 7.2),
        Words(1.0, 1.0, "a < b & \N{DEGREE SIGN}", 9, up="baseline"),
    )  # fmt: skip
    image, line, dots, text = elements(drawing)
    assert [image.get(key) for key in ("x", "y", "width", "height")] == ["100", "50", "200", "100"]
    assert line.get("d") == "M0 0L100 50"
    assert line.get("stroke-width") == "1.00"
    assert (dots.get("d"), dots.get("stroke-width")) == ("M0 0h0M100 50h0", "10.00")
    assert (text.text, text.get("x"), text.get("y")) == (
        "a < b & \N{DEGREE SIGN}",
        "100.0",
        "100.0",
    )


def test_names_with_characters_that_xml_has_not_do_not_cost_a_figure():
    drawing = Drawing(1.0, 1.0)
    drawing.add(Words(0.0, 0.0, "grey\x07 \ud800 <'\"%#[\U0001f9e0", 9))
    (text,) = elements(drawing)
    assert text.text == "grey\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} <'\"%#[\U0001f9e0"


def test_points_without_a_value_are_left_out():
    drawing = Drawing(1.0, 1.0)
    plot = Plot(drawing, Box(0, 0, 1, 1), (0.0, 1.0), (0.0, 1.0))
    plot.dots([0.5, np.nan], [0.5, 0.5], "#123")
    plot.line([0.0, np.nan, 0.5, 1.0], [0.0, 0.0, 0.5, 1.0], "#123")
    dots, line = elements(drawing)
    assert (dots.get("d"), line.get("d")) == ("M50 50h0", "M50 50L100 0")


def test_images_have_no_more_pixels_than_dots():
    pixels = np.arange(200, dtype=np.uint8)[:, None].repeat(40, axis=1)
    raster = Raster(Box(0, 0, 1.0, 1.0), pixels, palette("gray"))
    assert raster.at_most(1000) is pixels
    np.testing.assert_array_equal(raster.at_most(100)[:, 0], np.arange(1, 200, 2))
    assert raster.at_most(20).shape == (20, 20)


def test_small_images_keep_their_colours_and_coarse_pages_do_not():
    drawing = Drawing(1.0, 1.0)
    noise = np.random.default_rng(0).random((24, 30))
    drawing.add(Raster(Box(0, 0, 1, 1), indexed(noise, (0, 1)), palette("viridis")))
    (exact,), (coarse,) = elements(drawing), elements(drawing, Fineness(75, 15, cells=10))
    assert exact.get("href").startswith("data:image/png;base64,")
    assert len(coarse.get("href")) < len(exact.get("href"))


def test_outlines_run_along_every_border_of_a_mask_and_of_nothing_else():
    mask = np.random.default_rng(1).random((7, 9)) < 0.5
    drawing = Drawing(9.0, 7.0)
    outline(drawing, Box(0, 0, 9, 7), mask)
    (lines,) = of(drawing, Lines)
    level = [run for run in lines.runs if run[0, 1] == run[1, 1]]
    upright = [run for run in lines.runs if run[0, 0] == run[1, 0]]
    assert len(level) + len(upright) == len(lines.runs)
    found = np.zeros((8, 9), bool)
    for (start, row), (end, _) in level:
        assert not found[int(row), int(start) : int(end)].any()
        found[int(row), int(start) : int(end)] = True
    np.testing.assert_array_equal(found[1:-1], mask[1:] != mask[:-1])
    length = sum(run[1, 1] - run[0, 1] for run in upright)
    assert length == (mask[:, 1:] != mask[:, :-1]).sum()
    for empty in (np.zeros((3, 3), bool), np.ones((3, 3), bool)):
        outline(drawing, Box(0, 0, 1, 1), empty)
    assert len(drawing.marks) == 1


def test_curves_are_broken_where_there_is_no_value():
    drawing = Drawing(1.0, 1.0)
    plot = Plot(drawing, Box(0.0, 0.0, 1.0, 1.0), (0.0, 4.0), (0.0, 1.0))
    plot.line(np.arange(5), [0.0, 1.0, np.nan, 1.0, 0.0], "#000")
    (lines,) = of(drawing, Lines)
    first, second = lines.runs
    np.testing.assert_allclose(first, [[0.0, 1.0], [0.25, 0.0]])
    np.testing.assert_allclose(second, [[0.75, 0.0], [1.0, 1.0]])


def test_ends_of_an_axis_hold_all_values():
    assert padded([1.0, np.nan, 3.0]) == (0.9, 3.1)
    assert padded([2.0, 2.0], from_zero=True) == (0.0, 2.1)
    low, high = padded([0.0])
    assert low < 0 < high
    assert padded([]) == (0.0, 1.0)


def test_legends_take_as_many_rows_as_they_need():
    entries = [(f"region {k}", "#000") for k in range(9)]
    rows = legend_rows(entries, 3.0)
    assert len(rows) > 2
    assert [entry for row in rows for entry in row] == entries
    assert legend_rows(entries, 99.0) == [entries]
    assert legend_rows([], 1.0) == []

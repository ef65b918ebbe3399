"""Pages that would be too large show less, say so, and stay below the limit."""

import json
import re

import pytest

from bids_brnn.reports import assemble, fitting
from bids_brnn.reports.content import PageTable
from tests.reports.test_reports import images_of, make_series, render

NAMES = [f"sub-01_acq-x{k}_QMT" for k in range(2)]
SERIES = [make_series((20, 24, 3), name) for name in NAMES]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A page of two series with everything."""
    return render(tmp_path_factory.mktemp("full"), SERIES)[0]


@pytest.fixture
def page(full, tmp_path, monkeypatch):
    """The same where figures and maps may take so many bytes together."""
    others = len(full.encode()) - sum(map(len, images_of(full))) - len(volumes(full))

    def made(room):
        monkeypatch.setattr(assemble, "MOST_BYTES", others + room)
        html, _ = render(tmp_path, SERIES)
        assert len(html.encode()) <= others + room
        return html

    return made


def volumes(html):
    found = re.search(r'id="volumes">(.*?)</script>', html)
    return found[1] if found else ""


def in_viewer(html):
    text = volumes(html)
    return [item["name"] for item in json.loads(text)["series"]] if text else []


def said(html):
    found = re.search(r'<p class="small" id="lowered">(.*?)</p>', html)
    return found[1] if found else ""


def test_figures_become_coarser_before_any_is_left_out(full, page):
    less = page(len(volumes(full)) + sum(map(len, images_of(full))) * 3 // 4)
    assert said(full) == ""
    assert len(images_of(less)) == len(images_of(full))
    assert in_viewer(less) == in_viewer(full) == NAMES
    assert re.match(r"To stay below 8 MB: figures have \d+ dots per inch", said(less))


def test_what_does_not_fit_at_all_is_named(page):
    coarsest = fitting.LADDER[-1][0]
    one_of_two = assemble._section(SERIES[0], coarsest).size * 3 // 2
    html = page(one_of_two + sum(fitting.least(SERIES)))
    assert re.search(rf"there are no figures of {NAMES[1]}[;.]", said(html))
    assert said(html).count("the viewer does not show") == (in_viewer(html) != NAMES)
    assert all(f"{name}, Regions: Network" in html for name in NAMES)  # tables are there


def test_long_tables_are_cut_and_say_so():
    table = PageTable("Regions", ["a"], [[str(k)] for k in range(40)])
    title, _, rows, _ = assemble._shortened(table, 10)
    assert (title, len(rows)) == ("Regions (the first of 40 rows; the files have all)", 10)
    named = assemble._shortened(table._replace(file="x.tsv"), 10)
    assert named.title == "Regions (the first of 40 rows; x.tsv has all)"
    assert assemble._shortened(table, 40) == table


def test_series_are_kept_in_order_as_long_as_they_fit():
    assert fitting.kept([5, 4, 3], 9) == 2
    assert fitting.kept([5, 4, 3], 4) == 0
    assert fitting.kept([5, 4, 3], 99) == 3

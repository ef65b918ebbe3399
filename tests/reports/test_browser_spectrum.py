"""A page with Z-spectra in a browser: the fit at a click, paper, and colours of the system."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from bids_brnn.reports import assemble
from bids_brnn.reports.content import Spectra
from tests.reports.test_reports import make_series, render

OFFSET = np.array([np.nan, 1000.0, 2000.0, 5000.0, 1000.0, 4000.0])
ANGLE = np.array([0.0, 220.0, 220.0, 220.0, 628.0, 628.0])


def spectra(mask):
    voxels = np.argwhere(mask)[:: max(1, int(mask.sum()) // 60)]
    rng = np.random.default_rng(4)
    # Each voxel has another amplitude, so that no two spectra are alike.
    shape = np.array([1.0, 0.7, 0.8, 0.9, 0.4, 0.6])
    fitted = shape * rng.uniform(50, 150, (len(voxels), 1))
    measured = fitted * (1 + 0.02 * rng.standard_normal(fitted.shape))
    missing = fitted.copy()
    missing[::3] = np.nan  # this fit has no estimate there
    return Spectra(voxels, OFFSET, ANGLE, measured, {"brnn": fitted, "nlls": missing})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    series = make_series((20, 24, 10))
    known = spectra(series.mask)
    folder = tmp_path_factory.mktemp("spectra")
    render(folder, [replace(series, spectra=known)])
    return folder / "sub-01.html", known


@pytest.fixture
def viewer(browser, page):
    browser.open(page[0])
    browser("document.getElementById('viewer').scrollIntoView()")
    browser.until("document.querySelector('#v-spectrum svg') !== null")
    return browser


def drawn(viewer):
    """Voxel, points (offset, angle, measured, height), lines and words of what is shown."""
    keys = "['offset', 'angle', 'measured'].map((key) => +one.dataset[key])"
    every = "(words) => Array.from(document.querySelectorAll(`#v-spectrum ${words}`))"
    # At once: the crosshair may still move.
    place, points, lines, words = viewer(
        f"((every) => [document.getElementById('v-spectrum').dataset.voxel,"
        f" every('circle').map((one) => [...{keys}, +one.getAttribute('cy')]),"
        f" every('path:not(.grid)').map((one) => one.getAttribute('d')),"
        f" every('figcaption')[0].textContent])({every})"
    )
    voxel = list(map(int, place.split(",")))
    heights = [[float(end.split()[1]) for end in line[1:].split("L")] for line in lines]
    return voxel, np.array(points), heights, words


def test_a_click_shows_data_and_fit_of_the_voxel(viewer, page):
    about, seen = page[1], set()
    box = viewer(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(document.getElementById('v-canvas').getBoundingClientRect())"
    )
    stored = about.voxels.tolist()
    for across, down in ((0.2, 0.25), (0.25, 0.2), (0.3, 0.3)):
        before = viewer("document.getElementById('v-place').dataset.voxel")
        viewer.click(box[0] + across * box[2], box[1] + down * box[3])
        viewer.until(f"document.getElementById('v-place').dataset.voxel !== {before!r}")
        at = list(map(int, viewer("document.getElementById('v-place').dataset.voxel").split(",")))
        nearest = min(np.hypot.reduce(about.voxels - at, axis=1))
        ready = "document.getElementById('v-spectrum').dataset.voxel.split(',').map(Number)"
        viewer.until(
            f"Math.hypot(...{ready}.map((index, i) => index - {at}[i])) < {nearest + 1e-6}"
        )
        voxel, points, lines, words = drawn(viewer)
        seen.add(tuple(voxel))
        row = stored.index(voxel)
        on = np.isfinite(OFFSET)
        measured, fitted = about.measured[row], about.fitted["brnn"][row]
        order = np.lexsort((OFFSET[on], ANGLE[on]))
        np.testing.assert_array_equal(points[:, 0], OFFSET[on][order])
        # Pages keep eleven bits: 0.05 %.
        np.testing.assert_allclose(points[:, 2], measured[on][order], rtol=5e-4)
        # From heights to values: both are over the measurement without pulse.
        slope, start = np.polyfit(points[:, 3], points[:, 2] / measured[0], 1)
        heights = [lines[0], lines[2]] if len(lines) == 4 else lines
        found = slope * np.concatenate(heights) + start
        # Places have a tenth of a pixel, of 246 over a span of 0.6.
        np.testing.assert_allclose(found, (fitted / measured[0])[on][order], atol=6e-4)
        gap = 100 * np.linalg.norm(fitted - measured) / np.linalg.norm(measured)
        assert float(re.search(r"Network ([\d.]+) %", words)[1]) == pytest.approx(gap, abs=0.06)
        assert ("NLLS no estimate" in words) == bool(np.isnan(about.fitted["nlls"][row]).all())
    assert len(seen) >= 2
    assert viewer.complaints == []
    assert viewer.requests == []


def test_the_viewer_flickers_between_the_estimators(viewer):
    state = "document.getElementById('v-state').textContent"
    own = viewer(state)
    first = viewer.picture("#v-canvas")
    viewer("document.getElementById('v-flick').click()")
    viewer.until(f"{state} !== {own!r}")
    assert viewer(state).split(",")[0] == own.split(",")[0]  # the same parameter
    assert viewer.picture("#v-canvas") != first
    viewer.until(f"{state} === {own!r}")
    viewer("document.getElementById('v-flick').click()")
    assert viewer.complaints == []


def test_paper_has_everything_but_what_moves(viewer):
    made = base64.b64decode(viewer.send("Page.printToPDF", printBackground=False)["data"])
    assert made.startswith(b"%PDF")
    assert len(re.findall(rb"/Type */Page\b", made)) >= 2
    # Printing opens folded tables, not licences, and leaves the screen as it was.
    tables = "Array.from(document.querySelectorAll('details.tables'))"
    folded = viewer(f"{tables}.map((one) => one.open)")
    assert True in folded
    viewer("dispatchEvent(new Event('beforeprint'))")
    assert viewer(f"{tables}.every((one) => one.open)")
    assert not viewer("document.querySelector('#licences details').open")
    viewer("dispatchEvent(new Event('afterprint'))")
    assert viewer(f"{tables}.map((one) => one.open)") == folded
    viewer("document.getElementById('dark').click()")
    viewer.send("Emulation.setEmulatedMedia", media="print")
    height = "(one) => one.getBoundingClientRect().height"
    gone = viewer(
        f"['nav', '#viewer', '#dark'].map((x) => document.querySelector(x)).map({height})"
    )
    assert gone == [0, 0, 0]
    viewer.size(718, 1000)  # A4 without its margins
    assert viewer("document.documentElement.scrollWidth") <= 718
    # Ink on paper, whatever the colours of the screen.
    colours = viewer(
        "(({color, backgroundColor}) => [color, backgroundColor])"
        "(getComputedStyle(document.querySelector('section')))"
    )
    viewer.send("Emulation.setEmulatedMedia", media="")
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert viewer.complaints == []


@pytest.mark.parametrize("scripts", [True, False])
def test_paper_has_the_head_and_the_first_rows_of_a_long_table(browser, tmp_path, scripts):
    row = {"param": "R1f", "units": "1/s", "n_valid": 7, "median": 0.5, "segmentation": "aseg"}
    series = make_series()
    first = replace(series.estimators[0], statistics=[row | {"name": f"r{k}"} for k in range(40)])
    render(tmp_path, [replace(series, estimators=[first])])
    browser.open(tmp_path / "sub-01.html", scripts=scripts)
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    browser.send("Emulation.setEmulatedMedia", media="print")
    seen = [
        browser(
            f"Array.from(document.querySelector('.tables').querySelectorAll('{what}'))"
            ".filter((one) => one.checkVisibility()).map((one) => one.innerText)"
        )
        for what in ("thead th", "tbody td:first-child", ".paper")
    ]
    browser.send("Emulation.setEmulatedMedia", media="")
    assert seen[0][:4] == ["region", "parameter", "unit", "voxels"]
    assert seen[1] == [f"r{k}" for k in range(assemble.PAPER_ROWS)]
    file = "sub-01_acq-x_seg-aseg_desc-brnn_scalarstats.tsv"
    assert seen[2] == [f"On paper the first 15 of 40 rows; all are in {file}."]


@pytest.mark.parametrize("scripts", [True, False])
def test_dark_systems_have_dark_pages_with_and_without_scripts(browser, page, scripts):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.send("Emulation.setEmulatedMedia", features=dark)
    browser.open(page[0], scripts=scripts)
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    ground = browser("getComputedStyle(document.body).backgroundColor")
    browser.send("Emulation.setEmulatedMedia", features=[])
    assert ground == "rgb(18, 24, 31)"


@pytest.mark.parametrize("width", [420, 1280])
def test_a_page_with_a_spectrum_does_not_scroll_sideways(browser, page, width):
    browser.open(page[0], width=width)
    browser("document.getElementById('viewer').scrollIntoView()")
    browser.until("document.querySelector('#v-spectrum svg') !== null")
    assert browser("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_with_a_spectrum_has_no_serious_finding_of_axe(viewer, dark):
    if dark:
        viewer("document.getElementById('dark').click()")
    assert viewer.serious_findings() == []

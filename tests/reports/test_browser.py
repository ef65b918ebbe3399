"""Pages in a real browser: the viewer, tables, ratings, accessibility, no network."""

import json
from importlib.resources import files

import nibabel
import numpy as np
import pandas as pd
import pytest

from bids_brnn.group.collect import GroupTable
from bids_brnn.group.page import write_group_report
from bids_brnn.group.tables import with_outliers
from bids_brnn.reports import assemble
from bids_brnn.reports.collect import series_views
from bids_brnn.reports.content import SubjectView

SHAPE = (14, 12, 10)
# Axes to superior, left, anterior, and not quite along those of the scanner.
TURN = nibabel.affines.from_matvec(
    np.array([[0.05, -2.0, 0.0], [0.1, 0.0, 2.2], [2.5, 0.0, 0.1]]), [11.0, -13.0, -12.0]
)
UNITS = {"m0s": "1", "R1f": "1/s", "Rx": "1/s"}


def save(folder, name, values, **about):
    path = folder / f"sub-01_acq-x_{name}.nii.gz"
    nibabel.Nifti1Image(np.asarray(values, np.float32), TURN).to_filename(path)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(about))
    return path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A page of a participant, and the files that it was made of."""
    root = tmp_path_factory.mktemp("out")
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    place = np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2
    mask = (place**2).sum(0) < 25
    save(folder, "desc-brain_mask", mask, MaskCheck="passed", MaskMethod="found")
    save(folder, "desc-mean_QMTref", rng.normal(10, 1, SHAPE))
    labels = np.where(place[0] < 0, 1, 2) * mask
    save(folder, "seg-tissue_dseg", labels)
    (folder / "sub-01_acq-x_seg-tissue_dseg.tsv").write_text("index\tname\n1\tGM\n2\tWM\n")
    for desc, spread in (("brnn", "brnnStd"), ("nlls", "nllsStd")):
        for name, unit in UNITS.items():
            head = f"model-genbloch_param-{name}"
            values = np.where(mask, rng.lognormal(0, 2, SHAPE), np.nan)
            save(folder, f"{head}_desc-{desc}_QMTmap", values, Units=unit)
            save(folder, f"{head}_desc-{spread}_QMTmap", 0.1 * values, Units=unit)
        flags = np.where(mask, rng.choice([0, 2, 130], SHAPE), np.nan)
        save(folder, f"model-genbloch_param-flags_desc-{desc}_QMTmap", flags)
    view = SubjectView("01", "1.0", series_views(root, "01"), ["Methods."], [])
    page = root / "sub-01.html"
    assemble.render_subject(view, page, lambda path, text: path.write_text(text, "utf-8"))
    return page, folder


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    root = tmp_path_factory.mktemp("group")
    rows = [
        {"participant_id": f"sub-{k:02d}", "session_id": session, "acq": "x", "index": 1,
         "name": "WM", "param": "m0s", "units": "1", "median": 0.2 + 0.01 * k}
        for k in range(1, 11) for session in ("ses-1", "ses-2")
    ]  # fmt: skip
    quality = pd.DataFrame(
        {"participant_id": [f"sub-{k:02d}" for k in range(1, 11)], "estimator": "nlls",
         "median_snr": [30.0, 9.5, 100.0, 8.0, np.nan, 70.0, 60.0, 50.0, 40.0, 20.0],
         "outliers": None}
    )  # fmt: skip
    table = with_outliers(pd.DataFrame(rows))
    items = [
        GroupTable("statistics", root / "x.tsv", table, {}, "tissue", "nlls"),
        GroupTable("quality", root / "y.tsv", quality, {}),
    ]
    return write_group_report(root, items)


@pytest.fixture
def viewer(browser, outputs):
    """The page of a participant with its viewer open, on m0s of the network."""
    browser.open(outputs[0])
    browser("document.getElementById('viewer').scrollIntoView()")
    browser.until("document.getElementById('v-state').textContent.includes('m0s')")
    return browser


def values_at(folder, voxel, desc):
    found = {}
    for name in UNITS:
        path = folder / f"sub-01_acq-x_model-genbloch_param-{name}_desc-{desc}_QMTmap.nii.gz"
        found[name] = float(nibabel.load(path).dataobj[voxel])
    return found


def shown(page):
    """Voxel of the files and the rows of the table of values."""
    voxel = tuple(map(int, page("document.getElementById('v-place').dataset.voxel").split(",")))
    rows = page(
        "Array.from(document.querySelectorAll('#v-values tbody tr'))"
        ".map((row) => Array.from(row.cells).map((cell) => cell.textContent))"
    )
    return voxel, {row[0].split(" (")[0]: row[1:] for row in rows}


def test_a_click_shows_the_values_of_the_files(viewer, outputs):
    page, seen = viewer, set()
    box = page(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(document.getElementById('v-canvas').getBoundingClientRect())"
    )
    for across, down in ((0.2, 0.25), (0.25, 0.2), (0.22, 0.28), (0.3, 0.3), (0.18, 0.2)):
        page.click(box[0] + across * box[2], box[1] + down * box[3])
        voxel, rows = shown(page)
        if not rows:  # beside the mask
            continue
        seen.add(voxel)
        for column, desc in ((0, "brnn"), (2, "nlls")):
            for name, value in values_at(outputs[1], voxel, desc).items():
                text = float(rows[name][column].replace("\u2212", "-"))
                # Rounding of the page (0.05 %) and of four digits (0.05 %).
                assert text == pytest.approx(value, rel=1.1e-3)
                spread = float(rows[name][column + 1])
                assert spread == pytest.approx(0.1 * value, rel=9e-3)  # 0.8 % as the page says
    assert len(seen) >= 2
    assert page.complaints == []


def test_arrow_keys_and_sliders_move_the_crosshair(viewer, outputs):
    viewer("document.getElementById('v-z').focus()")
    before, _ = shown(viewer)
    choose(viewer, "v-z", 1 + int(viewer("document.getElementById('v-z').value")), "input")
    after, rows = shown(viewer)
    # The first axis of the files goes to superior.
    assert np.subtract(after, before).tolist() == [1, 0, 0]
    expected = values_at(outputs[1], after, "brnn")["R1f"]
    assert float(rows["R1f"][0]) == pytest.approx(expected, rel=1.1e-3)


def choose(page, field, value, event="change"):
    page(f"(() => {{ const field = document.getElementById({field!r}); field.value = {value!r};"
         f" field.dispatchEvent(new Event({event!r})); }})()")  # fmt: skip


def test_maps_overlays_and_colours_can_be_chosen(viewer):
    pictures = set()
    titles = viewer("Array.from(document.getElementById('v-map').options).map((one) => one.text)")
    assert {"m0s", "m0s: standard deviation", "m0s: difference in std", "flags"} <= set(titles)
    for title in ("m0s", "Rx: difference in std"):
        choose(viewer, "v-map", titles.index(title))
        viewer.until(f"document.getElementById('v-state').textContent.startsWith({title!r})")
        for overlay in ("", "mask", "regions", "flags nlls"):
            choose(viewer, "v-over", overlay, "input")
            pictures.add(viewer.picture("#v-canvas"))
    choose(viewer, "v-high", 0.5)
    pictures.add(viewer.picture("#v-canvas"))
    viewer("document.getElementById('v-turn').click()")
    pictures.add(viewer.picture("#v-canvas"))
    assert len(pictures) == 2 * 4 + 2
    assert viewer.complaints == []
    assert viewer.requests == []


def test_flicker_shows_both_estimators_in_one_place(browser, outputs):
    browser.open(outputs[0])
    image = "document.querySelector('[data-flicker]').closest('.row').querySelector('img').src"
    own = browser(image)
    browser("document.querySelector('[data-flicker]').click()")
    browser.until(f"{image} !== {own!r}")
    browser.until(f"{image} === {own!r}")
    browser("document.querySelector('[data-flicker]').click()")


def test_a_region_is_marked_in_the_scatter_plot(browser, outputs):
    browser.open(outputs[0])
    browser("document.querySelector('[data-region=WM]').focus()")
    browser.until("document.querySelector('.over canvas') !== null")
    drawn = browser("""(() => { const canvas = document.querySelector('.over canvas');
      return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
        .some((part) => part > 0); })()""")
    assert drawn
    browser("document.activeElement.blur()")
    browser.until("document.querySelector('.over canvas') === null")


def test_without_webgl_the_page_says_so_and_keeps_its_figures(browser, outputs, tmp_path):
    text = outputs[0].read_text("utf-8")
    broken = text.replace("<head>", "<head><script>HTMLCanvasElement.prototype.getContext = "
                          "() => null</script>", 1)  # fmt: skip
    (tmp_path / "page.html").write_text(broken, "utf-8")
    browser.open(tmp_path / "page.html")
    assert "no WebGL 2" in browser("document.getElementById('v-state').textContent")
    assert browser("document.getElementById('v-tools').hidden") is True
    assert browser("Array.from(document.images).every((one) => one.naturalWidth > 0)")


def test_without_scripts_everything_can_be_read(browser, outputs, group):
    for page in (outputs[0], group):
        browser.open(page, scripts=False)
        assert browser.complaints == []
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
        assert browser("Array.from(document.images).every((one) => one.naturalWidth > 0)")
        hidden = "document.querySelector('#viewer, .rating').getBoundingClientRect().height"
        assert browser(hidden) == 0
        words = browser("document.body.innerText")
        assert "Subjects" in words or "Scripts are off" in words


def test_tables_sort_by_number_and_filter(browser, group):
    browser.open(group)
    column = """Array.from(document.querySelectorAll('#t1 tbody tr')).filter((row) => !row.hidden)
      .map((row) => row.cells[2].textContent)"""
    button = "document.querySelectorAll('#t1 th button')[2]"
    assert browser(f"{button}.textContent") == "SNR"
    browser(f"{button}.click()")
    rising = ["8", "9.5", "20", "30", "40", "50", "60", "70", "100", ""]
    assert browser(column) == rising
    browser(f"{button}.click()")
    assert browser(column) == [*rising[:-1][::-1], ""]  # what has no value stays at the end
    assert browser(f"{button}.closest('th').getAttribute('aria-sort')") == "descending"
    browser("(() => { const field = document.querySelector('#t1 input[type=search]');"
            " field.value = 'SUB-04'; field.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert browser(column) == ["8"]


def test_ratings_by_keyboard_are_kept_and_saved_as_bids_table(browser, group):
    browser.open(group)
    browser("localStorage.clear()")
    browser.open(group)
    browser("document.querySelector('#ratings tbody tr').focus()")
    for key in "gbd":  # each goes on to the next row
        browser.press(key)
    browser("document.getElementById('rater').value = 'AB'")
    lines = browser("window.ratingsTable()").splitlines()
    assert lines[0].split("\t")[:4] == ["participant_id", "session_id", "rating", "comment"]
    table = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert len(table) == 20
    assert [row["rating"] for row in table[:4]] == ["good", "bad", "doubtful", "n/a"]
    assert [row["session_id"] for row in table[:2]] == ["ses-1", "ses-2"]
    assert table[0]["rater"] == "AB"
    assert table[3]["rater"] == table[3]["rated"] == "n/a"
    browser.open(group)  # this browser has kept them
    assert browser("document.getElementById('rated').textContent") == "3 of 20 rated"
    browser("document.querySelector('#ratings tbody tr').focus()")
    browser.press("n")  # the next one without a rating
    assert browser("Array.from(document.querySelectorAll('#ratings tbody tr')).findIndex("
                   "(row) => row === document.activeElement)") == 3  # fmt: skip
    head = "Array.from(document.querySelectorAll('#ratings th button'))"
    browser(f"{head}.find((one) => one.textContent === 'rating').click()")
    rated = "Array.from(document.querySelectorAll('#ratings [aria-pressed=true]'))"
    assert browser(f"{rated}.map((one) => one.textContent)") == ["bad", "doubtful", "good"]
    search = "document.querySelector('#subjects input[type=search]')"
    browser(f"{search}.value = 'doubtful'; {search}.dispatchEvent(new Event('input'))")
    left = "Array.from(document.querySelectorAll('#ratings tbody tr')).filter((x) => !x.hidden)"
    assert browser(f"{left}.length") == 1
    assert browser.complaints == []
    assert browser.requests == []


def test_paper_has_the_first_subjects_and_those_that_something_is_said_of(browser, group):
    browser.open(group)
    browser("localStorage.clear()")
    browser.open(group)
    row = "document.querySelectorAll('#ratings tbody tr')"
    browser(f"{row}[17].focus()")
    browser.press("g")
    browser(f"{row}[18].classList.add('said')")
    browser(f"{row}[2].hidden = true")  # by the filter
    browser.send("Emulation.setEmulatedMedia", media="print")
    place = "(one, i) => one.getBoundingClientRect().height ? i : -1"
    seen = browser(f"Array.from({row}).map({place}).filter((i) => i >= 0)")
    words = browser("document.querySelector('#subjects .paper').innerText")
    browser.send("Emulation.setEmulatedMedia", media="")
    assert seen == [0, 1, *range(3, assemble.PAPER_ROWS + 1), 17, 18]
    assert words.startswith("On paper the first 15 of 20 rows, and those with a note or a rating")
    everything = browser(f"Array.from({row}).filter((one) => one.getBoundingClientRect().height)")
    assert len(everything) == 19


def test_a_participant_is_marked_in_all_drawings(browser, group):
    browser.open(group)
    browser("document.querySelector('svg a[href=\"sub-03.html\"]')"
            ".dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))")  # fmt: skip
    marked = (
        "Array.from(document.querySelectorAll('svg .same')).map((x) => x.getAttribute('href'))"
    )
    assert browser(marked) == ["sub-03.html"] * 2  # of two sessions
    browser("document.querySelector('#ratings tr[data-participant=\"sub-05\"]').focus()")
    assert browser(marked) == ["sub-05.html"] * 2


def test_methods_are_copied_or_at_least_selected(browser, outputs):
    browser.open(outputs[0])
    browser("document.querySelector('[data-copy=methods-text]').click()")
    words = "document.querySelector('[data-copy=methods-text]').textContent"
    browser.until(f"!{words}.startsWith('Copy')")
    if browser(words) != "Copied":
        assert browser("getSelection().toString().trim()") == "Methods."
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("which", ["participant", "group"])
def test_no_serious_finding_of_axe(browser, outputs, group, which, dark):
    browser.open(outputs[0] if which == "participant" else group)
    if which == "participant":
        browser("document.getElementById('viewer').scrollIntoView()")
        browser.until("document.getElementById('v-state').textContent.includes('m0s')")
    if dark:
        browser("document.getElementById('dark').click()")
    assert browser.serious_findings() == []


def test_differences_at_the_crosshair_are_seen_without_scrolling(viewer):
    titles = viewer("document.querySelector('#v-values thead').innerText")
    assert "in std" in titles
    box = "document.getElementById('v-values').parentElement"
    assert viewer(f"{box}.scrollWidth - {box}.clientWidth") <= 0


@pytest.mark.parametrize("width", [420, 1280])
def test_pages_do_not_scroll_sideways(browser, outputs, group, width):
    for page in (outputs[0], group):
        browser.open(page, width=width)
        assert browser("document.documentElement.scrollWidth") <= width


def test_the_library_in_the_package_is_the_released_file():
    import gzip
    import hashlib

    folder = files("bids_brnn.reports").joinpath("vendor")
    script = gzip.decompress(folder.joinpath("niivue.umd.js.gz").read_bytes())
    words = folder.joinpath("LICENSES.txt").read_text("utf-8")
    assert f"SHA-256 of niivue.umd.js: {hashlib.sha256(script).hexdigest()}" in words
    assert "BSD 2-Clause License" in words

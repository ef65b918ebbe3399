import base64
import io
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import get_data_path
from PIL import Image, ImageFont

from bids_brnn.reports import assemble, figures, group
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView, SubjectView
from bids_brnn.reports.drawing import Raster, Words
from tests.reports.marks import of


def sphere(shape):
    grid = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    return (grid[:2] ** 2).sum(0) < (min(shape[:2]) / 2.5) ** 2


def view(name, values, unit="1/s", display=None):
    return MapView(name, unit, f"{name} & more", values, display, f"sub-01/anat/{name}.nii.gz")


def make_series(shape=(20, 24, 3), name="sub-01_acq-x_QMT"):
    rng = np.random.default_rng(0)
    mask = sphere(shape)
    first = [view(n, rng.normal(m, 0.1 * m, shape)) for n, m in (("R1f", 0.5), ("Rx", 15.0))]
    second = [view(n, rng.normal(m, 0.1 * m, shape)) for n, m in (("R1f", 0.5), ("Rx", 15.0))]
    row = {"name": "WM", "param": "R1f", "units": "1/s", "n_valid": 7, "mean": 0.5, "median": 0.5}
    return SeriesView(
        name=name,
        kind="qmt",
        reference=rng.random(shape),
        mask=mask,
        estimators=[
            EstimatorView("brnn", "Network", first, uncertainties=first, statistics=[row]),
            EstimatorView("nlls", "NLLS", second, quality=second),
        ],
        labels=np.where(np.arange(shape[0])[:, None, None] < 10, 1, 2) * mask,
        label_names={1: "GM", 2: "WM"},
        facts=[("Mask", "from the data set")],
    )


def render(tmp_path, series, **changes):
    fields = {
        "label": "01", "version": "1.0", "series": series, "methods": ["Maps were estimated."],
        "citations": [("Author. Title.", "https://doi.org/10.1002/mrm.29071")],
    }  # fmt: skip
    page = tmp_path / "sub-01.html"
    written = {}

    def write_text(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written[path] = text

    assemble.render_subject(SubjectView(**(fields | changes)), page, write_text)
    return page.read_text(encoding="utf-8"), written


def images_of(html):
    return [unescape(source) for source in re.findall(r'<img [^>]*src="([^"]+)"', html)]


def test_every_figure_lies_in_the_page_and_is_well_formed(tmp_path):
    html, written = render(tmp_path, [make_series()])
    assert list(written) == [tmp_path / "sub-01.html"]
    images = images_of(html)
    # mask; maps, std, histogram; maps, quality, histogram; a row of four for two parameters
    assert len(images) == 1 + 3 + 3 + 2 * 4
    for image in images:
        kind, _, content = image.partition(",")
        if kind == "data:image/svg+xml":
            ElementTree.fromstring(unquote(content))
        else:
            Image.open(io.BytesIO(base64.b64decode(content))).verify()


def test_every_image_says_what_it_shows(tmp_path):
    html, _ = render(tmp_path, [make_series()])
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', html)
    assert len(alts) == len(set(alts)) == len(images_of(html))
    assert all(len(alt) > 20 for alt in alts)


def test_tables_of_regions_and_agreement(tmp_path):
    rows = [
        {"name": name, "param": "R1f", "units": "1/s", "n_valid": 7, "segmentation": segmentation,
         "region_source": source}
        for name, segmentation, source in (("a", "aseg", "labels"), ("b", "maptissue", "maps"))
    ]  # fmt: skip
    both = {"name": "WM", "param": "R1f", "units": "1/s", "n": 7, "bias": 0.25,
            "bias_ci_low": 0.125, "bias_ci_high": 0.375, "ccc": 0.5}  # fmt: skip
    series = make_series()
    first = replace(series.estimators[0], statistics=rows)
    agreement = [("Agreement: A against B", [both], "x_agreement.tsv")]
    series = replace(series, estimators=[first], agreement=agreement)
    html, _ = render(tmp_path, [series])
    assert re.findall(r"<summary>(.*?)</summary>", html)[:3] == [
        "Agreement: A against B (1 row)",
        "Regions: Network, aseg (1 row)",
        "Regions: Network, maptissue (made from these maps: circular) (1 row)",
    ]
    assert '<td class="num">0.125 to 0.375</td>' in html  # an interval from its two ends
    assert "None" not in html


def test_page_needs_no_network_and_shows_everything_without_scripts(tmp_path):
    html, _ = render(tmp_path, [make_series()])
    assert "<script src" not in html
    plain = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert len(images_of(plain)) == len(images_of(html)) > 10
    assert "Scripts are off" in plain
    sources = re.findall(r'(?:src|href)="([^"]+)"', html)
    loaded = [s for s in sources if s.startswith("http") and "doi.org" not in s]
    assert loaded == []


def test_text_from_the_data_set_cannot_become_markup(tmp_path):
    attack = '<img src=x onerror="alert(1)">'
    html, _ = render(tmp_path, [make_series()], errors=[attack], notes=[attack])
    assert attack not in html
    assert "&lt;img src=x" in html


def test_same_content_gives_the_same_bytes(tmp_path):
    _, first = render(tmp_path, [make_series()])
    _, second = render(tmp_path, [make_series()])
    assert first == second


def test_region_table_shows_values_and_leaves_absent_cells_empty(tmp_path):
    html, _ = render(tmp_path, [make_series()])
    assert "<td>WM</td><td>R1f</td><td>1/s</td>" in html
    plain = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search(r"\bnan\b", re.sub(r"<[^>]+>", "", plain).lower())


def test_errors_of_the_run_are_shown(tmp_path):
    html, _ = render(tmp_path, [], errors=["Node estimate failed: out of memory"])
    assert 'id="errors"' in html
    assert "out of memory" in html


@pytest.mark.parametrize("shape", [(20, 24, 1), (20, 24, 30)])
def test_mosaic_has_an_image_per_map_and_slice_and_a_bar_per_map(shape):
    series = make_series(shape)
    figure = figures.mosaic(series.estimators[0].estimates, series.mask)
    n_slices = 1 if shape[2] == 1 else figures.MAX_SLICES
    assert len(of(figure, Raster)) == 2 * (n_slices + 1)
    texts = {words.text for words in of(figure, Words)}
    assert {"R1f (1/s)", "Rx (1/s)"} <= texts


@pytest.mark.parametrize("n_slices", [1, 2, 30])
def test_nothing_lies_outside_of_a_mosaic_or_upon_another_map(n_slices):
    shape = (20, 24, n_slices)
    views = [view(f"m{k}", np.full(shape, k), "arbitrary", (-1e-5, 2e-4)) for k in range(5)]
    figure = figures.mosaic(views, sphere(shape))
    assert figure.width <= figures.PAGE_WIDTH + 1e-9
    boxes = np.array([image.box for image in of(figure, Raster)])
    left, top, right, bottom = *boxes.T[:2], *(boxes[:, :2] + boxes[:, 2:]).T
    assert left.min() >= 0
    assert right.max() <= figure.width
    assert top.min() >= 0
    assert bottom.max() <= figure.height
    apart = [
        right[i] <= left[j] or right[j] <= left[i] or bottom[i] <= top[j] or bottom[j] <= top[i]
        for i in range(len(boxes)) for j in range(i)
    ]  # fmt: skip
    assert all(apart)
    # Words too: outside of the figure they would be cut off.
    for words in of(figure, Words):
        left, top, right, bottom = covered(words)
        assert left >= 0, words
        assert right <= figure.width, words
        assert top >= 0, words
        assert bottom <= figure.height, words


def covered(words):
    """Left, top, right and lower end of a text, inches, in the first font of a drawing."""
    font = ImageFont.truetype(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 100)
    scale = words.size / 100 / 72
    long, high = scale * font.getlength(words.text), scale * 100
    start = {"left": 0, "center": -long / 2, "right": -long}[words.across]
    rise = {"top": 0, "center": -high / 2, "bottom": -high}[words.up]
    if words.upright:
        return words.x + rise, words.y - start - long, words.x + rise + high, words.y - start
    return words.x + start, words.y + rise, words.x + start + long, words.y + rise + high


def test_slices_stay_inside_the_mask():
    mask = np.zeros((4, 4, 20), dtype=bool)
    mask[:, :, 5:15] = True
    picks = figures.pick_slices(mask)
    assert len(picks) == len(set(picks)) == figures.MAX_SLICES
    assert min(picks) == 5
    assert max(picks) == 14


def test_empty_mask_and_all_nan_maps_still_draw():
    shape = (8, 8, 2)
    mask = np.zeros(shape, dtype=bool)
    empty = view("R1f", np.full(shape, np.nan))
    for drawn in (
        figures.mosaic([empty], mask), figures.histograms([empty], mask, {"mask": mask}),
        figures.agreement(empty, empty, mask, ("a", "b")).figure,
    ):  # fmt: skip
        text = drawn.svg(lambda image: "data:,")
        ElementTree.fromstring(text)
        assert "nan" not in text


def test_own_colour_range_wins_over_percentiles():
    values = np.linspace(0, 1, 1000).reshape(10, 10, 10)
    mask = np.ones(values.shape, dtype=bool)
    places = np.flatnonzero(mask)
    assert figures.display_range(view("m0s", values, display=(0.0, 0.3)), places) == (0.0, 0.3)
    assert figures.display_range(view("m0s", values), places) == pytest.approx((0.02, 0.98))


def test_the_colour_range_of_a_map_of_few_voxels_is_that_of_all_of_them():
    values = np.full((60, 60, 60), np.nan)
    values[1, 1, 1:40:2], values[1, 1, 2:40:2] = 3.0, 5.0  # none is among those taken first
    places = np.flatnonzero(np.ones(values.shape, dtype=bool))
    assert figures.display_range(view("m0s", values), places) == (3.0, 5.0)


def test_group_page_links_subjects(tmp_path):
    values = np.array([0.1, 0.2])
    labels, pages = ["sub-01", "sub-02"], ["sub-01.html", "sub-02.html"]
    region = group.Region("a <b>", values, labels, pages)
    page = tmp_path / "group.html"

    def write_text(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")

    rows = [{"label": "sub-01", "session": "", "page": "sub-01.html", "note": "outlier: m0s"}]
    drawings = group.distribution({"m0s": [region]}, {"m0s": "1"})
    view = assemble.GroupView("My study", "1.0", [("caption", drawings)], rows)
    assemble.render_group(view, page, write_text)
    html = page.read_text(encoding="utf-8")
    assert '<a href="sub-01.html">sub-01</a>' in html
    assert 'href="sub-02.html" tabindex="-1"><title>sub-02: 0.2</title>' in html
    assert "<b>" not in html
    assert [path.name for path in tmp_path.iterdir()] == ["group.html"]


def test_hemispheres_are_drawn_as_one_tissue():
    series = make_series()
    names = {1: "Left-Cerebral-White-Matter", 2: "Right-Cerebral-White-Matter"}
    groups = figures.tissue_groups(series.mask, series.labels, names)
    figure = figures.histograms(series.estimators[0].estimates, series.mask, groups)
    legend = [words.text for words in of(figure, Words) if "Matter" in words.text]
    assert legend == [f"Cerebral-White-Matter (n={int(series.mask.sum())})"]


def test_counts_of_points_are_those_of_a_histogram():
    x, y = np.random.default_rng(3).normal(0, 1, (2, 5000))
    x[0], y[0] = 2.0, 1.5  # on the upper ends
    expected, _, _ = np.histogram2d(x, y, bins=figures._BINS, range=((-1, 2), (-2, 1.5)))
    np.testing.assert_array_equal(figures._counts(x, y, (-1, 2, -2, 1.5)), expected)

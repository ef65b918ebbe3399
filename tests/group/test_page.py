import re

import numpy as np
import pandas as pd
import pytest

from bids_brnn.group import page as group_report
from bids_brnn.group.collect import GroupTable
from bids_brnn.group.page import outliers, pages_in, regions_of, write_group_report
from bids_brnn.group.tables import with_outliers
from bids_brnn.reports.group import (
    OUTLIER_Z,
    chance_apart,
    lies_apart,
    modified_z,
    some_of,
)


def table(n=8):
    # Evenly spread subjects: by construction none of them lies apart.
    rows = [
        {
            "participant_id": f"sub-{subject:02d}", "session_id": "ses-1", "acq": "x",
            "index": index, "name": name, "param": "m0s", "units": "1",
            "median": 0.1 * index + 0.002 * subject,
        }
        for subject in range(1, n + 1)
        for index, name in ((1, "GM"), (2, "WM"))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame


def test_modified_z_is_about_a_normal_z_score():
    values = np.random.default_rng(0).normal(3.0, 2.0, 20_000)
    # The MAD of 20,000 normal values is known to about 1 %.
    assert np.nanstd(modified_z(values)) == pytest.approx(1.0, abs=0.05)


def test_few_or_equal_values_are_never_outliers():
    assert (modified_z(np.array([1.0, 2.0, 100.0])) == 0).all()
    assert (modified_z(np.array([1.0] * 9 + [5.0])) == 0).all()
    assert np.isnan(modified_z(np.array([np.nan, 1, 2, 3, 4, 5.0]))[0])


def test_outlier_is_named_and_linked(tmp_path):
    frame = table()
    frame.loc[(frame["participant_id"] == "sub-03") & (frame["name"] == "WM"), "median"] = 0.35
    found = outliers(frame)
    assert [who for who, _ in found] == [("sub-03", "ses-1")]
    assert "m0s in WM (ses-1 x, z = " in found[0][1]
    item = GroupTable("statistics", tmp_path / "x.tsv", with_outliers(frame), {}, "tissue", "nlls")
    page = write_group_report(tmp_path, [item])
    html = page.read_text(encoding="utf-8")
    assert '<a href="sub-03.html">sub-03</a></th><td>ses-1</td><td class="wrap">nlls: m0s' in html
    assert html.index("sub-03") < html.index("sub-01")  # those with remarks come first
    assert html.count("<tr data-participant") == 8
    assert "circular" not in html
    # Each value is a point that leads to the page of its participant; one lies apart.
    assert html.count('class="point"') + html.count('class="apart"') == 2 * 8
    assert html.count('class="apart"') == 1
    assert html.count('href="sub-03.html" tabindex="-1"') == 2
    assert "Up to 2 medians of regions are compared in a row: were they normal" in html


@pytest.mark.parametrize("n", [6, 9, 20])
def test_of_few_normal_values_as_few_lie_apart_as_of_many(n):
    values = np.random.default_rng(n).normal(size=(5_000, n))
    found = sum(int(lies_apart(row).sum()) for row in values)
    expected = chance_apart() * values.size
    # The limit is right to a fifth in the share; four standard deviations of the count.
    assert abs(found - expected) < 0.2 * expected + 4 * expected**0.5
    assert chance_apart() == pytest.approx(1 / 2150, rel=0.01)


def test_rows_of_a_small_group_have_no_remarks_by_chance(tmp_path):
    rng = np.random.default_rng(4)
    frame = pd.concat(
        [
            table(10).assign(param=f"p{place}", median=lambda part: rng.normal(1, 0.1, len(part)))
            for place in range(54)
        ],
        ignore_index=True,
    )
    judged = with_outliers(frame)
    # 1,080 values: half a remark is expected, six would be once in 100,000; above 3.5 are many.
    assert judged["outlier"].sum() < 6
    assert (judged["modified_z"].abs() > OUTLIER_Z).sum() > 10
    item = GroupTable("statistics", tmp_path / "x.tsv", judged, {}, "tissue", "nlls")
    html = write_group_report(tmp_path, [item]).read_text(encoding="utf-8")
    assert "Up to 108 medians of regions are compared in a row" in html
    assert "chance alone would give about 0.05 notes per row" in html


def test_fewer_than_five_series_are_not_judged_and_the_page_says_so(tmp_path):
    item = GroupTable("statistics", tmp_path / "x.tsv", with_outliers(table(4)), {}, "a", "nlls")
    html = write_group_report(tmp_path, [item]).read_text(encoding="utf-8")
    assert "With fewer than 5 series none is judged." in html


def test_regions_come_in_the_order_of_their_labels():
    frame = table().iloc[::-1]
    assert [region.name for region in regions_of(frame)] == ["GM", "WM"]
    assert [len(region.values) for region in regions_of(frame)] == [8, 8]


def test_classes_made_from_the_maps_are_marked_on_the_page(tmp_path):
    frame = table().assign(region_source="maps")
    item = GroupTable("statistics", tmp_path / "x.tsv", with_outliers(frame), {}, "maptissue", "b")
    html = write_group_report(tmp_path, [item]).read_text(encoding="utf-8")
    assert '<p class="note">maptissue: These regions were made from the estimated maps' in html


def test_long_tables_and_many_regions_say_that_they_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(group_report, "_MAX_REGIONS", 1)
    monkeypatch.setattr(group_report, "_MAX_ROWS", 3)
    quality = pd.DataFrame(
        {
            "participant_id": [f"sub-{k:02d}" for k in range(1, 9)],
            "estimator": "nlls",
            "outliers": [None] * 7 + ["median_snr"],
        }
    )
    items = [
        GroupTable("statistics", tmp_path / "x.tsv", with_outliers(table()), {}, "tissue", "nlls"),
        GroupTable("quality", tmp_path / "y.tsv", quality, {}),
    ]
    html = write_group_report(tmp_path, items).read_text(encoding="utf-8")
    assert "nlls, regions of tissue, first 1 of 2 regions: medians" in html
    assert "Quality of the series (first 3 of 8 rows)" in html
    rows = html.partition("<h2>Quality of the series (")[2].partition("</section>")[0]
    assert rows.count("<td>nlls</td>") == 3
    assert rows.index("sub-08") < rows.index("sub-01")  # what lies apart comes first
    assert re.search(r'sub-08</a></th><td>ses-1</td><td class="wrap">nlls: median_snr', html)


def test_of_very_many_series_the_page_holds_some_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(group_report, "_MAX_IN_REGION", 20)
    monkeypatch.setattr(group_report, "_MAX_SUBJECTS", 30)
    frame = table(1200)
    frame.loc[frame["participant_id"] == "sub-700", "median"] = 90.0
    item = GroupTable("statistics", tmp_path / "x.tsv", with_outliers(frame), {}, "tissue", "nlls")
    html = write_group_report(tmp_path, [item]).read_text(encoding="utf-8")
    assert "regions of tissue, points for 20 of 1,200 values: medians" in html
    assert html.count('class="point"') + html.count('class="apart"') == 2 * 20
    assert html.count('class="apart"') == 2
    assert html.count("<tr data-participant") == 30
    assert "The first 30 of 1,200 rows are listed" in html
    assert html.count('href="sub-700.html"') == 3  # apart: a row, and a point of each region
    # Quartiles are those of all 1,200 values, and each point is named after its own.
    whole = modified_z(frame.loc[frame["name"] == "GM", "median"].to_numpy())
    (gm, _) = regions_of(frame, pages={})
    assert len(gm.values) == 1200
    assert gm.labels[list(gm.drawn).index(699)] == "sub-700 (ses-1 x)"
    assert abs(whole[699]) > OUTLIER_Z


def test_the_values_that_are_drawn_span_all_of_them():
    values = np.random.default_rng(3).standard_t(2, 4000)
    values[:7] = np.nan
    drawn = some_of(values, 100)
    assert len(set(drawn.tolist())) == len(drawn) == 100
    assert np.isfinite(values[drawn]).all()
    scores = np.nan_to_num(np.abs(modified_z(values)))
    assert set(np.argsort(-scores)[:50].tolist()) <= set(drawn.tolist())  # the farthest
    # The others are every n-th by size: 50 of them have the median of all to 2 % in rank.
    inside = ~lies_apart(values)
    others = values[[place for place in drawn if inside[place]]]
    low, high = np.quantile(values[inside & np.isfinite(values)], [0.48, 0.52])
    assert low < np.median(others) < high
    assert some_of(np.array([1.0, np.nan, 2.0]), 5).tolist() == [0, 2]


def test_each_agreement_is_named_in_the_navigation(tmp_path):
    agreement = pd.DataFrame({"name": ["mask"], "param": ["R1"], "n": [2], "bias": [0.1]})
    items = [
        GroupTable("group_agreement", tmp_path / f"{desc}.tsv", agreement, {}, "aseg", desc)
        for desc in ("brnnVsNlls", "brnnVsDict")
    ]
    html = write_group_report(tmp_path, items).read_text(encoding="utf-8")
    navigation = html.partition("<nav ")[2].partition("</nav>")[0]
    for desc in ("brnnVsNlls", "brnnVsDict"):
        assert f"Agreement: {desc} in aseg</a>" in navigation


def test_few_values_have_no_quartiles_and_intervals_say_how_few(tmp_path):
    frame = with_outliers(table(4))
    both = pd.DataFrame(
        {"name": ["mask"], "param": ["R1"], "n": [2], "bias": [0.1], "bias_ci_low": [-1.0],
         "bias_ci_high": [1.2]}
    )  # fmt: skip
    items = [
        GroupTable("statistics", tmp_path / "x.tsv", frame, {}, "tissue", "nlls"),
        GroupTable("group_agreement", tmp_path / "y.tsv", both, {}, "aseg", "brnnVsNlls"),
    ]
    html = write_group_report(tmp_path, items).read_text(encoding="utf-8")
    assert 'class="box"' not in html
    assert "Fewer than five values: no quartiles." in html
    assert "<td>-1 to 1.2 (n = 2, hardly known)</td>" in html


def test_links_lead_to_the_page_of_the_session_where_there_is_none_of_the_participant(tmp_path):
    for name in ("sub-1", "sub-2_ses-a", "sub-2_ses-b", "sub-10_ses-a", "group"):
        (tmp_path / f"{name}.html").touch()
    rows = [("sub-1", "ses-a"), ("sub-2", "ses-b"), ("sub-2", None), ("sub-3", None)]
    frame = pd.DataFrame(
        [{"participant_id": who, "session_id": session, "index": 1, "name": "WM", "median": 1.0}
         for who, session in rows]
    )  # fmt: skip
    (region,) = regions_of(frame, pages=pages_in(tmp_path))
    assert list(region.pages) == [
        "sub-1.html",
        "sub-2_ses-b.html",
        "sub-2_ses-a.html",
        "sub-3.html",
    ]


def test_many_points_are_as_wide_as_their_density_and_all_of_them_links(tmp_path):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {"participant_id": [f"sub-{k:03d}" for k in range(300)], "index": 1, "name": "WM",
         "param": "m0s", "units": "1", "acq": "x", "median": rng.normal(0.2, 0.02, 300)}
    )  # fmt: skip
    item = GroupTable("statistics", tmp_path / "x.tsv", with_outliers(frame), {}, "tissue", "nlls")
    html = write_group_report(tmp_path, [item]).read_text(encoding="utf-8")
    points = re.findall(r'<a class="point dense" href="(sub-\d+.html)" tabindex="-1">'
                        r'<title>[^<]*: ([\d.]+)</title><circle cx="(\d+)"', html)  # fmt: skip
    apart = html.count('class="apart"')
    assert len({page for page, *_ in points}) == len(points) == 300 - apart
    values, sides = (np.array([row[k] for row in points], float) for k in (1, 2))
    far = np.abs(values - 0.2) > 0.04  # beyond two standard deviations, an eighth of the height
    assert np.ptp(sides[~far]) > 2 * np.ptp(sides[far])
    assert html.index('class="box"') > html.rindex('class="point dense"')  # seen over the points

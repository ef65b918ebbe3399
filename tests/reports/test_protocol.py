import dataclasses

import numpy as np

from bids_brnn.reports.content import Bound, Bounds, SeriesView
from bids_brnn.reports.drawing import Dots, Lines, Words
from bids_brnn.reports.panels import panels
from bids_brnn.reports.protocol import bounds_table, protocol_figure, protocol_words
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol
from tests.reports.marks import of


def test_a_pulse_train_is_drawn_and_told():
    train = jiang_like_train(60)
    words = protocol_words(train)
    assert "1 pulse train, " in words
    assert "1 inversions (dotted)" in words
    curves = [run for lines in of(protocol_figure(train), Lines) for run in lines.runs]
    drawn = next(run[:, 1] for run in curves if len(run) == 60)  # inches downwards
    angles = np.degrees(train.flip_angle[0][~train.inversion[0]])
    shares = (drawn.max() - drawn) / np.ptp(drawn)
    np.testing.assert_allclose(shares, (angles - angles.min()) / np.ptp(angles), atol=1e-12)


def test_times_that_are_alike_are_told_once():
    train = jiang_like_train(60)
    alike = dataclasses.replace(
        train, repetition_time=np.full_like(train.repetition_time, 0.02) * ~train.padding
    )
    assert "every 20 ms;" in protocol_words(alike)
    names = [{words.text for words in of(protocol_figure(one), Words)} for one in (train, alike)]
    assert names[0] - names[1] >= {"to the next pulse (ms)"}


def test_a_spectrum_has_a_point_for_each_mt_pulse():
    protocol = demo_protocol()
    on = protocol.mt_flip_angle > 0
    (points,) = of(protocol_figure(protocol), Dots)
    across, octaves = points.places[:, 0], np.log2(protocol.offset[on])
    np.testing.assert_allclose(
        (across - across[0]) / np.ptp(across), (octaves - octaves[0]) / np.ptp(octaves)
    )
    words = protocol_words(protocol)
    assert f"{protocol.n_samples} measurements, {int((~on).sum())} without MT pulse" in words


def test_the_page_shows_the_protocol_where_it_is_known():
    series = SeriesView("s", "MRF", None, np.ones((4, 4, 2), bool), [])
    assert [panel.name for panel in panels(series)] == []
    known = dataclasses.replace(series, protocol=jiang_like_train(60))
    assert [panel.name for panel in panels(known)] == ["protocol"]


def test_bounds_are_told_in_units_and_in_percent_of_the_value():
    rows = [
        Bound("WM", "Rx", "1/s", 16.0, 2.0, 4.0),
        Bound("WM", "T2s", "s", 1e-5, np.inf, np.inf),
    ]
    title, header, found, _ = bounds_table(Bounds(37.0, True, 3.0, ["B1"], rows))
    assert title.endswith("tissue at 3 T, SNR 37 (median of the maps; known: B1)")
    assert found[0] == ["WM", "Rx", "1/s", "16", "2", "12.5 %", "4", "25 %"]
    assert found[1][4:] == ["not seen", "", "not seen", ""]
    assert {len(row) for row in found} == {len(header)}
    assert (
        "usual; that of the maps is not known)"
        in bounds_table(Bounds(40.0, False, 3.0, [], rows))[0]
    )

"""Tables of MT pulses are made once, by whatever threads ask for them, with the same values."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.two_pools.z_spectrum.gbloch import GBlochZ
from bids_brnn.signals.two_pools.z_spectrum.panels import Panel, Pulse
from bids_brnn.signals.two_pools.z_spectrum.tables import Tables

FIELDS = np.linspace(0.6, 1.5, 40), np.linspace(-900.0, 900.0, 40)
"""B1, and w0 in rad/s."""


@pytest.fixture(scope="module")
def protocol() -> ZSpectrum:
    offsets = np.array([2e3, 6e3, 2e4])
    pulse = MTPulse("GAUSSHANN", 0.01, 200.0)
    return ZSpectrum(np.full(3, 2.0), offsets, pulse, 0.12, 0.025, 0.003, 0.0018)


@pytest.fixture
def built(monkeypatch, protocol) -> list[tuple[float, tuple[float, ...]]]:
    """Boxes that panels were asked of, while none takes longer than a moment."""
    asked: list[tuple[float, tuple[float, ...]]] = []

    def build(self: Pulse, box: tuple[float, float, float, float], depth: int) -> Panel | int:
        asked.append((self.offset, box))
        time.sleep(0.01)
        return depth % 2 if depth < 3 else Panel(box, None, None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(Pulse, "build", build)
    return asked


def fresh(protocol: ZSpectrum) -> Tables:
    return GBlochZ(protocol).tables


def boxes(tables: Tables, threads: int) -> np.ndarray:
    """Of the panel of each voxel and measurement."""
    where = tables.locate(*FIELDS, threads)
    assert where.min() >= 0
    return np.array([[tables.panels[panel].box for panel in row] for row in where])


def test_each_voxel_lies_in_its_panel_with_any_number_of_threads(built, protocol):
    one, several = (boxes(fresh(protocol), threads) for threads in (1, 4))
    np.testing.assert_array_equal(one, several)
    for low, high, values in ((0, 1, FIELDS[0]), (2, 3, FIELDS[1])):
        assert (one[..., low] <= values[:, None]).all()
        assert (values[:, None] <= one[..., high]).all()
    assert len(built) == 2 * len(set(built))


def test_threads_that_ask_at_the_same_time_share_the_work(built, protocol, monkeypatch):
    tables, makers = fresh(protocol), set()
    build = Pulse.build

    def noted(self: Pulse, box: tuple[float, float, float, float], depth: int) -> Panel | int:
        makers.add(threading.get_ident())
        return build(self, box, depth)

    monkeypatch.setattr(Pulse, "build", noted)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: boxes(tables, 1), range(3)))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    assert len(built) == len(set(built))
    assert len(makers) > 1


def test_a_panel_that_cannot_be_made_holds_up_nobody(protocol, monkeypatch):
    def build(self: Pulse, box: object, depth: int) -> int:
        raise MemoryError

    monkeypatch.setattr(Pulse, "build", build)
    tables = fresh(protocol)
    for _ in range(2):
        with pytest.raises(MemoryError):
            tables.locate(*FIELDS, 2)

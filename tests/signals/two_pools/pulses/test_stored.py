"""The file of series holds what is solved; it is read for its own line alone.

After a change of what is solved: ``python -m bids_brnn.signals.two_pools.pulses``.
"""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.signals.two_pools.pulses.averages import SOLID, solid_series
from bids_brnn.signals.two_pools.pulses.lineshapes import GAUSSIAN, SUPER_LORENTZIAN
from bids_brnn.signals.two_pools.pulses.saturation import SATURATION, SaturationTable
from bids_brnn.signals.two_pools.pulses.stored import stored_series


@pytest.fixture(scope="module")
def table():
    return SaturationTable.build(SUPER_LORENTZIAN)


def test_the_saturation_is_what_is_solved(table):
    kept = stored_series(SATURATION, SUPER_LORENTZIAN)
    # Other libraries of linear algebra round otherwise; the solution itself is known to 1e-9.
    np.testing.assert_allclose(kept["z"], table.z_series, rtol=0, atol=1e-11)
    np.testing.assert_allclose(kept["rho"], table.rho_series, rtol=0, atol=1e-10)


def test_the_averages_are_what_is_solved(table):
    kept = stored_series(SOLID, SUPER_LORENTZIAN)
    solved = solid_series(table)
    assert kept.keys() == solved.keys()
    for name, values in solved.items():
        np.testing.assert_allclose(kept[name], values, rtol=0, atol=1e-10, err_msg=name)


def test_other_lines_are_solved():
    assert stored_series(SATURATION, GAUSSIAN) == {}

"""Machine code is kept between runs, but never that of another version of what it calls."""

from __future__ import annotations

from bids_brnn.signals import compiling


def twice(x: float) -> float:
    return 2.0 * x


def test_code_that_is_kept_depends_on_all_kernels(monkeypatch):
    first = compiling.jit(twice)
    assert first(3.0) == 6.0
    again = compiling.jit(twice)
    assert again(3.0) == 6.0
    monkeypatch.setattr(compiling, "sources", lambda: "another version")
    changed = compiling.jit(twice)
    assert changed(3.0) == 6.0
    kept = sum(again.stats.cache_hits.values()), sum(changed.stats.cache_hits.values())
    assert kept == (1, 0)

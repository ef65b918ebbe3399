"""Which arithmetic a processor has."""

from __future__ import annotations

import platform

import pytest

from bids_brnn.system.processor import has_bf16

FLAGS = "processor : 0\nflags : fpu avx2 {}\n"


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        ("avx512_bf16", "x86_64", True),
        ("amx_bf16 amx_tile", "x86_64", True),
        ("avx512f", "x86_64", False),
        ("avx512_bf16", "aarch64", False),
    ],
)
def test_what_the_system_says_decides(tmp_path, monkeypatch, flags, machine, expected):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(FLAGS.format(flags))
    assert has_bf16(cpu) is expected


def test_a_system_that_says_nothing_has_none(tmp_path):
    assert not has_bf16(tmp_path / "cpuinfo")

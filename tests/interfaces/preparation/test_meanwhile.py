"""Modules are loaded while files are read."""

from __future__ import annotations

import sys
import threading

import pytest
from nipype.interfaces.base import Undefined

from bids_brnn.interfaces.preparation.meanwhile import read_meanwhile


def test_modules_are_loaded_by_the_thread_that_asks_while_another_one_reads(tmp_path, monkeypatch):
    (tmp_path / "loaded_meanwhile.py").write_text(
        "import threading\nthread = threading.get_ident()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = threading.Event()

    def read() -> int:
        while "loaded_meanwhile" not in sys.modules:  # not before
            loaded.wait(0.001)
        return threading.get_ident()

    try:
        reader = read_meanwhile(read, ["no_such_module", "loaded_meanwhile"])
        assert sys.modules["loaded_meanwhile"].thread == threading.get_ident() != reader
    finally:
        sys.modules.pop("loaded_meanwhile", None)


def test_errors_of_reading_arrive():
    def read() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        read_meanwhile(read, Undefined)

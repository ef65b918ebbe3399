"""Only regular files are read, never more than a limit, and JSON within limits."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bids_brnn.system.reading import open_regular, parse_json, parse_toml, read_bounded


def pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def link_to(target):
    def make(path):
        path.symlink_to(target)

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pipe, "it is a pipe"), (bound_socket, "it is a socket"), (Path.mkdir, "it is a folder"),
        (link_to("/dev/zero"), "it is a device"), (link_to("/dev/tty"), "it is a device"),
        (link_to("x"), "symbolic links"), (link_to("gone"), "No such file"),
    ],
)  # fmt: skip
def test_what_is_no_file_is_never_opened(tmp_path, make, words):
    make(tmp_path / "x")
    with pytest.raises(OSError, match=words):
        open_regular(tmp_path / "x")


def test_a_pipe_that_is_swapped_in_before_the_opening_is_found(tmp_path, monkeypatch):
    path = tmp_path / "x"
    os.mkfifo(path)
    monkeypatch.setattr("bids_brnn.system.reading.check_regular", lambda path: None)
    with pytest.raises(OSError, match="it is a pipe"):  # and does not wait for a writer
        open_regular(path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 6000, "x/" * 3000])
def test_what_can_be_no_name_is_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(OSError, match=r"."):
        read_bounded(tmp_path / name, 10)


def test_no_more_than_the_limit_is_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert read_bounded(path, 10) == b"0123456789"
    with pytest.raises(ValueError, match="more than 9 bytes"):
        read_bounded(path, 9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9" * 400, "is not a finite number"), ("-" + "9" * 100_000, "is not a finite number"),
        ("1e999", "is not a finite number"), ("NaN", "is not a finite number"),
        ('{"a": 1, "a": 2}', 'key "a" stands in it twice'), ('"\\ud800"', "surrogate"),
        ('{"\\udc00": 1}', "surrogate"), ("[" * 100 + "]" * 100, "nested too deeply"),
        ("[" * 200_000, "nested too deeply"), ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1} {"b": 2}', "Extra data"), ("", "Expecting value"),
    ],
)  # fmt: skip
def test_json_beyond_its_limits_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text.encode())


def test_json_within_them_is_read():
    deep = "[" * 60 + "]" * 60
    content = f'{{"a": 1, "a": 1, "b": {deep}, "c": "\\ud83d\\ude00\\u0000", "d": {"9" * 300}}}'
    assert parse_json(content.encode())["a"] == 1


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a" + ".a" * 5000 + " = 1", "a = 1\na = 2"])
def test_toml_beyond_its_limits_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_toml(text)

"""Whatever a file holds is read, or refused with a sentence; see ``run.py`` for a long run."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_brnn.bids.input.declared import SERIES, check_declared, texts
from bids_brnn.bids.safe import resolve_uri
from bids_brnn.errors import BidsBrnnError, printable
from bids_brnn.system.kinds import cell_number, problem, shown
from bids_brnn.system.reading import parse_json, parse_toml
from bids_brnn.zoo.schema import CARD

RUN = Path(__file__).parent / "run.py"
ANY_TEXT = st.text(st.characters(codec=None, categories=None))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=20
)


def fuzz(*arguments):
    return subprocess.run(
        [sys.executable, RUN, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_five_thousand_mutants_are_read_or_refused_with_a_sentence():
    done = fuzz("--inputs", "5000", "--each", "10", "--seed", "0")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_hundred_thousand_others_are_too():
    done = fuzz("--inputs", "100000", "--minutes", "30", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total 100000 inputs" in done.stdout


def test_the_fuzzer_finds_what_it_is_for(tmp_path):
    """Its own test: faults are reported, what refuses with a sentence is none."""
    bodies = {
        "raise KeyError('x')": "KeyError",
        "import time; time.sleep(60)": "hang",
        "while True: pass": "hang",
        "bytearray(4 * 2**30)": "MemoryError",
        "bytearray(2**26)": "memory",  # far more than a busy system takes back meanwhile
        "from bids_brnn.errors import DataError\ntry:\n    bytearray(4 * 2**30)\n"
        "except MemoryError as error:\n    raise DataError('a') from error": "memory",
        "from bids_brnn.errors import DataError; raise DataError('a\\0')": "",
        "pass": "",
    }
    script = tmp_path / "own.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{str(RUN.parents[2])!r}, {str(RUN.parent)!r}]\n"
        "import run, pathlib\nfrom base import Target\n"
        "run.HANG = run.WAIT = 0.5; run.limit_memory(); run.MEMORY = 2**24\n"
        "clock = run.Alarm()\n"
        "path = pathlib.Path(sys.argv[1])\n"
        f"for body in {list(bodies)!r}:\n"
        "    target = Target('a', path, [], [], lambda path: exec(body))\n"
        "    print(run.feed(target, b'x', run.Record(), clock).partition(':')[0])\n"
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "x"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == list(bodies.values())


@given(ANYTHING)
def test_any_value_is_judged_by_any_kind(value):
    for kind in (*SERIES.values(), CARD):
        text = problem(kind, value, "x")
        assert text.isprintable()
    assert shown(value).isprintable()
    assert len(shown(value)) < 500


@given(st.dictionaries(st.sampled_from([*SERIES, "IntendedFor"]) | ANY_TEXT, ANYTHING))
def test_any_sidecar_is_taken_or_refused(metadata):
    try:
        check_declared(metadata, "x")
    except BidsBrnnError as error:
        assert printable(str(error)) == str(error)  # noqa: PT017
    assert all(text.isprintable() for text in texts(metadata, "IntendedFor"))


@given(st.binary() | ANY_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_json_or_a_value_error(content):
    for parse in (parse_json, lambda raw: parse_toml(raw.decode("utf-8", "replace"))):
        try:
            parse(content)
        except ValueError as error:
            assert type(error) is not RecursionError  # noqa: PT017


@given(ANY_TEXT | st.text("0123456789+-.eE_infa "))
def test_a_cell_is_a_number_or_nan(text):
    number = cell_number(text)
    assert math.isnan(number) or text.isascii()


@given(st.lists(st.sampled_from(["..", ".", "a", "link", "", "x\0", "a" * 300]), max_size=6))
def test_no_uri_leads_out(parts):
    with tempfile.TemporaryDirectory() as folder:
        base = Path(os.path.realpath(folder))
        root = base / "root"
        (root / "a").mkdir(parents=True)
        (root / "link").symlink_to(base)
        try:
            found = resolve_uri("bids::" + "/".join(parts), root=root, links={})
        except BidsBrnnError:
            return
        assert Path(os.path.realpath(found)).is_relative_to(root)

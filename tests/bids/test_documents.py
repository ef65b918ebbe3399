"""The documents say what the code does."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bids_brnn.bids.grammar import default_filters, grammar, ignored_names
from bids_brnn.estimators import estimators
from bids_brnn.sequences.table import Columns, pad_trains


@pytest.fixture
def document(request):
    """A function that reads a document of the project."""
    folder = request.config.rootpath / "docs"
    return lambda name: (folder / name).read_text(encoding="utf-8")


def test_the_ignore_list_of_the_input(document):
    listed = re.findall(r"^    (\*_\w+\.\*)$", document("inputs.md"), re.MULTILINE)
    assert listed == ignored_names("input_bidsignore").split()


def test_filter_keys_and_entities(document):
    text = document("inputs.md")
    for key in default_filters():
        assert f"`{key}`" in text
    for entity in grammar()["series_entities"]:
        assert f"`{entity}`" in text


def test_every_column_of_the_pulse_table(document):
    text = document("inputs.md")
    section = text[text.index("## Pulse train") : text.index("## Other images")]
    columns = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert "gradient" in columns
    table = {name: ["1"] for name in columns}
    table |= {"onset": ["0"], "pulse_type": ["excitation"], "gradient": ["crusher"]}
    table |= {"flip_angle": ["30"], "phase": ["0"]}
    table |= {"shape": ["rect"], "echo_time": ["0.002"], "duration": ["0.001"]}

    seen: set[str] = set()

    class Seen(Columns):
        def text(self, column: str, default: str) -> list[str]:
            seen.add(column)
            return super().text(column, default)

    pad_trains(Seen(table), "balanced", 0.004, needs_duration=True)
    assert seen == set(columns)


def test_keys_of_the_sidecar(document):
    from types import SimpleNamespace

    from bids_brnn.bids.output.sidecars import Provenance, count, map_sidecar
    from bids_brnn.parameters import QMT

    series = SimpleNamespace(model="gbloch", sources=[], metadata={})
    sidecar = map_sidecar(
        series,  # type: ignore[arg-type]
        QMT["m0s"].item,
        "nllsStd",
        Provenance(),
        count(np.ones(2), None),
        of="bids::x",
    )
    text = document("outputs.md")
    section = text[text.index("## Sidecars") : text.index("## Writing")]
    named = set(re.findall(r"`([A-Z]\w+)`", section))
    assert set(sidecar) <= named


def test_estimators(document):
    text = document("outputs.md")
    for name in estimators():
        assert f"`{name}`" in text

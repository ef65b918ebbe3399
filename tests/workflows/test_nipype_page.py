"""The code of docs/nipype.md runs as it stands."""

from __future__ import annotations

import re

import nibabel
import numpy as np
import pytest

from bids_brnn import interfaces
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.sinks.native import SinkOutputSpec

THEIRS = ("my_step", "my_node")
"""Nodes that a reader has to bring."""


@pytest.fixture
def blocks(request):
    text = (request.config.rootpath / "docs" / "nipype.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_block_runs_in_the_order_of_the_page(blocks, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ds").symlink_to(dataset)
    values = np.random.default_rng(1).random((3, 4, 1, 500)).astype(np.float32)
    for part in ("real", "imag"):
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(f"{part}.nii.gz")
    ours = [block for block in blocks if not any(name in block for name in THEIRS)]
    assert len(ours) >= 3
    space: dict[str, object] = {}
    for number, block in enumerate(ours):
        script = tmp_path / f"script{number}.py"  # Nipype reads the source of functions
        script.write_text(block)
        exec(compile(block, script, "exec"), space)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "dataset_description.json", ".bidsignore", "README.md", "descriptions.tsv",
    }  # fmt: skip
    assert (tmp_path / "network.json").is_file()
    smoothed = nibabel.load(next((tmp_path / "work" / "theirs").rglob("smooth.nii.gz")))
    assert np.isfinite(smoothed.get_fdata()).all()
    assert "sub_01_wf" in " ".join(space["workflow"].list_node_names())  # type: ignore[attr-defined]


def test_blocks_of_others_at_least_compile(blocks):
    for block in blocks:
        compile(block, "docs/nipype.md", "exec")


def test_the_table_has_every_interface(request):
    text = (request.config.rootpath / "docs" / "nipype.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(interfaces.__all__) <= named
    written = {
        cls.__name__
        for cls in Node.__subclasses__()
        if cls.__module__.startswith("bids_brnn.") and issubclass(cls.output_spec, SinkOutputSpec)
    }
    assert written <= set(interfaces.__all__)  # what writes results can be used by others too

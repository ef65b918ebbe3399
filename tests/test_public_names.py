"""The names that scripts may build on: listed, cheap to load, each with an example that runs."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

import bids_brnn as bb
import bids_brnn.maps


@pytest.fixture
def page(request) -> str:
    return (request.config.rootpath / "docs" / "python.md").read_text(encoding="utf-8")


def test_every_name_is_there_and_on_the_page(page):
    for name in bb.__all__:
        assert getattr(bb, name) is not None
        assert f"bb.{name}" in page, name
    assert set(bb.__all__) <= set(dir(bb))
    assert set(bb._HOMES) == set(bb.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'magic'"):
        bb.magic  # noqa: B018


def test_the_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.setattr(bids_brnn.maps, "_MAPS", dict(bids_brnn.maps._MAPS))
    names = {"folder": tmp_path}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["signal"].shape == (1, 200)
    assert (names["std"][0, :2] > 0).all()
    assert names["std"][0, 2] == 0
    assert names["t1"].shape == (8, 10, 1)
    assert names["estimate"].theta.shape == (len(names["data"]), 3)
    assert names["trusted"].float().mean() > 0.5
    assert "sub_01_wf" in str(names["workflow"].list_node_names())
    assert "logm0" in bids_brnn.maps.quality_maps()


def test_loading_the_package_loads_nothing_heavy():
    code = (
        "import sys, bids_brnn; "
        "heavy = {'torch', 'nipype', 'bids', 'numpy', 'nibabel', 'pandas'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ImportError:
            continue
        try:
            for name in parts[n:]:
                fields = getattr(found, "__dataclass_fields__", {})
                found = fields[name] if name in fields else getattr(found, name)
        except AttributeError:
            return False
        return True
    return False


def test_every_name_that_documents_and_docstrings_give_exists(request):
    root = request.config.rootpath
    pages = [*(root / "docs").rglob("*.md"), root / "README.md", root / "CONTRIBUTING.md"]
    named = {
        (path.name, name)
        for path in pages
        for name in re.findall(r"\bbids_brnn(?:\.\w+)+", path.read_text(encoding="utf-8"))
    }
    for path in (root / "bids_brnn").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        roles = re.findall(r":(?:mod|class|func|meth|data|attr):`~?(bids_brnn[\w.]*)`", text)
        named |= {(path.name, name) for name in roles}
    known = {
        "bids_brnn.extensions",
        *(f"bids_brnn.{kind}" for kind in ("toml", "sif", "def", "yaml")),
    }
    stale = [(page, name) for page, name in sorted(named)
             if name not in known and not _resolves(name)]  # fmt: skip
    assert stale == []

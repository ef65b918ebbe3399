"""The script of ``pipelines/`` builds the workflow of a data set, in a folder of their own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.mark.parametrize(("kind", "estimator"), [("qmt", "nlls"), ("mrf", "dict")])
def test_the_workflow_is_built(phantom, tmp_path, monkeypatch, kind, estimator):
    spec = importlib.util.spec_from_file_location("run", PIPELINES / "run.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(tmp_path)
    workflow = script.main(str(PIPELINES / kind / "config.toml"), str(phantom), "out", "02")
    names = workflow.list_node_names()
    assert any(name.endswith(f"estimation_{estimator}_wf.estimate") for name in names)
    assert all(name.startswith("sub_02_wf.") for name in names)
    assert (tmp_path / "out" / "dataset_description.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]

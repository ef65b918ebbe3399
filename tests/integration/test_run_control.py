"""Options that change how a run is made, each by what it leaves on disk."""

from __future__ import annotations

import json
import shutil

import pytest

from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import DEBUGGER_VARIABLE
from bids_brnn.interfaces import base


@pytest.fixture(scope="module")
def mrf(phantom, tmp_path_factory):
    """One participant with fingerprinting only."""
    folder = tmp_path_factory.mktemp("control") / "ds"
    shutil.copytree(
        phantom, folder, ignore=shutil.ignore_patterns("sub-02", "derivatives", "*hsfp*")
    )
    return folder


@pytest.fixture
def run(mrf, app, tmp_path):
    def go(*options, dataset=mrf):
        arguments = [dataset, tmp_path / "out", "participant", "-w", tmp_path / "work"]
        return app(*arguments, "--nprocs", 1, "--skip-bids-validation", *options)

    return go


def test_boilerplate_only_writes_the_methods_of_what_would_be_done(run, tmp_path, files_of):
    assert run("--boilerplate-only") == 0
    out = tmp_path / "out"
    text = (out / "logs" / "CITATION.md").read_text()
    assert "dictionary matching" in text
    assert "least squares" not in text
    assert not [name for name in files_of(out) if name.endswith((".nii.gz", ".html"))]
    record = next((out / "sub-01" / "log").glob("*/CITATION.md"))
    assert record.read_text() == text
    entries = (out / "logs" / "CITATION.bib").read_text()
    assert entries.count("@article{") == text.count("<https://doi.org/")
    assert (record.parent / "CITATION.bib").read_text() == entries


def test_sloppy_is_quick_and_says_what_it_did(run, tmp_path):
    assert run("--sloppy", "--level", "minimal", "--random-seed", "7", "--resource-monitor") == 0
    folder = tmp_path / "out" / "sub-01" / "anat"
    options = json.loads((folder / "sub-01_acq-fisp_desc-dict_T1map.json").read_text())[
        "EstimatorOptions"
    ]
    assert options == {"n_atoms": 1000, "b1_bins": [0.5, 0.75, 1.0, 1.25, 1.5], "seed": 7}
    (table,) = (tmp_path / "out" / "logs").glob("*_resources.tsv")
    assert float(read_columns(table)["cpu_time_s"][-1]) > 0


def test_maps_do_not_depend_on_batches(run, tmp_path):
    assert run("--sloppy", "--level", "minimal") == 0
    name = "sub-01_acq-fisp_desc-dict_T1map.nii.gz"
    before = (tmp_path / "out" / "sub-01" / "anat" / name).read_bytes()
    # Not even looked at again: the size of a batch is no part of a step's inputs.
    assert run("--sloppy", "--level", "minimal", "--batch-size", "7") == 0
    assert run("--sloppy", "--level", "minimal", "--low-mem", "--clean-workdir") == 0
    assert (tmp_path / "out" / "sub-01" / "anat" / name).read_bytes() == before


def test_a_link_out_of_the_data_set_needs_leave(mrf, run, tmp_path, capsys):
    dataset, store = tmp_path / "linked", tmp_path / "store"
    shutil.copytree(mrf, dataset)
    store.mkdir()
    for path in (dataset / "sub-01" / "anat").glob("*MRF.nii.gz"):
        path.rename(store / path.name)
        path.symlink_to(store / path.name)
    assert run("--boilerplate-only", dataset=dataset) == 16
    assert "--allow-links" in capsys.readouterr().err
    assert run("--boilerplate-only", "--allow-links", store, dataset=dataset) == 0


def test_a_plugin_file_is_checked_before_anything_is_read(run, tmp_path, capsys):
    (tmp_path / "plugin.yml").write_text("plugin: Nonsense")
    assert run("--use-plugin", tmp_path / "plugin.yml") == 2
    assert "Nipype has no plugin 'Nonsense'" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.json"))


def test_debug_log_tells_where_an_error_arose(run, mrf, tmp_path):
    dataset = tmp_path / "broken"
    shutil.copytree(mrf, dataset)
    shutil.copytree(dataset / "sub-01", dataset / "sub-02")
    for path in sorted((dataset / "sub-02").rglob("*")):
        path.rename(path.with_name(path.name.replace("sub-01", "sub-02")))
    next((dataset / "sub-02" / "anat").glob("*part-phase*.json")).write_text("{")
    options = ["--boilerplate-only", "--debug"]
    assert run(*options, dataset=dataset) == 16
    (log,) = (tmp_path / "out" / "logs").glob("*.log")
    assert "Traceback" in log.read_text()


def test_the_debugger_opens_where_a_step_fails(tmp_path, monkeypatch):
    import pdb
    import traceback

    class Failing(base.Node):
        def work(self, folder):
            raise ValueError("broken step")

    seen = []
    monkeypatch.setattr(pdb, "post_mortem", lambda trace: seen.append(trace))
    with pytest.raises(ValueError, match="broken step"):
        Failing().run(cwd=str(tmp_path))
    assert seen == []
    monkeypatch.setenv(DEBUGGER_VARIABLE, "pdb")
    with pytest.raises(ValueError, match="broken step"):
        Failing().run(cwd=str(tmp_path))
    assert traceback.extract_tb(seen[0])[-1].name == "work"

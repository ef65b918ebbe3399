"""Data sets, models, work folders and machines that mean harm: nothing they hold is executed,
nothing outside is read or written. The letters are those of the table in ``SECURITY.md``."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import tomllib
from pathlib import Path

import nibabel
import numpy as np
import pytest

import bids_brnn
from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.images import read_array, read_grid
from bids_brnn.bids.output.naming import mask_path
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import BidsBrnnError, DataError, ReadError, UsageError
from bids_brnn.workflows.execution import execution_settings
from bids_brnn.workflows.plugins import choose_plugin
from bids_brnn.zoo.places import SHIPPED
from bids_brnn.zoo.store import load_model

HERE = Path(bids_brnn.__file__).parent
ROOT = HERE.parent
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in HERE.rglob("*.py")]
MARKUP = "<script>alert(1)</script>"


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def called(*names):
    """Calls in the package of functions whose dotted names end so."""
    found = []
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names):
                found.append(node)
    return found


@pytest.fixture
def dataset(phantom, tmp_path):
    """A copy with one participant, that may be attacked."""
    copy = tmp_path / "ds"
    shutil.copytree(phantom, copy, ignore=shutil.ignore_patterns("sub-02", "derivatives"))
    return copy


def test_s1_s2_weights_that_are_pickles_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    content = pickle.dumps(Payload(tmp_path / "executed"))
    card = json.loads((SHIPPED / "mrf-jiang.json").read_text())
    card["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "a.json").write_text(json.dumps(card))
    (tmp_path / "a.safetensors").write_bytes(content)
    (tmp_path / "b.pt").write_bytes(content)
    for name in ("a.json", "a.safetensors", "b.pt"):
        with pytest.raises(ReadError):
            load_model(tmp_path / name)
    assert not (tmp_path / "executed").exists()
    pickle.loads(content)  # it would have worked
    assert (tmp_path / "executed").exists()


def test_s1_nothing_in_the_package_reads_pickles():
    readers = ("torch.load", "pickle.load", "pickle.loads", "joblib.load", "yaml.load", "loadpkl")
    assert not called(*readers, "Unpickler", "read_pickle", "unsafe_load")
    assert not [
        node
        for node in called("np.load")
        if not any(
            item.arg == "allow_pickle" and ast.unparse(item.value) == "False"
            for item in node.keywords
        )
    ]


def test_s3_torch_is_a_version_without_the_known_holes():
    # CVE-2025-32434 (up to 2.5.1) and CVE-2026-24747 (before 2.10) pass weights_only by.
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [item for item in needed if item.startswith("torch")]
    low = re.search(r">=(\d+)\.(\d+)", torch)
    assert (int(low[1]), int(low[2])) >= (2, 10)


# S4, malformed safetensors: tests/zoo/test_schema.py.


def test_s5_crash_files_are_text():
    settings = execution_settings(stop_on_first_crash=True)["execution"]
    assert settings["crashfile_format"] == "txt"


def test_s7_no_shell_reads_what_a_data_set_holds():
    assert not called("os.system", "os.popen", "CommandLine", "getoutput")
    assert not [node for node in called("eval", "exec") if isinstance(node.func, ast.Name)]
    for node in called("subprocess.run", "subprocess.Popen"):
        assert not any(item.arg == "shell" for item in node.keywords)
        assert not isinstance(node.args[0], ast.JoinedStr | ast.Constant)


@pytest.mark.parametrize("label", ["a;touch x", "../x", "$(id)", "`id`", "0.", ".*", "a b", "-1"])
def test_s8_s13_a_label_is_letters_and_digits(dataset, label):
    with pytest.raises(UsageError, match="is not a label"):
        find_acquisitions(dataset, participants=[label])
    if "/" not in label:
        shutil.copytree(dataset / "sub-01", dataset / f"sub-{label}")
        found = find_acquisitions(dataset)
        assert found.participants == ("01",)
        assert any("is no valid participant folder" in note for note in found.notes)


def test_s13_filters_are_no_patterns(dataset):
    with pytest.raises(BidsBrnnError, match="selects nothing"):
        find_acquisitions(dataset, filters={"mrf": {"acquisition": "f..p"}}, kinds=["mrf"])


@pytest.mark.parametrize(
    "target", ["bids::../../../etc/passwd", "/etc/passwd", "../" * 9 + "etc/passwd"]
)
def test_s10_intended_for_leads_nowhere_else(dataset, target):
    sidecar = dataset / "sub-01" / "fmap" / "sub-01_TB1map.json"
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**content, "IntendedFor": target}))
    found = find_acquisitions(dataset)
    assert all("B1" not in item.supplied for item in found.acquisitions)
    assert any("is not used: its IntendedFor names" in note for note in found.notes)


def test_s11_an_image_that_is_a_link_out_of_the_data_set_is_refused(dataset, tmp_path):
    image = next((dataset / "sub-01" / "anat").glob("*_MRF.nii.gz"))
    outside = tmp_path / "outside.nii.gz"
    image.rename(outside)
    image.symlink_to(outside)
    found = find_acquisitions(dataset)
    assert [item.kind for item in found.acquisitions] == ["qmt"]
    assert "leads out of the data set" in str(found.problems[0])


def test_s12_outputs_lie_in_the_output_folder(dataset, tmp_path):
    for item in find_acquisitions(dataset).acquisitions:
        assert mask_path(tmp_path, item).resolve().is_relative_to(tmp_path / "sub-01")
    name = dataset / "sub-01" / "anat" / "sub-01_acq-..%2f..%2fx_part-mag_MRF.nii.gz"
    shutil.copy(next((dataset / "sub-01" / "anat").glob("*_MRF.nii.gz")), name)
    found = find_acquisitions(dataset)
    assert len(found.acquisitions) == 2
    assert all("%" not in item.name for item in found.acquisitions)


def header(tmp_path, **fields):
    """An image of one voxel whose header says otherwise."""
    path = tmp_path / "x.nii"
    nibabel.Nifti1Image(np.ones((1, 1, 1), np.float32), np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes() + bytes(64))
    for place, kind, value in fields.values():
        struct.pack_into(kind, content, place, *value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("sizes", [(4, *[32767] * 4, 1, 1, 1), (3, 2000, 2000, 2000, 1, 1, 1, 1)])
@pytest.mark.parametrize("packed", [False, True])
def test_s14_sizes_are_believed_only_as_far_as_the_file_goes(tmp_path, sizes, packed):
    path = header(tmp_path, dim=(40, "<8h", sizes))
    if packed:
        path.with_name("x.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_name("x.nii.gz")
    with pytest.raises((DataError, ReadError), match=r"GB|shorter than its header says"):
        read_grid(path)


def test_s15_a_bomb_is_read_no_further_than_its_header_says(tmp_path):
    plain = header(tmp_path).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(plain)
        for _ in range(64):
            stream.write(bytes(2**20))
    with pytest.raises(ReadError, match="goes on after its last voxel"):
        read_array(read_grid(path))


def test_s16_an_extension_of_two_gigabytes_is_refused(tmp_path):
    extension = (348, "<4b2i", (1, 0, 0, 0, 2**31 - 16, 6))
    path = header(tmp_path, offset=(108, "<f", (384.0,)), extension=extension)
    with pytest.raises(BidsBrnnError):
        read_array(read_grid(path))
    path = header(tmp_path, offset=(108, "<f", (2.0e9,)), extension=extension)
    with pytest.raises(BidsBrnnError, match="vox_offset is 2000000000"):
        read_grid(path)


# S17, JSON beyond limits: tests/system/test_reading.py and tests/bids/input/test_hostile.py.


def test_s9_s18_s22_a_hostile_run(dataset, app, tmp_path, monkeypatch):
    """One run: settings of Nipype in the current folder, markup in names, links in the output."""
    base = tmp_path / f"it's {MARKUP.replace('/', '')} $(touch x)"
    base.mkdir()
    dataset = dataset.rename(base / "ds")
    out, work, elsewhere = base / "out", base / "work", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    settings = f"[execution]\ncrashdump_dir = {elsewhere}\nplugin = SLURM\n[logging]\n"
    settings += f"log_to_file = true\nlog_directory = {elsewhere}\n"
    for folder in (dataset, base):
        (folder / "nipype.cfg").write_text(settings)
    about = json.loads((dataset / "dataset_description.json").read_text())
    (dataset / "dataset_description.json").write_text(
        json.dumps({**about, "Name": MARKUP, "DatasetDOI": MARKUP, "Authors": [MARKUP]})
    )
    for sidecar in dataset.glob("*_MRF.json"):
        content = json.loads(sidecar.read_text())
        content |= {"SeriesDescription": MARKUP, "ScanningSequence": MARKUP}
        sidecar.write_text(json.dumps(content))
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    for name in ("README", "dataset_description.json", ".bidsignore", "sub-01.html"):
        (out / name).symlink_to(secret)
    monkeypatch.chdir(base)
    options = ["--nprocs", 1, "--skip-bids-validation", "--modality", "mrf", "-w", work]
    assert app(dataset, out, "participant", *options) == 0
    assert secret.read_text() == "mine"
    assert not list(elsewhere.iterdir())
    assert not (base / "x").exists()
    pages = [path.read_text(encoding="utf-8") for path in out.rglob("*.html")]
    assert pages
    # The only scripts are our own: nothing of the data begins or ends one.
    assert all("<script>alert" not in page for page in pages)
    assert all(re.search(r"<script\b[^>]*>\s*alert", page) is None for page in pages)
    linked = [path.name for path in out.rglob("*") if path.is_symlink()]
    assert linked == ["README"]  # one that is there is the user's

    (out / "sub-01").rename(elsewhere / "sub-01")
    (out / "sub-01").symlink_to(elsewhere / "sub-01")
    before = sorted(path.name for path in elsewhere.rglob("*"))
    assert app(dataset, out, "participant", *options) == 73
    assert sorted(path.name for path in elsewhere.rglob("*")) == before
    shutil.move(out / "logs", elsewhere / "logs")
    (out / "logs").symlink_to(elsewhere / "logs")
    assert app(dataset, out, "participant", *options) == 73


@pytest.mark.parametrize("label", ["x; touch hit", "$(touch hit)", "`touch hit`", "-w /etc"])
def test_s19_a_label_in_a_table_is_one_argument_of_a_job(tmp_path, label):
    command = tmp_path / "bids_brnn"
    command.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > called.txt\n')
    command.chmod(0o755)
    scripts = ROOT / "pipelines" / "slurm"
    settings, labels = tmp_path / "settings.sh", tmp_path / "labels.txt"
    settings.write_text(
        f"bids=ds out=out work=work image= jobs='{scripts}'\nreadable=() writable=() options=()\n"
    )
    labels.write_text(f"{label}\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "0"}
    subprocess.run(
        ["bash", scripts / "participant.sbatch", settings, labels, "0"],
        env=environment, cwd=tmp_path, check=True, timeout=30,
    )  # fmt: skip
    words = (tmp_path / "called.txt").read_text().splitlines()
    assert words[words.index("--participant-label") + 1] == label
    assert not (tmp_path / "hit").exists()


def test_s20_a_batch_plugin_gets_no_path_that_is_code(tmp_path):
    plugin = tmp_path / "plugin.yml"
    plugin.write_text("plugin: SLURM\n")
    folders = {"bids_dir": tmp_path / "ds", "output_dir": tmp_path / "out"}
    about = {**folders, "use_plugin": plugin}
    assert choose_plugin(RunConfig(**about, work_dir=Path("/scratch/plain_1.2")))[0] == "SLURM"
    for name in ("it's", "a b", "$(id)", "a;b", "a\\b", 'a"b'):
        with pytest.raises(UsageError, match="into scripts; choose one with -w"):
            choose_plugin(RunConfig(**about, work_dir=Path("/scratch") / name))


def test_s21_the_container_does_not_run_as_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert user not in ("root", "0")
    last = max(number for number, line in enumerate(lines) if line.startswith("RUN "))
    assert lines.index(f"USER {user}") > last


def test_every_test_that_the_table_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 30
    assert {f"S{number}" for number in range(1, 23)} <= set(
        re.findall(r"^\| (S\d+) \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    )
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), name

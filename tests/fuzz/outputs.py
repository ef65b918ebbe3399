"""Targets of the fuzzer in an output folder, which others may have changed since."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from base import JSON, TABLE, TEXT, TOML, Target, with_sentence

from bids_brnn.app.cohort import plan, read_cohort, summary
from bids_brnn.bids.output.records import settle
from bids_brnn.group.quality import quality_table
from bids_brnn.reports.collect import series_views
from bids_brnn.reports.sharing import command_line, places
from bids_brnn.zoo.cache import told

HEAD = "sub-01_acq-fisp"
LOG = (
    b"bids_brnn-task start participant=01 time=2026-01-01T00:00:00Z job=1 restart=0 memory=4000\n"
    b"12:00:00 working\nbids_brnn-task end participant=01 time=2026-01-01T01:00:00Z code=1\n"
)
ABOUT = {
    "Units": "s", "Description": "x", "NoiseStandardDeviation": 0.1, "NoiseSource": "sidecar",
    "EstimationAlgorithm": "x", "WeightsName": "a", "PreparationSteps": ["a"],
    "MaskSource": "x", "MaskCheck": "x", "Sources": ["bids::x"],
    "Registration": {"Method": "x", "Description": "x", "Distance": 0.1},
    "Denoising": {"Method": "x"}, "Motion": {"Method": "x"}, "B1Source": "x",
    "Loss": {"name": "x"},
    "ModelParameters": {"a": 1},
}  # fmt: skip


def output_targets(folder: Path) -> list[Target]:
    return [*_records(folder / "outputs"), *_maps(folder / "derivative")]


def _records(root: Path) -> list[Target]:
    data, logs = root / "ds", root / "logs"
    (data / "sub-01").mkdir(parents=True)
    logs.mkdir()
    files = {"sub-01/a.nii.gz": "0" * 64, "sub-01/a.json": "1" * 64}
    options = (
        b'[bids_brnn]\nbids_dir = "/a/ds"\noutput_dir = "/a/out"\nanalysis_level = "participant"\n'
        b'nprocs = 2\n[bids_brnn.derivatives]\nfmriprep = "/b"\n'
    )

    def cohort(path: Path) -> None:
        found = read_cohort(data, logs)
        assert all(line.isprintable() or "\t" in line for line in [*plan(found), *summary(found)])

    def configuration(path: Path) -> None:
        text = path.read_bytes().decode("utf-8", "replace")
        places(text)
        command_line(text)

    return [
        Target("log of a task", logs / "1.out", [LOG], TEXT, cohort),
        Target("record of outputs", root / "r.json", [json.dumps({"Files": files}).encode()], JSON,
               lambda path: settle(root, path, {})),
        Target("lock", root / "a.lock", [b"node, process 7: 40 %"], TEXT, told, 0.3),
        Target("record of a run", root / "bids_brnn.toml", [options], TOML, configuration),
    ]  # fmt: skip


def _maps(root: Path) -> list[Target]:
    """A participant with a mask, a map, labels and their tables; one file of it is changed."""
    anat = root / "sub-01" / "anat"
    anat.mkdir(parents=True)
    values = np.random.default_rng(0).random((3, 4, 2)).astype(np.float32)
    for name in ("desc-brain_mask", "desc-dict_T1map", "seg-x_dseg"):
        image = nib.Nifti1Image(np.ceil(values), np.diag([2.0, 2, 3, 1]))
        image.to_filename(anat / f"{HEAD}_{name}.nii.gz")
        (anat / f"{HEAD}_{name}.json").write_text(json.dumps(ABOUT))
    names = b"index\tname\n1\tGM\n"
    (anat / f"{HEAD}_seg-x_dseg.tsv").write_bytes(names)
    motion = b"trans_x\ttrans_y\tframewise_displacement\n0\t0.1\tn/a\n0.1\t0.2\t0.3\n"
    (anat / f"{HEAD}_desc-motion_timeseries.tsv").write_bytes(motion)

    def show(path: Path) -> None:
        with_sentence(lambda: series_views(root, "01"))
        quality_table(root, (), (), [])

    sidecar = json.dumps(ABOUT).encode()
    image = (anat / f"{HEAD}_desc-dict_T1map.nii.gz").read_bytes()
    return [
        Target("sidecar of a mask", anat / f"{HEAD}_desc-brain_mask.json", [sidecar], JSON, show,
               0.02),
        Target("sidecar of a map", anat / f"{HEAD}_desc-dict_T1map.json", [sidecar], JSON, show,
               0.02),
        Target("map", anat / f"{HEAD}_desc-dict_T1map.nii.gz", [image], TEXT, show, 0.02),
        Target("names of labels", anat / f"{HEAD}_seg-x_dseg.tsv", [names], TABLE, show, 0.02),
        Target("motion", anat / f"{HEAD}_desc-motion_timeseries.tsv", [motion], TABLE, show, 0.02),
    ]  # fmt: skip

"""What the fuzzer feeds: for each kind of file a seed, its mutators and the code that reads it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import mutate
import nibabel as nib
import numpy as np
from base import JSON, TABLE, TEXT, TOML, Target, with_sentence
from binary import image_targets, model_targets
from foreign import foreign_targets
from outputs import output_targets
from sequences import pulseq_targets
from trained import trained_targets

from bids_brnn.app.selection import read_filters
from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.input.dataset import describe
from bids_brnn.bids.input.declared import check_declared
from bids_brnn.bids.input.filters import merge_filters
from bids_brnn.bids.input.lookup import missing_names, read_lookup
from bids_brnn.bids.input.placement import SOURCES, declared
from bids_brnn.bids.input.protocol import (
    Said,
    Shared,
    choose_model,
    find_table,
    read_basis,
    read_train,
)
from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.bids.safe import read_json
from bids_brnn.bids.tables import read_columns, read_table
from bids_brnn.config.run_config import RunConfig
from bids_brnn.config.toml import read_options
from bids_brnn.group.tables import joined, region_frame, wide_table, with_outliers
from bids_brnn.imaging.fields import declared_scale
from bids_brnn.parameters import FIELD_MAPS, QMT
from bids_brnn.signals.registry import model_entry
from bids_brnn.workflows.plugins import read_plugin


def make_targets(folder: Path) -> list[Target]:
    """All targets, their files in ``folder``."""
    import torch

    torch.set_num_threads(1)
    made = [*_sidecars(folder), *_tables(folder), *model_targets(folder), *image_targets(folder)]
    made += [*pulseq_targets(folder), *trained_targets(folder)]
    made += [*foreign_targets(folder), *output_targets(folder)]
    return [*made, *_configurations(folder), *_whole(folder)]


SIDECAR = {
    "MagneticFieldStrength": 3, "SignalRepresentation": "time", "SignalModel": "fisp",
    "BoundaryCondition": "inversion", "DephasingPerRepetition": 6.283185307,
    "RepetitionTimeExcitation": 0.012, "SpoilingState": True, "NoiseStandardDeviation": 0.1,
    "PulseTrain": "bids::train.tsv", "SubspaceBasis": "bids::basis.tsv", "B0FieldSource": ["a"],
    "Units": "rad", "Sources": ["bids::sub-01/anat/sub-01_T1w.nii.gz"], "IntendedFor": "bids::x",
    "NominalFlipAngle": 60, "FlipAngle": 7,
}  # fmt: skip


def _train_text(n: int = 12) -> bytes:
    rows = ["onset\tflip_angle\tduration\tphase\tpulse_type\treadout\techo_time\ttrain\tgradient"]
    rows += [
        f"{0.012 * k:.6f}\t{10 + k}\t0.0005\t{180 * (k % 2)}\texcitation\t1\t0.003,0.005\t1\t"
        "dephasing"
        for k in range(n)
    ]
    return "\n".join(rows).encode() + b"\n"


def _basis_text(n: int = 24, rank: int = 3) -> bytes:
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(n, rank)))[0]
    rows = ["\t".join(f"c{k + 1:02d}" for k in range(rank))]
    rows += ["\t".join(f"{cell:.9g}" for cell in row) for row in basis]
    return "\n".join(rows).encode() + b"\n"


def _sidecars(folder: Path) -> list[Target]:
    root = folder / "sidecar"
    root.mkdir()
    (root / "train.tsv").write_bytes(_train_text())
    (root / "basis.tsv").write_bytes(_basis_text())
    (root / "loop.tsv").symlink_to("loop.tsv")

    def series(path: Path) -> None:
        metadata = read_json(path)
        check_declared(metadata, "x")
        declared(metadata, *SOURCES, "IntendedFor")
        for field in FIELD_MAPS.values():
            with_sentence(lambda field=field: declared_scale(field, metadata, path.name))
        said = Said(metadata, "x", "x.json", inside=(root,))
        table = find_table(root / "x_MRF.nii.gz", root, said, "rfpulses", {})
        if table is not None:
            train = read_train(table, model_entry("fisp"), said, Shared(), [])
            choose_model("mrf", said, train)
        found = find_table(root / "x_MRF.nii.gz", root, said, "basis", {})
        if found is not None and table is not None:
            read_basis(found, train, table.name, Shared())

    description = {"Name": "x", "BIDSVersion": "1.11.1", "DatasetLinks": {"a": "../b"},
                   "GeneratedBy": [{"Name": "a"}]}  # fmt: skip
    base = folder / "description"
    base.mkdir()
    return [
        Target("sidecar", root / "x_MRF.json", [json.dumps(SIDECAR).encode()], JSON, series, 3),
        Target("description", base / "dataset_description.json",
               [json.dumps(description).encode()], JSON, lambda path: describe(path.parent)),
    ]  # fmt: skip


def _tables(folder: Path) -> list[Target]:
    root = folder / "tables"
    root.mkdir()
    said = Said({"DephasingPerRepetition": 6.3}, "x", "x.json", inside=(root,))

    def train(path: Path) -> None:
        for model in ("fisp", "gbloch"):
            with_sentence(lambda model=model: _train(path, model))

    def _train(path: Path, model: str) -> None:
        made = read_train(path, model_entry(model), said, Shared(), [])
        assert made.digest
        assert made.to_table()

    (root / "train.tsv").write_bytes(_train_text())
    known = read_train(root / "train.tsv", model_entry("fisp"), said, Shared(), [])
    units = {"onset": {"Units": "s"}, "flip_angle": {"Units": "deg"}, "phase": {"Units": "deg"}}
    z_table = b"mt_flip_angle\toffset\tmt_state\n" + b"".join(
        b"350\t%d\ton\n" % offset for offset in (1000, 2000, 4000)
    )
    z_table += b"0\t0\toff\n"
    constants = {"MTPulseShape": "GAUSSIAN", "MTPulseDuration": 0.01, "FlipAngle": 7,
                 "RepetitionTimeExcitation": 0.03, "MTDelay": 0.002, "Normalised": False,
                 "MTPulseBandwidth": 200, "ExcitationDuration": 0.001}  # fmt: skip
    names = b"index\tname\tcolor\n1\tGM\t#fff\n2\tWM\t#000\n3\tCSF\t#00f\n"
    persons = b"participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\tn/a\tM\n"
    regions = (
        b"index\tname\tparam\tunits\tregion_source\tn_voxels\tmean\tstd\tmedian\n"
        b"1\tGM\tR1\t1/s\tx\t100\t0.6\t0.1\t0.6\n2\tWM\tR1\t1/s\tx\t90\t0.9\t0.1\t0.9\n"
    )
    (root / "z.tsv").write_bytes(z_table)
    (root / "beside.tsv").write_bytes(_train_text())
    (root / "zz.json").write_text(json.dumps(constants))

    def dseg(path: Path) -> None:
        lookup = read_lookup(path)
        assert lookup.text([1, 2, 7])
        missing_names(lookup, path, [1, 2, 7])

    def participants(path: Path) -> None:
        with_sentence(lambda: read_columns(path))
        read_table(path)

    def regional(path: Path) -> None:
        table = with_outliers(joined([region_frame(path)]))
        wide_table({"nlls": table})

    return [
        Target("rfpulses", root / "a_rfpulses.tsv", [_train_text()], TABLE, train, 3),
        Target("rfpulses.json", root / "beside.json", [json.dumps(units).encode()], JSON,
               lambda path: train(root / "beside.tsv")),
        Target("basis", root / "a_basis.tsv", [_basis_text()], TABLE,
               lambda path: read_basis(path, known, "x", Shared()), 5),
        Target("zspectrum", root / "zz.tsv", [z_table], TABLE, read_z_protocol, 2),
        Target("zspectrum.json", root / "z.json", [json.dumps(constants).encode()], JSON,
               lambda path: read_z_protocol(root / "z.tsv"), 2),
        Target("dseg", root / "a_dseg.tsv", [names], TABLE, dseg, 4),
        Target("participants", root / "participants.tsv", [persons], TABLE, participants, 2),
        Target("scalarstats", root / "sub-01_seg-a_desc-x_scalarstats.tsv", [regions], TABLE,
               regional, 0.1),
    ]  # fmt: skip


def _configurations(folder: Path) -> list[Target]:
    root = folder / "configurations"
    root.mkdir()
    for name in ("ds", "fp"):
        (root / name).mkdir()
    (root / "f.json").write_text("{}")
    filters = {"qmt": {"acquisition": "hsfp", "run": [1, 2]}, "bold": {"task": "rest"},
               "t1w": {"desc": None, "space": "Query.OPTIONAL"}}  # fmt: skip
    options = b'[bids_brnn]\nbids_dir = "ds"\noutput_dir = "out"\nnprocs = 2\nsloppy = true\n' + (
        b'output_spaces = ["T1w"]\nignore = ["b1map"]\nparticipant_label = ["01"]\n'
        b'bids_filter_file = "f.json"\n[bids_brnn.derivatives]\nfmriprep = "fp"\n'
        b'[texts]\nbids_filter_file = "{}"\n'
    )
    prior = (
        b'name = "x"\nfield_strength = 3.0\n[[class]]\nname = "a"\nweight = 1\n'
        b'require = ["R2f >= R1f"]\n[class.parameters]\nm0s = {normal = [0.1, 0.1], within = [0, '
        b"0.3]}\nR1f = {uniform = [0.1, 1]}\nR2f = {loguniform = [1, 20], reciprocal = false}\n"
        b'Rx = 10\nR1s = {constant = 3}\nT2s = "bounds"\nw0 = "bounds"\nB1 = "bounds"\n'
    )
    plugin = b"plugin: MultiProc\nplugin_args: {n_procs: 4, memory_gb: 2.5, raise: [1, 2]}\n"

    def config(**changes):
        here = {"bids_dir": root / "ds", "output_dir": root / "out", "work_dir": root / "work"}
        return RunConfig(**{**here, **changes})

    def of_filters(path: Path) -> None:
        merge_filters(read_filters(config(bids_filter_file=path)), [])

    def of_options(path: Path) -> None:
        from bids_brnn.config.options import options_of

        found = read_options(path, options_of(RunConfig))
        RunConfig.from_values(
            {"bids_dir": "ds", "output_dir": "out", "work_dir": str(root / "work"), **found}
        )

    def of_prior(path: Path) -> None:
        from bids_brnn.cli.toolbox.basis import read_prior

        read_prior(path, SimpleNamespace(parameters=QMT))

    def of_plugin(path: Path) -> None:
        read_plugin(config(use_plugin=path), path)

    return [
        Target("filter", root / "f.json", [json.dumps(filters).encode()], JSON, of_filters, 2),
        Target("options", root / "o.toml", [options], TOML, of_options),
        Target("prior", root / "p.toml", [prior], TOML, of_prior, 2),
        Target("plugin", root / "p.yml", [plugin], TEXT, of_plugin),
    ]


def _whole(folder: Path) -> list[Target]:
    """A data set of two participants; the file of one is changed, and the other must be found."""
    root = folder / "whole"
    frames = np.random.default_rng(0).random((3, 4, 2, 24)).astype(np.float32)
    for label in ("01", "02"):
        anat = root / f"sub-{label}" / "anat"
        anat.mkdir(parents=True)
        stem = anat / f"sub-{label}_acq-f"
        image = nib.Nifti1Image(frames, np.diag([2.0, 2, 3, 1]))
        for part in ("mag", "phase"):
            image.to_filename(f"{stem}_part-{part}_MRF.nii.gz")
        kept = {key: value for key, value in SIDECAR.items() if key not in (
            "PulseTrain", "SubspaceBasis", "Units")}  # fmt: skip
        Path(f"{stem}_MRF.json").write_text(json.dumps(kept))
        Path(f"{stem}_part-phase_MRF.json").write_text('{"Units": "rad"}')
        Path(f"{stem}_rfpulses.tsv").write_bytes(_train_text())
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1"}')

    anat = root / "sub-01" / "anat"
    kinds = {
        b"acq-f_MRF.json": JSON, b"acq-f_part-phase_MRF.json": JSON,
        b"acq-f_rfpulses.tsv": TABLE, b"acq-f_part-mag_MRF.nii.gz": (mutate.of_bytes,),
    }  # fmt: skip
    seeds = {name: (anat / f"sub-01_{name.decode()}").read_bytes() for name in kinds}

    def change(rng: random.Random, content: bytes) -> bytes:
        name, _, content = content.partition(b"\n")
        return name + b"\n" + rng.choice(kinds[name])(rng, content)

    def check(mutant: Path) -> None:
        name, _, content = mutant.read_bytes().partition(b"\n")
        path = anat / f"sub-01_{name.decode()}"
        path.write_bytes(content)
        try:
            found = find_acquisitions(root)
        finally:
            path.write_bytes(seeds[name])
        assert "02" in found.participants, "a fault of sub-01 has cost sub-02"

    tagged = [name + b"\n" + content for name, content in seeds.items()]
    return [Target("whole data set", folder / "whole.mutant", tagged, (change,), check, 0.05)]

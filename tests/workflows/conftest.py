"""A data set with one participant: a qMT and an MRF series of noise, everything else there."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.bids import find_acquisitions
from bids_brnn.config.run_config import RunConfig
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.signals.registry import model_entry
from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.card import ModelCard, parameters_to
from bids_brnn.zoo.store import save_model
from tests.zoo.evaluations import judged

SHAPE = (3, 4, 2)
RANK = 4


def write_table(path, columns):
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join(["\t".join(names), *("\t".join(map(str, r)) for r in rows)]) + "\n")


def write_image(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(values, np.eye(4), dtype=values.dtype).to_filename(path)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(3)
    about = {"Name": "noise", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    anat, fmap = root / "sub-01" / "anat", root / "sub-01" / "fmap"
    trains = {"QMT": hybrid_state_train(n_pulses=20), "MRF": jiang_like_train(30)}
    sizes = {"QMT": RANK, "MRF": 30}
    for suffix, train in trains.items():
        acq = f"acq-{suffix.lower()}"
        write_table(root / f"{acq}_rfpulses.tsv", train.to_table())
        for part in ("real", "imag"):
            values = rng.standard_normal((*SHAPE, sizes[suffix])).astype(np.float32)
            write_image(anat / f"sub-01_{acq}_part-{part}_{suffix}.nii.gz", values)
        metadata = {
            "SignalRepresentation": "subspace" if suffix == "QMT" else "time",
            "MagneticFieldStrength": 3,
            "BoundaryCondition": train.start,
            "DephasingPerRepetition": 6.283185307,
        }
        (root / f"{acq}_{suffix}.json").write_text(json.dumps(metadata))
    basis = np.linalg.qr(rng.standard_normal((trains["QMT"].n_samples, RANK)))[0]
    write_table(
        root / "acq-qmt_basis.tsv",
        {f"c{k}": [f"{v:.9g}" for v in basis[:, k]] for k in range(RANK)},
    )
    write_image(fmap / "sub-01_TB1map.nii.gz", np.full(SHAPE, 100, np.float32))
    (fmap / "sub-01_TB1map.json").write_text(json.dumps({"Units": "percent"}))
    labels = rng.integers(0, 3, SHAPE).astype(np.int16)
    for name, values in {"desc-brain_mask": labels > -1, "desc-aseg_dseg": labels}.items():
        path = root / "derivatives" / "fmriprep" / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
        write_image(path, values.astype(np.int16))
    write_image(path.with_name("sub-01_desc-preproc_T1w.nii.gz"), np.ones(SHAPE, np.float32))
    about = {**about, "DatasetType": "derivative", "GeneratedBy": [{"Name": "fmriprep"}]}
    (root / "derivatives" / "fmriprep" / "dataset_description.json").write_text(json.dumps(about))
    table = {"index": [1, 2], "name": ["one", "two"]}
    write_table(root / "derivatives" / "fmriprep" / "desc-aseg_dseg.tsv", table)
    return root


@pytest.fixture(scope="session")
def acquisitions(dataset):
    derivatives = {"fmriprep": dataset / "derivatives" / "fmriprep"}
    found = find_acquisitions(dataset, derivatives=derivatives)
    assert len(found.acquisitions) == 2
    return {item.kind: item for item in found.acquisitions}


@pytest.fixture
def make_config(dataset, tmp_path):
    def make(**changes):
        values = {
            "bids_dir": dataset,
            "output_dir": tmp_path / "out",
            "work_dir": tmp_path / "work",
            "skip_bids_validation": True,
        }
        return RunConfig(**{**values, **changes})

    return make


@pytest.fixture
def save_network():
    """Store an untrained network for a series: ``save_network(folder, name, series, ...)``."""

    def save(folder, name, series, *, rank=RANK, basis=None, loss="efficient", **about):
        folder.mkdir(exist_ok=True)
        parameters = model_entry(series.model).parameters
        if basis is None:
            rng = np.random.default_rng(5)
            basis = np.linalg.qr(rng.standard_normal((series.sequence.n_samples, rank)))[0]
        subspace = Subspace(torch.as_tensor(np.array(basis)))
        outputs = parameters.select("estimated").names + parameters.select("nuisance").names
        supplied = parameters.select("supplied").names
        spec = NetworkSpec(subspace.rank, outputs, supplied, width=8, blocks=1)
        body = SurrogateNetwork(len(parameters), subspace.rank, 8, 1)
        card = ModelCard(
            name=name, description="", model=series.model, network=spec.to_dict(),
            surrogate={"width": 8, "blocks": 1, "conjugate": False},
            parameters=parameters_to(parameters),
            sequence={"digest": series.sequence.digest, "name": "a train"}, subspace={}, prior={},
            snr_range=(10, 50), loss=loss, training={},
            thresholds={"residual": 0.1, "inputs": 2.0}, command="brnn train my.toml OUT",
            **{"evaluation": judged(), "field_strength": 3.0, **about},
        )  # fmt: skip
        network = build_network(spec)
        return save_model(folder, card, network, SurrogateModel(body, parameters), subspace)

    return save

"""The shipped network in the command: phases and brightness as a scanner makes them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from bids_brnn.learning.normalisation import normalise
from bids_brnn.phantom import compare_with_truth, make_dataset
from bids_brnn.sequences.designs import jiang_like_train


@pytest.fixture(scope="module")
def mapped(app, tmp_path_factory):
    base = tmp_path_factory.mktemp("network")
    dataset = make_dataset(
        base / "ds",
        n_participants=1,
        kinds=("mrf",),
        shape=(12, 14, 1),
        mrf_train=jiang_like_train(),
    )
    arguments = [dataset, base / "out", "participant", "-w", base / "work", "--nprocs", 1]
    arguments += ["-d", f"fmriprep={dataset / 'derivatives' / 'fmriprep'}", "--level", "minimal"]
    assert app(*arguments, "--skip-bids-validation") == 0
    return dataset, base / "out"


def test_the_network_is_found_and_serves_alone(mapped):
    _, out = mapped
    descs = {path.name.split("_desc-")[1].split("_")[0] for path in out.rglob("*map.nii.gz")}
    assert descs == {"brnn", "brnnStd", "resampled"}
    name = "sub-01_acq-fisp_desc-brnn_T1map.json"
    sidecar = json.loads((out / "sub-01" / "anat" / name).read_text())
    assert sidecar["WeightsName"] == "mrf-jiang"
    assert len(sidecar["WeightsSHA256"]) == 64
    assert sidecar["TrainingLoss"]["name"] == "bias-reduced"
    assert sidecar["EstimationAlgorithm"].startswith("bias-reduced neural network, trained with")
    distance = out / "sub-01/anat/sub-01_acq-fisp_model-epg_param-distance_desc-brnn_MRFmap.nii.gz"
    assert distance.exists()


def test_the_network_is_unbiased_and_efficient_on_every_phase_of_m0(mapped):
    for row in compare_with_truth(*mapped):
        if row.parameter in ("R1", "R2") and row.tissue in ("WM", "GM"):
            # Standard error of the mean 1 / sqrt(n); 0.2 bounds are the bias of the network.
            assert abs(row.bias_to_bound) < 4 / np.sqrt(row.n) + 0.2, row
            # Half the range from 16 to 84 % has a standard error of about 1.2 / sqrt(n).
            assert row.spread_to_bound < 1.1 + 4 * 1.2 / np.sqrt(row.n), row
            assert row.n_invalid == 0


def test_a_reference_in_a_sample_agrees_where_it_was_run(mapped, app, tmp_path):
    dataset, whole = mapped
    arguments = [dataset, tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 1]
    arguments += ["-d", f"fmriprep={dataset / 'derivatives' / 'fmriprep'}", "--sloppy"]
    assert app(*arguments, "--skip-bids-validation", "--reference-voxels", 40) == 0
    anat = tmp_path / "out" / "sub-01" / "anat"
    reference = nibabel.load(anat / "sub-01_acq-fisp_desc-dict_T1map.nii.gz").get_fdata()
    mask = nibabel.load(anat / "sub-01_acq-fisp_desc-brain_mask.nii.gz").get_fdata() > 0
    assert np.isfinite(reference[mask]).sum() == 40
    assert not reference[~mask].any()
    name = "sub-01/anat/sub-01_acq-fisp_desc-brnn_T1map.nii.gz"  # the network maps all
    assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    for table in anat.glob("*_desc-brnnVsDict_agreement.tsv"):
        rows = pd.read_csv(table, sep="\t", na_values="n/a").set_index(["name", "param"])
        assert rows.loc["mask", "T1"]["n"] == 40
        assert rows["n"].max() == 40
    sidecar = json.loads((anat / "sub-01_acq-fisp_desc-dict_T1map.json").read_text())
    assert (sidecar["EstimatedVoxels"], sidecar["RandomSeed"]) == (40, 1)
    assert (sidecar["InvalidFraction"], sidecar["MaskVoxels"]) == (0, mask.sum())
    words = f"estimated in 40 of {mask.sum()} voxels of the mask"
    for page in (tmp_path / "out" / "sub-01.html", tmp_path / "out" / "logs" / "CITATION.md"):
        assert words in page.read_text()


@pytest.mark.parametrize("how", ["first", "norm"])
def test_normalisation_leaves_nothing_of_the_phase(how):
    """Round-off in a constant input would be magnified by the network that standardises it."""
    rng = torch.Generator().manual_seed(3)
    values = torch.randn(50, 6, generator=rng, dtype=torch.complex64)
    scaled = normalise(values * torch.exp(torch.tensor(1j)), how)[0]
    assert bool((scaled[:, 0].imag == 0).all())
    torch.testing.assert_close(scaled, normalise(values, how)[0], rtol=1e-5, atol=1e-6)

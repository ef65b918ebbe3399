"""What is written: names, sidecars, files at the root; twice the same; legal for the validator."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions, read_coefficients
from bids_brnn.bids.grammar import parse_name
from bids_brnn.bids.output.dataset_files import dataset_description, write_dataset_files
from bids_brnn.bids.output.derivatives import (
    save_image,
    write_image,
    write_map,
    write_mask,
    write_reference,
)
from bids_brnn.bids.output.naming import (
    field_path,
    map_path,
    mask_path,
    output_path,
    reference_path,
    segmentation_path,
    statistics_path,
    transform_path,
)
from bids_brnn.bids.output.sidecars import Provenance, count, image_sidecar, map_sidecar
from bids_brnn.errors import DataError, OutputError
from bids_brnn.parameters import B1, QMT, RELAXATION, MapItem

M0 = MapItem("M0", "arbitrary", "M0map", "Scale")
RELRES = MapItem("relres", "1", "QMTmap", "Relative residual")
MATCH = MapItem("match", "1", "MRFmap", "Match")
T1 = MapItem("T1", "s", "T1map", "Longitudinal relaxation time")
M0S = QMT["m0s"].item

KEYS = {
    "SkullStripped", "Units", "Description", "Model", "EstimationAlgorithm",
    "EstimationReference", "Sources", "WeightsSHA256", "WeightsName", "TrainingLoss",
    "ValidRange", "InvalidFraction", "OutOfRangeFraction", "B1Source", "MagneticFieldStrength",
}  # fmt: skip


@pytest.fixture
def qmt(raw):
    raw.qmt()
    return find_acquisitions(raw.root).acquisitions[0]


@pytest.fixture
def mrf(raw):
    raw.mrf()
    return find_acquisitions(raw.root, kinds=["mrf"]).acquisitions[0]


@pytest.fixture
def volume(qmt):
    return read_coefficients(qmt)


@pytest.fixture
def mask():
    inside = np.zeros((4, 5, 3), dtype=bool)
    inside[1:3, 1:4] = True
    return inside


def relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def test_the_cohort_of_a_template_is_an_entity_of_its_own(mrf, tmp_path):
    path = map_path(tmp_path, mrf, T1, "dict", space="MNIPediatricAsym:cohort-3:res-2")
    space = "space-MNIPediatricAsym_cohort-3_res-2"
    assert path.name == f"sub-01_acq-f_{space}_desc-dict_T1map.nii.gz"
    assert parse_name(mask_path(tmp_path, mrf, space="A:cohort-3")).entities["cohort"] == "3"


def test_names_are_those_of_the_layout(qmt, mrf, tmp_path):
    names = [
        map_path(tmp_path, qmt, M0S, "nlls"),
        map_path(tmp_path, qmt, M0S, "brnnStd"),
        map_path(tmp_path, qmt, RELRES, "brnn"),
        map_path(tmp_path, qmt, M0, "nlls", extension=".json"),
        map_path(tmp_path, mrf, T1, "dict"),
        map_path(tmp_path, mrf, RELAXATION["R2"].item, "dictStd"),
        map_path(tmp_path, mrf, MATCH, "dict"),
        map_path(tmp_path, mrf, T1, "brnn", space="T1w"),
        mask_path(tmp_path, qmt),
        reference_path(tmp_path, qmt),
        reference_path(tmp_path, mrf),
        segmentation_path(tmp_path, qmt, "aparc"),
        segmentation_path(tmp_path, qmt, "aparc", extension=".tsv"),
        statistics_path(tmp_path, qmt, "aparc", "brnn"),
        statistics_path(tmp_path, None, "aparc", "brnn", extension=".json"),
        transform_path(tmp_path, qmt, "QMT", "T1w"),
        field_path(tmp_path, qmt, "TB1map"),
        output_path(tmp_path, "figure", qmt, desc="carpet"),
    ]
    assert [relative(path, tmp_path) for path in names] == [
        "sub-01/anat/sub-01_acq-a_model-genbloch_param-m0s_desc-nlls_QMTmap.nii.gz",
        "sub-01/anat/sub-01_acq-a_model-genbloch_param-m0s_desc-brnnStd_QMTmap.nii.gz",
        "sub-01/anat/sub-01_acq-a_model-genbloch_param-relres_desc-brnn_QMTmap.nii.gz",
        "sub-01/anat/sub-01_acq-a_desc-nlls_M0map.json",
        "sub-01/anat/sub-01_acq-f_desc-dict_T1map.nii.gz",
        "sub-01/anat/sub-01_acq-f_desc-dictStd_R2map.nii.gz",
        "sub-01/anat/sub-01_acq-f_model-epg_param-match_desc-dict_MRFmap.nii.gz",
        "sub-01/anat/sub-01_acq-f_space-T1w_desc-brnn_T1map.nii.gz",
        "sub-01/anat/sub-01_acq-a_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_acq-a_desc-mean_QMTref.nii.gz",
        "sub-01/anat/sub-01_acq-f_desc-mean_MRFref.nii.gz",
        "sub-01/anat/sub-01_acq-a_seg-aparc_dseg.nii.gz",
        "sub-01/anat/sub-01_acq-a_seg-aparc_dseg.tsv",
        "sub-01/anat/sub-01_acq-a_seg-aparc_desc-brnn_scalarstats.tsv",
        "seg-aparc_desc-brnn_scalarstats.json",
        "sub-01/anat/sub-01_acq-a_from-QMT_to-T1w_mode-image_xfm.txt",
        "sub-01/fmap/sub-01_acq-a_desc-resampled_TB1map.nii.gz",
        "sub-01/figures/sub-01_acq-a_desc-carpet_figure.svg",
    ]


def test_every_entity_of_the_series_is_kept(raw, tmp_path):
    stem = "sub-01/ses-2/anat/sub-01_ses-2_acq-a_ce-g_rec-sense_run-02_chunk-1"
    for part in ("real", "imag"):
        raw.random(f"{stem}_part-{part}_QMT.nii.gz")
    raw.shared_qmt()
    (series,) = find_acquisitions(raw.root).acquisitions
    expected = stem + "_model-genbloch_param-m0s_desc-nlls_QMTmap.nii.gz"
    assert relative(map_path(tmp_path, series, M0S, "nlls"), tmp_path) == expected


@pytest.mark.parametrize(
    ("item", "desc"),
    [
        (MapItem("../x", "1", "QMTmap", ""), "nlls"),
        (MapItem("m0s", "1", "bold", ""), "nlls"),
        (M0S, "a/b"),
        (M0S, ""),
        (T1, ""),
    ],
)
def test_names_that_must_not_be(qmt, tmp_path, item, desc):
    with pytest.raises(OutputError):
        map_path(tmp_path, qmt, item, desc)


def test_a_linked_folder_does_not_lead_out(qmt, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub-01").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="link out of"):
        map_path(out, qmt, M0S, "nlls")


def test_a_map_and_its_sidecar(qmt, volume, mask, tmp_path):
    values = np.linspace(-0.1, 0.5, int(mask.sum()))
    values[3] = np.nan
    values[4] = np.inf
    b1 = "bids:raw:sub-01/fmap/sub-01_TB1map.nii.gz"
    provenance = Provenance(
        sources=[b1],
        b1_source="TB1map, percent",
        valid_range=(0.0, 0.6),
        extra={"MaskSource": "x"},
    )
    path = write_map(
        tmp_path, qmt, M0S, "nlls", values, mask=mask, like=volume, provenance=provenance
    )
    image = nib.load(path)
    written = np.asanyarray(image.dataobj)
    assert written.dtype == np.float32
    assert np.all(written[~mask] == 0)
    expected = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    assert np.array_equal(written[mask], expected, equal_nan=True)
    assert np.array_equal(image.affine, volume.affine)
    assert image.header.get_xyzt_units()[0] == "mm"
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert set(sidecar) == KEYS | {"MaskSource"}
    assert sidecar["SkullStripped"] is True
    assert sidecar["Units"] == "1"
    assert sidecar["Model"]["Name"] == "genbloch"
    assert sidecar["Model"]["Parameter"] == "m0s"
    assert sidecar["Sources"] == [*qmt.sources, b1]
    assert sidecar["ValidRange"] == [0.0, 0.6]
    n = values.size
    assert sidecar["InvalidFraction"] == pytest.approx(2 / n, abs=1e-6)  # rounded to 6 decimals
    below = int(np.sum(values[np.isfinite(values)] <= 0))
    assert below > 0
    assert sidecar["OutOfRangeFraction"] == pytest.approx(below / n, abs=1e-6)
    assert sidecar["B1Source"] == "TB1map, percent"
    assert sidecar["MagneticFieldStrength"] == 3


def test_a_standard_deviation_says_of_what(qmt, volume, mask, tmp_path):
    values = np.full(mask.shape, 0.01)
    provenance = Provenance(valid_range=(0.0, 0.6))
    path = write_map(
        tmp_path, qmt, M0S, "nllsStd", values, mask=mask, like=volume, provenance=provenance
    )
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert set(sidecar) == KEYS | {"Uncertainty"}
    of = relative(map_path(tmp_path, qmt, M0S, "nlls"), tmp_path)
    assert sidecar["Uncertainty"] == {"Kind": "standard deviation", "Of": f"bids::{of}"}
    assert sidecar["Units"] == "1"
    assert sidecar["ValidRange"] == "n/a"  # that of the value, not of its spread
    with pytest.raises(OutputError):
        map_sidecar(qmt, M0S, "nllsStd", provenance, count(values.ravel(), None))


def test_every_map_has_the_same_keys(qmt, mrf):
    counts = count(np.ones(3), None)
    for series, item, desc in (
        (qmt, M0S, "brnn"), (qmt, M0, "nlls"), (mrf, T1, "dict"), (mrf, MATCH, "dict"),
    ):  # fmt: skip
        assert set(map_sidecar(series, item, desc, Provenance(), counts)) == KEYS


@pytest.mark.parametrize(
    ("loss", "words", "doi"),
    [
        ({"name": "mse-crb"}, "neural network, trained with the squared error", "mrm.29206"),
        ({"name": "bias-reduced"}, "bias-reduced neural network, trained", "2312.11468"),
        ({}, "neural network", "2312.11468"),
    ],
)
def test_the_algorithm_of_a_network_follows_its_loss(qmt, loss, words, doi):
    sidecar = map_sidecar(qmt, M0S, "brnn", Provenance(loss=loss), count(np.ones(3), None))
    assert sidecar["EstimationAlgorithm"].startswith(words)
    assert sidecar["EstimationReference"].endswith(doi)
    assert sidecar["TrainingLoss"] == (loss or "n/a")


def test_every_source_is_a_file_of_a_linked_data_set(raw, recon, tmp_path):
    stem = raw.qmt()
    recon.image(f"{stem}_desc-brain_mask.nii.gz", np.ones((4, 5, 3), np.float32))
    raw.image("sub-01/fmap/sub-01_TB1map.nii.gz", np.ones((4, 5, 3), np.float32))
    (series,) = find_acquisitions(raw.root, derivatives={"recon": recon.root}).acquisitions
    out = tmp_path / "derivatives" / "bids_brnn"
    write_dataset_files(out, links=series.links, version="0.1.0")
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    used = [*series.sources, *(series.uri(path) for path in series.supplied.values())]
    assert series.mask is not None
    used.append(series.uri(series.mask))
    assert len(used) == 4
    for uri in used:
        scheme, name, path = uri.split(":", 2)
        assert scheme == "bids"
        assert (out / links[name] / path).is_file()
    assert not any(Path(target).is_absolute() for target in links.values())


def test_shares_count_what_cannot_be_used():
    values = np.array([np.nan, np.inf, 0.0, 0.5, 1.0, 2.0])
    shares = count(values, (0.0, 1.0))
    assert shares.invalid == pytest.approx(2 / 6)
    assert shares.out_of_range == pytest.approx(3 / 6)  # both bounds count, and what is beyond
    assert count(values, None).out_of_range == 0
    assert count(np.empty(0), (0.0, 1.0)).invalid == 0


@pytest.mark.parametrize(
    ("codes", "kept"), [((0, 0), (0, 0)), ((1, 4), (1, 4)), ((0, 2), (2, 2)), ((1, 0), (1, 1))]
)
def test_outputs_claim_no_more_of_their_position_than_the_series(
    volume, mask, tmp_path, codes, kept
):
    header = volume.header.copy()
    header["qform_code"], header["sform_code"] = codes
    # What nibabel makes of a header without codes, so that the grid stays the same.
    affine = volume.affine if any(codes) else header.get_base_affine()
    like = replace(volume, affine=affine, header=header)
    image = nib.load(save_image(tmp_path / "x.nii.gz", mask, like))
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == kept
    assert np.allclose(image.affine, affine)


def test_shapes_must_fit(qmt, volume, mask, tmp_path):
    for values in (np.zeros(3), np.zeros((4, 5, 2))):
        with pytest.raises((DataError, IndexError)):
            write_map(
                tmp_path, qmt, M0S, "nlls", values, mask=mask, like=volume, provenance=Provenance()
            )
    with pytest.raises(DataError, match="shape"):
        write_reference(tmp_path, qmt, np.zeros((2, 2, 2)), like=volume)


def write_everything(out: Path, qmt, mrf, mask: np.ndarray, raw_root: Path) -> None:
    """All kinds of files a run can leave for one participant."""
    rng = np.random.default_rng(0)
    write_dataset_files(
        out,
        links={"raw": raw_root},
        version="0.1.0",
        code_url="https://example.org/bids_brnn",
        container={"Type": "apptainer", "Tag": "0.1.0", "URI": "docker://example.org/x"},
    )
    for series, items, estimators in (
        (qmt, [QMT[name].item for name in QMT.names[:6]] + [M0, RELRES], ("brnn", "nlls")),
        (mrf, [T1, RELAXATION["R1"].item, RELAXATION["R2"].item, M0, MATCH], ("brnn", "dict")),
    ):
        like = read_coefficients(series)
        write_mask(out, series, mask, like=like, source="bids:raw:mask.nii.gz")
        write_reference(out, series, np.abs(like.data).mean(3), like=like)
        for item in items:
            for desc in (name + std for name in estimators for std in ("", "Std")):
                values = rng.random(int(mask.sum()))
                write_map(
                    out, series, item, desc, values, mask=mask, like=like, provenance=Provenance()
                )
        field = image_sidecar(series, B1.description, units="1", skull_stripped=False)
        write_image(field_path(out, series, "TB1map"), np.ones(mask.shape), like, field)
        labels = segmentation_path(out, series, "tissue")
        write_image(labels, mask.astype(np.int16), like, image_sidecar(series, "Tissue"))
        for path in (
            segmentation_path(out, series, "tissue", extension=".tsv"),
            statistics_path(out, series, "tissue", "brnn"),
            statistics_path(out, None, "tissue", "brnn"),
            transform_path(out, series, series.rule.suffix, "T1w"),
            output_path(out, "figure", series, desc="maps"),
            out / "sub-01.html",
            out / "logs" / "CITATION.md",
            out / "sub-01" / "log" / "1" / "bids_brnn.toml",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("index\tname\n1\tWM\n")


def content_of(root: Path) -> dict[str, bytes]:
    return {
        relative(path, root): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_second_run_leaves_the_same_bytes(qmt, mrf, mask, raw, tmp_path):
    out = tmp_path / "out"
    write_everything(out, qmt, mrf, mask, raw.root)
    first = content_of(out)
    assert len(first) > 100
    shutil.rmtree(out / "sub-01")
    write_everything(out, qmt, mrf, mask, raw.root)
    assert content_of(out) == first
    assert not [name for name in first if ".tmp" in name]
    # The gzip header holds four bytes of time; they are zero.
    assert all(b[4:8] == bytes(4) for name, b in first.items() if name.endswith(".gz"))


def test_the_sidecar_is_there_before_the_image(qmt, volume, mask, tmp_path, monkeypatch):
    def full_disk(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip, "compress", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_mask(tmp_path, qmt, mask, like=volume, source="x")
    assert list(content_of(tmp_path)) == [
        "raw/" + name for name in content_of(tmp_path / "raw")
    ] + ["sub-01/anat/sub-01_acq-a_desc-brain_mask.json"]


def test_root_files_are_equal_from_all_tasks(raw, tmp_path):
    out = tmp_path / "out"
    links = {"recon": tmp_path / "recon", "raw": raw.root}

    def task(_number: int) -> bytes:
        write_dataset_files(out, links=dict(reversed(links.items())), version="0.1.0")
        return (out / "dataset_description.json").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(task, range(40)))
    assert len(seen) == 1
    assert sorted(path.name for path in out.iterdir()) == [
        ".bidsignore", "README.md", "dataset_description.json", "descriptions.tsv",
    ]  # fmt: skip


def test_root_files_that_are_right_are_not_touched(raw, tmp_path):
    out = tmp_path / "out"
    write_dataset_files(out, links={"raw": raw.root}, version="0.1.0")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    write_dataset_files(out, links={"raw": raw.root}, version="0.1.0")
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_description_of_the_output(raw):
    raw.json(
        "dataset_description.json",
        {"Name": "x", "BIDSVersion": "1.11.1", "DatasetDOI": "doi:10.1/x"},
    )
    out = raw.root / "derivatives" / "bids_brnn"
    content = dataset_description(out, {"raw": raw.root}, "0.1.0")
    assert content["DatasetLinks"] == {"raw": "../.."}
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] in out.name
    assert content["SourceDatasets"] == [{"DOI": "doi:10.1/x"}]


def test_descriptions_cover_every_label_that_is_written():
    from bids_brnn.bids.output.dataset_files import descriptions
    from bids_brnn.estimators import estimators

    described = set(descriptions())
    assert set(estimators()) | {name + "Std" for name in estimators()} <= described
    assert {"brnnVsNlls", "brnnVsDictGroup", "wide"} <= described
    assert {"brain", "mean", "resampled"} <= described


def validate(root: Path) -> list[dict[str, str]]:
    """Errors of the validator; the data set must be known to it."""
    command = Path(sys.executable).with_name("bids-validator-deno")
    if not command.exists():
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run(
        [str(command), str(root), "--json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert bool(errors) == (done.returncode != 0)
    return errors


def test_the_validator_accepts_the_output(qmt, mrf, mask, raw, tmp_path):
    out = tmp_path / "bids_brnn"
    write_everything(out, qmt, mrf, mask, raw.root)
    assert validate(out) == []
    # The check can fail: without the list of our names it does.
    (out / ".bidsignore").unlink()
    assert {error["code"] for error in validate(out)} >= {"NOT_INCLUDED"}


def test_the_validator_accepts_the_input(raw):
    from bids_brnn.bids.grammar import ignored_names

    raw.qmt()
    raw.mrf()
    raw.text(".bidsignore", ignored_names("input_bidsignore"))
    raw.text("README.md", "Test data.\n" * 20)
    assert validate(raw.root) == []

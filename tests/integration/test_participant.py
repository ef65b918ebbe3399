"""From a BIDS folder to a validated derivative, by the command itself."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from bids_brnn.config.run_config import RunConfig
from bids_brnn.phantom import compare_with_truth

EXPECTED = Path(__file__).with_name("expected_outputs.txt")


def generic(names):
    """File names without what differs from run to run."""
    names = [re.sub(r"log/[^/]+/", "log/RUN/", name) for name in names]
    names = [re.sub(r"logs/[0-9]{8}-[^/]+\.log", "logs/RUN.log", name) for name in names]
    return sorted(set(names))


def test_the_output_has_exactly_these_files(finished, files_of):
    _, out, _, _, _ = finished
    assert generic(files_of(out)) == EXPECTED.read_text().split("\n")[:-1]


def test_input_and_output_are_valid_bids(finished, validate):
    dataset, out, _, _, _ = finished
    assert validate(dataset) == []
    assert validate(out) == []


def test_the_data_set_is_not_written(finished, tree_digest):
    dataset, _, _, before, _ = finished
    assert tree_digest(dataset) == before


def test_fingerprinting_finds_the_truth(finished):
    dataset, out, _, _, _ = finished
    rows = [row for row in compare_with_truth(dataset, out) if row.estimator == "dict"]
    assert {row.parameter for row in rows} >= {"T1", "T2", "R1", "R2"}
    for row in rows:
        if row.parameter not in ("T1", "T2"):
            continue
        assert row.n_invalid == 0
        # Mean error in bounds: its standard error is 1 / sqrt(n); 4 of them, and 0.3 for what a
        # short train (100 frames) leaves of the discreteness of the dictionary.
        assert abs(row.bias_to_bound) < 4 / np.sqrt(row.n) + 0.3, row
        assert row.spread_to_bound < 2, row


def test_maps_are_zero_outside_the_mask_and_finite_inside(finished):
    _, out, _, _, _ = finished
    for path in out.rglob("*map.nii.gz"):
        if path.parent.name != "anat":
            continue
        head = re.split(r"_model-|_desc-", path.name)[0]
        mask = np.asanyarray(
            nibabel.load(path.with_name(f"{head}_desc-brain_mask.nii.gz")).dataobj
        )
        image = nibabel.load(path)
        values = np.asanyarray(image.dataobj)
        assert values.ndim == 3
        assert values.dtype == np.float32
        assert not values[mask == 0].any()
        assert np.isfinite(values[mask > 0]).mean() > 0.9, path.name


def test_sidecars_tell_units_sources_and_method(finished):
    _, out, _, _, _ = finished
    folder = out / "sub-01" / "anat"
    t1 = json.loads((folder / "sub-01_acq-fisp_desc-dict_T1map.json").read_text())
    assert t1["Units"] == "s"
    assert t1["B1Source"] == "sub-01_TB1map.nii.gz, percent"
    assert t1["MaskSource"] == "the mask sub-01_desc-brain_mask.nii.gz"
    assert "bids:raw:sub-01/anat/sub-01_acq-fisp_part-mag_MRF.nii.gz" in t1["Sources"]
    assert "bids:fmriprep:sub-01/anat/sub-01_desc-brain_mask.nii.gz" in t1["Sources"]
    name = "sub-01_acq-hsfp_model-genbloch_param-R1f_desc-nllsStd_QMTmap"
    std = json.loads((folder / f"{name}.json").read_text())
    assert std["Units"] == "1/s"
    assert std["Uncertainty"]["Of"] == f"bids::sub-01/anat/{name.replace('Std', '')}.nii.gz"
    assert std["B1Source"] == "estimated"
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert set(links) == {"raw", "fmriprep"}
    for link in links.values():
        assert (out / link / "dataset_description.json").is_file()


def test_the_snr_map_is_m0_over_the_noise_of_the_sidecar(finished):
    dataset, out, _, _, _ = finished
    declared = json.loads((dataset / "acq-fisp_MRF.json").read_text())["NoiseStandardDeviation"]
    folder = out / "sub-01" / "anat"
    for head, desc, kind in (
        ("acq-fisp_model-epg", "dict", "MRF"),
        ("acq-hsfp_model-genbloch", "nlls", "QMT"),
    ):
        name = f"sub-01_{head}_param-snr_desc-{desc}_{kind}map"
        sidecar = json.loads((folder / f"{name}.json").read_text())
        assert sidecar["NoiseStandardDeviation"] == pytest.approx(declared, rel=1e-5)
        assert sidecar["NoiseSource"] == "NoiseStandardDeviation of the sidecar"
        assert sidecar["PreparationSteps"] == []
        snr = np.asanyarray(nibabel.load(folder / f"{name}.nii.gz").dataobj)
        m0 = folder / f"sub-01_{head.partition('_')[0]}_desc-{desc}_M0map.nii.gz"
        np.testing.assert_allclose(
            snr, np.asanyarray(nibabel.load(m0).dataobj) / declared, rtol=1e-5
        )


def test_region_tables_hold_every_region_and_parameter(finished):
    dataset, out, _, _, _ = finished
    path = out / "sub-01" / "anat" / "sub-01_acq-fisp_seg-aseg_desc-dict_scalarstats.tsv"
    table = pd.read_csv(path, sep="\t", na_values="n/a")
    lookup = pd.read_csv(dataset / "derivatives" / "fmriprep" / "desc-aseg_dseg.tsv", sep="\t")
    assert set(table["param"]) == {"R1", "R2", "T1", "T2", "M0", "match", "snr"}
    for _, part in table.groupby("param"):
        assert list(part["index"]) == list(lookup["index"])
        assert list(part["name"]) == list(lookup["name"])
    mask = nibabel.load(out / "sub-01" / "anat" / "sub-01_acq-fisp_desc-brain_mask.nii.gz")
    labels = nibabel.load(out / "sub-01" / "anat" / "sub-01_acq-fisp_seg-aseg_dseg.nii.gz")
    t1 = nibabel.load(out / "sub-01" / "anat" / "sub-01_acq-fisp_desc-dict_T1map.nii.gz")
    labels, t1, mask = (np.asanyarray(image.dataobj) for image in (labels, t1, mask))
    assert not labels[mask == 0].any()
    for _, row in table[(table["param"] == "T1") & (table["n_valid"] > 0)].iterrows():
        inside = t1[labels == row["index"]]
        assert row["n_voxels"] == inside.size
        assert row["median"] == pytest.approx(np.median(inside), rel=1e-5)
        assert row["volume_mm3"] == pytest.approx(
            inside.size * abs(np.linalg.det(mask_affine(out))), rel=1e-5
        )


def mask_affine(out):
    path = out / "sub-01" / "anat" / "sub-01_acq-fisp_desc-brain_mask.nii.gz"
    return nibabel.load(path).affine[:3, :3]


def test_the_group_table_is_all_tables(finished):
    _, out, _, _, _ = finished
    table = pd.read_csv(out / "seg-aseg_desc-dict_scalarstats.tsv", sep="\t", na_values="n/a")
    assert list(table.columns[:2]) == ["participant_id", "session_id"]
    assert set(table["participant_id"]) == {"sub-01", "sub-02"}
    assert set(table["acq"]) == {"fisp"}
    one = pd.read_csv(
        out / "sub-02" / "anat" / "sub-02_acq-fisp_seg-aseg_desc-dict_scalarstats.tsv",
        sep="\t",
        na_values="n/a",
    )
    part = table[table["participant_id"] == "sub-02"].reset_index(drop=True)
    pd.testing.assert_frame_equal(part[list(one.columns)], one)


def test_the_record_of_a_run_can_be_run_again(finished):
    dataset, out, _, _, _ = finished
    record = next((out / "sub-01" / "log").glob("*/bids_brnn.toml"))
    config = RunConfig.from_file(record)
    assert config.bids_dir == dataset
    assert config.output_dir == out


def test_the_work_folder_is_private(finished):
    _, _, work, _, _ = finished
    assert {path.stat().st_mode & 0o777 for path in work.iterdir()} == {0o700}


def test_a_second_run_does_nothing(finished, app):
    from bids_brnn.interfaces.manifest import finished_steps

    dataset, out, work, _, arguments = finished
    results = {path: path.read_bytes() for path in out.rglob("*.nii.gz")}
    steps = finished_steps(work)
    assert app(dataset, out, *arguments) == 0
    assert finished_steps(work) == steps
    assert {path: path.read_bytes() for path in out.rglob("*.nii.gz")} == results


def test_damage_is_noticed_and_repaired(finished, app):
    dataset, out, work, _, arguments = finished
    folder = out / "sub-01" / "anat"
    lost = folder / "sub-01_acq-fisp_desc-dict_T1map.nii.gz"
    cut = folder / "sub-01_acq-hsfp_desc-mean_QMTref.nii.gz"
    edited = folder / "sub-01_acq-hsfp_desc-nlls_M0map.json"
    before = {path: path.read_bytes() for path in (lost, cut, edited)}
    lost.unlink()
    cut.write_bytes(before[cut][:50])
    edited.write_bytes(before[edited].replace(b"arbitrary", b"ARBITRARY"))
    (intermediate,) = (p for p in work.rglob("T2_estimate.nii") if "sub_01" in str(p))
    intermediate.write_bytes(b"")
    assert app(dataset, out, *arguments) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert intermediate.stat().st_size > 352


def test_a_changed_input_of_equal_size_and_time_is_estimated_again(phantom, app, tmp_path):
    import os
    import shutil

    dataset = tmp_path / "ds"
    shutil.copytree(phantom, dataset)
    # Uncompressed, so that the change can keep the size.
    path = dataset / "sub-01" / "anat" / "sub-01_acq-fisp_part-mag_MRF.nii.gz"
    flat = path.with_suffix("")
    flat.write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    options = ["participant", "--participant-label", "01", "--modality", "mrf", "-w"]
    options += [tmp_path / "w", "--nprocs", 1, "--level", "minimal", "--skip-bids-validation"]
    assert app(dataset, tmp_path / "out", *options) == 0
    name = "sub-01_acq-fisp_desc-dict_M0map.nii.gz"
    m0 = tmp_path / "out" / "sub-01" / "anat" / name
    before = np.asanyarray(nibabel.load(m0).dataobj).copy()
    stat = flat.stat()
    content = bytearray(flat.read_bytes())
    values = np.frombuffer(memoryview(content)[352:], dtype="<f4")
    values *= 2
    flat.write_bytes(content)
    os.utime(flat, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert app(dataset, tmp_path / "out", *options) == 0
    after = np.asanyarray(nibabel.load(m0).dataobj)
    np.testing.assert_allclose(after, 2 * before, rtol=1e-4)


def test_reports_can_be_made_alone(finished, app):
    dataset, out, _, _, arguments = finished
    page = out / "sub-01.html"
    page.unlink()
    options = [*arguments, "--reports-only", "--participant-label", "01"]
    assert app(dataset, out, *options) == 0
    assert "T1" in page.read_text()

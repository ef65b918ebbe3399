"""Which regions a series gets, and the files of one segmentation."""

from __future__ import annotations

import dataclasses
import json

import nibabel
import numpy as np
import pandas as pd
import pytest

from bids_brnn.errors import DataError
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.workflows import Segmentation, init_regions_wf
from bids_brnn.workflows.execution import execution_settings
from bids_brnn.workflows.regions import find_segmentations, init_labels_wf, region_notes

SHAPE = (3, 4, 2)


def image(path):
    nibabel.Nifti1Image(np.ones(SHAPE, np.int16), np.eye(4)).to_filename(path)
    return path


def test_the_users_atlas_stands_beside_what_was_found(acquisitions, make_config, tmp_path):
    atlas = image(tmp_path / "jhu.nii.gz")
    (tmp_path / "jhu.tsv").write_text("index\tname\n1\tone\n")
    found = find_segmentations(make_config(atlas={"jhu": atlas}), acquisitions["qmt"])
    assert list(found) == ["aseg", "jhu"]
    assert found["jhu"].lookup == tmp_path / "jhu.tsv"
    assert found["jhu"].must_overlap
    assert found["aseg"].lookup.name == "desc-aseg_dseg.tsv"


def test_classes_from_the_maps_only_for_lack_of_anything_else(acquisitions, make_config, tmp_path):
    bare = dataclasses.replace(acquisitions["qmt"].companions, segmentations={})
    nothing = dataclasses.replace(acquisitions["qmt"], companions=bare)
    found = find_segmentations(make_config(), nothing)
    assert {name: item.source for name, item in found.items()} == {
        "brain": "mask", "maptissue": "maps",
    }  # fmt: skip
    shares = {name: image(tmp_path / f"{name}.nii.gz") for name in ("GM", "WM")}
    some = dataclasses.replace(bare, tissue_probabilities=shares)
    series = dataclasses.replace(nothing, companions=some)
    found = find_segmentations(make_config(), series)
    assert {name: item.source for name, item in found.items()} == {"probseg": "probabilities"}
    assert set(found["probseg"].roles("probseg")) == {"dseg_probseg_GM", "dseg_probseg_WM"}
    ignored = find_segmentations(make_config(ignore=("dseg",)), series)
    assert list(ignored) == ["brain", "maptissue"]


def maps_of(folder, shift):
    """Maps of T1 0.9 s in the first row and 1.6 s elsewhere."""
    folder.mkdir()
    rate = np.full(SHAPE, 1 / 1.6, np.float32)
    rate[0] = 1 / 0.9
    nibabel.Nifti1Image(rate + np.float32(shift), np.eye(4)).to_filename(folder / "R1.nii")
    rows = [{"name": "R1", "unit": "1/s", "kind": "estimate", "file": "R1.nii",
             "valid_range": [0.1, 20]}]  # fmt: skip
    (folder / "maps.json").write_text(json.dumps(rows))
    return {"maps_file": str(folder / "maps.json"), "maps": [str(folder / "R1.nii")]}


@pytest.fixture
def written(acquisitions, tmp_path):
    """What a segmentation from the maps writes, with a network and a dictionary."""
    record = SeriesRecord.of(acquisitions["mrf"], {}).to_file(tmp_path / "series.json")
    workflow = init_regions_wf(
        series=record, output_dir=tmp_path / "out", label="maptissue",
        segmentation=Segmentation(source="maps"), estimators=["brnn", "dict"], erode=1,
    )  # fmt: skip
    workflow.base_dir = str(tmp_path / "work")
    workflow.config = execution_settings(stop_on_first_crash=True)
    path = tmp_path / "mask.nii"
    nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)).to_filename(path)
    node = workflow.get_node("inputnode")
    node.inputs.mask = str(path)
    # The network sees T1 of 0.7 and 1.1 s: white matter everywhere, were the classes made from it.
    for name, shift in {"brnn": 0.3, "dict": 0.0}.items():
        for field, value in maps_of(tmp_path / name, shift).items():
            setattr(node.inputs, f"{name}_{field}", value)
    workflow.run()
    return tmp_path / "out" / "sub-01" / "anat"


def test_circular_classes_are_marked_in_every_file(written):
    head = "sub-01_acq-mrf_seg-maptissue"
    names = {path.name.removeprefix(f"{head}_") for path in written.iterdir()}
    tables = ["desc-brnn_scalarstats", "desc-dict_scalarstats", "desc-brnnVsDict_agreement"]
    expected = {f"{table}.{end}" for table in tables for end in ("tsv", "json")}
    assert names == expected | {"dseg.nii.gz", "dseg.json", "dseg.tsv"}
    for name in ("dseg", *tables):
        sidecar = json.loads((written / f"{head}_{name}.json").read_text())
        assert "circular" in sidecar["Warning"]
        assert sidecar["DerivedFromEstimator"] == "dict"  # the reference, not the network
        assert sidecar["ErosionVoxels"] == 1
    for name in tables:
        table = pd.read_csv(written / f"{head}_{name}.tsv", sep="\t", na_values="n/a")
        assert set(table["region_source"]) <= {"maps", "mask"}
        sidecar = json.loads((written / f"{head}_{name}.json").read_text())
        assert all(sidecar[column]["Description"] for column in table.columns)


def test_the_label_image_is_that_of_the_tables(written):
    labels = nibabel.load(written / "sub-01_acq-mrf_seg-maptissue_dseg.nii.gz").get_fdata()
    # One layer is off at the border of the classes, none at the border of the image.
    assert labels[:, 0, 0].tolist() == [0, 0, 1]
    path = written / "sub-01_acq-mrf_seg-maptissue_desc-brnn_scalarstats.tsv"
    table = pd.read_csv(path, sep="\t", na_values="n/a").set_index("name")
    assert table["n_voxels"].to_dict() == {"GM": 8, "WM": 0, "CSF": 0}
    path = written / "sub-01_acq-mrf_seg-maptissue_desc-brnnVsDict_agreement.tsv"
    table = pd.read_csv(path, sep="\t", na_values="n/a").set_index("name")
    assert table.loc["GM", "bias"] == pytest.approx(0.3, rel=1e-5)  # six digits in the table
    assert table.loc["mask", "n"] == 24


def test_tables_and_images_are_read_before_anything_is_estimated(
    acquisitions, make_config, tmp_path
):
    series = acquisitions["qmt"]
    atlas, table = image(tmp_path / "jhu.nii.gz"), tmp_path / "jhu.tsv"
    config = make_config(atlas={"jhu": atlas})
    before = region_notes(config, series)
    table.write_text("index\tname\n5\tfive\n")
    (note,) = set(region_notes(config, series)) - set(before)
    assert "jhu.tsv names no label of its image (label 1)" in note
    table.write_text("")
    (note,) = set(region_notes(config, series)) - set(before)
    assert "it is empty" in note
    table.write_text("index\tname\n1\ta\n1\tb\n")
    with pytest.raises(DataError, match="two names"):
        region_notes(config, series)
    table.unlink()
    nibabel.Nifti1Image(np.full(SHAPE, 0.5, np.float32), np.eye(4)).to_filename(atlas)
    with pytest.raises(DataError, match="is it a dseg"):
        region_notes(config, series)


def test_why_there_are_no_labels_is_true(acquisitions, make_config, tmp_path):
    bare = dataclasses.replace(acquisitions["qmt"].companions, segmentations={})
    series = dataclasses.replace(acquisitions["qmt"], companions=bare)
    (note,) = region_notes(make_config(), series)
    assert "give labels with --atlas or --derivatives" in note
    prep = tmp_path / "prep"
    (note,) = region_notes(make_config(derivatives={"prep": prep}), series)
    assert f"--derivatives prep={prep} holds no label image" in note
    assert "sub-01" in note
    (note,) = region_notes(make_config(ignore=("dseg",)), series)
    assert "left out by --ignore dseg" in note


@pytest.mark.parametrize("label", ["get", "traits", "7networks"])
def test_any_label_of_a_file_is_one_of_a_segmentation(label, tmp_path):
    """Also those that inputs of Nipype have methods of."""
    images = {"aseg": image(tmp_path / "a.nii"), label: image(tmp_path / "b.nii")}
    found = {name: Segmentation({"": path}) for name, path in images.items()}
    workflow = init_labels_wf(found, gathered=True)
    workflow.base_dir = str(tmp_path / "work")
    workflow.config = execution_settings(stop_on_first_crash=True)
    workflow.get_node("inputnode").inputs.mask = str(image(tmp_path / "mask.nii"))
    graph = workflow.run()
    (gathered,) = [node.result.outputs.files for node in graph if node.name == "gather"]
    assert [path.split("labels_")[-1] for path in gathered] == [
        "aseg/labels.nii",
        f"{label}/labels.nii",
    ]

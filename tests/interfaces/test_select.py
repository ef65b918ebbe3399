"""One map out of those of an estimator."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from bids_brnn.errors import UsageError
from bids_brnn.interfaces import SelectMap


@pytest.fixture
def maps(tmp_path, write_nifti):
    rows, files = [], []
    for number, (name, kind) in enumerate(
        [("T1", "estimate"), ("T1", "std"), ("flags", "flag")], start=1
    ):
        values = np.full((3, 2, 1), float(number), np.float32)
        values[0, 0, 0] = np.nan
        file = f"{name}_{kind}.nii"
        files.append(str(write_nifti(file, values)))
        rows.append({"name": name, "kind": kind, "file": file})
    listed = tmp_path / "maps.json"
    listed.write_text(json.dumps(rows))
    return {"maps_file": str(listed), "maps": files}


@pytest.mark.parametrize(
    ("wanted", "value"),
    [({"name": "T1"}, 1), ({"name": "T1", "kind": "std"}, 2), ({"name": "flags"}, 3)],
)
def test_a_map_is_found_by_its_name_and_kind(maps, tmp_path, wanted, value, affine):
    folder = tmp_path / "node"
    folder.mkdir()
    image = nibabel.load(SelectMap(**maps, **wanted).run(cwd=folder).outputs.out_file)
    found = image.get_fdata()
    assert np.isnan(found[0, 0, 0])
    assert set(found[np.isfinite(found)]) == {value}
    assert np.allclose(image.affine, affine)


def test_voxels_without_an_estimate_get_the_value_that_is_given(maps, tmp_path):
    folder = tmp_path / "node"
    folder.mkdir()
    node = SelectMap(**maps, name="T1", fill=0)
    found = nibabel.load(node.run(cwd=folder).outputs.out_file).get_fdata()
    assert found[0, 0, 0] == 0
    assert (found == 1).sum() == 5


def test_a_map_that_is_not_there_is_told_with_those_that_are(maps, tmp_path):
    folder = tmp_path / "node"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"no map T2; .* lists T1 \(estimate\), T1 \(std\), fl"):
        SelectMap(**maps, name="T2").run(cwd=folder)

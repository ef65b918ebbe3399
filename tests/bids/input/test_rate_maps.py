"""Which map of R1 a Z-spectrum has, and that of its standard deviation."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.errors import BidsBrnnError


@pytest.fixture
def derivative(spectra, tmp_path):
    """Write maps into a derivative; options that read it."""
    spectra.one_image()
    for path in (spectra.root / "sub-01" / "anat").glob("*_T1map*"):
        path.unlink()

    def write(*names, units="1/s"):
        about = {"Name": "maps", "BIDSVersion": "1.11.1", "GeneratedBy": [{"Name": "x"}]}
        spectra.json("../maps/dataset_description.json", about)
        for name in names:
            file = f"../maps/sub-01/anat/sub-01_{name}"
            spectra.image(f"{file}.nii.gz", np.ones(spectra.shape, np.float32))
            if units:
                spectra.json(f"{file}.json", {"Units": units})
        return {"derivatives": {"maps": tmp_path / "maps"}}

    return write


def companions(spectra, options):
    (series,) = find_acquisitions(spectra.root, **options).acquisitions
    return series.companions


@pytest.mark.parametrize(
    ("map_name", "spread"),
    [
        ("R1map", "desc-std_R1map"),
        ("R1map", "stat-std_R1map"),
        ("desc-vfa_T1map", "desc-vfaStd_T1map"),
        ("desc-vfa_T1map", "stat-std_desc-vfa_T1map"),
        ("acq-mp2rage_T1map", "acq-mp2rage_desc-std_T1map"),
    ],
)
def test_the_map_and_its_spread(spectra, derivative, map_name, spread):
    found = companions(spectra, derivative(map_name, spread))
    assert found.supplied["R1"].name == f"sub-01_{map_name}.nii.gz"
    assert found.spreads["R1"].name == f"sub-01_{spread}.nii.gz"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("R1map", "T1map"), "R1map"),
        (("R1map", "desc-resampled_R1map"), "R1map"),
        (("R1map", "desc-otherStd_R1map"), "R1map"),
        (("R1map", "space-MNI_R1map"), "R1map"),
    ],
)
def test_what_is_no_second_map(spectra, derivative, names, chosen):
    found = companions(spectra, derivative(*names))
    assert found.supplied["R1"].name == f"sub-01_{chosen}.nii.gz"
    assert found.spreads == {}


def test_two_maps_are_refused_and_a_filter_chooses(spectra, derivative):
    options = derivative("desc-vfa_R1map", "desc-mp2rage_R1map")
    with pytest.raises(BidsBrnnError, match="Two R1 maps for sub-01_acq-z_QMT"):
        find_acquisitions(spectra.root, **options)
    options["filters"] = {"r1map": {"desc": "vfa"}}
    assert companions(spectra, options).supplied["R1"].name == "sub-01_desc-vfa_R1map.nii.gz"


def test_a_spread_without_units_is_left_aside_with_a_note(spectra, derivative):
    options = derivative("desc-vfa_R1map")
    derivative("desc-vfaStd_R1map", units=None)
    found = find_acquisitions(spectra.root, **options)
    assert found.acquisitions[0].companions.spreads == {}
    assert any("its sidecar has no Units" in note for note in found.notes)


def test_intended_for_may_name_any_volume(spectra):
    head = spectra.wand()
    folder = "sub-01/ses-02/anat/sub-01_ses-02"
    for acq in ("x", "y"):
        spectra.maps("sub-01/ses-02/anat", f"sub-01_ses-02_acq-{acq}")
    for path in (spectra.root / head).parent.glob("sub-01_ses-02_R1map*"):
        path.unlink()
    target = f"bids::{head}_flip-2_mt-3_part-mag_QMT.nii.gz"
    spectra.json(f"{folder}_acq-y_R1map.json", {"Units": "1/s", "IntendedFor": target})
    found = companions(spectra, {})
    assert found.supplied["R1"].name == "sub-01_ses-02_acq-y_R1map.nii.gz"

"""The writers of ``zspectra.py`` write what they say, so that other tests may build on them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids.input.z_protocol import read_z_protocol


def _values(path):
    return np.asanyarray(nib.load(path).dataobj)


@pytest.mark.parametrize("scheme", ["wand", "qmrust", "table", "divided"])
def test_every_scheme_holds_the_same_measurements(zspectra, tmp_path, scheme):
    made = zspectra.write(scheme, tmp_path / "ds", sigma=3.0)
    sequence = zspectra.protocol(mt_off=zspectra.SCHEMES[scheme][1])
    expected = zspectra.images(zspectra.tissue(), sequence, sigma=3.0)
    assert expected.shape == (*zspectra.SHAPE, sequence.n_samples)
    files = sorted((made.root / "sub-01").rglob("*_QMT*.nii.gz"))
    if len(files) == 1:
        np.testing.assert_allclose(_values(files[0]), expected, rtol=1e-6)
        table = next(made.root.glob("*zspectrum.tsv"))
        assert read_z_protocol(table).digest == sequence.digest
    else:
        assert len(files) == sequence.n_samples
        found = {float(_values(path).sum()) for path in files}
        sums = expected.astype(np.float32).sum((0, 1, 2))
        assert sorted(found) == pytest.approx(sorted(sums), rel=1e-6)


def test_images_divided_are_over_that_without_mt_pulse(zspectra):
    maps = zspectra.tissue()
    inside = maps.mask
    whole = zspectra.images(maps, zspectra.protocol())[inside]
    ratio = zspectra.images(maps, zspectra.protocol(mt_off=False))
    np.testing.assert_allclose(ratio[inside], whole[:, 1:] / whole[:, :1])
    assert (ratio[~inside] == 0).all()
    assert (np.diff(ratio[inside][:, :5], axis=-1) > 0).all()  # farther offsets saturate less
    assert 0.05 < ratio[inside].min() < ratio[inside].max() < 1


def test_repeats_and_odd_order_of_wand(zspectra, tmp_path):
    maps, sequence = zspectra.tissue(), zspectra.protocol()
    data = zspectra.images(maps, sequence, sigma=5.0, seed=1)
    again = zspectra.images(maps, sequence, sigma=5.0, seed=2)
    made = zspectra.write_wand(
        tmp_path / "ds", data, sequence, maps, repeats={0: again[..., 0]}, part_last=False
    )
    names = [path.split("/")[-1] for path in zspectra.names_of(made.root / "sub-01" / "ses-02")]
    stem = "sub-01_ses-02"
    assert f"{stem}_mt-off_part-mag_run-1_QMT.nii.gz" in names
    assert f"{stem}_mt-off_part-mag_run-2_QMT.nii.gz" in names
    assert f"{stem}_flip-2_mt-5_part-mag_QMT.nii.gz" in names
    anat = made.root / "sub-01" / "ses-02" / "anat"
    first = json.loads((anat / f"{stem}_flip-1_mt-1_part-mag_QMT.json").read_text())
    assert first == {"FlipAngle": 180.0, "MTOffsetFrequency": 500.0}
    off = json.loads((anat / f"{stem}_mt-off_part-mag_run-2_QMT.json").read_text())
    assert off == {"FlipAngle": 7.0}


def test_what_sidecars_lack_is_given_once(zspectra, tmp_path):
    made = zspectra.write("qmrust", tmp_path / "a", spread=0.03)
    assert made.options == [
        "--derivatives", f"preprocessed={made.derivatives['preprocessed']}",
        "--zspectrum", str(tmp_path / "a_protocol.json"),
    ]  # fmt: skip
    assert json.loads(made.protocol.read_text())["Normalised"] is True
    assert "sub-01/anat/sub-01_desc-std_R1map.nii.gz" in zspectra.names_of(
        made.derivatives["preprocessed"]
    )
    inside = zspectra.write("wand", tmp_path / "b")
    assert inside.options == []
    assert "FlipAngle" not in json.loads((inside.root / "zspectrum.json").read_text())
    outside = zspectra.write("wand", tmp_path / "c", inside=False)
    assert outside.options[0] == "--zspectrum"
    columns = zspectra.write("table", tmp_path / "d", in_columns=True, spread=0.02)
    assert not (columns.root / "acq-spgr_zspectrum.json").exists()
    table = read_z_protocol(columns.root / "acq-spgr_zspectrum.tsv")
    assert table.digest == zspectra.protocol().digest
    with pytest.raises(ValueError, match="divided"):
        zspectra.write_divided(tmp_path / "e", np.ones((1, 1, 1, 11)), zspectra.protocol(), None)

"""Z-spectra of qMRLab and QUIT: same images, same protocol, units as the programs have them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_brnn.bids.safe import read_json
from bids_brnn.importing.quit_json import bandwidth_of, integrals
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.signals.registry import model_entry

QUIT = {
    "TR": 0.055, "Trf": 0.015, "FA": 5, "sat_f0": [1000, 2750, 12060, 56360],
    "sat_angle": [332, 628, 628, 332],
    "pulse": {"name": "Gauss", "p1": 0.416, "p2": 0.295, "bandwidth": 100},
}  # fmt: skip


@pytest.mark.parametrize("off", [True, False], ids=["with image without pulse", "divided"])
def test_a_folder_of_qmrlab_is_read_as_it_was_meant(bench, qmrlab, stated, off):
    data = qmrlab(off=off)
    said = bench.run("qmrlab", bench.path("q"), *stated, "--label", "spgr")
    assert said.code == 0, said.err
    series, volume = bench.read()
    assert series.name == "sub-01_acq-spgr_QMT"
    np.testing.assert_array_equal(volume.data.real, data.astype(np.float32))
    protocol = series.sequence
    on = slice(1, None) if off else slice(None)
    np.testing.assert_allclose(np.rad2deg(protocol.mt_flip_angle[on]), [142, 426] * 3)
    np.testing.assert_allclose(protocol.offset[on], np.repeat([443, 1088, 17235], 2))
    assert (protocol.pulse.shape, protocol.pulse.duration) == ("GAUSSHANN", 0.0102)
    assert protocol.pulse.bandwidth == 200
    assert protocol.normalised is not off
    times = (protocol.repetition_time, protocol.mt_delay, protocol.excitation_duration)
    assert times == pytest.approx((0.025, 0.003, 0.0018))
    assert np.rad2deg(protocol.flip_angle) == pytest.approx(7)
    assert "--zspectrum-model ramani" in said.err


def test_maps_of_qmrlab_have_its_units_and_belong_to_the_series(bench, qmrlab, stated):
    qmrlab()
    assert bench.run("qmrlab", bench.path("q"), *stated).code == 0
    series, _ = bench.read()
    assert set(series.supplied) == {"R1", "B1", "w0"}
    units = {
        name: read_json(path.with_name(path.name.replace(".nii.gz", ".json")))["Units"]
        for name, path in series.supplied.items()
    }
    assert units == {"R1": "1/s", "B1": "1", "w0": "Hz"}
    # qMRLab adds its map to the offsets; here the frequency of water is taken from them.
    assert float(nib.load(series.supplied["w0"]).get_fdata().max()) == 12
    mask = nib.load(series.mask)
    assert mask.get_fdata().sum() == 12
    # The first axis points to the left, the others to anterior and superior.
    assert nib.aff2axcodes(mask.affine) == ("L", "A", "S")
    assert nib.affines.voxel_sizes(mask.affine).tolist() == [2, 2, 3]


@pytest.mark.parametrize(
    ("words", "sign"), [(["--b0-sign", "water"], 1), (["--b0-sign", "offset"], -1)]
)
def test_the_sign_of_a_B0_map_may_be_said(bench, qmrlab, stated, words, sign):
    qmrlab()
    said = bench.run("qmrlab", bench.path("q"), *stated, *words)
    assert (said.code, "sign is turned" in said.err) == (0, False)
    path = next(bench.out.rglob("*_B0map.nii.gz"))
    assert float(nib.load(path).get_fdata().max()) == sign * -12


def test_geometry_of_nifti_is_kept(bench, qmrlab):
    qmrlab(ending="nii.gz")
    assert bench.run("qmrlab", bench.path("q")).code == 0
    _, volume = bench.read()
    np.testing.assert_allclose(volume.affine, bench.affine)


def test_an_older_protocol_and_a_table_say_the_same(bench, qmrlab, stated):
    data = qmrlab(off=False)
    bench.path("q/qmt_spgr.qmrlab.mat").unlink()
    rows = np.array([[142, 443], [426, 443], [142, 1088], [426, 1088], [142, 17235], [426, 17235]])
    older = bench.mat(
        "older.mat", Angles=rows[:, :1], Offsets=rows[:, 1:], Tm=0.0102, Ts=0.003, Tp=0.0018,
        Tr=0.01, TR=0.025, Alpha=7, MTpulse={"shape": "gausshann", "opt": {"bw": 200}},
    )  # fmt: skip
    table = bench.text("table.txt", "\n".join(f"{a} {o}" for a, o in rows))
    words = ["--pulse-shape", "GAUSSHANN", "--pulse-duration", 0.0102, "--pulse-bandwidth", 200]
    words += ["--mt-delay", 0.003, "--excitation-duration", 0.0018, "--flip-angle", 7]
    words += ["--repetition-time", 0.025]
    digests = []
    for label, more in (("a", ["--protocol", older]), ("b", ["--protocol", table, *words])):
        options = [*stated, "--label", label, *more, "--subject", label]
        assert bench.run("qmrlab", bench.path("q"), *options).code == 0
        series, volume = bench.read(label)
        digests.append(series.sequence.digest)
        np.testing.assert_array_equal(volume.data.real, data.astype(np.float32))
    assert digests[0] == digests[1]


def test_everything_may_lie_in_one_mat_file(bench, model, stated):
    rows = np.array([[0.0, 0], [142, 443], [426, 1088]])
    data = bench.rng.uniform(100, 200, (5, 4, 3))  # one slice
    inputs = {"MTdata": data, "R1map": np.full((5, 4), 0.8), "mask": np.ones((5, 4), bool)}
    source = bench.mat("all.mat", **inputs)
    protocol = bench.mat("p.qmrlab.mat", **model(rows))
    assert bench.run("qmrlab", source, "--protocol", protocol, *stated).code == 0
    series, volume = bench.read()
    np.testing.assert_array_equal(volume.data[:, :, 0].real, data.astype(np.float32))
    assert series.mask is not None
    other = bench.mat("other.mat", MTdata=data + 1)
    said = bench.run(
        "qmrlab", source, "--protocol", protocol, "--data", other, *stated, "--subject", "02"
    )
    assert said.code == 0
    np.testing.assert_array_equal(
        bench.read("02")[1].data[:, :, 0].real, (data + 1).astype(np.float32)
    )


def test_time_bandwidth_product_of_a_sinc_becomes_a_bandwidth(bench, qmrlab, stated):
    qmrlab(MT_Pulse_Shape="sinc", MT_Pulse_SincTBW=6.0)
    assert bench.run("qmrlab", bench.path("q"), *stated).code == 0
    pulse = bench.read()[0].sequence.pulse
    assert pulse.shape == "SINC"
    assert pulse.bandwidth * pulse.duration == pytest.approx(6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"Tmt": 10.2, "Ts": 3.0, "Tp": 1.8, "Tr": 10.0},
            "MTPulseDuration is 10.2; write it in s",
        ),
        ({"TR": 0.03}, "TR is 0.03 s, but Tmt, Ts, Tp and Tr add up to 0.025 s"),
        ({"Readpulsealpha": np.deg2rad(7)}, "FlipAngle is 0.122"),
        ({"MT_Pulse_Shape": "sincgauss"}, "bandwidths 392.157 and 200 Hz"),
        (
            {
                "MT_Pulse_Shape": "sincgauss",
                "MT_Pulse_Bandwidth": None,
                "MT_Pulse_BandwidthHz": 150.0,
            },
            "bandwidths 392.157 and 150 Hz",
        ),
        ({"MT_Pulse_Shape": "fermi", "MT_Pulse_Fermitransitiona": 0.001}, "transition of the Fer"),
        ({"MT_Pulse_Shape": "blip"}, 'MTPulseShape is "BLIP"'),
    ],
)
def test_a_protocol_of_qmrlab_in_other_units_is_refused(bench, qmrlab, stated, changes, words):
    qmrlab(**changes)
    said = bench.run("qmrlab", bench.path("q"), *stated)
    assert said.code == 65
    assert words in said.err
    assert len(said.err.splitlines()) == 1
    assert not bench.out.exists()


def test_tables_of_qmrlab_in_radians_are_refused(bench, qmrlab, model, stated):
    qmrlab()
    rows = np.array([[0, 0], *[[angle, 443.0] for angle in np.deg2rad([142, 426] * 3)]])
    bench.mat("q/qmt_spgr.qmrlab.mat", **model(rows))
    # Angles below 1 are none to the model; in radians those of usual pulses are above.
    said = bench.run("qmrlab", bench.path("q"), *stated)
    assert said.code == 65
    assert "degrees, not radians" in said.err


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        (lambda q: q.mat("q/MTdata.mat", MTdata=np.ones((4, 3, 2, 6))), 65, "6 volumes"),
        (lambda q: q.mat("q/MTdata.mat", MTdata=1j * np.ones((4, 3, 2, 7))), 65, "take abs"),
        (lambda q: q.mat("q/MTdata.mat", MTdata=-np.ones((4, 3, 2, 7))), 65, "not negative"),
        (lambda q: q.mat("q/MTdata.mat", MTdata=np.ones(7)), 65, "x, y, z, volume"),
        (lambda q: q.mat("q/R1map.mat", R1map=np.ones((4, 3, 3))), 65, "4x3x3"),
        (lambda q: q.path("q/R1map.mat").unlink(), 2, "no R1 map"),
        (lambda q: q.mat("q/R1map.mat", R1map=np.full((4, 3, 2), 1e-3)), 65, "in the unit 1/s"),
        (lambda q: q.mat("q/B1map.mat", B1map=np.full((4, 3, 2), 98)), 65, "it is in percent"),
        (lambda q: q.path("q/MTdata.mat").unlink(), 65, "holds no MTdata"),
        (lambda q: q.path("q/qmt_spgr.qmrlab.mat").unlink(), 65, "and holds none"),
        (lambda q: q.mat("q/b.qmrlab.mat", ModelName="mt_sat"), 65, "name it with --protocol"),
        (lambda q: q.nifti("q/R1map.nii", np.ones((4, 3, 2))), 65, "remove one of them"),
        (lambda q: q.text("q/MTdata.mat", "x" * 400), 74, "no .mat file"),
        (lambda q: q.mat("q/Mask.mat", Mask=np.arange(24.0).reshape(4, 3, 2)), 65, "is no mask"),
    ],
)
def test_a_broken_folder_of_qmrlab_gets_one_sentence(
    bench, qmrlab, stated, break_it, code, words
):  # fmt: skip
    qmrlab(MT_Pulse_NofMTpulses=1.0, Model="other")
    break_it(bench)
    said = bench.run("qmrlab", bench.path("q"), *stated)
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1), said.err
    assert words in said.err
    assert not bench.out.exists()


def test_images_that_are_not_divided_are_not_taken_as_divided(bench, qmrlab, stated):
    data = qmrlab(off=False)
    bench.mat("q/MTdata.mat", MTdata=1000 * data)
    said = bench.run("qmrlab", bench.path("q"), *stated)
    assert said.code == 65
    assert "all should be divided by it" in said.err


def test_newer_versions_of_qmrlab_have_the_bandwidth_by_another_name(bench, qmrlab, stated):
    qmrlab(MT_Pulse_Bandwidth=None, MT_Pulse_BandwidthHz=150.0)
    assert bench.run("qmrlab", bench.path("q"), *stated).code == 0
    assert bench.read()[0].sequence.pulse.bandwidth == 150.0


def test_options_do_not_overrule_the_file(bench, qmrlab, stated):
    qmrlab()
    said = bench.run("qmrlab", bench.path("q"), *stated, "--flip-angle", 9)
    assert said.code == 2
    assert "--flip-angle 9.0 contradicts qmt_spgr.qmrlab.mat, which says 7" in said.err


@pytest.mark.parametrize("own", [True, False], ids=["Trf of the sequence", "Trf of the pulse"])
def test_an_input_of_quit_is_read_as_it_was_meant(bench, own):
    sequence = json.loads(json.dumps(QUIT))
    if not own:
        sequence["pulse"]["Trf"] = sequence.pop("Trf")
    data = bench.rng.uniform(300, 900, (*bench.shape, 4)).astype(np.float32)
    off = np.full(bench.shape, 1000, np.float32)
    files = ["--data", bench.nifti("mt.nii.gz", data), "--mt-off", bench.nifti("off.nii", off)]
    files += ["--t1-map", bench.nifti("t1.nii.gz", np.full(bench.shape, 1.1, np.float32))]
    files += ["--b0-map", bench.nifti("f0.nii.gz", np.full(bench.shape, 9.0, np.float32))]
    said = bench.run(
        "quit", bench.json("in.json", {"MTSat": sequence}), *files, "--mt-delay", 0.002,
        "--excitation-duration", 0.001, "--field-strength", 3,
    )  # fmt: skip
    assert said.code == 0, said.err
    series, volume = bench.read()
    np.testing.assert_array_equal(volume.data.real[..., 1:], data)
    np.testing.assert_array_equal(volume.data.real[..., 0], off)
    protocol = series.sequence
    np.testing.assert_allclose(np.rad2deg(protocol.mt_flip_angle), [0, 332, 628, 628, 332])
    assert protocol.pulse.duration == 0.015
    # A Gaussian with these integrals; 1 % is what three digits of p1 and p2 tell.
    assert protocol.pulse.bandwidth == pytest.approx(150, rel=0.01)
    assert protocol.repetition_time == 0.055
    assert set(series.supplied) == {"R1", "w0"}
    assert series.metadata["MagneticFieldStrength"] == 3


@pytest.mark.parametrize(
    ("changes", "more", "code", "words"),
    [
        ({}, ["--mt-off"], 2, "--mt-delay, --excitation-duration"),
        ({}, [], 2, "no image without MT pulse"),
        ({"TR": 55}, ["--times", "--mt-off"], 65, "RepetitionTimeExcitation is 55"),
        ({"Trf": 15}, ["--times", "--mt-off"], 65, "MTPulseDuration is 15"),
        ({"sat_angle": [3.3, 6.2, 6.2, 3.3]}, ["--times", "--mt-off"], 65, "not radians"),
        ({"sat_f0": [1, 2.7, 12, 56]}, ["--times", "--mt-off"], 65, "not in kHz"),
        ({"sat_f0": [1000]}, ["--mt-off"], 65, "sat_f0 1;"),
        ({"pulse": {"p1": 0.9, "p2": 0.1, "name": "Gauss"}}, ["--mt-off"], 65, "no GAUSSIAN"),
        ({"pulse": {"p1": 0.416, "p2": 0.295, "name": "ours"}}, ["--mt-off"], 2, "--pulse-shape"),
        ({"pulse": {"p1": 0.416}}, ["--mt-off"], 65, "pulse of MTSat of in.json has no p2"),
        ({"FA": "5"}, ["--mt-off"], 65, "FA of MTSat of in.json is '5'"),
        ({"Trf": None}, ["--mt-off"], 65, "Trf"),
    ],
)
def test_a_broken_input_of_quit_gets_one_sentence(bench, changes, more, code, words):
    source = bench.json("in.json", {"MTSat": {**QUIT, **changes}})
    ones = bench.nifti("one.nii", np.ones(bench.shape, np.float32))
    data = bench.nifti("mt.nii", np.ones((*bench.shape, 4), np.float32))
    known = {"--mt-off": ["--mt-off", ones], "--times": ["--mt-delay", 0.002,
             "--excitation-duration", 0.001]}  # fmt: skip
    options = [word for name in more for word in known[name]]
    said = bench.run("quit", source, "--data", data, "--t1-map", ones, *options)
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1), said.err
    assert words in said.err
    assert not bench.out.exists()


@pytest.mark.parametrize(
    "pulse",
    [
        MTPulse("GAUSSIAN", 0.015, 150.0), MTPulse("GAUSSHANN", 0.0102, 200.0),
        MTPulse("SINC", 0.01, 400.0), MTPulse("SINCHANN", 0.02, 120.0),
        MTPulse("SINCGAUSS", 0.012, 300.0), MTPulse("HARD", 0.005), MTPulse("FERMI", 0.008),
    ],
    ids=lambda pulse: pulse.shape,
)  # fmt: skip
def test_two_integrals_tell_the_bandwidth_of_a_pulse(pulse):
    first, second = integrals(pulse)
    # Against the quadrature of the pulse itself; both are far more exact than three digits.
    assert first == pytest.approx(pulse.area / pulse.duration, rel=1e-4)
    assert second == pytest.approx(pulse.power * pulse.area**2 / pulse.duration, rel=1e-4)
    found = bandwidth_of(pulse.shape, pulse.duration, first, second, "x")
    assert found == (None if pulse.bandwidth is None else pytest.approx(pulse.bandwidth, rel=2e-3))


def test_vectors_of_qmrlab_come_out_of_the_imported_protocol(bench, model, shared, stated):
    if not (shared / "reference" / "qmt_spgr.npz").is_file():
        pytest.skip("the reference vectors lie beside the checkout only")
    with np.load(shared / "reference" / "qmt_spgr.npz") as found:
        known = {name: found[name] for name in found.files}
    rows = np.stack([known["angle_deg"], known["offset_hz"]], axis=1)
    signals = known["signals"][list(known["models"]).index("Ramani")]
    bench.mat("q/MTdata.mat", MTdata=signals[:, None, None])
    bench.mat("q/R1map.mat", R1map=np.full((8, 1, 1), 1.0))
    names = ("Tmt", "Ts", "Tp", "Tr", "TR")
    timing = {name: float(value) for name, value in zip(names, known["timing_s"], strict=True)}
    bench.mat("q/p.qmrlab.mat", **model(rows, **timing))
    assert bench.run("qmrlab", bench.path("q"), *stated).code == 0
    series, volume = bench.read()
    F, kr, R1f, R1r, T2f, T2r = known["parameters"].T
    m0s = F / (1 + F)
    values = {
        "m0s": m0s, "R1f": R1f, "R2f": 1 / T2f, "Rx": kr / (1 - m0s), "R1s": R1r, "T2s": T2r,
        "w0": np.zeros(8), "B1": np.ones(8),
    }  # fmt: skip
    ramani = model_entry("ramani").build(series.sequence)
    theta = torch.tensor(np.stack([values[name] for name in ramani.parameters.names], axis=-1))
    made = ramani(theta).real.numpy()
    # Vectors are stored as they are read again: single precision, and 2e-9 of the other program's
    # quadrature.
    np.testing.assert_allclose(made, volume.data[:, 0, 0].real, atol=4e-5)

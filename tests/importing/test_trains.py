"""Coefficients and time frames: same numbers, same train, same basis; nothing is guessed."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids.output.protocol_files import write_pulses
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train

N, TRAINS, TR, RANK = 20, 2, 0.0035, 4


@pytest.fixture
def controls(bench):
    """Flip angles (rad) and durations (s) of trains as columns, each after an inversion."""
    ramp = np.abs(np.sin(np.linspace(0, 5, N - 1)))
    flip = np.stack([[np.pi, *ramp], [np.pi, *ramp[::-1]]], axis=1)
    duration = np.full((N, TRAINS), 3e-4)
    duration[0] = 5e-4
    return flip, duration


@pytest.fixture
def basis(bench):
    return np.linalg.qr(bench.rng.standard_normal((N * TRAINS, RANK + 2)))[0]


@pytest.fixture
def authors(bench, controls, basis, stated):
    """Three files as the authors of the method have them, and the words of a command."""

    def make(**changes):
        flip, duration = controls
        x = bench.complex(*bench.shape, RANK)
        bench.mat("coeffs.mat", x=changes.get("x", x), mask=np.ones(bench.shape, np.uint8))
        bench.mat("basis.mat", U=changes.get("U", basis.astype(np.float32)))
        bench.mat(
            "control.mat", alpha=changes.get("alpha", flip), TRF=changes.get("TRF", duration)
        )
        words = ["mat", bench.path("coeffs.mat"), "--basis", bench.path("basis.mat")]
        words += ["--train", bench.path("control.mat"), "--repetition-time", TR]
        words += ["--boundary-condition", "antiperiodic", *stated]
        return x, [*words, *changes.get("rank", ["--rank", RANK])]

    return make


def test_coefficients_of_the_authors_are_read_as_they_were_meant(bench, authors, controls, basis):
    x, words = authors()
    said = bench.run(*words)
    assert said.code == 0, said.err
    series, volume = bench.read()
    np.testing.assert_array_equal(volume.data, x)
    np.testing.assert_allclose(series.basis, basis[:, :RANK], atol=1e-7)
    train = series.sequence
    np.testing.assert_allclose(train.flip_angle, controls[0].T, atol=1e-9)
    np.testing.assert_allclose(train.rf_duration, controls[1].T)
    assert (train.n_trains, train.n_samples, train.start) == (2, 40, "antiperiodic")
    np.testing.assert_allclose(train.echo_time, TR / 2)
    np.testing.assert_allclose(train.repetition_time, TR)
    np.testing.assert_allclose(np.diff(np.cos(train.rf_phase[0])) ** 2, 4)  # alternating
    assert [list(row) for row in train.gradient[:, :2]] == [["crusher", "balanced"]] * 2
    assert train.inversion.sum() == 2
    assert (series.model, series.mask is not None) == ("gbloch", True)


def test_one_column_of_all_trains_is_the_same_train(bench, authors, controls):
    flip, duration = (values.ravel(order="F")[:, None] for values in controls)
    _, words = authors(alpha=flip, TRF=duration)
    assert bench.run(*words, "--trains", 2).code == 0
    np.testing.assert_allclose(bench.read()[0].sequence.flip_angle, controls[0].T, atol=1e-9)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--trains", -1], 2, "--trains -1: a whole number"),
        (["--trains", 0], 2, "--trains 0: a whole number"),
        ([], 65, "control.mat holds no pulses"),
    ],
)
def test_a_train_of_no_pulses_gets_one_sentence(bench, authors, controls, more, code, words):
    columns = [values.reshape(-1, 1) for values in controls] if more else [np.zeros((0, 0))] * 2
    _, line = authors(alpha=columns[0], TRF=columns[1])
    said = bench.run(*line, *more)
    assert (said.code, words in said.err) == (code, True), said.err
    assert len(said.err.splitlines()) == 1


def test_numbers_that_are_none_are_not_taken_as_unsaid(bench, authors, controls):
    bench.text("fa.txt", " ".join(["0.4"] * 12))
    bench.mat("phases.mat", phases=np.full((1, 12), np.nan))
    line = ["frames", bench.nifti("x.nii", bench.complex(*bench.shape, 12)), "--model", "fisp"]
    line += ["--flip-angles", bench.path("fa.txt"), "--angle-unit", "rad", "--time-unit", "s"]
    line += ["--repetition-time", 0.012, "--echo-time", 0.002, "--inversion-time", 0]
    assert bench.run(*line, "--dry-run").code == 0
    said = bench.run(*line, "--rf-phases", bench.path("phases.mat"))
    assert (said.code, "phases.mat holds NaN" in said.err) == (65, True), said.err
    _, line = authors(TRF=controls[1] * np.nan)
    said = bench.run(*line)
    assert (said.code, "control.mat holds NaN" in said.err) == (65, True), said.err


@pytest.mark.parametrize("kind", [np.complex64, np.int16])
def test_an_array_of_no_voxels_gets_one_sentence(bench, authors, kind):
    _, line = authors(x=np.zeros((0, 3, 2, RANK), kind))
    said = bench.run(*line)
    assert (said.code, "coeffs.mat: the array is 0x3x2x4" in said.err) == (65, True), said.err


def test_a_square_basis_does_not_tell_coefficients_from_frames(bench):
    write_pulses(bench.folder, "own", jiang_like_train(12))
    x = bench.nifti("x.nii", bench.complex(*bench.shape, 12))
    line = ["frames", x, "--model", "fisp", "--train", bench.path("own_rfpulses.tsv")]
    line += ["--basis", bench.mat("u.mat", U=np.eye(12))]
    said = bench.run(*line)
    assert (said.code, "as many columns as samples" in said.err) == (2, True), said.err
    assert bench.run(*line, "--rank", 5).code == 0


def test_a_table_has_its_units_and_needs_no_option_for_them(bench, stated):
    write_pulses(bench.folder, "own", jiang_like_train(12))
    line = ["frames", bench.nifti("x.nii", bench.complex(*bench.shape, 12)), "--model", "fisp"]
    line += ["--train", bench.path("own_rfpulses.tsv"), "--angle-unit", "rad"]
    said = bench.run(*line)
    assert (said.code, "angles in degrees" in said.err) == (2, True), said.err


def test_all_may_lie_in_one_mat_file(bench, controls, basis, stated):
    x = bench.complex(*bench.shape, RANK)
    source = bench.mat("all.mat", x=x, U=basis[:, :RANK], alpha=controls[0], TRF=controls[1])
    assert bench.run("mat", source, "--repetition-time", TR, *stated).code == 0
    series, volume = bench.read()
    np.testing.assert_array_equal(volume.data, x)
    assert series.companions.mask is None


@pytest.mark.parametrize(
    ("changes", "words", "code"),
    [
        ({"alpha": np.full((N, TRAINS), 60.0)}, "give --angle-unit deg", 65),
        ({"TRF": np.full((N, TRAINS), 0.3)}, "duration must be in seconds", 65),
        ({"TRF": np.full((N, 1), 3e-4)}, "alpha is 20x2, TRF is 20x1", 65),
        ({"alpha": -np.ones((N, TRAINS))}, "a flip angle is -1", 65),
        ({"U": np.eye(30, RANK)}, "30 rows, the pulse train 40 samples", 65),
        ({"U": np.ones((40, RANK))}, "not orthonormal", 65),
        ({"U": 1j * np.eye(40, RANK)}, "is a complex basis", 65),
        ({"U": np.eye(40, 3)}, "--rank 4: basis.mat has 3 columns", 2),
        ({"U": np.eye(40, 3), "rank": []}, "coefficients are the last axis", 65),
        ({"rank": []}, "has 6 columns, the images have 4 coefficients; if they belong", 65),
        ({"x": np.ones((4, 3, 2, RANK), complex)}, "imaginary part is 0 everywhere", 65),
        ({"x": np.ones((4, 3, 2, RANK))}, "coefficients are complex", 65),
        ({"x": np.ones((4, 3), complex)}, "x, y, z, volume", 65),
    ],
)
def test_files_of_the_authors_that_do_not_fit_get_one_sentence(
    bench, authors, changes, words, code
):
    _, line = authors(**changes)
    said = bench.run(*line)
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1), said.err
    assert words in said.err
    assert not bench.out.exists()


@pytest.mark.parametrize(
    ("left_out", "code", "words"),
    [
        ("--repetition-time", 2, "control.mat does not say the repetition time"),
        ("--train", 65, "alpha (flip angles) and TRF"),
        ("--basis", 2, "--rank belongs to --basis"),
        ("--voxel-size", 2, "give --voxel-size"),
        ("--orientation", 2, "give --orientation"),
    ],
)
def test_what_no_file_says_is_asked_for(bench, authors, left_out, code, words):
    _, line = authors()
    place = line.index(left_out)
    del line[place : place + (4 if left_out == "--voxel-size" else 2)]
    said = bench.run(*line)
    assert (said.code, words in said.err) == (code, True), said.err
    assert not bench.out.exists()


@pytest.fixture
def train(bench):
    """A table of a short FISP train."""
    bench.path("t").mkdir()
    return write_pulses(bench.path("t"), "acq-t", jiang_like_train(12))


@pytest.fixture
def qmt_table(bench):
    bench.path("t").mkdir()
    return write_pulses(bench.path("t"), "acq-q", hybrid_state_train(n_pulses=8))


def test_coefficients_of_bart_are_read_as_they_were_meant(bench, qmt_table, stated):
    samples = hybrid_state_train(n_pulses=8).n_samples
    basis = np.linalg.qr(bench.rng.standard_normal((samples, 3)))[0]
    x = bench.complex(4, 3, 2, 1, 1, 1, 3)
    source = bench.cfl("img", x)
    words = [
        "--basis",
        bench.cfl("basis", basis.reshape(1, 1, 1, 1, 1, samples, 3).astype(complex)),
    ]
    words += ["--train", qmt_table, "--model", "gbloch", *stated]
    assert bench.run("bart", source.with_suffix(""), *words).code == 0
    series, volume = bench.read()
    np.testing.assert_array_equal(volume.data, x.reshape(4, 3, 2, 3))
    np.testing.assert_allclose(series.basis, basis, atol=1e-6)
    assert series.sequence.digest == hybrid_state_train(n_pulses=8).digest
    assert series.representation == "subspace"


@pytest.mark.parametrize("axis", [5, 10], ids=["contrast", "time"])
def test_frames_of_bart_with_slices_are_read_as_they_were_meant(bench, train, stated, axis):
    shape = np.ones(16, int)
    shape[[0, 1, 13, axis]] = 4, 3, 2, 12
    x = bench.complex(*shape)
    words = ["--train", train, "--model", "fisp", "--boundary-condition", "thermal", *stated]
    assert bench.run("bart", bench.cfl("img", x), *words).code == 0
    series, volume = bench.read()
    # Axes that are used stay in their order: frames come before slices.
    np.testing.assert_array_equal(volume.data, x.squeeze().transpose(0, 1, 3, 2))
    assert (series.kind, series.representation) == ("mrf", "time")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 3, 2, 8, 1, 1, 3), "8 receive channels (axis 3)"),
        ((4, 3, 2, 1, 1, 5, 3), "just one may have more than one entry"),
        ((4, 3, 2), "just one may have more than one entry"),
        ((4, 3, 2, 1, 1, 12, 1, 1, 1, 1, 1, 1, 1, 2), "2 slices"),
    ],
)
def test_axes_of_bart_without_meaning_here_are_named(bench, train, stated, shape, words):
    source = bench.cfl("img", bench.complex(*shape))
    said = bench.run("bart", source, "--train", train, "--model", "fisp", *stated)
    assert said.code == 65
    assert words in said.err


def test_a_cfl_of_another_size_than_its_header_is_refused(bench, train, stated):
    source = bench.cfl("img", bench.complex(4, 3, 2, 1, 1, 12))
    whole = source.read_bytes()
    for content, words in ((whole[:-8], "fewer bytes"), (whole + b"1", "more bytes")):
        source.write_bytes(content)
        said = bench.run("bart", source, "--train", train, "--model", "fisp", *stated)
        assert (said.code, words in said.err) == (74, True)
    for header in ("# Dimensions\n4 3 x\n", "# Size\n4 3\n", "# Dimensions\n4 0 2\n", ""):
        bench.text("img.hdr", header)
        said = bench.run("bart", source, "--train", train, "--model", "fisp", *stated)
        assert (said.code, "'# Dimensions'" in said.err) == (65, True)


FRAMES = {
    "complex": lambda bench, x: ([bench.nifti("x.nii.gz", x)], []),
    "real and imaginary": lambda bench, x: (
        [bench.nifti("re.nii.gz", x.real)], ["--imaginary", bench.nifti("im.nii.gz", x.imag)],
    ),
    "magnitude and phase": lambda bench, x: (
        [bench.nifti("m.nii.gz", np.abs(x))],
        ["--phase", bench.nifti("p.nii.gz", np.angle(x)), "--phase-unit", "rad"],
    ),
    "phase in degrees": lambda bench, x: (
        [bench.nifti("m.nii.gz", np.abs(x))],
        ["--phase", bench.nifti("p.nii.gz", np.degrees(np.angle(x))), "--phase-unit", "deg"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FRAMES)
def test_time_frames_of_each_form_are_the_same(bench, train, form):
    x = bench.complex(*bench.shape, 12)
    source, words = FRAMES[form](bench, x)
    line = ["frames", *source, *words, "--train", train, "--model", "fisp"]
    assert bench.run(*line, "--boundary-condition", "thermal").code == 0
    series, volume = bench.read()
    # Single precision of amplitude and angle.
    np.testing.assert_allclose(volume.data, x, atol=2e-6)
    np.testing.assert_allclose(volume.affine, bench.affine)
    assert series.sequence.digest == jiang_like_train(12).digest
    assert series.representation == "time"


def test_magnitudes_are_taken_where_they_are_called_so(bench, train):
    x = np.abs(bench.complex(*bench.shape, 12))
    line = ["frames", bench.nifti("m.nii.gz", x), "--train", train, "--model", "fisp"]
    said = bench.run(*line)
    assert (said.code, "--magnitude if there is none" in said.err) == (2, True)
    assert bench.run(*line, "--magnitude").code == 0
    series, volume = bench.read()
    assert set(series.parts) == {"mag"}
    np.testing.assert_array_equal(volume.data.real, x)


def test_frames_with_a_basis_become_coefficients(bench, train):
    x = bench.complex(*bench.shape, 12)
    basis = np.linalg.qr(bench.rng.standard_normal((12, 3)))[0]
    table = bench.text(
        "b.tsv", "c1\tc2\tc3\n" + "\n".join("\t".join(map(repr, map(float, r))) for r in basis)
    )
    words = ["--train", train, "--model", "fisp", "--basis", table]
    assert bench.run("frames", bench.nifti("x.nii.gz", x), *words).code == 0
    series, volume = bench.read()
    np.testing.assert_allclose(volume.data, x @ basis, atol=1e-5)
    assert series.representation == "subspace"


@pytest.mark.parametrize(("angles", "times"), [("deg", "s"), ("rad", "ms")])
def test_lists_tell_a_fisp_train(bench, angles, times):
    """The lists of a train in either unit are that train."""
    known = jiang_like_train(12)
    flip = known.flip_angle[0, 1:]
    scale = 1 if times == "s" else 1000
    bench.text(
        "fa.txt", "\n".join(map(repr, map(float, np.degrees(flip) if angles == "deg" else flip)))
    )
    bench.mat("tr.mat", TR=scale * known.repetition_time[0, 1:])
    x = bench.complex(*bench.shape, 12)
    line = ["frames", bench.nifti("x.nii.gz", x), "--model", "fisp"]
    line += ["--flip-angles", bench.path("fa.txt"), "--repetition-times", bench.path("tr.mat")]
    line += ["--angle-unit", angles, "--time-unit", times, "--echo-time", 0.002 * scale]
    assert bench.run(*line, "--inversion-time", 0.02 * scale).code == 0
    assert bench.read()[0].sequence.digest == known.digest


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"--angle-unit": "deg"}, 65, "give --angle-unit rad"),
        ({"--time-unit": "s"}, 65, "onset must be in seconds"),
        ({"--echo-time": 2000}, 65, "echo_time"),
        ({"--angle-unit": None}, 2, "fa.txt holds angles only: give --angle-unit"),
        ({"--inversion-time": None, "--echo-time": None}, 2, "--echo-time, --inversion-time"),
        ({"--model": "bssfp"}, 2, "makes a FISP train"),
        ({"--repetition-times": None}, 2, "--repetition-times"),
        ({"--repetition-time": 0.0125}, 2, "--repetition-times say the same"),
        ({"--trains": 2}, 2, "--trains divides the column alpha"),
    ],
)
def test_lists_in_another_unit_get_one_sentence(bench, changes, code, words):
    bench.text("fa.txt", " ".join(map(str, np.linspace(0.1, 1.2, 12))))
    bench.text("tr.txt", "\n".join(["12.5"] * 12))
    options = {
        "--model": "fisp", "--flip-angles": bench.path("fa.txt"), "--angle-unit": "rad",
        "--repetition-times": bench.path("tr.txt"), "--time-unit": "ms", "--echo-time": 2,
        "--inversion-time": 20, **changes,
    }  # fmt: skip
    given = [word for pair in options.items() if pair[1] is not None for word in pair]
    said = bench.run("frames", bench.nifti("x.nii", bench.complex(*bench.shape, 12)), *given)
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1), said.err
    assert words in said.err


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda b, x: ["--imaginary", b.nifti("i.nii", x.imag)], 65, "complex already"),
        (lambda b, x: ["--phase", b.nifti("i.nii", x.imag)], 2, "needs --phase-unit"),
        (lambda b, x: ["--magnitude"], 65, "magnitudes are needed"),
        (lambda b, x: ["--phase-unit", "rad"], 2, "not given"),
        (lambda b, x: ["--magnitude", "--imaginary", b.nifti("i.nii", x.imag)], 2, "one of them"),
        (lambda b, x: ["--b1-map", b.nifti("b.nii", x.real[..., 0])], 2, "give --b1-unit"),
        (lambda b, x: ["--mask", b.nifti("b.nii", x.real)], 65, "has 12 volumes"),
        (lambda b, x: ["--orientation", "RAS"], 2, "says where it lies in its header"),
        (lambda b, x: ["--mt-delay", "0.1"], 2, "--mt-delay: not for frames"),
    ],
)
def test_frames_that_contradict_options_get_one_sentence(bench, train, make, code, words):
    x = bench.complex(*bench.shape, 12)
    line = ["frames", bench.nifti("x.nii", x), "--train", train, "--model", "fisp"]
    said = bench.run(*line, *make(bench, x), "--boundary-condition", "thermal")
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1), said.err
    assert words in said.err
    assert not bench.out.exists()


def test_phases_in_units_of_a_scanner_are_refused(bench, train):
    x = bench.complex(*bench.shape, 12)
    line = ["frames", bench.nifti("m.nii", np.abs(x)), "--train", train, "--model", "fisp"]
    steps = bench.nifti("p.nii", (np.angle(x) / np.pi * 4096).astype(np.float32))
    said = bench.run(*line, "--phase", steps, "--phase-unit", "rad")
    assert (said.code, "no radians" in said.err) == (65, True)
    rad = bench.nifti("r.nii", np.angle(x).astype(np.float32))
    said = bench.run(*line, "--phase", rad, "--phase-unit", "deg")
    assert (said.code, "give --phase-unit rad" in said.err) == (65, True)

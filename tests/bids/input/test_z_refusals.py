"""What is said of Z-spectra that cannot be used: one sentence, and the exit code."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions, read_coefficients
from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.errors import BidsBrnnError
from tests.conftest import CONSTANTS

OFF = "mt-off_part-mag"


def refused(spectra, code=65, **options):
    with pytest.raises(BidsBrnnError) as caught:
        find_acquisitions(spectra.root, **options)
    assert caught.value.exit_code == code
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def change(name, **changes):
    def broken(spectra, head):
        spectra.change(f"{head}_{name}_QMT.json", **changes)

    return broken


def changed_all(key, factor):
    def broken(spectra, head):
        for path in (spectra.root / head).parent.glob("*_flip-*_QMT.json"):
            about = json.loads(path.read_text())
            path.write_text(json.dumps({**about, key: about[key] * factor}))

    return broken


def remove(*names):
    def broken(spectra, head):
        for name in names:
            (spectra.root / f"{head}_{name}_QMT.nii.gz").unlink()

    return broken


def copy(old, new, **changes):
    def broken(spectra, head):
        shutil.copy(
            spectra.root / f"{head}_{old}_QMT.nii.gz", spectra.root / f"{head}_{new}_QMT.nii.gz"
        )
        about = json.loads((spectra.root / f"{head}_{old}_QMT.json").read_text())
        spectra.json(f"{head}_{new}_QMT.json", {**about, **changes})

    return broken


def other_matrix(spectra, head):
    spectra.image(f"{head}_flip-1_mt-2_part-mag_QMT.nii.gz", np.ones((6, 5, 2), np.float32))


def other_affine(spectra, head):
    moved = spectra.affine.copy()
    moved[0, 3] += 1
    values = np.ones(spectra.shape, np.float32)
    spectra.image(f"{head}_flip-1_mt-2_part-mag_QMT.nii.gz", values, moved)


def root(**changes):
    return lambda spectra, head: spectra.change("QMT.json", **changes)


ONE = "flip-1_mt-2_part-mag"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (remove(OFF), "missing FlipAngle.* No image is without MT pulse either"),
        (change(ONE, FlipAngle=None), r"missing MTFlipAngle \(deg.* of .*flip-1_mt-2"),
        (change(ONE, FlipAngle=5), r"missing MTFlipAngle"),
        (change(ONE, MTOffsetFrequency=None), "missing MTOffsetFrequency"),
        (change(ONE, FlipAngle=1628), "mt_flip_angle is 1628 once; degrees from 0 to 1500"),
        (changed_all("FlipAngle", np.pi / 180), "in degrees, not radians"),
        (change(ONE, FlipAngle=5.79), "in degrees, not radians"),
        (changed_all("MTOffsetFrequency", 1e-3), "in Hz, not in kHz or ppm"),
        (changed_all("MTOffsetFrequency", 1 / 127.7), "in Hz, not in kHz or ppm"),
        (change(ONE, MTOffsetFrequency=2.732), "in Hz, not in kHz or ppm"),
        (change(ONE, MTOffsetFrequency="2732"), "MTOffsetFrequency is '2732'; one number"),
        (other_matrix, "6x6x2, .* is 6x5x2. All volumes"),
        (other_affine, "the affines of .* differ. All volumes"),
        (change(OFF, MTState=True), "its name says mt-off, MTState says true"),
        (change(ONE, MTState=False), "MTState is false, .* but MTOffsetFrequency is 2732"),
        (change(ONE, MTState="maybe"), "MTState is 'maybe'; write true or false"),
        (change(ONE, MTState=[True, False]), r"MTState is \[True, False\]; write true or false"),
        (change(ONE, MTState={"on": 1}), r"MTState is .*; write true or false"),
        (change(ONE, MTState="False"), "MTState is false, .* but MTOffsetFrequency is 2732"),
        (change(ONE, Offset=1), "MTOffsetFrequency is 2732, Offset is 1, which mean the same"),
        (change(ONE, FlipAngle=5, MTFlipAngle=0, MTState=True), "whose flip angle is 0"),
        (copy(ONE, "flip-1_mt-5_part-mag"), "are the same measurement .* call repeats run-1"),
        (copy(ONE, "flip-1_mt-2"), "hold the same measurement, but are no repeats"),
        (copy(ONE, "flip-1_mt-2_part-mag_run-2", MTOffsetFrequency=1), "are repeats, but MT"),
        (remove(ONE), "flip-1_mt-2 is missing, as the labels count on to 4"),
        (
            remove(*(f"flip-1_mt-{k}_part-mag" for k in range(1, 5))),
            "flip-1 is missing, as the labels count on to 2",
        ),
        (change(ONE, MTPulseDuration=0.02), "MTPulseDuration is 0.0102 in .*, but 0.02 in"),
        (root(MTPulseShape=None, RepetitionTimeExcitation=None),
         r'missing MTPulseShape, RepetitionTimeExcitation\..*"MTPulseShape": "GAUSSHANN"'),
        (root(MTPulseDuration=10.2), "write it in s"),
        (root(RepetitionTimeExcitation=25), "write it in s"),
        (root(MTPulseBandwidth=0.2), "write it in Hz"),
        (change(OFF, FlipAngle=0.087), "FlipAngle is 0.087; write it in degrees"),
        (root(MTNumberOfPulses=4), "one MT pulse per excitation"),
        (root(SliceTiming=[0, 0.01, 0.02]), "SliceTiming has 3 times within one repetition"),
        (root(SignalModel="gblok"), '"gblok" is no signal model of Z-spectra; use one of'),
    ],
)  # fmt: skip
def test_volumes_that_cannot_be_used(spectra, broken, words):
    broken(spectra, spectra.wand())
    text = refused(spectra)
    assert re.search(words, text), text


def test_all_that_is_missing_is_one_message_with_an_example(spectra):
    spectra.qmrust()
    inside = {"preprocessed": spectra.root / "derivatives" / "preprocessed"}
    text = refused(spectra, derivatives=inside)
    assert "missing MTPulseShape, FlipAngle." in text
    assert "No image is without MT pulse either" in text
    example = json.loads(text[text.index("{") : text.index("}") + 1])
    file = spectra.json("../said.json", example)
    assert find_acquisitions(spectra.root, derivatives=inside, zspectrum=file).problems == ()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ({"RepetitionTimeExcitation": 0.03}, 65, "is 0.03 in --zspectrum .*, but 0.025 in"),
        ({"MTPulseShap": "HARD"}, 65, 'did you mean "MTPulseShape"'),
        (None, 74, "does not exist"),
    ],
)
def test_what_the_option_says_is_checked(spectra, content, code, words):
    spectra.wand()
    file = spectra.root.parent / "said.json"
    if content is not None:
        file.write_text(json.dumps(content))
    assert re.search(words, refused(spectra, code, zspectrum=file))


def test_one_volume_missing_in_one_participant(spectra):
    for subject in ("01", "02", "03"):
        head = spectra.wand(subject)
    (spectra.root / f"{head}_flip-2_mt-4_part-mag_QMT.nii.gz").unlink()
    found = find_acquisitions(spectra.root)
    assert [item.entities["subject"] for item in found.acquisitions] == ["01", "02"]
    (problem,) = found.problems
    assert "sub-03_ses-02 has no volume flip-2_mt-4, which other participants" in str(problem)
    alone = refused(spectra, participants=["03"])
    assert "has no volume flip-2_mt-4" in alone


def test_a_protocol_of_several_participants_is_no_mistake(spectra):
    for subject in ("01", "02", "03", "04", "05"):
        head = spectra.wand(subject)
        if subject > "03":
            (spectra.root / f"{head}_flip-2_mt-4_part-mag_QMT.nii.gz").unlink()
    assert find_acquisitions(spectra.root).problems == ()


def test_volumes_left_out_on_purpose(spectra):
    head = spectra.wand()
    (spectra.root / f"{head}_{ONE}_QMT.nii.gz").unlink()
    found = find_acquisitions(spectra.root, filters={"qmt": {"suffix": "QMT"}})
    assert found.acquisitions[0].sequence.n_samples == 8


def test_no_map_of_R1(spectra):
    head = spectra.wand()
    assert "--ignore r1map" in refused(spectra, ignore=["r1map"])
    for path in (spectra.root / head).parent.glob("*_R1map*"):
        path.unlink()
    text = refused(spectra)
    assert text.startswith("No R1 map for sub-01_ses-02_QMT: ")
    assert "-d NAME=PATH" in text


@pytest.mark.parametrize("form", ["image", "volume"])
def test_a_magnitude_of_which_nothing_is_known_names_both_ways_out(spectra, form):
    values = spectra.signal()
    values = values if form == "image" else values[..., 0]
    spectra.image("sub-01/anat/sub-01_QMT.nii.gz", values)
    text = refused(spectra)
    assert "rfpulses.tsv" in text
    assert "zspectrum.tsv" in text


def test_no_image_without_mt_pulse_in_a_table(spectra):
    spectra.one_image()
    spectra.table(mt_flip_angle=[332] * 9, offset=range(1000, 1009), mt_state=["on"] * 9)
    text = refused(spectra)
    assert "there is no image without MT pulse" in text
    assert '"Normalised": true' in text


def test_a_table_of_another_length(spectra):
    spectra.one_image()
    spectra.table(mt_flip_angle=[0, 332], offset=[0, 1000], mt_state=["off", "on"])
    assert "has 9 volumes, acq-z_zspectrum.tsv has 2 rows" in refused(spectra)


def test_negative_magnitudes(spectra):
    head = spectra.wand()
    values = spectra.signal()[..., 0]
    spectra.image(f"{head}_{OFF}_QMT.nii.gz", values - 990)
    series = find_acquisitions(spectra.root).acquisitions[0]
    with pytest.raises(
        BidsBrnnError, match=r"holds .* negative values, down to .*magnitudes have"
    ):
        read_coefficients(series)
    spectra.image(f"{head}_{OFF}_QMT.nii.gz", np.where(values == values.max(), -1, values))
    read_coefficients(series)  # ringing of an interpolation


@pytest.mark.parametrize(
    ("key", "values"),
    [("RepetitionTimeExcitation", [0.025, 0.05]), ("FlipAngle", [7, 12]),
     ("MTPulseShape", ["GAUSSHANN", "SINC"]), ("MTDelay", [0.003, 0.001])],
)  # fmt: skip
def test_what_differs_between_images_of_one_file_is_not_lost(spectra, key, values):
    stem = spectra.one_image()
    spectra.change(f"{stem}_QMT.json", **{key: values})
    assert re.search(f"{key} is .*, but .*; all measurements share it", refused(spectra))


def test_slices_one_after_the_other_and_a_state_without_pulse_are_fine(spectra):
    head = spectra.wand()
    # Each slice of 2D data is done before the next one begins, and no pulse counts as none.
    changes = {"SliceTiming": [0, 60.0, 120.0], "MTNumberOfPulses": 0}
    spectra.change(f"{head}_{OFF}_QMT.json", **changes)
    assert find_acquisitions(spectra.root).problems == ()


def test_slices_one_after_the_other_are_fine_where_each_image_says_its_repetition(spectra):
    stem = spectra.one_image()
    repetition = CONSTANTS["RepetitionTimeExcitation"]
    changes = {"SliceTiming": [0, 60.0], "RepetitionTimeExcitation": [repetition] * 9}
    spectra.change(f"{stem}_QMT.json", **changes)
    assert find_acquisitions(spectra.root).problems == ()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"MTNumberOfPulses": 5}, "one MT pulse per excitation"),
        ({"SliceTiming": [0, 0.01]}, "SliceTiming has 2 times within one repetition"),
        ({"MTPulseDuratoin": 0.01}, 'did you mean "MTPulseDuration"'),
        ({"FlipAngle": [7, 12]}, "FlipAngle is 7 in .* but 12 in value 2 of it in"),
        ({"offset": {"Units": "kHz"}}, 'Units of offset in acq-z_zspectrum.json is "kHz"'),
        ({"mt_flip_angle": {"Units": "rad"}}, "mt_flip_angle must be in degrees"),
    ],
)
def test_a_protocol_for_the_toolbox_is_read_as_that_of_a_data_set(spectra, said, words):
    path = spectra.table()
    spectra.json("acq-z_zspectrum.json", CONSTANTS)
    sequence = read_z_protocol(path)
    constants = {key: value for key, value in CONSTANTS.items() if key not in said}
    if "MTPulseDuratoin" in said:
        del constants["MTPulseDuration"]
    spectra.json("acq-z_zspectrum.json", {**constants, **said})
    with pytest.raises(BidsBrnnError, match=words):
        read_z_protocol(path)
    alias = {**CONSTANTS, "RepetitionTime": CONSTANTS["RepetitionTimeExcitation"]}
    del alias["RepetitionTimeExcitation"]
    spectra.json("acq-z_zspectrum.json", alias)
    spectra.table(mt=["n/a", *range(1, 9)], FlipAngle=[CONSTANTS["FlipAngle"]] * 9)
    assert read_z_protocol(path).digest == sequence.digest

"""Data sets of strangers: what one file holds or is costs its series, and nothing else."""

from __future__ import annotations

import itertools
import json
import os

import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.input.declared import SERIES
from bids_brnn.errors import BidsBrnnError

VALUES = (
    "9" * 400, "-1" + "0" * 350, "1e400", "NaN", "true", "[]", "{}", "[[[[1]]]]", '"\\u0000"',
    '"\\ud800"', '"' + "a" * 6000 + '"', '"bids::' + "../" * 2000 + '"', '"bids::a\\u0000b"',
    '"bids::' + "a" * 6000 + '"', '"bids::loop.tsv"', "[" * 300 + "]" * 300, '"\\u001b[31m"',
    '["a", 1, null]', '"' + "a" * 300 + '"', '"bids::' + "a" * 300 + '.tsv"', '{"a": {"b": []}}',
)  # fmt: skip


@pytest.fixture
def cohort(raw):
    """``cohort(n)`` makes participants 01 to n, each with a sidecar and tables of its own."""

    def make(n):
        raw.qmt("01")
        stem = "sub-01/anat/sub-01_acq-a_"
        for name in ("QMT.json", "rfpulses.tsv", "basis.tsv"):
            (raw.root / f"acq-a_{name}").rename(raw.root / f"{stem}{name}")
        files = [path for path in (raw.root / "sub-01/anat").iterdir() if path.name != "x"]
        for label in labels(n)[1:]:
            folder = raw.root / f"sub-{label}" / "anat"
            folder.mkdir(parents=True)
            for path in files:
                (folder / path.name.replace("sub-01", f"sub-{label}")).hardlink_to(path)
        return raw

    return make


def labels(n):
    return [f"{number:02d}" for number in range(1, n + 1)]


def write(raw, label, name, text):
    path = raw.root / f"sub-{label}" / f"{name.format(label)}"
    path.unlink(missing_ok=True)  # a hard link of all participants
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def found_of(discovery):
    return {item.entities["subject"] for item in discovery.acquisitions}


def refused_of(discovery, n):
    """Participants that were refused, each with one readable problem of its own."""
    refused = set(labels(n)) - found_of(discovery)
    assert len(discovery.problems) == len(refused)
    for problem in discovery.problems:
        assert len(str(problem)) < 2000
        assert str(problem).isprintable()
    return refused


def test_a_value_of_any_kind_costs_one_series(cohort):
    cases = list(itertools.product(SERIES, VALUES))
    raw = cohort(len(cases) + 1)
    good = json.loads((raw.root / "sub-01/anat/sub-01_acq-a_QMT.json").read_text())
    for label, (key, value) in zip(labels(len(cases)), cases, strict=True):
        kept = {name: item for name, item in good.items() if name != key}
        text = f'{json.dumps(kept)[:-1]}, "{key}": {value}}}'
        write(raw, label, "anat/sub-{}_acq-a_QMT.json", text)
    refused = refused_of(find_acquisitions(raw.root), len(cases) + 1)
    assert str(len(cases) + 1) not in refused
    taken = [
        case for label, case in zip(labels(len(cases)), cases, strict=True) if label not in refused
    ]
    # Units are those of a phase, B0FieldSource is a relation: anything readable will do.
    assert {key for key, _ in taken} <= {"Units", "B0FieldSource", "SpoilingState"}


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def circle(path):
    path.symlink_to(path.name)


NAMES = ("QMT.json", "rfpulses.tsv", "rfpulses.json", "basis.tsv", "part-real_QMT.nii.gz",
         "part-real_QMT.json")  # fmt: skip


def test_what_is_no_file_costs_one_series(cohort):
    cases = list(itertools.product(NAMES, (pipe, endless, folder, circle)))
    raw = cohort(len(cases) + 1)
    for label, (name, make) in zip(labels(len(cases)), cases, strict=True):
        path = raw.root / f"sub-{label}/anat/sub-{label}_acq-a_{name}"
        path.unlink(missing_ok=True)
        make(path)
    refused = refused_of(find_acquisitions(raw.root), len(cases) + 1)
    assert refused == set(labels(len(cases)))


def test_nothing_outside_is_read_through_a_link(cohort, tmp_path):
    raw = cohort(len(NAMES) + 1)
    secret = tmp_path / "secret"
    secret.mkdir()
    for label, name in zip(labels(len(NAMES)), NAMES, strict=True):
        path = raw.root / f"sub-{label}/anat/sub-{label}_acq-a_{name}"
        (secret / name).write_bytes(path.read_bytes() if path.exists() else b"{}")
        path.unlink(missing_ok=True)
        path.symlink_to(secret / name)
    found = find_acquisitions(raw.root)
    assert refused_of(found, len(NAMES) + 1) == set(labels(len(NAMES)))
    assert all("leads out of the data set" in str(problem) for problem in found.problems)
    assert not find_acquisitions(raw.root, allowed_links=[secret]).problems


def only_second(raw, **options):
    """The problem of the first participant; the second one must be found."""
    found = find_acquisitions(raw.root, **options)
    assert refused_of(found, 2) == {"01"}
    return found.problems[0]


def test_links_into_the_annex_of_the_repository_are_followed(cohort):
    two = cohort(2)
    repository = two.root.parent / ".git"
    stores = (
        two.root / ".git" / "annex" / "objects",
        repository / "annex" / "objects",
        repository / "modules" / "raw" / "annex" / "objects",
    )
    path = two.root / "sub-01/anat/sub-01_acq-a_QMT.json"
    text = (two.root / "sub-02/anat/sub-02_acq-a_QMT.json").read_text()
    for number, store in enumerate(stores):
        store.mkdir(parents=True)
        (store / f"MD5E-{number}.json").write_text(text)
        path.unlink(missing_ok=True)
        path.symlink_to(store / f"MD5E-{number}.json")
        assert not find_acquisitions(two.root).problems


def test_links_into_another_annex_are_not(cohort, tmp_path):
    two = cohort(2)
    path = two.root / "sub-01/anat/sub-01_acq-a_QMT.json"
    store = tmp_path / "other" / ".git" / "annex" / "objects"
    store.mkdir(parents=True)
    (store / "a.json").write_text((two.root / "sub-02/anat/sub-02_acq-a_QMT.json").read_text())
    path.unlink()
    path.symlink_to(store / "a.json")
    assert "leads out" in str(only_second(two))
    (two.root / ".git").symlink_to(tmp_path / "other" / ".git")
    assert "leads out" in str(only_second(two))


@pytest.mark.parametrize("target", ["a\0b", "x" * 6000, "loop", 3, "../" * 3000, ["a"]])
def test_any_data_set_link_is_read(cohort, target):
    two = cohort(2)
    (two.root / "loop").symlink_to("loop")
    text = {"Name": "x", "BIDSVersion": "1.11.1", "DatasetLinks": {"a": target}}
    two.json("dataset_description.json", text)
    write(two, "01", "anat/sub-{}_acq-a_QMT.json", '{"PulseTrain": "bids:a:x.tsv"}')
    only_second(two)


def test_any_relation_of_a_companion_is_read(cohort):
    keys = ("IntendedFor", "B0FieldIdentifier", "Sources", "SpatialReference")
    cases = list(itertools.product(keys, VALUES))
    raw = cohort(len(cases))
    names = ("fmap/sub-{}_TB1map", "anat/sub-{}_T1w", "anat/sub-{}_desc-brain_mask")
    source = raw.random("x.nii.gz", volumes=1)
    for label, (key, value) in zip(labels(len(cases)), cases, strict=True):
        for name in names:
            write(raw, label, f"{name}.json", f'{{"{key}": {value}, "Units": "arbitrary"}}')
            (raw.root / f"sub-{label}" / f"{name.format(label)}.nii.gz").hardlink_to(source)
    source.unlink()
    found = find_acquisitions(raw.root)
    assert len(found.acquisitions) + len(found.problems) == len(cases)
    assert len(found.acquisitions) > len(cases) / 2
    assert all(len(note) < 2000 for note in found.notes)


NO_UNICODE = b"sub-01_acq-\xff"
NAMES_OF_FILES = (
    NO_UNICODE + b"_QMT.nii.gz", NO_UNICODE + b"_QMT.json", NO_UNICODE, b"sub-01_acq-a\nb_QMT.nii",
    b"sub-01_acq-\x1b[31m_QMT.nii", b"sub-01_acq-" + b"a" * 230 + b"_QMT.nii", b"\xff",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES_OF_FILES)
def test_a_name_of_any_bytes_costs_no_more_than_its_file(cohort, name):
    raw = cohort(2)
    root = os.fsencode(raw.root)
    places = [root, root + b"/sub-01", root + b"/sub-01/anat"]
    for number, folder in enumerate(places):
        with open(folder + b"/" + name, "w") as file:  # noqa: PTH123
            file.write("{}")
        os.mkdir(folder + b"/sub-%d\xff" % number)  # noqa: PTH102
    found = find_acquisitions(raw.root)
    assert found_of(found) == {"01", "02"}
    said = [*found.notes, *map(str, found.problems)]
    assert all(text.isprintable() for text in said)
    assert any(text.startswith("sub-01/anat/") or "BIDS entity" in text or "NIfTI" in text
               for text in said)  # fmt: skip


def test_a_data_set_whose_own_name_is_no_unicode_is_a_sentence(cohort):
    raw = cohort(1)
    moved = os.fsencode(raw.root) + b"\xff"
    os.rename(os.fsencode(raw.root), moved)  # noqa: PTH104
    with pytest.raises(BidsBrnnError, match="is not UTF-8; rename that folder"):
        find_acquisitions(os.fsdecode(moved))

"""Files of recipes that others wrote: limits and types, before anything is made of them."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pytest

from bids_brnn.errors import BidsBrnnError, ReadError
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.zoo.recipe import EstimatorRecipe
from bids_brnn.zoo.recipe_file import digest_of


@pytest.fixture(params=["train", "spectrum"])
def stored(request, tmp_path):
    made = jiang_like_train(12) if request.param == "train" else demo_protocol()
    recipe = EstimatorRecipe(estimator="nlls", model="fisp", sequence=made)
    return recipe.to_file(tmp_path / "p.json")


def refused(path, words="."):
    with pytest.raises(ReadError, match=words):
        EstimatorRecipe.from_file(path)


def with_arrays(path, arrays):
    """Put other arrays into a recipe, with the right digest."""
    np.savez(path.with_suffix(".npz"), **arrays)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "digest": digest_of(arrays)}))


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"format": ' + "9" * 400 + "}"])
def test_json_that_is_no_recipe_is_refused(stored, content):
    stored.write_text(content)
    refused(stored, "Cannot read the estimator recipe")


@pytest.mark.parametrize("value", [None, 3, [], {}, "x\0", "../../x", 1e999])
def test_an_entry_of_another_type_is_refused_or_harmless(stored, value):
    content = json.loads(stored.read_text())
    for key in content:
        stored.write_text(json.dumps({**content, key: value}))
        try:
            EstimatorRecipe.from_file(stored)
        except BidsBrnnError:
            continue


@pytest.mark.parametrize("kind", ["c16", "?", "S8", "U9", "M8[s]", "O"])
def test_arrays_of_another_type_are_refused(stored, kind):
    with np.load(stored.with_suffix(".npz")) as file:
        arrays = {name: file[name] for name in file.files}
    (name,) = {"flip_angle", "mt_flip_angle"} & set(arrays)
    whole = arrays[name].astype(int).astype(kind)
    if kind == "O":
        np.savez(stored.with_suffix(".npz"), **{**arrays, name: whole})
    else:
        with_arrays(stored, {**arrays, name: whole})
    refused(stored)


def test_an_archive_that_claims_gigabytes_is_refused(stored):
    """Both ways: a member that unpacks to them, and a header that says so."""
    with zipfile.ZipFile(stored.with_suffix(".npz"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flip_angle.npy", bytes(2**28 + 1))
    refused(stored, "more than")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)}
    )
    with zipfile.ZipFile(stored.with_suffix(".npz"), "w") as archive:
        archive.writestr("flip_angle.npy", header.getvalue())
    refused(stored, "shorter or longer")


def with_header(path, text):
    """An array of which there is only a header, of that text."""
    content = np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode()
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
        archive.writestr("flip_angle.npy", content)


@pytest.mark.parametrize(
    "text",
    ["{'descr': (", "'''", "(" * 300, "-" * 4000 + "1", "{[]: 1}", "{'shape': (9" + "9" * 40],
)
def test_a_header_that_cannot_be_parsed_is_refused(stored, text):
    with_header(stored, text)
    refused(stored, "no header that can be read")


def test_an_array_of_texts_without_length_is_refused(stored):
    """It may claim any number of them in no bytes at all."""
    with_header(stored, "{'descr': '<U0', 'fortran_order': False, 'shape': (3000000000000,)}")
    refused(stored, "something else than numbers and texts")


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_packing_that_numpy_does_not_write_is_refused(stored, kind):
    """Its errors are of other kinds, and it may ask for any memory."""
    path = stored.with_suffix(".npz")
    with zipfile.ZipFile(path) as archive:
        parts = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    refused(stored, "packed as NumPy packs nothing")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"x" * 100])
def test_what_is_no_archive_is_refused(stored, content):
    stored.with_suffix(".npz").write_bytes(content)
    refused(stored)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_pipe_is_not_waited_for(stored, suffix):
    stored.with_suffix(suffix).unlink()
    os.mkfifo(stored.with_suffix(suffix))
    refused(stored, "it is a pipe")

"""A field is all there is to an option: its kind, its limits, its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_brnn.config.options import kind_of, option, options_of
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import UsageError


def test_every_field_is_an_option_with_a_help():
    for item in options_of(RunConfig):
        assert item.help
        assert item.flags[0].startswith("-")
    kinds = {item.name: item.kind for item in options_of(RunConfig)}
    assert kinds["mask"] == "path"
    assert kinds["allow_links"] == "paths"
    assert kinds["ignore"] == "texts"
    assert kinds["atlas"] == "table"
    assert kinds["batch_size"] == "number"
    assert kinds["sloppy"] == "switch"
    assert kinds["reference"] == "text"


@pytest.mark.parametrize("annotation", [float, dict, Path | str, list[str]])
def test_a_type_without_a_kind_is_refused(annotation):
    with pytest.raises(TypeError, match="an option cannot be of the type"):
        kind_of(annotation)


def test_choices_may_depend_on_what_is_installed():
    found = ["a"]

    @dataclass(frozen=True, kw_only=True)
    class More(RunConfig):
        method: str = option("how", "a", group="method", choices=lambda: tuple(found))

    folders = {name: Path("/", name) for name in ("bids_dir", "output_dir", "work_dir")}
    with pytest.raises(UsageError, match='method is "b"; use one of a'):
        More(**folders, method="b")
    found.append("b")
    assert More(**folders, method="b").method == "b"


texts = st.text(st.characters(exclude_categories=["Cs"]))
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]*", fullmatch=True).filter(lambda x: x != "raw")
parts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1)
paths = parts.filter(lambda text: text not in (".", "..")).map(lambda text: Path("/data") / text)


@given(
    mask=st.none() | paths,
    # Paths become absolute; NUL is in no word.
    weights=texts.filter(lambda text: not text.startswith("~") and not {*"/\0"} & {*text}),
    derivatives=st.dictionaries(names, paths),
    allow_links=st.lists(paths).map(tuple),
    random_seed=st.integers(0, 2**60),
    sloppy=st.booleans(),
)
def test_every_file_reads_back_equal(tmp_path_factory, **values):
    folders = {name: Path("/", name) for name in ("bids_dir", "output_dir", "work_dir")}
    before = RunConfig(**folders, **values)
    file = tmp_path_factory.getbasetemp() / "run.toml"
    before.to_file(file)
    assert RunConfig.from_file(file) == before


def test_an_option_that_is_none_is_refused_by_name():
    with pytest.raises(UsageError, match="no option nproc;"):
        RunConfig.from_values({"nproc": 1})


@dataclass(frozen=True, kw_only=True)
class Extended(RunConfig):
    colour: Literal["red", "blue"] = option("colour of the maps", "red", group="method")
    n_passes: int = option("passes over the data", 1, group="resources", least=1)
    extra_files: Mapping[str, Path] = option("more", {}, group="selection", exists="file")


def test_a_new_field_is_known_to_the_file(tmp_path):
    folders = {name: tmp_path / name for name in ("bids_dir", "output_dir", "work_dir")}
    before = Extended(**folders, colour="blue", n_passes=3, extra_files={"x": tmp_path / "y"})
    before.to_file(tmp_path / "run.toml")
    assert Extended.from_file(tmp_path / "run.toml") == before
    with pytest.raises(UsageError, match='colour is "green"; use one of red, blue'):
        Extended(**folders, colour="green")
    with pytest.raises(UsageError, match="n_passes is 0; it must be at least 1"):
        Extended(**folders, n_passes=0)
    (tmp_path / "run.toml").write_text("[bids_brnn]\nextra_files = ['x']\n")
    with pytest.raises(UsageError, match="extra_files must be a table of files by name"):
        Extended.from_file(tmp_path / "run.toml")

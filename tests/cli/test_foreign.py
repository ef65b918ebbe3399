"""Habits of fMRIPrep: what costs nothing is accepted, everything else answered in a sentence."""

from __future__ import annotations

import pytest

from bids_brnn.cli.foreign import FOREIGN, REFUSED, VALUES
from bids_brnn.cli.parser import build_parser, parse
from bids_brnn.config.options import options_of
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import UsageError


@pytest.fixture
def base(tmp_path):
    (tmp_path / "ds").mkdir()
    return [str(tmp_path / "ds"), str(tmp_path / "out"), "participant"]


def test_the_table_holds_nothing_of_ours_and_nothing_twice():
    flags = [flag for item in FOREIGN for flag in item.flags]
    assert len(flags) == len(set(flags))
    assert not set(flags) & set(build_parser()._option_string_actions)
    known = {item.name: item.known for item in options_of(RunConfig)}
    for name, word in [*VALUES, *REFUSED]:
        assert word not in known[name]


@pytest.mark.parametrize("item", FOREIGN, ids=lambda item: item.flags[0])
@pytest.mark.parametrize("place", [0, 3])
def test_every_foreign_option_is_answered_wherever_it_stands(base, item, place, capsys):
    for flag in {
        item.flags[0],
        item.flags[-1],
        item.flags[0].replace("-", "_").replace("__", "--"),
    }:
        words = [*base[:place], flag, *["x"] * item.values, *base[place:]]
        if item.harmless:
            assert parse(words) == parse(base)
            assert f"note: {flag} is accepted and ignored" in capsys.readouterr().err
        else:
            with pytest.raises(UsageError) as refusal:
                parse(words)
            assert str(refusal.value) == f"There is no {flag} here: {item.says}."


def test_a_foreign_option_cut_short_or_with_an_equals_sign(base):
    with pytest.raises(UsageError, match=r"--fs-subj.*--derivatives fmriprep=FOLDER"):
        parse([*base, "--fs-subj=/x"])
    assert parse([*base, "--fs-license=/x", "--level", "minimal"]).level == "minimal"


def test_values_of_others(base, capsys):
    config = parse([*base, "--output-spaces", "anat", "func", "MNI152NLin6Asym:res-2", "T1w"])
    assert config.output_spaces == ("T1w", "MNI152NLin6Asym:res-2")
    assert "--output-spaces func is accepted and ignored" in capsys.readouterr().err
    assert parse([*base, "--ignore", "slicetiming", "t1w"]).ignore == ("t1w",)
    assert parse([*base, "--ignore=sbref"]).ignore == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--level", "resampling"], "use minimal"),
        (["--level=resampling"], "use minimal"),
        (["--ignore", "fieldmaps"], "b1map, b0map"),
        (["--output-spaces", "T1w", "fsaverage"], "surfaces are not supported"),
    ],
)
def test_values_that_mean_nothing_here(base, words, says):
    with pytest.raises(UsageError, match=f"There is no .* here: .*{says}") as refusal:
        parse([*base, *words])
    assert refusal.value.exit_code == 2


def test_values_of_others_in_a_file(base, tmp_path):
    file = tmp_path / "options.toml"
    file.write_text('[bids_brnn]\noutput_spaces = ["anat"]\n')
    assert parse([*base, "--config-file", str(file)]).output_spaces == ("T1w",)

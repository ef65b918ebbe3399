"""A configuration is checked once, and survives its file."""

from __future__ import annotations

import pytest

from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import OutputError, ReadError, UsageError


def config(tmp_path, **changes):
    values = {
        "bids_dir": tmp_path / "ds",
        "output_dir": tmp_path / "out",
        "work_dir": tmp_path / "work",
    }
    return RunConfig(**{**values, **changes})


def test_a_number_in_place_of_a_word_needs_no_quotes_in_a_file(tmp_path):
    path = tmp_path / "run.toml"
    config(tmp_path).to_file(path)
    text = path.read_text().replace('reference_voxels = "auto"', "reference_voxels = 5000")
    path.write_text(text)
    assert RunConfig.from_file(path).reference_voxels == "5000"


def test_the_file_gives_the_same_value_back(tmp_path):
    before = config(
        tmp_path,
        participant_label=("01", "B2"),
        derivatives={"odd": tmp_path / 'odd "name" \\ é' / "a\nb"},
        mask=tmp_path / "m.nii",
        ignore=("t1w",),
        nprocs=4,
        omp_nthreads=2,
        clean_workdir=True,
        batch_size=100,
        debug=("log",),
        use_plugin=tmp_path / "plugin.yml",
        allow_links=(tmp_path, tmp_path / "annex"),
    )
    before.to_file(tmp_path / "sub" / "run.toml")
    assert RunConfig.from_file(tmp_path / "sub" / "run.toml") == before
    assert [item.name for item in (tmp_path / "sub").iterdir()] == ["run.toml"]


def test_keywords_win_over_the_file(tmp_path):
    config(tmp_path).to_file(tmp_path / "run.toml")
    assert RunConfig.from_file(tmp_path / "run.toml", nprocs=7).nprocs == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output_dir": "ds"}, "Suggestion: .*ds/derivatives/bids_brnn"),
        ({"output_dir": "."}, "holds the input folder"),
        ({"output_dir": "ds/out"}, "Output folder .*ds/out lies in the data set"),
        ({"output_dir": "ds/sub-01/derivatives/x"}, "lies in the data set"),
        ({"output_dir": "ds/sourcedata/bids_brnn"}, "Suggestion: .*ds/derivatives/bids_brnn"),
        ({"output_dir": "ds/derivatives"}, "lies in the data set"),
        ({"derivatives": {"recon": "out"}}, "Output folder .*out lies in the data set .*out"),
        ({"output_spaces": ("A:den-2",)}, "write T1w or TEMPLATE"),
        ({"output_spaces": ("A:res-a_b",)}, "no BIDS label"),
        ({"work_dir": "ds/work"}, "inside the data set"),
        ({"derivatives": {"recon": "prep"}, "work_dir": "prep/work"}, "inside the data set"),
        ({"derivatives": {"raw": "prep"}}, '"raw" is the name of BIDS_DIR itself; give -d NAME='),
        ({"derivatives": {"f MRI": "prep"}}, '"f MRI" cannot name a data set in a BIDS URI'),
        ({"derivatives": {"a:b": "prep"}}, "cannot name a data set"),
        ({"derivatives": {"recon": "ds"}}, "is BIDS_DIR itself"),
        ({"reference": "best"}, "reference is .best.; use one of"),
        ({"ignore": ("sleep",)}, "ignore holds"),
        ({"participant_label": ("../x",)}, "no BIDS label"),
        ({"nprocs": 0}, "nprocs is 0"),
        ({"reference_voxels": "0"}, "reference_voxels is .0.; it must be a number, at"),
        ({"reference_voxels": "9" * 5000}, "it must be a number, at"),
        ({"reference_voxels": "-1"}, "at least 1, or all or auto"),
        ({"reference_voxels": "5e4"}, "at least 1, or all or auto"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"debug": ("x",)}, "debug holds"),
        ({"reports_only": True, "boilerplate_only": True}, "exclude each other"),
        ({"nprocs": 1, "omp_nthreads": 2}, "above nprocs"),
    ],
)
def test_an_impossible_value_is_refused(tmp_path, changes, words):
    changes = {
        name: tmp_path / value
        if name.endswith("_dir")
        else {key: tmp_path / item for key, item in value.items()}
        if name == "derivatives"
        else value
        for name, value in changes.items()
    }
    with pytest.raises(UsageError, match=words) as refusal:
        config(tmp_path, **changes)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    "output", ["ds/derivatives/x", "ds/derivatives/deep/x", "prep/derivatives/x"]
)
def test_outputs_may_lie_below_derivatives(tmp_path, output):
    derivatives = {"prep": tmp_path / "prep", "inner": tmp_path / "ds" / "derivatives" / "inner"}
    config(tmp_path, output_dir=tmp_path / output, derivatives=derivatives)


def test_a_bom_before_a_configuration_is_read_over(tmp_path):
    config(tmp_path).to_file(tmp_path / "run.toml")
    text = (tmp_path / "run.toml").read_text()
    (tmp_path / "run.toml").write_bytes(text.encode("utf-8-sig"))
    assert RunConfig.from_file(tmp_path / "run.toml") == config(tmp_path)
    (tmp_path / "run.toml").write_bytes(text.encode("utf-16"))
    with pytest.raises(ReadError, match="UTF-16 or UTF-32; save it as UTF-8"):
        RunConfig.from_file(tmp_path / "run.toml")


def test_an_unknown_level_has_the_code_of_bids_apps(tmp_path):
    with pytest.raises(UsageError, match="analysis_level") as refusal:
        config(tmp_path, analysis_level="cohort")
    assert refusal.value.exit_code == 17


def test_a_link_to_the_input_does_not_hide_it(tmp_path):
    (tmp_path / "ds").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "ds")
    with pytest.raises(UsageError, match="Output folder is the input folder"):
        config(tmp_path)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[bids_brnn", ReadError, "Cannot read the configuration"),
        ("nprocs = 2", UsageError, "one table"),
        ("[bids_brnn]\nbasis = 'x'", UsageError, 'unknown option "basis".*sidecar'),
        ("[bids_brnn]\nnprocs = '2'", UsageError, "nprocs must be a whole number"),
        ("[bids_brnn]\nreference_voxels = 0.5", UsageError, "a whole number or all or auto"),
        ("[bids_brnn]\nnprocs = true", UsageError, "nprocs must be a whole number"),
        ("[bids_brnn]\nignore = 't1w'", UsageError, "a list of texts"),
        ("[bids_brnn]\nclean_workdir = 1", UsageError, "true or false"),
        ("[bids_brnn]\nderivatives = ['/x']", UsageError, "a table of folders"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, error, words):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(error, match=words):
        RunConfig.from_file(tmp_path / "run.toml")


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as refusal:
        config(tmp_path).to_file(tmp_path / "file" / "run.toml")
    assert refusal.value.exit_code == 73


def test_small_files_are_stored_with_the_options_that_name_them(tmp_path):
    filters, plugin = tmp_path / "filter.json", tmp_path / "plugin.yml"
    filters.write_text('{"qmt": {"acquisition": "é"}}')
    plugin.write_bytes(b"\xef\xbb\xbfplugin: Linear\n")
    before = config(tmp_path, bids_filter_file=filters, use_plugin=plugin)
    before.to_file(tmp_path / "run.toml")
    filters.unlink()
    plugin.write_text("plugin: Other\n")
    after = RunConfig.from_file(tmp_path / "run.toml")
    assert after.text_of("bids_filter_file") == '{"qmt": {"acquisition": "é"}}'
    assert after.text_of("use_plugin") == "plugin: Linear\n"
    after.to_file(tmp_path / "again.toml")
    assert RunConfig.from_file(tmp_path / "again.toml") == after
    other = RunConfig.from_file(tmp_path / "run.toml", use_plugin=plugin)
    assert other.text_of("use_plugin") == "plugin: Other\n"


@pytest.mark.parametrize("text", ["mask = 'x'", "use_plugin = 'x'", "use_plugin = 3"])
def test_stored_texts_belong_to_options(tmp_path, text):
    (tmp_path / "run.toml").write_text(f"[bids_brnn]\nmask = '/m'\n[texts]\n{text}\n")
    with pytest.raises(UsageError, match=r"\[texts\] holds"):
        RunConfig.from_file(tmp_path / "run.toml")

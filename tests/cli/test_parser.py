"""The command line becomes a configuration, quickly and without surprises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from bids_brnn import __version__
from bids_brnn.cli import options
from bids_brnn.cli.boutiques import descriptor
from bids_brnn.cli.documents import option_tables
from bids_brnn.cli.parser import build_parser, parse
from bids_brnn.config.options import option
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import UsageError


@pytest.fixture
def base(tmp_path):
    (tmp_path / "ds").mkdir()
    return [str(tmp_path / "ds"), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "w")]


def test_both_spellings_of_every_option_are_accepted():
    for action in build_parser()._actions:
        for name in action.option_strings:
            if name.startswith("--") and "-" in name[2:] and action.dest != "bids_exec_spec":
                assert "--" + name[2:].replace("-", "_") in action.option_strings


@dataclass(frozen=True, kw_only=True)
class Extended(RunConfig):
    """A program with three more options, each said in one place."""

    colour: Literal["red", "blue"] = option("colour of the maps", "red", group="method")
    n_passes: int = option("passes over the data", 1, group="resources", least=1)
    extra_files: Mapping[str, Path] = option("more", {}, group="selection", exists="file")


def test_an_option_is_said_in_one_place(base, tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    words = ["--colour", "blue", "--n_passes", "2", "--extra-files", f"x={tmp_path}/a.nii"]
    config = parse([*base, *words], config=Extended)
    assert isinstance(config, Extended)
    assert (config.colour, config.n_passes) == ("blue", 2)
    assert config.extra_files == {"x": tmp_path / "a.nii"}
    file = tmp_path / "options.toml"
    file.write_text('[bids_brnn]\ncolour = "blue"\nn_passes = 5\n')
    config = parse([*base, "--config-file", str(file), "--n-passes", "2"], config=Extended)
    assert (config.colour, config.n_passes) == ("blue", 2)
    inputs = {item["id"]: item for item in descriptor(Extended)["inputs"]}
    assert inputs["colour"]["value-choices"] == ["red", "blue"]
    assert inputs["n_passes"]["minimum"] == 1
    assert inputs["extra_files"]["list"]
    assert "| `--n-passes N` | passes over the data |" in option_tables(Extended)


def test_labels_lose_their_prefix(base):
    config = parse([*base, "--participant_label", "sub-01", "02", "--session-label", "ses-a"])
    assert config.participant_label == ("01", "02")
    assert config.session_label == ("a",)


@pytest.mark.parametrize("label", ["a;touch x", "../x", "$(id)", "0.", ""])
def test_a_label_that_is_no_label_is_refused(base, label):
    with pytest.raises(UsageError, match="no BIDS label"):
        parse([*base, "--participant-label", label])


def test_derivatives_take_a_name_or_that_of_their_folder(base, tmp_path):
    (tmp_path / "fmriprep").mkdir()
    config = parse([*base, "-d", f"recon={tmp_path}", str(tmp_path / "fmriprep")])
    assert config.derivatives == {"recon": tmp_path, "fmriprep": tmp_path / "fmriprep"}


def test_a_folder_gives_a_name_that_a_uri_can_hold(base, tmp_path):
    odd = [tmp_path / name for name in ("my prep", "größe", "a=b")]
    for folder in odd:
        folder.mkdir()
    config = parse([*base, "-d", *map(str, odd)])
    assert list(config.derivatives.values()) == odd
    assert list(config.derivatives) == ["my_prep", "gr_e", "a_b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-d", "x={0}", "x={1}"], 'derivatives: "x" is given 2 times; give each a name of its'),
        (["-d", "raw={0}"], '"raw" is the name of BIDS_DIR itself'),
        (["-d", "f MRI={0}"], '"f MRI" cannot name a data set'),
        (["-d", "={0}"], '"" cannot name a data set'),
    ],
)
def test_names_of_derivatives_are_checked(base, tmp_path, words, message):
    for name in "ab":
        (tmp_path / name).mkdir()
    folders = [tmp_path / name for name in "ab"]
    with pytest.raises(UsageError, match=message):
        parse([*base, *(word.format(*folders) for word in words)])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--random-seed", "-1"],
        ["--batch-size", "0"],
        ["--debug", "x"],
        ["--allow-links", "/none"],
        ["--use-plugin", "/none"],
        ["--no-such-option"],
        ["--nprocs", "0"],
        ["--mask", "/does/not/exist.nii"],
        ["--level", "x"],
    ],
)
def test_argparse_refuses_with_2(base, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        parse([*base, *arguments])
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_missing_data_set_is_refused_with_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parse([str(tmp_path / "absent"), str(tmp_path / "o"), "participant"])
    assert stop.value.code == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_command_line_wins_over_the_file(base, tmp_path):
    file = tmp_path / "options.toml"
    file.write_text('[bids_brnn]\nreference = "dict"\nlevel = "minimal"\nmem_mb = 500\n')
    config = parse([*base, "--config-file", str(file), "--level", "full"])
    assert (config.reference, config.level, config.mem_mb) == ("dict", "full", 500)


def test_options_of_fmriprep_have_its_spellings(base, tmp_path):
    (tmp_path / "plugin.yml").write_text("plugin: Linear")
    config = parse(
        [*base, "--nipype-plugin-file", str(tmp_path / "plugin.yml"), "--n_cpus", "4", "--mem_mb",
         "900", "--low-mem", "--random-seed", "0", "--notrack", "--allow-links", str(tmp_path)]
    )  # fmt: skip
    assert config.use_plugin == tmp_path / "plugin.yml"
    assert (config.nprocs, config.mem_mb, config.random_seed) == (4, 900, 0)
    assert config.allow_links == (tmp_path,)
    assert config.voxels_together == 512
    assert parse([*base, "--low-mem", "--batch-size", "99"]).voxels_together == 99
    assert parse(base).voxels_together is None


def test_debug_without_a_mode_is_the_log(base):
    config = parse([*base, "--debug"])
    assert (config.debug, config.loudness) == (("log",), 2)
    assert parse([*base, "--debug", "pdb"]).loudness == 0
    assert parse([*base, "--debug", "all"]).debugs("pdb")


def test_threads_follow_slurm_and_never_exceed_it(base):
    config = parse(base, {"SLURM_CPUS_PER_TASK": "3", "SLURM_MEM_PER_NODE": "2000"})
    assert (config.nprocs, config.omp_nthreads, config.mem_mb) == (3, 3, 2000)
    assert parse(base, {"SLURM_CPUS_PER_TASK": "64"}).omp_nthreads == 8


def test_memory_is_that_of_the_control_group(tmp_path):
    limit = tmp_path / "sys" / "fs" / "cgroup" / "memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("1073741824\n")
    assert options.available_memory_mb({}, tmp_path) == 921  # nine tenths of 1024
    assert options.available_memory_mb({"SLURM_MEM_PER_NODE": "4000"}, tmp_path) == 921
    limit.write_text("max\n")
    assert options.available_memory_mb({}, tmp_path) > 921
    assert (
        options.available_memory_mb({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_PER_TASK": "4"})
        == 400
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option):
    code = (
        "import sys\n"
        "from bids_brnn.cli.run import main\n"
        "try:\n"
        f"    main([{option!r}])\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "heavy = {'torch', 'nipype', 'bids', 'pandas', 'numpy', 'nibabel', 'numba'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    assert f"v{__version__}" in done.stdout or "usage:" in done.stdout


def test_module_and_command_are_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "bids_brnn", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"bids_brnn v{__version__}\n"


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "ds").mkdir()
    monkeypatch.chdir(tmp_path)
    config = parse(["ds", "ds/derivatives/bids_brnn", "group"])
    assert config.bids_dir == tmp_path / "ds"
    assert config.work_dir == Path.cwd() / "work"


def test_a_network_is_a_name_or_a_path_from_where_the_command_was_called(
    base, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "OUT").mkdir()
    (tmp_path / "qmt-demo").mkdir()
    (tmp_path / "OUT" / "x.safetensors").touch()
    (tmp_path / "options").mkdir()
    toml = tmp_path / "options" / "run.toml"
    here = str(tmp_path)
    for given, expected in {
        "auto": "auto",
        "qmt-demo": "qmt-demo",  # no network in the folder of that name
        "OUT": f"{here}/OUT",
        "./OUT/": f"{here}/OUT",
        "OUT/x.json": f"{here}/OUT/x.json",
        "x.safetensors": f"{here}/x.safetensors",
        "~/x": "/home/me/x",
        "/abs/x.json": "/abs/x.json",
    }.items():
        assert parse([*base, "--weights", given]).weights == expected
        toml.write_text(f'[bids_brnn]\nweights = "{given}"\n')
        from_file = parse([*base, "--config-file", "options/run.toml"]).weights
        if given != "OUT":  # there is no such folder beside the file
            assert from_file == expected.replace(here, f"{here}/options")


def test_an_atlas_has_a_name_of_its_own_or_that_of_its_file(tmp_path):
    for name in ("my-atlas_dseg.nii.gz", "jhu.nii"):
        (tmp_path / name).write_bytes(b"")
    words = [str(tmp_path), "/out", "participant", "--atlas", f"{tmp_path}/my-atlas_dseg.nii.gz"]
    config = parse([*words, f"JHU={tmp_path}/jhu.nii", "--erode", "1"])
    assert config.atlas == {
        "myatlasdseg": tmp_path / "my-atlas_dseg.nii.gz",
        "JHU": tmp_path / "jhu.nii",
    }
    assert config.erode == 1
    assert parse([*words[:3], "--erode", "0"]).erode == 0
    with pytest.raises(UsageError, match="no name for an atlas"):
        parse([*words[:-1], f"a-b={tmp_path}/jhu.nii"])


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [("4G", 4000), ("4gb", 4000), ("4096", 4096), ("4096M", 4096), ("1.5 GB", 1500), ("4e3", 4000),
     ("2GiB", 2147), ("4000000K", 4000), ("1T", 1000000)],
)  # fmt: skip
@pytest.mark.parametrize("flag", ["--mem", "--mem_mb", "--mem-mb"])
def test_memory_has_a_unit_or_is_in_megabytes(base, text, megabytes, flag):
    assert parse([*base, flag, text]).mem_mb == megabytes


@pytest.mark.parametrize(
    ("text", "words"),
    [("16", "write 16G|write 8G for gigabytes"), ("x", "no.* memory size"), ("4MM", "memory size"),
     ("inf", "memory size"), ("-4G", "memory size|expected one argument")],
)  # fmt: skip
def test_memory_that_is_none_is_refused(base, text, words, capsys):
    with pytest.raises(SystemExit) as stop:
        parse([*base, "--mem", text])
    assert stop.value.code == 2
    assert re.search(words, capsys.readouterr().err)


LISTS = [
    ["--participant-label", "01", "02"],
    ["--participant_label=01"],
    ["--debug"],
    ["--debug", "pdb"],
    ["--ignore", "t1w"],
    ["--output-spaces", "T1w"],
    ["--allow-links", "/"],
    ["-d", "a=/"],
    ["-v", "--debug"],
]


@pytest.mark.parametrize("words", LISTS)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_folders_and_level_may_stand_anywhere(tmp_path, words, place):
    data, out = tmp_path / "ds", tmp_path / "out"
    data.mkdir()
    positional = [str(data), str(out), "participant"]
    config = parse([*positional[:place], *words, *positional[place:]])
    assert config == parse([*positional, *words])
    assert (config.bids_dir, config.output_dir) == (data, out)


def test_a_folder_that_is_missing_is_not_made_of_a_label(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse([str(tmp_path), "participant", "--participant-label", "01", "02"])
    assert "required" in capsys.readouterr().err


def test_an_unknown_option_is_named_with_one_like_it(base, capsys):
    with pytest.raises(SystemExit):
        parse([*base, "--particpant-label", "01"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(
        "unrecognized arguments: --particpant-label; did you mean --participant-label?"
    )


def test_a_rerun_needs_no_filter_file(base, tmp_path, capsys):
    filters, stored = tmp_path / "filter.json", tmp_path / "run.toml"
    filters.write_text('{"qmt": {"run": "1"}}')
    parse([*base, "--bids-filter-file", str(filters)]).to_file(stored)
    again = [*base, "--config-file", str(stored)]
    filters.write_text("{}")
    assert parse(again).text_of("bids_filter_file") == '{"qmt": {"run": "1"}}'
    assert "has changed since" in capsys.readouterr().err
    assert parse([*again, "--bids-filter-file", str(filters)]).text_of("bids_filter_file") == "{}"
    filters.unlink()
    assert parse(again).text_of("bids_filter_file") == '{"qmt": {"run": "1"}}'
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mask = 'm.nii'", "mask .*: there is no file .*m.nii; give it anew with --mask"),
        ("bids_filter_file = 'f.json'", "there is no file .*f.json"),
        ("derivatives = {a = 'prep'}", "there is no folder .*prep; .* --derivatives"),
        ("atlas = {a = 'x.nii'}", "there is no file .*x.nii"),
        ("allow_links = ['annex']", "there is no folder .*annex"),
    ],
)
def test_what_a_file_names_has_to_be_there(base, tmp_path, text, says):
    file = tmp_path / "run.toml"
    file.write_text(f"[bids_brnn]\n{text}\n")
    with pytest.raises(UsageError, match=says):
        parse([*base, "--config-file", str(file)])

"""Which Nipype plugin processes the steps."""

from __future__ import annotations

from importlib import import_module

import pytest

from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import ReadError, UsageError
from bids_brnn.workflows.execution import PatientPlugin
from bids_brnn.workflows.plugins import (
    choose_plugin,
    has_own_jobs,
    imported_meanwhile,
    make_plugin,
)


@pytest.fixture
def config(tmp_path):
    def made(text=None, **changes):
        if text is not None:
            (tmp_path / "plugin.yml").write_text(text)
            changes["use_plugin"] = tmp_path / "plugin.yml"
        folders = {name: tmp_path / name for name in ("bids_dir", "output_dir", "work_dir")}
        return RunConfig(**folders, **changes)

    return made


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"nprocs": 4, "omp_nthreads": 4}, "Linear"),
        ({"nprocs": 4, "omp_nthreads": 2}, "MultiProc"),
        ({"nprocs": 4, "omp_nthreads": 2, "low_mem": True}, "Linear"),
        ({"nprocs": 4, "omp_nthreads": 2, "debug": ("pdb",)}, "Linear"),
        ({"nprocs": 4, "omp_nthreads": 2, "debug": ("log",)}, "MultiProc"),
    ],
)
def test_without_a_file_the_cpus_decide(config, changes, name):
    assert choose_plugin(config(**changes)) == (name, {})


def test_a_file_decides_and_the_pool_stays_the_one_that_survives_a_kill(config):
    text = "plugin: MultiProc\nplugin_args:\n  n_procs: 3\n  raise_insufficient: true\n"
    plugin = make_plugin(config(text, mem_mb=2000))
    try:
        assert isinstance(plugin, PatientPlugin)
        assert (plugin.processors, plugin.memory_gb, plugin.raise_insufficient) == (3, 2.0, True)
        assert plugin.pool._mp_context.get_start_method() == "forkserver"
    finally:
        plugin.close()


def test_other_plugins_of_nipype_get_their_arguments(config):
    plugin = make_plugin(config("plugin: SLURM\nplugin_args: {sbatch_args: --time=60}\n"))
    assert type(plugin).__name__ == "SLURMPlugin"
    assert plugin.plugin_args == {"sbatch_args": "--time=60"}
    assert has_own_jobs(plugin)
    assert not has_own_jobs(make_plugin(config("plugin: Linear")))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("plugin: [", ReadError, "Cannot read the plugin file"),
        ("- MultiProc", UsageError, 'must hold "plugin"'),
        ("plugin_args: {}", UsageError, 'must hold "plugin"'),
        ("plugin: MultiProc\nnprocs: 3", UsageError, 'must hold "plugin"'),
        ("plugin: os.system", UsageError, "no plugin 'os.system'; it has .*SLURM"),
        ("plugin: [MultiProc]", UsageError, "no plugin"),
        ("plugin: MultiProc\nplugin_args: 3", UsageError, "table of arguments"),
        ("!!python/object/apply:os.getpid []", ReadError, "Cannot read the plugin file"),
    ],
)
def test_a_wrong_file_is_refused(config, text, error, words):
    with pytest.raises(error, match=words):
        choose_plugin(config(text))


def test_an_absent_file_is_a_read_error(config, tmp_path):
    with pytest.raises(ReadError) as refusal:
        choose_plugin(config(use_plugin=tmp_path / "none.yml"))
    assert refusal.value.exit_code == 74


@pytest.mark.parametrize("changes", [{"low_mem": True}, {"debug": ("all",)}])
def test_steps_in_order_and_a_pool_exclude_each_other(config, changes):
    with pytest.raises(UsageError, match="one step after the other"):
        choose_plugin(config("plugin: MultiProc", **changes))
    assert choose_plugin(config("plugin: Linear", **changes))[0] == "Linear"


def test_later_steps_load_ahead_where_they_run_in_the_same_process_and_a_core_is_left(config):
    alone = {"nprocs": 2, "omp_nthreads": 2}
    full, least = (
        imported_meanwhile(config(level=level, **alone)) for level in ("full", "minimal")
    )
    assert set(least) < set(full)
    for name in full:
        import_module(name)
    assert imported_meanwhile(config(nprocs=4, omp_nthreads=2)) == []
    assert imported_meanwhile(config(nprocs=1, omp_nthreads=1)) == []

"""The memory that counts is the least of machine, control group, process and option."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys

import pytest

from bids_brnn.system.memory import (
    MEMORY_VARIABLE,
    granted_memory,
    memory_limit,
    uncollected,
)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system without any limit, and a way to make files in it."""
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)

    def write(**files):
        for name, text in files.items():
            path = tmp_path.joinpath(*name.split("__"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_without_limits_it_is_the_machine(system):
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_limit(system()) == (machine, "this machine")
    assert granted_memory(system()) == machine


def test_a_group_of_version_2_counts_with_all_above_it(system, tmp_path):
    group = tmp_path / "sys" / "fs" / "cgroup"
    (group / "job" / "step").mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "job" / "memory.max").write_text("5000000\n")
    (group / "job" / "step" / "memory.max").write_text("max\n")
    root = system(proc__self__cgroup="0::/job/step\n")
    assert memory_limit(root) == (5_000_000, "its job or container (control group)")
    assert granted_memory(root) == 5_000_000


def test_a_group_of_version_1_counts(system, tmp_path):
    group = tmp_path / "sys" / "fs" / "cgroup" / "memory" / "slurm" / "job_1"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("7000000\n")
    root = system(proc__self__cgroup="5:cpu,cpuacct:/other\n4:memory:/slurm/job_1\n0::/\n")
    assert granted_memory(root) == 7_000_000


def test_the_group_of_a_container_is_the_root_of_what_is_mounted(system, tmp_path):
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text("6000000\n")
    assert granted_memory(system(proc__self__cgroup="0::/docker/0123\n")) == 6_000_000


def test_the_option_counts_where_it_is_less(system, monkeypatch):
    monkeypatch.setenv(MEMORY_VARIABLE, "3")
    assert memory_limit(system()) == (3 * 2**20, "--mem-mb")
    monkeypatch.setenv(MEMORY_VARIABLE, str(10**9))
    assert memory_limit(system())[1] == "this machine"


def test_limits_of_the_process_count():
    code = "from bids_brnn.system.memory import memory_limit; print(*memory_limit())"
    words = ["prlimit", f"--as={3 * 2**30}", sys.executable, "-c", code]
    environment = {key: value for key, value in os.environ.items() if key != MEMORY_VARIABLE}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.stdout.split(maxsplit=1) == [str(3 * 2**30), "ulimit -v\n"], done.stderr


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_collected_again_as_before_whatever_happens(before):
    was = gc.isenabled()
    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(KeyError), uncollected():
            with uncollected():
                assert not gc.isenabled()
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == before
    finally:
        (gc.enable if was else gc.disable)()


def test_what_was_built_meanwhile_is_not_looked_through_later():
    was = gc.isenabled()
    gc.enable()
    try:
        with uncollected(frozen=True):
            built = [[]]
        assert not any(item is built for item in gc.get_objects())
        gc.unfreeze()
        assert any(item is built for item in gc.get_objects())
    finally:
        gc.unfreeze()
        (gc.enable if was else gc.disable)()


def test_voxels_that_are_read_meanwhile_are_not_kept():
    was = gc.isenabled()
    gc.enable()
    before = gc.get_freeze_count()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() == before
    finally:
        gc.unfreeze()
        (gc.enable if was else gc.disable)()

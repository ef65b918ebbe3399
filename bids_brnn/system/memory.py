"""How much memory this process may use: the least of all that limits it."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_VARIABLE = "BIDS_BRNN_MEM_MB"
"""Environment variable: ``--mem-mb`` of the run, for its workers too."""
_MEGABYTE = 2**20


def memory_limit(root: Path = Path("/")) -> tuple[int, str]:
    """The least limit in bytes, and whose it is.

    Parameters
    ----------
    root
        Of the file system, for tests.
    """
    found = [(_machine(), "this machine"), *_options(), *_ulimits()]
    found += [(limit, "its job or container (control group)") for limit in _groups(root)]
    return min(found)


def granted_memory(root: Path = Path("/")) -> int:
    """The least limit of machine, process and control group in bytes, whatever options say."""
    return min([_machine(), *(limit for limit, _ in _ulimits()), *_groups(root)])


@contextmanager
def uncollected(*, frozen: bool = False) -> Iterator[None]:
    """Have Python look for no garbage in cycles meanwhile.

    Of what is imported and built hardly anything is garbage, and looking through it again and
    again took a seventh of the time of a run that finds everything done.

    Parameters
    ----------
    frozen
        Have what is there at the end not looked through later either, which took a tenth, until
        ``gc.unfreeze`` is called. Not where voxels are read: what lies in a cycle would stay in
        memory.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            if frozen:
                gc.freeze()
            gc.enable()


def _machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _options() -> Iterator[tuple[int, str]]:
    text = os.environ.get(MEMORY_VARIABLE, "")
    if text.isdecimal() and int(text) > 0:
        yield int(text) * _MEGABYTE, "--mem-mb"


def _ulimits() -> Iterator[tuple[int, str]]:
    for kind, flag in ((resource.RLIMIT_AS, "-v"), (resource.RLIMIT_DATA, "-d")):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield soft, f"ulimit {flag}"


def _groups(root: Path) -> Iterator[int]:
    """Limits of the control groups of this process, and of all groups around them.

    A group is named as the host or as the container sees it; that of the container is then the
    root of what is mounted.
    """
    mounted = root / "sys" / "fs" / "cgroup"
    for base, file, name in (
        (mounted, "memory.max", ""),
        (mounted / "memory", "memory.limit_in_bytes", "memory"),
    ):
        for folder in {base, *_above(root, base, name)}:
            try:
                text = (folder / file).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
            if text.isdecimal():  # "max" means no limit
                yield int(text)


def _above(root: Path, base: Path, controller: str) -> Iterator[Path]:
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") if controller else number == "0" and not names:
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from (base.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))

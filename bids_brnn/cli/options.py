"""Words of the command line to values, and defaults that need the machine."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bids_brnn.config.options import Option
from bids_brnn.files import expanded
from bids_brnn.system.memory import granted_memory

_MEGABYTE = 1024 * 1024
_MEMORY = re.compile(r"(\d+(?:\.\d*)?(?:[eE]\d+)?)\s*([BKMGT]?)(i?)B?", re.IGNORECASE)
LEAST_MB, _MOST_MB = 100, 1e9


def conversion(item: Option) -> Callable[[str], Any]:
    """From a word of the command line to a value of an option."""
    match item.kind:
        case "number" if item.unit:
            return memory
        case "number":
            return positive if item.least is not None and item.least > 0 else count
        case "path" | "paths":
            return {"file": existing_file, "folder": existing_folder}.get(item.exists or "", Path)
        case "table":
            return named_file if item.exists == "file" else named_folder
        case _:
            return lambda text: text.removeprefix(f"{item.entity}-") if item.entity else text


def metavar(item: Option) -> str | None:
    """What stands for a value of an option in the help; None: its choices."""
    if item.metavar is not None or item.known:
        return item.metavar
    path = "FILE" if item.exists == "file" else "PATH"
    words = {"number": "N", "path": path, "paths": path, "table": f"NAME={path}"}
    return words.get(item.kind, "LABEL" if item.entity else "TEXT")


def positive(text: str) -> int:
    """A whole number above zero."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number above 0')
    return number


def count(text: str) -> int:
    """A whole number, zero included."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number')
    return int(text)


def memory(text: str) -> int:
    """Memory in MB, from a number of MB or one with a unit, as fMRIPrep and Slurm take it.

    >>> memory("4096"), memory("4G"), memory("1.5 GB"), memory("2GiB")
    (4096, 4000, 1500, 2147)
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a memory size such as 8000 (MB) or 8G')
    number, unit, binary = float(found[1]), found[2].upper() or "M", bool(found[3])
    size = number * (1024 if binary else 1000) ** "BKMGT".index(unit) / 1e6
    if not LEAST_MB <= size < _MOST_MB:
        raise argparse.ArgumentTypeError(
            f'"{text}" is {size:g} MB; {LEAST_MB} MB are the least. '
            "Numbers without a unit are MB, write 8G for gigabytes"
        )
    return int(size)


def existing_file(text: str) -> Path:
    """A path to a file that exists."""
    path = expanded(text)
    try:
        found = path.is_file()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from error
    if not found:
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def existing_folder(text: str) -> Path:
    """A path to a folder that exists."""
    path = expanded(text)
    try:
        found = path.is_dir()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from error
    if not found:
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def named_folder(text: str) -> tuple[str, Path]:
    """``NAME=PATH``, or ``PATH`` whose folder gives the name, as far as a BIDS URI can hold it."""
    name, path = _named(text)
    folder = existing_folder(path)
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.absolute().name).strip("_.-")
    return name, folder


def _named(text: str) -> tuple[str | None, str]:
    """Name and path; a ``=`` behind a slash, or in a path that exists, is part of the path."""
    name, found, path = text.partition("=")
    if not found or "/" in name or Path(text).exists():
        return None, text
    return name, path


def named_file(text: str) -> tuple[str, Path]:
    """``NAME=FILE``, or ``FILE`` whose letters and digits give the name."""
    name, path = _named(text)
    file = existing_file(path)
    if name is None:
        stem = file.name.removesuffix(".gz").removesuffix(".nii")
        name = "".join(letter for letter in stem if letter.isascii() and letter.isalnum())
    return name, file


def available_cpus(environment: Mapping[str, str]) -> int:
    """CPUs this process may use: what Slurm granted, else the affinity mask."""
    granted = environment.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit() and int(granted) > 0:
        return int(granted)
    return len(os.sched_getaffinity(0))


def available_memory_mb(environment: Mapping[str, str], root: Path = Path("/")) -> int:
    """Memory this process may use, MB: the least of Slurm, control groups, process and machine.

    ``root`` is that of the file system, for tests.
    """
    # A tenth stays for the system and for this process itself.
    found = [int(0.9 * granted_memory(root) / _MEGABYTE)]
    per_node = environment.get("SLURM_MEM_PER_NODE", "")
    per_cpu = environment.get("SLURM_MEM_PER_CPU", "")
    if per_node.isdigit() and int(per_node) > 0:
        found.append(int(per_node))
    elif per_cpu.isdigit() and int(per_cpu) > 0:
        found.append(int(per_cpu) * available_cpus(environment))
    return min(found)

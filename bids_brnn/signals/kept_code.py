"""Machine code of compiled signals, kept between processes.

LLVM takes a second of one core for each program of :mod:`.two_pools.kernel`, which every process
of a study would pay again. Numba keeps its own code (:mod:`.compiling`); importing it for a folder
takes as long as LLVM does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_DIGEST = 32  # bytes


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """What ``make`` returns, or returned in an earlier process of the same sources.

    It is kept where Numba keeps its code: in ``NUMBA_CACHE_DIR``, else beside the sources, else in
    the cache folder of the user. Where none of them can be written into it is made each time; what
    is damaged, or of other sources, is made anew.

    Parameters
    ----------
    key
        What is compiled, for which processor, by which compiler.
    make
        Compiles it.
    """
    stamp = hashlib.sha256(f"{sources()} {key}".encode()).digest()
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.object"
    for folder in _folders():
        with suppress(OSError):
            content = (folder / name).read_bytes()
            found = content[2 * _DIGEST :]
            if content[: 2 * _DIGEST] == stamp + hashlib.sha256(found).digest():
                return found
    found = make()
    for folder in _folders():
        with suppress(OSError):
            _write(folder / name, stamp + hashlib.sha256(found).digest() + found)
            break
    return found


def _folders() -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen) / "bids_brnn"
        return
    yield Path(importlib.util.cache_from_source(__file__)).parent
    with suppress(RuntimeError):  # no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bids_brnn"


def _write(path: Path, content: bytes) -> None:
    """At once: another process may read it at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@cache
def sources() -> str:
    """Hash of all files that compiled functions may come from."""
    state = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        state.update(path.read_bytes())
    for path in sorted((Path(__file__).parents[1] / "estimators").rglob("*kernel*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()

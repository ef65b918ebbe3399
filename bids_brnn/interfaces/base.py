"""What all nodes share: user errors that survive process borders, and checked outputs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nipype.interfaces.base import SimpleInterface

from bids_brnn import errors
from bids_brnn.errors import DEBUGGER_VARIABLE, BidsBrnnError, curable
from bids_brnn.files import folders_synced_once, write_text
from bids_brnn.interfaces.manifest import write_manifest

ERROR_FILE = "error.json"


class Node(SimpleInterface):
    """A Nipype interface that does its work in :meth:`work` and returns its outputs by name.

    Its folder then also holds a manifest with the size and digest of each output file. Nipype
    itself trusts any earlier output, even an empty one; see :func:`discard_broken`.
    """

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        try:
            with folders_synced_once():
                outputs = self.work(folder)
        except Exception as error:
            told = curable(error)
            if told is not None:
                self._leave_word(folder, told)
            if os.environ.get(DEBUGGER_VARIABLE):
                import pdb

                pdb.post_mortem(error.__traceback__)
            if told is None or told is error:
                raise
            raise told from error
        self._results.update(outputs)
        names = self._outputs().copyable_trait_names()
        threads = getattr(self.inputs, "num_threads", 1)
        write_manifest(folder, {name: outputs.get(name) for name in names}, threads)
        return runtime

    def _leave_word(self, folder: Path, error: BidsBrnnError) -> None:
        text, series = str(error), str(getattr(self.inputs, "label", "")).partition(" ")[0]
        if series.startswith("sub-") and series.partition("_")[0] not in text:
            text = f"{series}: {text}"  # of many, the one that has no maps
        content = {"message": text, "exit_code": error.exit_code}
        # Where even this finds no place, the crash file tells it.
        with suppress(BidsBrnnError):
            write_text(folder / ERROR_FILE, json.dumps(content))

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Do the work in ``folder``; the values of the output traits by name."""
        raise TypeError(f"{type(self).__name__} does no work in {folder}")


def user_errors(work_dir: Path) -> list[BidsBrnnError]:
    """Errors the user can cure that nodes below ``work_dir`` stopped with."""
    found = []
    for path in sorted(work_dir.rglob(ERROR_FILE)):
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(BidsBrnnError(content["message"], exit_code=content["exit_code"]))
    return found


def error_in(text: str) -> BidsBrnnError | None:
    """The error of ours that a crash file ends with, the innermost one of several."""
    for name, message in re.findall(r"^\s*bids_brnn\.errors\.(\w+): (.+)$", text, re.MULTILINE):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, BidsBrnnError):
            return kind(message)
    return None

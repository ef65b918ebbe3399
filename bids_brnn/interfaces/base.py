"""What all nodes share: user errors that survive process borders, and checked outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import SimpleInterface

from bids_brnn.errors import DEBUGGER_VARIABLE, BidsBrnnError
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
            outputs = self.work(folder)
        except Exception as error:
            if isinstance(error, BidsBrnnError):
                content = {"message": str(error), "exit_code": error.exit_code}
                (folder / ERROR_FILE).write_text(json.dumps(content), encoding="utf-8")
            if os.environ.get(DEBUGGER_VARIABLE):
                import pdb

                pdb.post_mortem(error.__traceback__)
            raise
        self._results.update(outputs)
        names = self._outputs().copyable_trait_names()
        write_manifest(folder, {name: outputs.get(name) for name in names})
        return runtime

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Do the work in ``folder``; the values of the output traits by name."""
        raise TypeError(f"{type(self).__name__} does no work in {folder}")


def user_errors(work_dir: Path) -> list[BidsBrnnError]:
    """Errors the user can cure that nodes below ``work_dir`` stopped with."""
    found = []
    for path in sorted(work_dir.rglob(ERROR_FILE)):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append(BidsBrnnError(content["message"], exit_code=content["exit_code"]))
    return found

"""Outputs of earlier runs that the present one would not make.

The rule: what a run makes of a series, of a report or of the group replaces what an earlier run
made of it. A record beside the results says which files those were, with their digests; a file
that is not in it, or was changed since, is nobody's business and stays. See ``docs/outputs.md``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.bids.output.records import record_file, settle

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from bids_brnn.bids.input.acquisition import Acquisition


def settle_series(
    output_dir: Path,
    base: Path,
    workflow: Workflow,
    acquisitions: Iterable[Acquisition],
    before: Mapping[str, Mapping[Path, str]],
) -> set[str]:
    """Remove outputs of earlier runs of some series, all of whose steps have succeeded.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    base
        Work folder of the run.
    workflow
        Of the run.
    acquisitions
        The series.
    before
        What :func:`known_outputs` told before the run: a run that was killed left no record.

    Returns
    -------
    set of str
        Participants of whom something was removed.

    Raises
    ------
    OutputError
        If the record cannot be written.
    """
    from bids_brnn.interfaces.manifest import written_files
    from bids_brnn.workflows.participant import series_folder, step_folders

    steps = step_folders(workflow, base)
    touched = set()
    for item in acquisitions:
        current: dict[Path, str] = {}
        left = dict(before.get(item.name, {}))
        gone = []
        for step, files in written_files(series_folder(item, base)).items():
            outputs = {path: sha for path, sha in files.items() if path.is_relative_to(output_dir)}
            if not steps.isdisjoint((step, *step.parents)):
                current |= outputs
            elif outputs:
                gone.append(step)
        if not current:  # a run that wrote nothing replaces nothing
            continue
        for step in gone:  # the next run with its options writes its files again
            shutil.rmtree(step, ignore_errors=True)
        participant = item.entities["subject"]
        record = record_file(output_dir / f"sub-{participant}" / "log", item.name)
        if settle(output_dir, record, current, left):
            touched.add(participant)
    return touched


def known_outputs(
    output_dir: Path, base: Path, acquisitions: Iterable[Acquisition]
) -> dict[str, dict[Path, str]]:
    """Outputs that finished steps of each series wrote, with digests, by its name."""
    from bids_brnn.interfaces.manifest import written_files
    from bids_brnn.workflows.participant import series_folder

    return {
        item.name: {
            path: digest
            for files in written_files(series_folder(item, base)).values()
            for path, digest in files.items()
            if path.is_relative_to(output_dir)
        }
        for item in acquisitions
    }

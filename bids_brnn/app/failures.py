"""What went wrong while steps ran: sentences for what can be cured, crash files for the rest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_brnn.errors import BidsBrnnError, OutputError, out_of_space

_LEAST_SPACE = 2**20  # bytes; less is full


@dataclass(frozen=True)
class Failures:
    """What went wrong while the workflow ran."""

    errors: tuple[BidsBrnnError, ...] = ()
    """What the user can cure."""
    crash_files: tuple[Path, ...] = ()
    """Everything else."""

    @property
    def any(self) -> bool:
        """Whether a step failed."""
        return bool(self.errors or self.crash_files)


def sort_out(
    error: Exception,
    errors: Sequence[BidsBrnnError],
    crashes: Sequence[Path],
    places: Sequence[Path],
) -> Failures:
    """What the user can cure, with its sentence, and what only a crash file tells.

    Parameters
    ----------
    error
        What the workflow ended with.
    errors
        What steps left word of.
    crashes
        Crash files; none where even they could not be written.
    places
        Folders that may lie on a full disk.
    """
    from bids_brnn.interfaces.base import error_in

    found, unknown, full = list(errors), [], False
    for path in crashes:
        text = path.read_text(encoding="utf-8", errors="replace")
        told = error_in(text)
        if told is not None:
            # Only where the step could not leave word itself.
            if not any(str(told) in str(other) for other in found):
                found.append(told)
        elif out_of_space(text):
            full = True
        else:
            unknown.append(path)
    causes = [error, error.__cause__, error.__context__]
    if full or (not crashes and any(out_of_space(str(cause)) for cause in causes)):
        found.append(no_space(places))
    if not found and not unknown:
        raise RuntimeError("the workflow failed before its first step") from error
    return Failures(tuple(found), tuple(unknown))


def no_space(places: Sequence[Path]) -> OutputError:
    """The error for a full disk or quota, naming the folder where it can be told."""
    full = [str(place) for place in places if free_bytes(place) < _LEAST_SPACE]
    where = " and ".join(full) or f"{' or '.join(map(str, places))} (disk or quota)"
    return OutputError(
        f"No space left in {where}. Free space, or choose another output folder or work folder "
        "(-w); finished steps are kept."
    )


def free_bytes(folder: Path) -> float:
    """Free space where a folder lies; infinite if the system does not tell."""
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return float("inf")

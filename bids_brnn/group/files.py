"""Which files of an output data set count for the group, and who has none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_brnn.bids.grammar import parse_name, series_entities
from bids_brnn.bids.input.dataset import bad_labels
from bids_brnn.bids.input.folders import list_labels
from bids_brnn.errors import InvalidBidsError

_MOST_NAMED = 20
_MAPS_ONLY = "maps but no table of regions, for which the participant level needs --level full"
_NOTHING = "no results, the participant level did not run or found no series"
_UNKNOWN = "neither in the data set nor in the output"


def participant_files(
    output_dir: Path,
    pattern: str,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    notes: list[str] | None = None,
) -> list[Path]:
    """Files of series in the ``anat`` folders of participants and their sessions, by path.

    Folders that are no ``sub-<label>`` (copies such as ``sub-01_old``) are left aside, and so are
    files of other participants, of other programs, or with other entities than those of series
    and their regions.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    pattern
        End of their names, as for ``glob``.
    participants, sessions
        Labels of those that count, without ``sub-`` and ``ses-``; empty: all.
    notes
        Grows by one for each file that is left aside.
    """
    found = []
    # Whoever is asked for is looked up: listing all of a large study for each of its participants
    # would take forever.
    there = [label for label in participants if (output_dir / f"sub-{label}").is_dir()]
    for label in there if participants else list_labels(output_dir, "sub-"):
        folder = output_dir / f"sub-{label}"
        places = {None: folder} | {
            name: folder / f"ses-{name}" for name in list_labels(folder, "ses-")
        }
        for session, place in places.items():
            if sessions and session not in sessions:
                continue
            for path in sorted((place / "anat").glob(f"*{pattern}")):
                if problem := _alien(path, label, session):
                    if notes is not None:
                        notes.append(f"{path.relative_to(output_dir)} is left aside: {problem}.")
                else:
                    found.append(path)
    return sorted(found)


def _alien(path: Path, label: str, session: str | None) -> str:
    """Why a file is not one of ours, or an empty text."""
    try:
        entities = parse_name(path).entities
    except InvalidBidsError:
        return "its name is no BIDS name"
    if (entities.get("sub"), entities.get("ses")) != (label, session):
        return "its name is of another participant or session than its folder"
    others = set(entities) - {*series_entities(), "seg", "desc"}
    if others:
        return f"this program writes no {' or '.join(sorted(others))}- in such names"
    return ""


def copies(output_dir: Path) -> list[str]:
    """What to note of folders that are called like those of participants."""
    return [
        f"{name} is left aside: no folder of a participant (sub-<label>, letters and digits)."
        for name in bad_labels(output_dir, "sub-")
    ]


def absent(
    bids_dir: Path,
    output_dir: Path,
    present: set[str],
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
) -> Iterator[str]:
    """What to note of participants without a table, and of those whose last run crashed.

    Parameters
    ----------
    bids_dir, output_dir
        The data set and the derivative.
    present
        Labels of participants with tables.
    participants, sessions
        Labels that were asked for; empty: all of both folders.
    """
    known = {
        label
        for root in (bids_dir, output_dir)
        for label in list_labels(root, "sub-")
        if not sessions or set(sessions) & set(list_labels(root / f"sub-{label}", "ses-"))
    }
    kinds: dict[str, list[str]] = defaultdict(list)
    for label in sorted(participants or known):
        crash = last_crash(output_dir / f"sub-{label}")
        if crash and label in present:
            yield (
                f"the last run of sub-{label} crashed ({crash}): its tables may be of an earlier "
                "run, or miss a series."
            )
        elif crash:
            yield f"sub-{label} has no results: its last run crashed, see {crash}."
        elif label not in present:
            has_maps = participant_files(output_dir, "map.nii.gz", [label], sessions)
            kinds[_MAPS_ONLY if has_maps else _NOTHING if label in known else _UNKNOWN].append(
                label
            )
    where = f" in session {', '.join(sessions)}" if sessions else ""
    for words, labels in kinds.items():
        yield f"{words}{where}: {_named(labels)}."


def last_crash(folder: Path) -> Path | None:
    """A crash file of the last run of a participant, if it left one; names of runs are times."""
    runs = sorted(path for path in folder.glob("log/*") if path.is_dir())
    return next(iter(sorted(runs[-1].glob("crash-*"))), None) if runs else None


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_NAMED
    shown = ", ".join(f"sub-{label}" for label in labels[:_MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown

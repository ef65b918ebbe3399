"""Opening a BIDS data set with PyBIDS, limited to the participants that are asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.bids.grammar import grammar, is_label, pybids_config
from bids_brnn.bids.input.folders import DESCRIPTION, check_meant, check_open, list_labels
from bids_brnn.bids.safe import check_inside, read_json, resolved
from bids_brnn.errors import InvalidBidsError, NothingSelectedError, UsageError
from bids_brnn.system.kinds import is_text

if TYPE_CHECKING:
    from bids.layout import BIDSLayout


RAW = "raw"
"""Name of the input data set in BIDS URIs; reserved."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """One indexed data set: the raw one, or a derivative."""

    name: str
    """Name in BIDS URIs: ``raw``, or the name given with ``--derivatives``."""
    root: Path
    description: Mapping[str, Any]
    layout: BIDSLayout
    patterns: Sequence[re.Pattern[str]] = ()
    """Of paths that are no part of the data set, whatever the index holds."""
    allowed: Sequence[Path] = ()
    """Folders outside of it that links in it may lead to."""
    _found: dict[str, dict[str, list[Path]]] = field(default_factory=dict)

    @property
    def is_raw(self) -> bool:
        """Whether this is the input data set itself."""
        return self.name == RAW

    def query(self, filters: Mapping[str, Any], participant: str) -> list[Path]:
        """Files of a participant that match all ``filters``, sorted.

        Raises
        ------
        UsageError
            If a filter names an entity that PyBIDS does not know.
        """
        # One query serves all participants: of hundreds, each would cost a scan of the index.
        key = repr(sorted(filters.items(), key=str))
        if key not in self._found:
            self._found[key] = self._query(filters)
        return self._found[key].get(participant, [])

    def _query(self, filters: Mapping[str, Any]) -> dict[str, list[Path]]:
        unknown = sorted(set(filters) - set(self.layout.get_entities()))
        if unknown:
            raise UsageError(
                f"--bids-filter-file: {', '.join(unknown)} is no PyBIDS entity; names are long, "
                'such as "acquisition" for acq-.'
            )
        found: dict[str, list[Path]] = {}
        for item in self.layout.get(**filters):
            subject = item.get_entities(metadata=False).get("subject")
            path = Path(str(item.path))
            if subject is not None and not left_out(path, self.root, self.patterns):
                found.setdefault(str(subject), []).append(path)
        return {subject: sorted(paths) for subject, paths in found.items()}

    def linked(self, known: Mapping[str, Path]) -> dict[str, Path]:
        """Data sets by the names that URIs in this one use; only folders in ``known``."""
        names = dict(known)
        declared = self.description.get("DatasetLinks")
        folders = {resolved(path): path for path in known.values()}
        for name, target in declared.items() if isinstance(declared, dict) else ():
            folder = resolved(self.root / target) if is_text(target) else None
            if folder in folders:
                names[name] = folders[folder]
        return names


def describe(
    root: Path, *, derivative: bool = False, allowed: Sequence[Path] = ()
) -> dict[str, Any]:
    """The ``dataset_description.json`` of a folder.

    Raises
    ------
    UsageError
        If another folder was meant.
    InvalidBidsError
        If it is missing (the message holds a template) or broken.
    ReadError
        If the folder may not be read.
    """
    path = root / DESCRIPTION
    if not root.is_dir():
        raise InvalidBidsError(f"{root} is not a folder.")
    if not _is_unicode(str(root)):
        raise InvalidBidsError(f"The name of {root} is not UTF-8; rename that folder.")
    check_open(root)
    check_meant(root, derivative=derivative)
    if not os.path.lexists(path):
        template = grammar()["bids"]["example_derivative" if derivative else "example_description"]
        raise InvalidBidsError(f"{path} is missing; write {template}")
    description = read_json(check_inside(path, root, allowed))
    for key in ("Name", "BIDSVersion"):
        if not isinstance(description.get(key), str):
            raise InvalidBidsError(f'{path} has no "{key}"; add it as text.')
    return description


def strip_labels(labels: Iterable[str], prefix: str) -> list[str]:
    """Labels without ``sub-`` or ``ses-``, each once.

    Raises
    ------
    UsageError
        If one holds anything but letters and digits.
    """
    stripped = []
    for label in labels:
        bare = label.removeprefix(prefix)
        if not is_label(bare):
            raise UsageError(
                f"{label!r} is not a label; letters and digits only, such as {prefix}01."
            )
        stripped.append(bare)
    return list(dict.fromkeys(stripped))


def bad_labels(folder: Path, prefix: str) -> list[str]:
    """Names of folders ``<prefix><label>`` whose label is not alphanumeric."""
    return sorted(
        repr(path.name)
        for path in folder.glob(f"{prefix}*")
        if path.is_dir() and not is_label(path.name.removeprefix(prefix))
    )


def unreadable_names(root: Path, participants: Iterable[str]) -> list[str]:
    """Files of participants whose names are no Unicode, which is what the index can hold."""
    found = []
    for label in participants:
        for folder, folders, files in os.walk(root / f"sub-{label}"):
            bad = [name for name in (*folders, *files) if not _is_unicode(name)]
            found += [str(Path(folder, name).relative_to(root)) for name in bad]
    return sorted(found)


def _is_unicode(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in name)


def select_participants(root: Path, participants: Sequence[str] | None) -> list[str]:
    """The participants to work on, checked against the data set.

    Raises
    ------
    NothingSelectedError
        If one that was asked for is not there, or the data set has none; lists what exists.
    """
    present = list_labels(root, "sub-")
    if not present:
        raise NothingSelectedError(f"{root} has no sub-<label> folder with a valid label.")
    if not participants:
        return present
    wanted = strip_labels(participants, "sub-")
    absent = [label for label in wanted if label not in present]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        raise NothingSelectedError(
            f"participant {', '.join(absent)} {verb} not in {root} "
            f"(there are {len(present)}: {abridged(present)})."
        )
    return wanted


def abridged(labels: Sequence[str]) -> str:
    """``01 ... 42``, or all of up to five labels."""
    return ", ".join(labels) if len(labels) <= 5 else f"{labels[0]} ... {labels[-1]}"


def ignored(
    participants: Sequence[str] | None,
    sessions: Sequence[str] | None,
    keep: Iterable[str] = (),
    *,
    raw: bool = False,
) -> list[re.Pattern[str]]:
    """Patterns of paths (relative to the root, with a leading slash) that are not indexed.

    What BIDS names is let in, not what is known to be foreign kept out: outputs of any program
    and copies lie in data sets under any name.

    Parameters
    ----------
    participants, sessions
        The only ones to index; None or empty: all.
    keep
        Further data types to index, such as ``dwi``.
    raw
        Whether this is a raw data set. Derivatives may hold folders that BIDS has no name for.
    """
    rules, keep = grammar()["bids"], set(keep)
    # The index of PyBIDS holds Unicode only: one name that is none would end every run.
    patterns = [r"^/(?!sub-[A-Za-z0-9]+/)[^/]+/", r"/\.", "[\ud800-\udfff]"]
    patterns.append(rf"^/(?:{'|'.join(rules['root_folders'])})$")  # spares a look into them
    skipped = [name for name in rules["skipped_folders"] if name not in keep]
    patterns.append(rf"^/sub-[^/]+/(?:ses-[^/]+/)?(?:{'|'.join(skipped)})(?:/|$)")
    if raw:
        names = "|".join(re.escape(name) for name in sorted({*rules["raw_folders"], *keep}))
        patterns.append(
            rf"^/sub-[^/]+/(?:ses-[A-Za-z0-9]+/)?(?!ses-[A-Za-z0-9]+/|(?:{names})/)[^/]+/"
        )
    # Nothing of BIDS lies deeper than a data type; copies and circular links may.
    patterns.append(r"^/sub-[^/]+/(?:ses-[^/]+/)?(?!ses-)[^/]+/[^/]+/")
    if participants is not None:
        patterns.append(rf"^/sub-(?!(?:{'|'.join(participants)})(?:/|$))")
    if sessions:
        # Anatomy may lie in another session than the series.
        others = rf"ses-(?!(?:{'|'.join(sessions)})(?:/|$))[^/]+"
        patterns.append(rf"^/sub-[^/]+/{others}/(?!anat(?:/|$))")
    return [re.compile(pattern) for pattern in patterns]


def without(folders: Iterable[Path], root: Path) -> list[re.Pattern[str]]:
    """Patterns of folders that are not indexed."""
    names = [re.escape(folder.relative_to(root).as_posix()) for folder in folders]
    return [re.compile(rf"^/(?:{'|'.join(names)})(?:/|$)")] if names else []


def left_out(path: Path, root: Path, patterns: Sequence[re.Pattern[str]]) -> bool:
    """Whether a path is none of an image of a data set."""
    inside = f"/{path.relative_to(root).as_posix()}"
    # Images never lie at the root, only what they inherit.
    return path.parent == root or any(pattern.search(inside) for pattern in patterns)


def index(
    root: Path, patterns: Sequence[re.Pattern[str]], database: Path | None = None
) -> BIDSLayout:
    """Index the names of files; sidecars are read later, for the images that are used."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer  # costs half a second

    return BIDSLayout(
        root,
        validate=False,
        config=["bids", "derivatives", pybids_config()],
        database_path=database,
        indexer=BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=list(patterns)),
    )

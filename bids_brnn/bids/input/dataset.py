"""Opening a BIDS data set with PyBIDS, limited to the participants that are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.bids.grammar import grammar, is_label, pybids_config
from bids_brnn.bids.safe import read_json
from bids_brnn.errors import InvalidBidsError, NothingSelectedError, UsageError

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True, eq=False)
class Dataset:
    """One indexed data set: the raw one, or a derivative."""

    name: str
    """Name in BIDS URIs: ``raw``, or the name given with ``--derivatives``."""
    root: Path
    description: Mapping[str, Any]
    layout: BIDSLayout
    _found: dict[str, dict[str, list[Path]]] = field(default_factory=dict)

    @property
    def is_raw(self) -> bool:
        """Whether this is the input data set itself."""
        return self.name == "raw"

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
            if subject is not None:
                found.setdefault(str(subject), []).append(Path(str(item.path)))
        return {subject: sorted(paths) for subject, paths in found.items()}

    def linked(self, known: Mapping[str, Path]) -> dict[str, Path]:
        """Data sets by the names that URIs in this one use; only folders in ``known``."""
        names = dict(known)
        declared = self.description.get("DatasetLinks")
        folders = {path.resolve(): path for path in known.values()}
        for name, target in declared.items() if isinstance(declared, dict) else ():
            folder = (self.root / target).resolve() if isinstance(target, str) else None
            if folder in folders:
                names[name] = folders[folder]
        return names


def describe(root: Path, *, derivative: bool = False) -> dict[str, Any]:
    """The ``dataset_description.json`` of a folder.

    Raises
    ------
    InvalidBidsError
        If it is missing (the message holds a template) or broken.
    """
    path = root / DESCRIPTION
    if not root.is_dir():
        raise InvalidBidsError(f"{root} is not a folder.")
    if not path.is_file():
        template = grammar()["bids"]["example_derivative" if derivative else "example_description"]
        raise InvalidBidsError(f"{path} is missing; write {template}")
    description = read_json(path)
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


def list_labels(folder: Path, prefix: str) -> list[str]:
    """Labels of the folders ``<prefix><label>`` in ``folder``, in natural order."""
    names = [path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*") if path.is_dir()]
    return sorted((name for name in names if is_label(name)), key=natural)


def natural(label: str) -> list[tuple[int, int, str]]:
    """Sort key: numbers by value, then letters."""
    return [
        (0, int(piece), "") if piece.isdigit() else (1, 0, piece)
        for piece in re.findall(r"\d+|\D+", label)
    ]


def bad_labels(folder: Path, prefix: str) -> list[str]:
    """Names of folders ``<prefix><label>`` whose label is not alphanumeric."""
    return sorted(
        repr(path.name)
        for path in folder.glob(f"{prefix}*")
        if path.is_dir() and not is_label(path.name.removeprefix(prefix))
    )


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
    participants: Sequence[str] | None, sessions: Sequence[str] | None, keep: Iterable[str] = ()
) -> list[re.Pattern[str]]:
    """Patterns of paths (relative to the root, with a leading slash) that are not indexed."""
    rules = grammar()["bids"]
    patterns = [rf"^/(?:{'|'.join(rules['root_folders'])})(?:/|$)", r"/\."]
    skipped = [name for name in rules["skipped_folders"] if name not in set(keep)]
    patterns.append(rf"^/sub-[^/]+/(?:ses-[^/]+/)?(?:{'|'.join(skipped)})(?:/|$)")
    # Nothing of BIDS lies deeper than a data type; copies and circular links may.
    patterns.append(r"^/sub-[^/]+/(?:ses-[^/]+/)?(?!ses-)[^/]+/[^/]+/")
    if participants is not None:
        patterns.append(rf"^/sub-(?!(?:{'|'.join(participants)})(?:/|$))")
    if sessions:
        # Anatomy may lie in another session than the series.
        others = rf"ses-(?!(?:{'|'.join(sessions)})(?:/|$))[^/]+"
        patterns.append(rf"^/sub-[^/]+/{others}/(?!anat(?:/|$))")
    return [re.compile(pattern) for pattern in patterns]


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

"""From a BIDS folder to acquisitions: what is there, what fits together, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import default_filters, parse_name
from bids_brnn.bids.input.acquisition import Acquisition, Discovery
from bids_brnn.bids.input.companions import check_rate, find_companions
from bids_brnn.bids.input.contents import Context, read_contents
from bids_brnn.bids.input.database import open_layout
from bids_brnn.bids.input.dataset import (
    RAW,
    Dataset,
    abridged,
    bad_labels,
    describe,
    ignored,
    index,
    select_participants,
    strip_labels,
    unreadable_names,
    without,
)
from bids_brnn.bids.input.declared import number
from bids_brnn.bids.input.filters import merge_filters
from bids_brnn.bids.input.folders import (
    closed_folders,
    left_aside,
    list_labels,
    participant_of,
)
from bids_brnn.bids.input.series import Key, Series, check_subject, group_series
from bids_brnn.bids.input.surroundings import Surroundings
from bids_brnn.bids.input.z_encoding import AUTO, SpectrumOptions
from bids_brnn.bids.safe import check_inside, check_present
from bids_brnn.errors import (
    BidsBrnnError,
    NoSeriesError,
    NothingSelectedError,
    UsageError,
    printable,
)
from bids_brnn.signals.registry import model_entry, series_kind, series_kinds


@dataclass(frozen=True)
class _Request:
    participants: Sequence[str]
    sessions: Sequence[str]
    kinds: Sequence[str]
    explicit: bool
    closed: Mapping[str, BidsBrnnError]
    filtered: frozenset[str]
    around: Surroundings
    context: Context


def find_acquisitions(
    bids_dir: Path | str,
    *,
    participants: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    filters: Mapping[str, Mapping[str, Any]] | None = None,
    derivatives: Mapping[str, Path | str] | None = None,
    database_dir: Path | str | None = None,
    ignore: Sequence[str] = (),
    allowed_links: Sequence[Path | str] = (),
    zspectrum: Path | str | None = None,
    zspectrum_model: str = AUTO,
) -> Discovery:
    """Find the series of some participants and everything that goes with them.

    Parameters
    ----------
    bids_dir
        Root of the raw data set.
    participants, sessions
        Labels, with or without ``sub-`` and ``ses-``; all if None. Only these are indexed.
    kinds
        ``qmt``, ``mrf`` ...; every kind by default.
    filters
        Content of ``--bids-filter-file``: PyBIDS entities by ``qmt``, ``mrf``, ``b1map``,
        ``b0map``, ``t1w``, ``mask`` and ``dseg``.
    derivatives
        Folders of derivatives by name (``recon``, ``fmriprep``); a series found there is used
        instead of the raw one of the same name.
    database_dir
        Folder of a saved PyBIDS index; made if absent, ignored (with a note) if it does not fit.
    ignore
        Companions not to use: ``b1map``, ``b0map``, ``t1w``, ``mask``, ``dseg``.
    allowed_links
        Folders outside of the data sets that links in them may lead to.
    zspectrum
        What sidecars of Z-spectra lack: a JSON of constants, or a TSV with a row per measurement.
    zspectrum_model
        Signal model of Z-spectra; by default what their sidecars name, else the usual one.

    Returns
    -------
    Discovery
        Acquisitions in the order of participants, notes, and one problem for each series that
        cannot be used while others can.

    Raises
    ------
    BidsBrnnError
        If nothing can be used, with the reason (see ``docs/inputs.md`` for messages and codes).
    """
    root = Path(bids_dir).absolute()
    allowed = [Path(folder).absolute() for folder in allowed_links]
    description = describe(root, allowed=allowed)
    unknown = set(ignore) - set(default_filters())
    if unknown:
        raise UsageError(f"--ignore {', '.join(sorted(unknown))}: nothing is called so.")
    notes = [
        f"{name} is no valid participant folder and is left out."
        for name in bad_labels(root, "sub-")
    ]
    subjects = select_participants(root, participants)
    ses = _select_sessions(root, subjects, sessions)
    merged = merge_filters(filters, notes)
    notes += [
        f"{name} is left out: its name is not UTF-8; rename it."
        for name in unreadable_names(root, subjects)
    ]
    types, chosen = _datatypes(merged), subjects if participants else None
    if (note := left_aside(root, types)) is not None:
        notes.append(note)
    patterns = ignored(chosen, ses, types, raw=True)
    closed = closed_folders(root, patterns)
    patterns += without(closed, root)
    database = None if database_dir is None else Path(database_dir).absolute()
    layout = open_layout(root, patterns, database, notes)
    datasets = [Dataset(RAW, root, description, layout, patterns, allowed)]
    outer = ignored(chosen, ses, types)
    for name, folder in (derivatives or {}).items():
        if name == RAW:
            raise UsageError(f'"{RAW}" names {root} itself; call {folder} something else.')
        path = Path(folder).absolute()
        about = describe(path, derivative=True, allowed=allowed)
        shut = closed_folders(path, outer)
        patterns = outer + without(shut, path)
        closed |= shut
        datasets.append(Dataset(name, path, about, index(path, patterns), patterns, allowed))
        if not list_labels(path, "sub-"):
            notes.append(f"{name}: there is no sub-<label> folder in {path}; it is of no use.")
    request = _Request(
        participants=subjects,
        sessions=ses,
        kinds=tuple(series_kinds()) if kinds is None else kinds,
        explicit=bool(participants),
        closed={participant_of(path): error for path, error in closed.items()},
        filtered=frozenset(filters or {}),
        around=Surroundings(
            datasets=datasets,
            filters=merged,
            links={item.name: item.root for item in datasets},
            skip=frozenset(ignore),
            allowed=allowed,
            notes=notes,
        ),
        context=Context(
            spectra=SpectrumOptions.of(
                None if zspectrum is None else Path(zspectrum).absolute(), zspectrum_model
            ),
            filtered=frozenset(filters or {}),
            allowed=allowed,
            notes=notes,
        ),
    )
    return _discover(request)


def _select_sessions(
    root: Path, subjects: Sequence[str], sessions: Sequence[str] | None
) -> list[str]:
    wanted = strip_labels(sessions or (), "ses-")
    present = {s for subject in subjects for s in list_labels(root / f"sub-{subject}", "ses-")}
    absent = [label for label in wanted if label not in present]
    if absent:
        listed = abridged(sorted(present)) or "none"
        raise NothingSelectedError(
            f"session {', '.join(absent)} is not in {root} for the participants asked for "
            f"(there are {len(present)}: {listed})."
        )
    return wanted


def _datatypes(filters: Mapping[str, Mapping[str, Any]]) -> list[str]:
    kept: list[str] = []
    for entities in filters.values():
        value = entities.get("datatype", [])
        kept.extend(value if isinstance(value, list) else [str(value)])
    return kept


def _discover(request: _Request) -> Discovery:
    acquisitions: list[Acquisition] = []
    problems: list[BidsBrnnError] = []
    for subject in request.participants:
        if subject in request.closed:  # what is left of it would be used as if it were all
            problems.append(request.closed[subject])
            continue
        before = len(problems)
        found = _series_of(subject, request, problems)
        if not found and len(problems) == before:
            nothing = _nothing(subject, request)
            if request.explicit or len(request.participants) == 1:
                problems.append(nothing)
            else:
                request.around.notes.append(str(nothing))
        for _, series in sorted(found.items()):
            try:
                acquisitions.append(_acquisition(series, request))
            except BidsBrnnError as error:
                problems.append(error)
    if not acquisitions:
        _raise_all(problems, request)
    notes = tuple(dict.fromkeys(map(printable, request.around.notes)))
    return Discovery(tuple(acquisitions), notes, tuple(problems))


def _raise_all(problems: Sequence[BidsBrnnError], request: _Request) -> None:
    if not problems:
        raise _nothing("*", request)
    if len(problems) == 1:
        raise problems[0]
    text = "\n".join(str(problem) for problem in problems)
    raise type(problems[0])(text, exit_code=problems[0].exit_code)


def _nothing(subject: str, request: _Request) -> BidsBrnnError:
    names = [series_kind(kind).suffix for kind in request.kinds]
    folder = request.around.datasets[0].root
    if request.filtered & set(request.kinds):
        used = {k: request.around.filters[k] for k in request.kinds if k in request.filtered}
        return NothingSelectedError(
            f"No series for sub-{subject} under {folder}: --bids-filter-file selects nothing "
            f"({used})."
        )
    looked = " and ".join(f"*_{name}.nii[.gz]" for name in names)
    place = folder if subject == "*" else folder / f"sub-{subject}"
    return NoSeriesError(
        f"No {' or '.join(names)} series for sub-{subject}. Looked for anat/{looked} under "
        f'{place}. Other suffix? Use --bids-filter-file (example: {{"qmt": {{"suffix": "VFA"}}}}).'
    )


def _series_of(
    subject: str, request: _Request, problems: list[BidsBrnnError]
) -> dict[Key, Series]:
    found: dict[Key, Series] = {}
    for dataset in request.around.datasets:
        for kind in request.kinds:
            paths = []
            for path in dataset.query(request.around.filters[kind], subject):
                if request.sessions and not {f"ses-{s}" for s in request.sessions} & {*path.parts}:
                    continue
                try:
                    parse_name(path)
                except BidsBrnnError as error:
                    problems.append(error)
                    continue
                paths.append(path)
            for key, series in group_series(kind, dataset, paths).items():
                if key in found:
                    request.around.notes.append(
                        f"{series.name}: taken from {dataset.name} ({dataset.root}), not from "
                        f"{found[key].dataset.name}."
                    )
                found[key] = series
    return found


def _acquisition(series: Series, request: _Request) -> Acquisition:
    around, notes = request.around, request.around.notes
    for path in series.files:
        check_subject(path.relative_to(series.dataset.root))
        check_inside(path, series.dataset.root, around.allowed)
    links = series.dataset.linked(around.links)
    read = read_contents(series, links, request.context)
    metadata, encoding = read.metadata, read.encoding
    if number(metadata, "MagneticFieldStrength", series.name) is None:
        notes.append(f"{series.name}: MagneticFieldStrength is missing; it cannot be checked.")
    needed = model_entry(encoding.model).field_maps
    companions = find_companions(series, around, needed)
    check_present(companions.by_option)
    if encoding.representation == "zspectrum":
        check_rate(series, companions, around)
    return Acquisition(
        kind=series.kind,
        model=encoding.model,
        entities=series.entities,
        parts=read.parts,
        metadata=metadata,
        representation=encoding.representation,
        sequence=encoding.sequence,
        basis=encoding.basis,
        tables=encoding.tables,
        shape=read.shape,
        companions=companions,
        root=series.dataset.root,
        dataset=series.dataset.name,
        links=around.links,
        allowed=tuple(around.allowed),
        volumes=read.volumes,
    )

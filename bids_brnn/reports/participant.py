"""Reports of participants, made from what lies in the output folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn import __version__
from bids_brnn.errors import BidsBrnnError, NothingSelectedError
from bids_brnn.system.reading import read_bounded

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Acquisition
    from bids_brnn.reports.content import SeriesView

_LOG = logging.getLogger("bids_brnn.report")
_MOST_TEXT = 16 * 2**20  # bytes of a record; a crash file is far smaller


def write_reports(
    output_dir: Path,
    participants: Sequence[str],
    *,
    records: Mapping[str, Path] | None = None,
    errors: Sequence[str] = (),
    made: Collection[str] | None = None,
    sessions: Sequence[str] = (),
    acquisitions: Sequence[Acquisition] = (),
    threads: int = 1,
) -> list[Path]:
    """Write ``sub-<label>.html`` and the citation page of every participant.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    participants
        Labels without ``sub-``.
    records
        Folder of this run's configuration and crash files, by participant; by default the
        newest one on disk.
    errors
        Sentences to show on the page of the participant they name, or of all.
    made
        How the names of outputs of the series of this run begin; sections of others say that
        they are of an earlier run. None: nothing is known of that.
    sessions
        Labels without ``ses-``: each gets a page of its own, ``sub-<label>_ses-<label>.html``, as
        jobs for other sessions may be writing theirs. Only pages of whole participants remove
        figures of earlier ones.
    acquisitions
        Series of the data set: pages show the protocols of those that they are of.
    threads
        Maps that are read and packed at a time; pages are the same with any number.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    NothingSelectedError
        If a participant has neither maps nor errors to show; after the pages of the others.
    ReadError, DataError
        If a file of a participant is damaged; after the pages of the others.
    OutputError
        If a page cannot be written.
    """
    from bids_brnn.reports.collect import series_views

    pages = []
    known = {item.name: item for item in acquisitions}

    def with_protocol(view: SeriesView) -> SeriesView:
        item = known.get(view.name)
        return view if item is None else replace(view, protocol=item.sequence)

    failed: list[BidsBrnnError] = []
    for label in participants:
        try:
            views = series_views(output_dir, label, threads)
            series = [with_protocol(_dated(view, made)) for view in views]
        except BidsBrnnError as error:  # of a file that was damaged: the others get their pages
            failed.append(error)
            continue
        record = (records or {}).get(label) or newest_record(output_dir, label)
        own = [text for text in errors if concerns(text, label)] + crashes(record)
        written = []
        for session in sessions or ("",):
            chosen = [view for view in series if _is_of(view, session)]
            if chosen or errors or own:
                page = page_file(output_dir, label, session)
                _write_page(page, label, chosen, record, own, threads)
                written.append(page)
        if not written:
            failed.append(
                NothingSelectedError(
                    f"No maps of sub-{label} under {output_dir}; run the participant level first."
                )
            )
        pages += written
    for further in failed[1:]:
        _LOG.error("%s", further)
    if failed:
        raise failed[0]
    return pages


def page_file(output_dir: Path, label: str, session: str = "") -> Path:
    """The page of a participant, or of one of the sessions."""
    return output_dir / f"sub-{label}{f'_ses-{session}' if session else ''}.html"


def _is_of(view: SeriesView, session: str) -> bool:
    return not session or f"ses-{session}" in view.name.split("_")


def _write_page(
    page: Path,
    label: str,
    series: Sequence[SeriesView],
    record: Path | None,
    errors: Sequence[str],
    threads: int,
) -> None:
    """One page with its figures, and the methods text beside the record of the run."""
    from bids_brnn.bids.output.records import digests, record_file, settle
    from bids_brnn.estimators.registry import NETWORK, variants
    from bids_brnn.files import recorded, write_text
    from bids_brnn.reports.assemble import render_subject
    from bids_brnn.reports.content import SubjectView
    from bids_brnn.reports.methods import citation_files, methods, sample_sentence
    from bids_brnn.reports.sharing import command_line, places, shareable

    used = [view.model for view in series]
    parts = [key for view in series for key in view.preparation]
    shown = [item.key for view in series for item in view.estimators]
    parts += [variants()[key][0].name if key in variants() else key for key in shown]
    used += [variants()[key][1].name for key in shown if key in variants()]
    networks = [item for view in series for item in view.estimators if item.key == NETWORK]
    losses = [item.loss for item in networks]
    trainings = [item.training for item in networks]
    samples = [
        sample_sentence(item.title, item.sample)
        for view in series for item in view.estimators if item.sample
    ]  # fmt: skip
    about = (used, parts, __version__, losses, trainings, samples)
    paragraphs, citations = methods(*about)
    stored = configuration(record)
    folders = {**places(stored), str(page.parent): "bids::"}
    view = SubjectView(
        label=label,
        version=__version__,
        series=series,
        methods=paragraphs,
        citations=[(item.text, item.url) for item in citations],
        configuration=shareable(stored, folders),
        command=command_line(stored),
        errors=[shareable(text, folders) for text in errors],
    )
    with recorded() as written:
        render_subject(view, page, write_text, threads)
    output_dir = page.parent
    if page == page_file(output_dir, label):
        record_of_page = record_file(output_dir / f"sub-{label}" / "log", "report")
        settle(output_dir, record_of_page, digests(written))
    if record is not None:
        for name, text in citation_files(*about).items():
            write_text(record / name, text)
            write_text(output_dir / "logs" / name, text)
    _LOG.info("report: %s", page)


def remove_reports(output_dir: Path, participants: Sequence[str]) -> None:
    """Remove pages and figures of earlier runs, which show maps that are not there any more."""
    from bids_brnn.bids.output.records import record_file, settle

    for label in participants:
        settle(output_dir, record_file(output_dir / f"sub-{label}" / "log", "report"), {})


def concerns(text: str, label: str) -> bool:
    """Whether an error is about a participant: it names no other one."""
    named = re.findall(r"sub-([A-Za-z0-9]+)", text)
    return not named or label in named


def _dated(view: SeriesView, made: Collection[str] | None) -> SeriesView:
    if made is None or view.name.rpartition("_")[0] in made:
        return view
    note = "Not part of the last run: these are the results of an earlier one."
    return replace(view, notes=[*view.notes, note])


def newest_record(output_dir: Path, participant: str) -> Path | None:
    """Folder of the last run of a participant; run ids begin with the time of the run."""
    folders = sorted((output_dir / f"sub-{participant}" / "log").glob("*/bids_brnn.toml"))
    return folders[-1].parent if folders else None


def configuration(record: Path | None) -> str:
    """Text of the run configuration, if there is one."""
    return "" if record is None else _text(record / "bids_brnn.toml")


def crashes(record: Path | None) -> list[str]:
    """Text of the crash files of a run."""
    found = [] if record is None else sorted(record.glob("crash-*.txt"))
    return [_text(path) for path in found]


def _text(path: Path) -> str:
    """Text of a record; nothing where it cannot be read."""
    try:
        return read_bounded(path, _MOST_TEXT).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""

"""Which series a run is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import BidsBrnnError, DataError, ReadError, UsageError
from bids_brnn.system.reading import parse_json

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Discovery

_LOG = logging.getLogger("bids_brnn.run")


def find(config: RunConfig) -> Discovery:
    """Series of the data set; what was decided on the way is logged."""
    if config.skip_bids_validation:
        return _found(config)
    from bids_brnn.app.validation import validation

    with validation(config.bids_dir) as judge:
        discovery = _found(config)
        judge(discovery)
    return discovery


def _found(config: RunConfig) -> Discovery:
    from bids_brnn.bids import find_acquisitions

    discovery = find_acquisitions(
        config.bids_dir,
        participants=config.participant_label or None,
        sessions=config.session_label or None,
        kinds=None if config.modality == "auto" else (config.modality,),
        filters=read_filters(config),
        derivatives=config.derivatives,
        database_dir=config.bids_database_dir,
        ignore=config.ignore,
        allowed_links=config.allow_links,
        zspectrum=config.zspectrum,
        zspectrum_model=config.zspectrum_model,
    )
    for note in discovery.notes:
        _LOG.info("%s", note)
    check_names(discovery)
    return discovery


def usable(config: RunConfig, discovery: Discovery) -> Discovery:
    """Leave out, as problems, series that cannot become what was asked for; others go on.

    An estimator, the spaces, images, tables and label images of regions are looked at before
    anything is estimated.

    Raises
    ------
    BidsBrnnError
        If none is left, or the options themselves cannot be followed.
    """
    from bids_brnn.bids.input.spaces import find_spaces
    from bids_brnn.interfaces.regions.labels import label_values
    from bids_brnn.workflows.choice import choose_recipes
    from bids_brnn.workflows.images import check_images
    from bids_brnn.workflows.regions import region_notes

    labels = cache(label_values)  # series of one participant share them
    regions = config.level == "full" and not (config.boilerplate_only or config.reports_only)
    kept, notes, problems = [], [], list(discovery.problems)
    for item in discovery.acquisitions:
        try:
            choose_recipes(config, item, ())
            find_spaces(item, config.output_spaces)
            check_images(config, item)
            if regions:
                notes += region_notes(config, item, labels)
            kept.append(item)
        except UsageError:
            raise
        except BidsBrnnError as error:
            problems.append(error)
    for note in dict.fromkeys(notes):
        _LOG.warning("%s", note)
    if not kept:
        raise problems[-1]
    return replace(discovery, acquisitions=tuple(kept), problems=tuple(problems))


def check_names(discovery: Discovery) -> None:
    """Refuse series whose outputs would have the same names.

    Raises
    ------
    DataError
        Naming the two series.
    """
    seen: dict[frozenset[tuple[str, str]], str] = {}
    for item in discovery.acquisitions:
        key = frozenset((name, str(label)) for name, label in item.entities.items())
        if key in seen:
            same = seen[key] == item.name
            words = "have the same labels" if same else "differ in their suffix only"
            raise DataError(
                f"{seen[key]} and {item.name} {words}, so their maps would "
                "overwrite each other; give them acq- labels, or choose with --modality."
            )
        seen[key] = item.name


def read_filters(config: RunConfig) -> Mapping[str, Any] | None:
    """Content of ``--bids-filter-file``.

    Raises
    ------
    ReadError
        If it is no JSON.
    UsageError
        If it is no object of objects.
    """
    from bids_brnn.bids.input.filters import FOREIGN

    path = config.bids_filter_file
    if path is None:
        return None
    try:
        content = parse_json(config.text_of("bids_filter_file").encode())
    except (OSError, ValueError) as error:
        raise ReadError(f"Cannot read the filter file {path}: {error}.") from error
    if not isinstance(content, dict) or not all(
        isinstance(value, dict) for key, value in content.items() if key.lower() not in FOREIGN
    ):
        raise UsageError(f'{path} must look like {{"qmt": {{"acquisition": "hsfp"}}}}.')
    return content

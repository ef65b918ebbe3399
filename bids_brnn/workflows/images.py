"""Whether the images beside a series can be used, before anything is estimated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bids_brnn.bids.images import Grid, read_grid, same_grid
from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.spaces import find_spaces
from bids_brnn.bids.volumes import check_volume
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError
from bids_brnn.imaging.fields import declared_scale
from bids_brnn.parameters import FIELD_MAPS
from bids_brnn.workflows.participant import masks, supplied_fields, supplied_spreads


def check_images(config: RunConfig, acquisition: Acquisition) -> None:
    """Check headers and units of all images that a series is combined with.

    Raises
    ------
    DataError
        If one is no single real volume, a field map does not declare its unit, or it is not known
        how an image lies to the series.
    ReadError
        If one cannot be read.
    """
    about = acquisition.companions
    series = read_grid(next(iter(acquisition.parts.values())))
    for path in companion_images(config, acquisition):
        grid = read_grid(path)
        check_volume(grid)
        if not config.trust_header:
            check_positions(grid, series, about.by_option.get(path, ""))
    for space in find_spaces(acquisition, config.output_spaces).values():
        if space.reference is not None and not config.trust_header:
            check_positions(read_grid(space.reference), series)
    for maps in (supplied_fields(acquisition), supplied_spreads(acquisition)):
        for name, (path, sidecar) in maps.items():
            declared_scale(FIELD_MAPS[name], sidecar, path.name)


def companion_images(config: RunConfig, acquisition: Acquisition) -> Iterator[Path]:
    """Images that a run combines with a series."""
    about = acquisition.companions
    yield from (path for path, _ in supplied_fields(acquisition).values())
    yield from (path for path, _ in supplied_spreads(acquisition).values())
    yield from masks(config, acquisition).values()
    if about.t1w is not None:
        yield about.t1w
    if config.level == "full":
        yield from about.segmentations.values()
        if "dseg" not in config.ignore:
            yield from about.tissue_probabilities.values()
        yield from config.atlas.values()


def check_positions(grid: Grid, series: Grid, word: str = "") -> None:
    """Refuse two images of which only a convention says how they lie to each other.

    Two on the very same grid without a position are fine: they lie on each other.

    Parameters
    ----------
    grid, series
        The two.
    word
        Of ``--ignore``, which leaves the first one out.

    Raises
    ------
    DataError
        Naming the image whose header says nothing.
    """
    lost = [item.path.name for item in (series, grid) if not item.has_position]
    if not lost or (len(lost) == 2 and same_grid(grid, series)):
        return
    first = lost[0] == series.path.name
    other = grid if first else series
    ignore = f"; --ignore {word} leaves {'that image' if first else 'it'} out" if word else ""
    raise DataError(
        f"{lost[0]} has qform_code and sform_code 0: its header does not tell where it lies, nor "
        f"left from right, so that it cannot be combined with {other.path.name}. Convert it again "
        "or set the codes (fslorient, nibabel) where you know its affine to be right; with "
        f"--trust-header its voxels are taken to lie as nibabel puts them{ignore}."
    )

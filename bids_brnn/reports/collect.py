"""From the files of an output data set to what its report shows.

Everything is read back from disk: a report tells what *is* there, can be made again at any time,
and finds maps of earlier runs too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.grammar import FileName, parse_name, series_entities
from bids_brnn.bids.images import check_alike, read_grid
from bids_brnn.bids.input.lookup import read_lookup
from bids_brnn.bids.output.naming import SUPPLIED
from bids_brnn.bids.safe import read_json
from bids_brnn.bids.tables import read_columns, read_records
from bids_brnn.estimators.registry import estimators, title_of
from bids_brnn.maps import SPREADS, quality_maps, spread_of, with_spread
from bids_brnn.regions.labels import labels_in
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView
from bids_brnn.reports.facts import estimator_facts
from bids_brnn.reports.images import (
    Images,
    canonical,
    files_of,
    items_of,
    json_of,
    maps_among,
    read_images,
    shown_among,
    supplied_files,
)
from bids_brnn.reports.preparation import (
    loss_of,
    noise_warnings,
    preparation_facts,
    preparation_methods,
    preparation_notes,
    step_methods,
    training_of,
)
from bids_brnn.reports.stored import (
    BOUNDS_FILE,
    SPECTRA_FILE,
    read_bounds,
    read_or_say,
    read_spectra,
)
from bids_brnn.signals.registry import SeriesKind, models_of, series_kinds
from bids_brnn.system.kinds import cell_number

_MAX_NAMED = 12  # labels of a finer parcellation are no tissue classes


def series_views(output_dir: Path, participant: str, threads: int = 1) -> list[SeriesView]:
    """Every series of a participant (label without ``sub-``) that has a mask, in name order.

    Up to ``threads`` images are read at a time.
    """
    found = sorted((output_dir / f"sub-{participant}").rglob("anat/*_desc-brain_mask.nii.gz"))
    return [_series_view(output_dir, mask, threads) for mask in found]


def _series_view(output_dir: Path, mask_path: Path, threads: int) -> SeriesView:
    head = mask_path.name.removesuffix("_desc-brain_mask.nii.gz")
    mask = canonical(mask_path) > 0
    files = list(files_of(mask_path.parent, head))
    check_alike(mask_path, [path for path, _ in files])
    known = supplied_files(mask_path.parent.parent, head)
    paths = [*shown_among(files), *known]
    images = read_images(paths, threads)
    labels, names = _tissues(files, images)
    kind = _kind_of({name.suffix for _, name in files})
    references = [path for path, name in files if name.suffix == kind.reference_suffix]
    about = read_json(json_of(references[0])) if references else {}
    preparation = read_json(json_of(mask_path))
    t1w = [path for path, name in files if name.suffix == "T1w"]
    bounds, *no_bounds = read_or_say(read_bounds, mask_path.with_name(f"{head}_{BOUNDS_FILE}"))
    spectra, *no_spectra = read_or_say(read_spectra, mask_path.with_name(f"{head}_{SPECTRA_FILE}"))
    return SeriesView(
        name=f"{head}_{kind.suffix}",
        kind=kind.suffix,
        model=_model_of(kind, [name.entities.get("model", "") for _, name in files]),
        reference=images[references[0]] if references else None,
        mask=mask,
        estimators=list(_estimators(output_dir, files, images, mask)),
        labels=labels,
        label_names=names,
        supplied=[
            _map_view(output_dir, path, name, images, read_json(json_of(path)), SUPPLIED)
            for path, name in known.items()
        ],
        t1w=images[t1w[0]] if t1w else None,
        voxel_size=_voxel_size(mask_path),
        affine=np.asarray(nib.as_closest_canonical(nib.load(mask_path)).affine),
        file_affine=read_grid(mask_path).affine,
        preparation=[*step_methods(about), *preparation_methods(preparation)],
        facts=[
            *_series_facts(mask_path, mask),
            *preparation_facts(preparation),
            *_noise_facts(about),
        ],
        notes=[
            *preparation_notes(preparation),
            *map(_sentence, about.get("PreparationSteps", [])),
            *map(_sentence, noise_warnings(json_of(path) for path, _ in files)),
            *_notes(files),
            *no_bounds,
            *no_spectra,
        ],
        agreement=_agreement(mask_path.parent, head),
        about=preparation,
        motion=_motion(mask_path.with_name(f"{head}_desc-motion_timeseries.tsv")),
        bounds=bounds,
        spectra=spectra,
    )


def _kind_of(suffixes: Set[str]) -> SeriesKind:
    """The kind of series that files with these suffixes derive from."""
    kinds = list(series_kinds().values())
    own = [kind for kind in kinds if suffixes & {kind.map_suffix, kind.reference_suffix}]
    return (own or kinds)[0]


def _model_of(kind: SeriesKind, labels: Sequence[str]) -> str:
    """Name of the signal model that the maps of a series name in ``model-``."""
    candidates = models_of(kind.name)
    found = [entry.name for entry in candidates if entry.label in labels]
    return (found or [candidates[0].name])[0]


def _estimators(
    output_dir: Path,
    files: Sequence[tuple[Path, FileName]],
    images: Images,
    mask: NDArray[np.bool_],
) -> Iterator[EstimatorView]:
    by_desc: dict[str, list[MapView]] = {}
    sidecars: dict[str, dict[str, Any]] = {}
    order_of = {name: rank for rank, name in enumerate(items_of())}
    for path, name in maps_among(files):
        sidecar = read_json(json_of(path))
        desc = name.entities["desc"]
        quantity = name.entities.get("param", name.suffix.removesuffix("map"))
        view = _map_view(output_dir, path, quantity, images, sidecar, desc)
        by_desc.setdefault(desc, []).append(view)
        sidecars.setdefault(desc, sidecar)
    order = [key for key in estimators() if key in by_desc]
    for desc in [*order, *sorted(set(by_desc) - set(order))]:
        if spread_of(desc):
            continue
        views, spread = (
            sorted(found, key=lambda view: order_of.get(view.name, len(order_of)))
            for found in (by_desc[desc], _spreads(by_desc, desc))
        )
        yield EstimatorView(
            key=desc,
            title=title_of(desc),
            estimates=[view for view in views if view.name not in quality_maps()],
            uncertainties=spread,
            quality=[view for view in views if view.name in quality_maps()],
            statistics=_statistics(files, desc),
            facts=estimator_facts(sidecars[desc], views, mask),
            loss=loss_of(sidecars[desc]),
            training=training_of(sidecars[desc]),
            about=sidecars[desc],
        )


def _spreads(by_desc: Mapping[str, list[MapView]], desc: str) -> list[MapView]:
    return [view for kind in SPREADS for view in by_desc.get(with_spread(desc, kind), [])]


def _map_view(
    output_dir: Path,
    path: Path,
    quantity: str,
    images: Images,
    sidecar: Mapping[str, Any],
    desc: str,
) -> MapView:
    known = items_of(parse_name(path).entities.get("model", "")).get(quantity)
    return MapView(
        name=quantity,
        unit=str(sidecar.get("Units", "")),
        description=str(sidecar.get("Description", quantity)),
        values=images[path],
        display=None if known is None or spread_of(desc) else known.display,
        file=path.relative_to(output_dir).as_posix(),
    )


def _tissues(
    files: Sequence[tuple[Path, FileName]], images: Images
) -> tuple[NDArray[np.int_] | None, dict[int, str]]:
    """The coarsest label image: classes few enough to be drawn apart."""
    candidates = [path for path, name in files if name.suffix == "dseg"]
    best: tuple[NDArray[np.int_], dict[int, str]] | None = None
    for path in candidates:
        values = np.rint(images[path]).astype(np.int_)
        found = labels_in(values)
        if found and len(found) <= _MAX_NAMED and (best is None or len(found) < len(best[1])):
            named = _lookup(path.with_name(path.name.replace(".nii.gz", ".tsv")))
            best = (values, {index: named.get(index, str(index)) for index in found})
    return (None, {}) if best is None else best


def _lookup(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    return dict(read_lookup(path).names)


def _statistics(files: Sequence[tuple[Path, FileName]], desc: str) -> list[dict[str, object]]:
    """Rows of every region table of one estimator; missing cells are left out."""
    if not files:
        return []
    folder, head = files[0][0].parent, _head(files[0][1])
    paths = sorted(folder.glob(f"{head}_seg-*_desc-{desc}_scalarstats.tsv"))
    return [
        row | {"segmentation": parse_name(path).entities["seg"]}
        for path in paths
        for row in read_records(path)
    ]


def _agreement(folder: Path, head: str) -> list[tuple[str, list[dict[str, object]], str]]:
    """Title, rows and name of every table of agreement of a series."""
    found = []
    for path in sorted(folder.glob(f"{head}_seg-*_agreement.tsv")):
        entities = parse_name(path).entities
        first, _, second = entities["desc"].partition("Vs")
        names = [title_of(first), title_of(second[:1].lower() + second[1:])]
        title = f"Agreement: {' against '.join(names)}, {entities['seg']}"
        found.append((title, read_records(path), path.name))
    return found


def _notes(files: Sequence[tuple[Path, FileName]]) -> list[str]:
    """Warnings of the sidecars of label images."""
    sidecars = [read_json(json_of(path)) for path, name in files if name.suffix == "dseg"]
    return [str(sidecar["Warning"]) for sidecar in sidecars if "Warning" in sidecar]


def _head(name: FileName) -> str:
    telling = series_entities()
    return "_".join(f"{key}-{value}" for key, value in name.entities.items() if key in telling)


def _series_facts(mask_path: Path, mask: NDArray[np.bool_]) -> list[tuple[str, str]]:
    sidecar = read_json(json_of(mask_path))
    grid = read_grid(mask_path)
    size = np.linalg.norm(grid.affine[:3, :3], axis=0)
    litres = mask.sum() * float(np.prod(size)) / 1e6
    return [
        ("mask", str(sidecar.get("MaskSource", "unknown"))),
        ("voxels", f"{int(mask.sum())} of {' x '.join(str(n) for n in mask.shape)}"),
        ("voxel size", f"{' x '.join(f'{edge:.3g}' for edge in size)} mm"),
        ("mask volume", f"{litres:.3g} l"),
    ]


def _voxel_size(path: Path) -> tuple[float, float, float]:
    """mm, along the axes of :func:`canonical`."""
    affine = nib.as_closest_canonical(nib.load(path)).affine
    x, y, z = (float(edge) for edge in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def _motion(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.is_file():
        return {}
    columns = read_columns(path).items()
    # The first frame has no displacement.
    return {name: np.array([cell_number(cell) for cell in cells]) for name, cells in columns}


def _noise_facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    level, source = about.get("NoiseStandardDeviation"), about.get("NoiseSource")
    if source in (None, "n/a"):
        return []
    if not isinstance(level, int | float):
        return [("noise level", f"from {source}")]
    return [("noise level", f"{level:.4g} per channel, from {source}")]


def _sentence(text: object) -> str:
    words = str(text)
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."

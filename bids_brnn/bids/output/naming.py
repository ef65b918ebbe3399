"""Names of output files, from the patterns of ``grammar.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bids_brnn.bids.grammar import grammar, is_label, series_entities
from bids_brnn.errors import OutputError
from bids_brnn.parameters import FIELD_MAPS, FIELDS, MapItem
from bids_brnn.signals.registry import model_entry, series_kind, series_kinds
from bids_brnn.spaces import parse_space

SUPPLIED = "resampled"
"""``desc-`` of supplied maps on the grid of a series."""


class Origin(Protocol):
    """What names and sidecars need to know of a series; an ``Acquisition`` is one."""

    @property
    def kind(self) -> str:
        """``qmt``, ``mrf`` ..."""

    @property
    def model(self) -> str:
        """Name of the signal model: ``gbloch``, ``fisp`` ..."""

    @property
    def entities(self) -> Mapping[str, str]:
        """Of the series, by PyBIDS names."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Of the series."""

    @property
    def sources(self) -> list[str]:
        """BIDS URIs of its images."""


def output_path(output_dir: Path, pattern: str, origin: Origin | None, **entities: str) -> Path:
    """Path of an output file.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    pattern
        Name of a pattern in ``[output.patterns]``.
    origin
        The series whose entities are kept; None at the group level.
    **entities
        Further PyBIDS entities, ``suffix`` and ``extension``; empty ones are left out.

    Raises
    ------
    OutputError
        If the entities do not fit the pattern, or the path would leave ``output_dir``.
    """
    from bids.layout.writing import build_path  # costs half a second

    given = {**(origin.entities if origin else {}), **{k: v for k, v in entities.items() if v}}
    bad = [f"{key}={value}" for key, value in given.items() if not _is_value(key, value)]
    relative = None if bad else build_path(given, [_expanded(pattern)], strict=True)
    if not isinstance(relative, str):
        raise OutputError(f"No {pattern} file can be named from {given}; labels are alphanumeric.")
    path = output_dir / relative
    if not path.parent.resolve().is_relative_to(output_dir.resolve()):
        raise OutputError(f"{path.parent} is a link out of {output_dir}; remove it.")
    return path


def _is_value(key: str, value: str) -> bool:
    return key == "extension" or is_label(value)


def _expanded(pattern: str) -> str:
    """A pattern with the entities of the series written out."""
    series = "sub-{subject}" + "".join(
        f"[_{short}-{{{long}}}]" for short, long in series_entities().items() if short != "sub"
    )
    kinds = series_kinds().values()
    written_out = {
        "{head}": "sub-{subject}[/ses-{session}]",
        "{series}": series,
        "MAPS": "|".join(kind.map_suffix for kind in kinds),
        "REFERENCES": "|".join(kind.reference_suffix for kind in kinds),
    }
    text: str = grammar()["output"]["patterns"][pattern]
    for short, long in written_out.items():
        text = text.replace(short, long)
    return text


def map_path(
    output_dir: Path,
    origin: Origin,
    item: MapItem,
    desc: str,
    *,
    space: str = "",
    extension: str = ".nii.gz",
) -> Path:
    """Path of a map; ``desc`` is the estimator, ``<estimator>Std`` its standard deviation.

    >>> from types import SimpleNamespace
    >>> from bids_brnn.parameters import QMT
    >>> series = SimpleNamespace(entities={"subject": "01"}, kind="qmt", model="gbloch")
    >>> map_path(Path("out"), series, QMT["m0s"].item, "nlls").name
    'sub-01_model-genbloch_param-m0s_desc-nlls_QMTmap.nii.gz'
    """
    extra = {"suffix": item.suffix, "desc": desc, "extension": extension, **_in_space(space)}
    if item.suffix in [kind.map_suffix for kind in series_kinds().values()]:
        extra |= {"model": model_entry(origin.model).label, "param": item.name}
        return output_path(output_dir, "compartment", origin, **extra)
    is_field = item.suffix in [FIELD_MAPS[name].suffix for name in FIELDS]
    pattern = "field" if is_field else "standard"
    return output_path(output_dir, pattern, origin, **extra)


def mask_path(
    output_dir: Path, origin: Origin, *, space: str = "", extension: str = ".nii.gz"
) -> Path:
    """Path of the brain mask on the grid of the series, or in another space."""
    return output_path(
        output_dir,
        "mask",
        origin,
        suffix="mask",
        desc="brain",
        extension=extension,
        **_in_space(space),
    )


def _in_space(space: str) -> dict[str, str]:
    """Entities of a space as it is asked for; see :mod:`bids_brnn.spaces`."""
    return parse_space(space).entities if space else {}


def reference_path(output_dir: Path, origin: Origin, *, extension: str = ".nii.gz") -> Path:
    """Path of the 3D magnitude image for registration."""
    suffix = series_kind(origin.kind).reference_suffix
    return output_path(
        output_dir, "reference", origin, suffix=suffix, desc="mean", extension=extension
    )


def segmentation_path(
    output_dir: Path, origin: Origin, segmentation: str, *, extension: str = ".nii.gz"
) -> Path:
    """Path of a label image on the grid of the series, or of its table (``.tsv``)."""
    return output_path(
        output_dir,
        "segmentation",
        origin,
        suffix="dseg",
        segmentation=segmentation,
        extension=extension,
    )


def statistics_path(
    output_dir: Path,
    origin: Origin | None,
    segmentation: str,
    desc: str,
    *,
    suffix: str = "scalarstats",
    extension: str = ".tsv",
) -> Path:
    """Path of a region table of one series, or with None of the whole group.

    ``suffix`` is ``scalarstats`` or ``agreement``.
    """
    return output_path(
        output_dir,
        "statistics" if origin else "group",
        origin,
        suffix=suffix,
        segmentation=segmentation,
        desc=desc,
        extension=extension,
    )


def quality_path(output_dir: Path, desc: str, *, extension: str = ".tsv") -> Path:
    """Path of a table of the group about the quality of its series."""
    return output_path(
        output_dir, "quality", None, suffix="quality", desc=desc, extension=extension
    )


def field_path(
    output_dir: Path, origin: Origin, suffix: str, *, extension: str = ".nii.gz"
) -> Path:
    """Path of a supplied ``TB1map``, ``fieldmap`` or ``R1map`` on the grid of the series."""
    is_field = suffix in [FIELD_MAPS[name].suffix for name in FIELDS]
    pattern = "field" if is_field else "standard"
    return output_path(
        output_dir, pattern, origin, suffix=suffix, desc=SUPPLIED, extension=extension
    )


def t1w_path(output_dir: Path, origin: Origin, *, extension: str = ".nii.gz") -> Path:
    """Path of the T1-weighted image on the grid of the series."""
    return output_path(
        output_dir, "anatomy", origin, suffix="T1w", desc="resampled", extension=extension
    )


def motion_path(output_dir: Path, origin: Origin, *, extension: str = ".tsv") -> Path:
    """Path of the table of motion between time frames."""
    return output_path(
        output_dir, "motion", origin, suffix="timeseries", desc="motion", extension=extension
    )


def bounds_path(output_dir: Path, origin: Origin, *, extension: str = ".tsv") -> Path:
    """Path of the table of what the protocol of a series can measure."""
    return output_path(
        output_dir, "page", origin, suffix="bounds", desc="protocol", extension=extension
    )


def spectra_path(output_dir: Path, origin: Origin, *, extension: str = ".tsv") -> Path:
    """Path of the table of Z-spectra of some voxels with their fits."""
    return output_path(
        output_dir, "page", origin, suffix="zspectra", desc="fitted", extension=extension
    )


def transform_path(
    output_dir: Path, origin: Origin, source: str, target: str, *, extension: str = ".txt"
) -> Path:
    """Path of a rigid transform, for example from ``QMT`` to ``T1w``."""
    return output_path(
        output_dir,
        "transform",
        origin,
        suffix="xfm",
        extension=extension,
        **{"from": source, "to": target, "mode": "image"},
    )

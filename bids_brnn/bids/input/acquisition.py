"""One series with everything that is needed to estimate its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bids_brnn.bids.grammar import parse_name, series_label
from bids_brnn.errors import BidsBrnnError
from bids_brnn.parameters import FIELD_MAPS
from bids_brnn.signals.registry import SeriesKind, series_kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.sequences.z_spectrum import ZSpectrum

Part = Literal["real", "imag", "mag", "phase", "complex"]
Measurements = Sequence[Sequence[Mapping[Part, Path]]]
"""Files by part of each repeat of each measurement."""


@dataclass(frozen=True)
class Companions:
    """Other images of the same participant; None or empty where there is none."""

    supplied: Mapping[str, Path] = field(default_factory=dict)
    """Field maps by parameter name: ``B1`` (TB1map), ``w0`` (fieldmap), ``R1`` (R1map, T1map)."""
    spreads: Mapping[str, Path] = field(default_factory=dict)
    """Maps of the standard deviation of those in ``supplied``, where there are any."""
    mask: Path | None = None
    """Brain mask; on the grid of the series, or on that of ``t1w``."""
    t1w: Path | None = None
    dseg: Path | None = None
    """The label image to use by default: the finest of ``segmentations``."""
    segmentations: Mapping[str, Path] = field(default_factory=dict)
    """Label images by the label for ``seg-``: ``aparcaseg``, ``aseg``, ``tissue`` ..."""
    tissue_probabilities: Mapping[str, Path] = field(default_factory=dict)
    """``probseg`` images by label: ``GM``, ``WM``, ``CSF``."""
    transforms: Mapping[str, Path] = field(default_factory=dict)
    """From T1w to a template, by the name of the template."""
    templates: Mapping[str, Path] = field(default_factory=dict)
    """An image on the grid of a template, by its name; not for every transform there is one."""
    anatomies: Sequence[Path] = ()
    """All T1w images of the participant, whether used or not; see ``placement``."""
    session: str | None = None
    """The other session that T1w image, mask, labels and transforms come from; None where they
    are of the session of the series, or of the participant as a whole."""

    @property
    def by_option(self) -> dict[Path, str]:
        """Files that a run reads unless told not to, with the word of ``--ignore`` for each."""
        maps = (*self.supplied.items(), *self.spreads.items())
        found = {path: FIELD_MAPS[name].key for name, path in maps}
        found |= dict.fromkeys(self.segmentations.values(), "dseg")
        one = {"mask": self.mask, "t1w": self.t1w}
        return found | {path: word for word, path in one.items() if path is not None}


@dataclass(frozen=True, eq=False)
class Acquisition:
    """A qMT or MRF series: its files, its pulse train and the images that go with it."""

    kind: str
    """``qmt``, ``mrf`` ..."""
    model: str
    """Name of its signal model."""
    entities: Mapping[str, str]
    """Of the series, by PyBIDS names (``subject``, ``session``, ``acquisition`` ...)."""
    parts: Mapping[Part, Path]
    metadata: Mapping[str, Any]
    representation: Literal["subspace", "time", "zspectrum"]
    sequence: PulseSequence | ZSpectrum
    basis: NDArray[np.floating[Any]] | None
    """``(N, R)``; None for time frames."""
    tables: Mapping[str, Path]
    """``rfpulses`` and, for a subspace, ``basis``."""
    shape: tuple[int, int, int, int]
    companions: Companions
    root: Path
    """Of the data set that holds the images."""
    dataset: str
    """Its name in BIDS URIs."""
    links: Mapping[str, Path]
    """Folders of all data sets by name, for URIs of companions."""
    allowed: Sequence[Path] = ()
    """Folders outside of the data sets that links in them may lead to."""
    volumes: Measurements = ()
    """Of a Z-spectrum with one file per measurement: for each measurement, in the order of
    ``sequence``, the parts of each repeat. ``parts`` then are those of the first volume."""

    @property
    def name(self) -> str:
        """File name without part and extension: ``sub-01_acq-hsfp_QMT``."""
        name = parse_name(next(iter(self.parts.values())))
        return f"{series_label(name, measured=bool(self.volumes))}_{name.suffix}"

    @property
    def images(self) -> list[Path]:
        """All files of the series."""
        if not self.volumes:
            return list(self.parts.values())
        return [path for repeats in self.volumes for parts in repeats for path in parts.values()]

    @property
    def rule(self) -> SeriesKind:
        """What holds for this kind of series."""
        return series_kind(self.kind)

    @property
    def magnitude_only(self) -> bool:
        """Whether the phase is missing, or, of a Z-spectrum, not used."""
        return self.representation == "zspectrum" or set(self.parts) == {"mag"}

    @property
    def has_complex_frames(self) -> bool:
        """Whether it holds time frames with phase, whose noise shows without a model.

        Of coefficients only air tells it, which has another noise than the head.
        """
        return self.representation == "time" and not self.magnitude_only

    @property
    def supplied(self) -> Mapping[str, Path]:
        """Field maps by parameter name."""
        return self.companions.supplied

    @property
    def mask(self) -> Path | None:
        """Brain mask."""
        return self.companions.mask

    @property
    def t1w(self) -> Path | None:
        """T1-weighted image."""
        return self.companions.t1w

    @property
    def dseg(self) -> Path | None:
        """Label image."""
        return self.companions.dseg

    def uri(self, path: Path) -> str:
        """BIDS URI of a file of any data set this series draws on.

        A file outside all of them (a mask given on the command line) is named by its path.
        """
        for name, root in sorted(self.links.items(), key=lambda item: -len(item[1].parts)):
            if path.is_relative_to(root):
                return f"bids:{name}:{path.relative_to(root).as_posix()}"
        return path.as_posix()

    @property
    def sources(self) -> list[str]:
        """BIDS URIs of the images every map derives from."""
        return [self.uri(path) for path in self.images]


@dataclass(frozen=True)
class Discovery:
    """What :func:`find_acquisitions` found."""

    acquisitions: tuple[Acquisition, ...]
    notes: tuple[str, ...] = ()
    """Decisions and warnings, for log and report."""
    problems: tuple[BidsBrnnError, ...] = ()
    """One error per series or participant that cannot be used; the others can."""

    @property
    def participants(self) -> tuple[str, ...]:
        """Participants with at least one usable series."""
        found: Sequence[str] = [item.entities["subject"] for item in self.acquisitions]
        return tuple(dict.fromkeys(found))

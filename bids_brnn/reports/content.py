"""What a report shows, as plain values; gathered elsewhere, drawn and written here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.sequences.z_spectrum import ZSpectrum

Array = NDArray[np.floating[Any]]


class PageTable(NamedTuple):
    """A table of a page."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    file: str = ""
    """Name of the file that has all of it; empty where there is none."""


@dataclass(frozen=True)
class MapView:
    """One map with what is needed to draw it."""

    name: str
    """Field name with estimator, for example ``m0s``."""
    unit: str
    description: str
    values: Array
    """``(X, Y, Z)`` in closest-canonical (RAS) orientation, in ``unit``."""
    display: tuple[float, float] | None
    """Colour range in ``unit``; 2nd to 98th percentile inside the mask where absent."""
    file: str
    """Path relative to the output folder."""


@dataclass(frozen=True)
class EstimatorView:
    """All maps of one estimator of one series."""

    key: str
    """Value of ``desc-``: ``brnn``, ``nlls``, ``dict``."""
    title: str
    estimates: Sequence[MapView]
    uncertainties: Sequence[MapView] = ()
    quality: Sequence[MapView] = ()
    statistics: Sequence[Mapping[str, object]] = ()
    """Rows of the region table (``scalarstats.tsv``)."""
    facts: Sequence[tuple[str, str]] = ()
    loss: Mapping[str, Any] = field(default_factory=dict)
    """``TrainingLoss`` of its sidecars: of a network."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """``WeightsTraining`` of its sidecars: of a network."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Sidecar of its first map."""

    @property
    def sample(self) -> str:
        """In which voxels the estimator was run, in words; empty: in all."""
        return str(self.about.get("VoxelSelection", ""))


@dataclass(frozen=True)
class Spectra:
    """Z-spectra of some voxels with what models make of them."""

    voxels: NDArray[np.int_]
    """``(V, 3)``, indices of the files."""
    offset: Array
    """``(N,)`` Hz; NaN where the MT pulse is off."""
    angle: Array
    """``(N,)``, flip angle of the MT pulse, degrees."""
    measured: Array
    """``(V, N)``, in the units of the images."""
    fitted: Mapping[str, Array]
    """``(V, N)`` by ``desc-`` of the estimator."""


@dataclass(frozen=True)
class Bound:
    """Smallest standard deviations of a parameter in a tissue; infinite where it is not seen."""

    tissue: str
    parameter: str
    unit: str
    value: float
    """Reference value in ``unit``."""
    first: float
    """Cramer-Rao bound."""
    second: float
    """Second-order (Bhattacharyya) bound, which sees how the signal bends."""


@dataclass(frozen=True)
class Bounds:
    """What the protocol of a series can measure."""

    snr: float
    """``|M0| / sigma`` per channel."""
    measured: bool
    """Whether that is the median of the maps."""
    field_strength: float
    """T: of the tissue."""
    known: Sequence[str]
    """Parameters that are not estimated: from maps, or assumed."""
    rows: Sequence[Bound]


@dataclass(frozen=True)
class SeriesView:
    """One acquisition: its images, estimators and what was done to it."""

    name: str
    kind: str
    """Suffix of the series."""
    reference: Array | None
    """``(X, Y, Z)`` image on which the mask is drawn."""
    mask: NDArray[np.bool_]
    estimators: Sequence[EstimatorView]
    model: str = ""
    """Name of the signal model of its maps."""
    labels: NDArray[np.int_] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    supplied: Sequence[MapView] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    t1w: Array | None = None
    """T1-weighted image on the grid of the series."""
    preparation: Sequence[str] = ()
    """Paragraphs of ``methods.toml`` that tell how it was prepared."""
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """mm, in the order of the axes of ``mask``."""
    agreement: Sequence[tuple[str, Sequence[Mapping[str, object]], str]] = ()
    """Title, rows and name of each table ``agreement.tsv``."""
    affine: Array = field(default_factory=lambda: np.eye(4))
    """``(4, 4)``, from indices of ``mask`` to mm."""
    file_affine: Array = field(default_factory=lambda: np.eye(4))
    """``(4, 4)``, from indices of the files, whose axes may be others, to mm."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Sidecar of the mask."""
    protocol: PulseSequence | ZSpectrum | None = None
    """What was played out, where the data set is at hand."""
    spectra: Spectra | None = None
    """Of a Z-spectrum: stored with its maps."""
    bounds: Bounds | None = None
    """Of its protocol: stored with its maps."""
    motion: Mapping[str, Array] = field(default_factory=dict)
    """Columns of the table of motion between frames; empty where none was corrected."""


@dataclass(frozen=True)
class SubjectView:
    """One report page."""

    label: str
    version: str
    series: Sequence[SeriesView]
    methods: Sequence[str]
    """Paragraphs of the methods boilerplate."""
    citations: Sequence[tuple[str, str]]
    """Text and DOI or URL."""
    configuration: str = ""
    command: str = ""
    """The command line, with BIDS URIs in place of folders."""
    errors: Sequence[str] = ()
    notes: Sequence[str] = ()


FLUID = re.compile(r"csf|ventricle|fluid", re.IGNORECASE)
"""Names of regions that hold fluid alone."""
WHITE_MATTER = re.compile(r"white.?matter|\bWM\b", re.IGNORECASE)
NOT_IN_FLUID = frozenset({"Rx", "kr", "R1s", "T2s"})
"""What describes a semi-solid pool and its exchange, and so nothing where there is none; its size
(m0s, F, kf) is about 0 there, which is a value."""

LITERATURE: Mapping[str, Sequence[tuple[str, float, str]]] = {
    "m0s": [("WM", 0.20, "qMT, arXiv 2207.08259")],
    "R1f": [("WM", 0.521, "qMT, arXiv 2207.08259")],
    "R2f": [("WM", 12.9, "qMT, arXiv 2207.08259")],
    "Rx": [("WM", 16.5, "qMT, arXiv 2207.08259")],
    "R1s": [("WM", 2.97, "qMT, arXiv 2207.08259")],
    "T2s": [("WM", 12.4e-6, "qMT, arXiv 2207.08259")],
    "T1": [
        ("WM", 0.832, "Wansapura 1999"),
        ("GM", 1.331, "Wansapura 1999"),
        ("WM", 1.084, "Stanisz 2005"),
        ("GM", 1.820, "Stanisz 2005"),
    ],
    "T2": [
        ("WM", 0.0796, "Wansapura 1999"),
        ("GM", 0.110, "Wansapura 1999"),
        ("WM", 0.069, "Stanisz 2005"),
        ("GM", 0.099, "Stanisz 2005"),
    ],
}
"""Values at 3 T drawn as lines in the histograms: doi 10.1002/mrm.20605 (Stanisz) and
10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L (Wansapura)."""

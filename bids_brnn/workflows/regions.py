"""Which regions a series has, and the nodes that make their tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.inheritance import nearest_table
from bids_brnn.bids.input.lookup import missing_names, read_lookup
from bids_brnn.bids.input.spaces import follows_t1w, on_t1w
from bids_brnn.config.run_config import RunConfig
from bids_brnn.estimators.registry import comparison
from bids_brnn.interfaces.regions.labels import (
    WHOLE_MASK,
    GatherFiles,
    PrepareLabels,
    label_values,
)
from bids_brnn.interfaces.regions.statistics import CompareEstimators, SummariseRegions
from bids_brnn.interfaces.sinks.regions import WriteLabels, WriteRegions
from bids_brnn.regions.labels import tells_t1
from bids_brnn.signals.registry import model_entry
from bids_brnn.workflows.anatomy import searched
from bids_brnn.workflows.fields import ESTIMATED, STRATA

PROBABILITIES = "probseg"
"""``seg-`` of regions made from tissue probabilities."""
_LABELS = ("labels", "lookup", "source")
"""What :class:`PrepareLabels` makes of images."""
FROM_MAPS = "maptissue"
"""``seg-`` of tissue classes made from the maps themselves, for lack of anything else."""


@dataclass(frozen=True)
class Segmentation:
    """Where the regions of one ``seg-`` come from."""

    images: Mapping[str, Path] = field(default_factory=dict)
    """One label image under an empty name, or probability images by tissue."""
    lookup: Path | None = None
    source: Literal["labels", "probabilities", "maps", "mask"] = "labels"
    must_overlap: bool = False
    in_t1w: bool = False
    """Whether the images lie in the T1w image, not on the series."""

    @property
    def is_told(self) -> bool:
        """Whether images tell the regions, before anything is estimated."""
        return bool(self.images)

    def roles(self, label: str) -> dict[str, Path]:
        """Images by the role under which sidecars name them as sources."""
        return {
            f"dseg_{label}_{name}" if name else f"dseg_{label}": path
            for name, path in self.images.items()
        }


def find_segmentations(config: RunConfig, acquisition: Acquisition) -> dict[str, Segmentation]:
    """Regions of a series by ``seg-``.

    Atlases of the user, label images and tissue probabilities that were found; without any of
    them the mask as one region, and tissue classes from the maps.
    """
    found: dict[str, Segmentation] = {}
    for label, image in acquisition.companions.segmentations.items():
        lookup = nearest_table(image, root_of(acquisition, image), "dseg", acquisition.allowed)
        found[label] = Segmentation({"": image}, lookup, in_t1w=follows_t1w(acquisition, image))
    shares = dict(acquisition.companions.tissue_probabilities)
    if shares and "dseg" not in config.ignore:
        found[PROBABILITIES] = Segmentation(
            shares,
            source="probabilities",
            in_t1w=follows_t1w(acquisition, next(iter(shares.values()))),
        )
    for label, image in config.atlas.items():
        beside = image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
        # A link to a table that was not downloaded is no absent table.
        lookup = beside if beside.is_file() or beside.is_symlink() else None
        found[label] = Segmentation(
            {"": image}, lookup, must_overlap=True, in_t1w=on_t1w(acquisition, image)
        )
    if not found:
        found[WHOLE_MASK] = Segmentation(source="mask")
        if tells_t1(model_entry(acquisition.model).parameters.names):
            found[FROM_MAPS] = Segmentation(source="maps")
    return found


def region_notes(
    config: RunConfig,
    acquisition: Acquisition,
    values: Callable[[Path], Sequence[int]] = label_values,
) -> list[str]:
    """Read tables and label images of a series before anything is estimated; what to say of them.

    Parameters
    ----------
    config, acquisition
        As for :func:`find_segmentations`.
    values
        Labels that an image holds.

    Raises
    ------
    ReadError
        If one of them cannot be read.
    DataError
        If one of them is wrong.
    """
    found = find_segmentations(config, acquisition)
    notes = []
    for segmentation in found.values():
        if segmentation.source != "labels":
            continue
        labels = values(segmentation.images[""])
        if segmentation.lookup is not None:
            lookup = read_lookup(segmentation.lookup)
            notes += [*lookup.notes, *missing_names(lookup, segmentation.lookup, labels)]
    if WHOLE_MASK in found and found[WHOLE_MASK].source == "mask":
        made = (
            "tissue classes are made from the maps themselves"
            if FROM_MAPS in found
            else "the mask is the only region"
        )
        notes.append(f"{acquisition.name}: {_no_labels(config, acquisition)}; {made}.")
    return notes


def _no_labels(config: RunConfig, acquisition: Acquisition) -> str:
    """Why there is no label image; no advice to do what was done."""
    if "dseg" in config.ignore:
        return "label images are left out by --ignore dseg"
    if config.derivatives:
        return (
            f"{searched(config.derivatives)} no label image for this series of "
            f"sub-{acquisition.entities['subject']}, and no --atlas is given"
        )
    return "no label image was found (give labels with --atlas or --derivatives)"


def root_of(acquisition: Acquisition, path: Path) -> Path:
    """The data set that holds ``path``: the innermost, as derivatives may lie in raw data."""
    roots = [root for root in acquisition.links.values() if path.is_relative_to(root)]
    return max(roots, key=lambda root: len(root.parts), default=acquisition.root)


def label_fields(segmentations: Mapping[str, Segmentation]) -> dict[str, tuple[str, str]]:
    """Fields that carry what images tell of regions: ``seg-``, and the field of their node."""
    return {
        f"{item}_{label}": (label, item)
        for label, segmentation in segmentations.items()
        if segmentation.is_told
        for item in _LABELS
    }


def init_labels_wf(
    segmentations: Mapping[str, Segmentation],
    *,
    erode: int = 0,
    gathered: bool = False,
    name: str = "labels_wf",
) -> Workflow:
    """Regions that images tell, on the grid of a series.

    Returns
    -------
    Workflow
        ``inputnode``: mask, with images of the T1w image ``to_series``; ``outputnode``: those of
        :func:`label_fields`, and if ``gathered`` also ``strata``: all label images.
    """
    told = {label: item for label, item in segmentations.items() if item.is_told}
    workflow = Workflow(name=name)
    moved = ["to_series"] if any(item.in_t1w for item in told.values()) else []
    inputnode = Node(IdentityInterface(fields=["mask", *moved]), name="inputnode")
    fields = [*label_fields(told), *(STRATA if gathered else ())]
    outputnode = Node(IdentityInterface(fields=fields), name="outputnode")
    for label, segmentation in told.items():
        labels = Node(_labels_interface(segmentation, erode), name=f"labels_{label}")
        placing = ["mask", *(["to_series"] if segmentation.in_t1w else [])]
        workflow.connect([(inputnode, labels, [(field, field) for field in placing])])
        passed = [(item, f"{item}_{label}") for item in _LABELS]
        workflow.connect([(labels, outputnode, passed)])
    if gathered:
        # Names of nodes: labels of files may be those of methods of inputs (seg-get).
        names = [f"labels_{label}" for label in told]
        gather = Node(GatherFiles(names), name="gather")
        for item in names:
            workflow.connect(workflow.get_node(item), "labels", gather, item)
        workflow.connect([(gather, outputnode, [("files", field) for field in STRATA])])
    return workflow


def init_regions_wf(
    *,
    series: Path,
    output_dir: Path,
    label: str,
    segmentation: Segmentation,
    estimators: Sequence[str],
    erode: int = 0,
    has_rate: bool = False,
    num_threads: int = 1,
    name: str = "regions_wf",
) -> Workflow:
    """Labels, statistics and agreement of one segmentation of one series.

    Parameters
    ----------
    series
        Description of the series (``write_series``).
    output_dir
        Root of the derivative data set.
    label
        Value of ``seg-``.
    segmentation
        Where the regions come from.
    estimators
        Values of ``desc-``: network or fits by other models first, what they are held against
        last.
    erode
        Layers of voxels to take off each region.
    has_rate
        Whether a map of R1 comes through ``inputnode.supplied``; tissues are then told by it.
    num_threads
        Maps that are summarised at a time.

    Returns
    -------
    Workflow
        ``inputnode``: mask; where images tell the regions, labels, lookup and source of
        :func:`init_labels_wf`; for each estimator ``E`` the fields ``E_maps_file`` and ``E_maps``.
    """
    workflow = Workflow(name=name)
    estimated = [f"{estimator}_{field}" for estimator in estimators for field in ESTIMATED]
    told = list(_LABELS) if segmentation.is_told else []
    rate = ["supplied"] if has_rate else []
    fields = ["mask", *told, *rate, *estimated]
    inputnode = Node(IdentityInterface(fields=fields), name="inputnode")
    shared = {
        "series": str(series), "output_dir": str(output_dir), "segmentation": label,
        "erode": erode,
    }  # fmt: skip
    labels = inputnode
    if not segmentation.is_told:
        labels = Node(_labels_interface(segmentation, erode), name="labels")
        workflow.connect(inputnode, "mask", labels, "mask")
    if segmentation.source == "maps":
        _connect_classes(workflow, inputnode, labels, estimators, rate)
    if segmentation.source != "mask":
        write = Node(WriteLabels(**shared), name="write_labels")
        workflow.connect([(labels, write, _of_labels(labels))])
    for estimator in estimators:
        summary = SummariseRegions(num_threads=num_threads)
        regions = Node(summary, name=f"summarise_{estimator}", n_procs=num_threads)
        ours = [("mask", "mask"), *((f"{estimator}_{field}", field) for field in ESTIMATED)]
        workflow.connect([(inputnode, regions, ours)])
        _connect_table(workflow, labels, regions, estimator, "scalarstats", shared)
    *others, reference = estimators
    for tested in others:
        agreement = CompareEstimators(num_threads=num_threads)
        compare = Node(agreement, name=f"compare_{tested}", n_procs=num_threads)
        compared = {
            "mask": "mask",
            f"{tested}_maps_file": "test_file", f"{tested}_maps": "test_maps",
            f"{reference}_maps_file": "reference_file", f"{reference}_maps": "reference_maps",
        }  # fmt: skip
        workflow.connect([(inputnode, compare, list(compared.items()))])
        desc = comparison(reference, tested)
        _connect_table(workflow, labels, compare, desc, "agreement", shared)
    return workflow


def _connect_classes(
    workflow: Workflow,
    inputnode: Node,
    labels: Node,
    estimators: Sequence[str],
    rate: Sequence[str],
) -> None:
    """Tissue classes of the maps of an estimator.

    Of the reference, where there is one: it knows nothing of what a network was trained on. Where
    it was run in a sample of the voxels, of the first one.
    """
    first, last = estimators[0], estimators[-1]
    labels.inputs.derived_from = last
    passed = [(f"{last}_{field}", field) for field in ESTIMATED]
    passed += [(field, field) for field in rate]
    if first != last:
        labels.inputs.whole_from = first
        whole = zip(ESTIMATED, ("whole_file", "whole_maps"), strict=True)
        passed += [(f"{first}_{field}", name) for field, name in whole]
    workflow.connect([(inputnode, labels, passed)])


def _of_labels(labels: Node) -> list[tuple[str, str]]:
    """What writers are told of regions; their estimator only where it made them."""
    made = isinstance(labels.interface, PrepareLabels)
    return [(item, item) for item in (*_LABELS, *(["derived_from"] if made else []))]


def _labels_interface(segmentation: Segmentation, layers: int) -> PrepareLabels:
    interface = PrepareLabels(erode=layers, must_overlap=segmentation.must_overlap)
    if segmentation.source == "labels":
        interface.inputs.labels = str(segmentation.images[""])
    elif segmentation.source == "probabilities":
        interface.inputs.probability_names = list(segmentation.images)
        interface.inputs.probabilities = [str(path) for path in segmentation.images.values()]
    if segmentation.lookup is not None:
        interface.inputs.lookup = str(segmentation.lookup)
    return interface


def _connect_table(
    workflow: Workflow,
    labels: Node,
    make: Node,
    desc: str,
    suffix: str,
    shared: Mapping[str, object],
) -> None:
    write = Node(WriteRegions(estimator=desc, suffix=suffix, **shared), name=f"write_{desc}")
    workflow.connect([(labels, make, [(item, item) for item in _LABELS])])
    origin = [pair for pair in _of_labels(labels) if pair[0] in ("source", "derived_from")]
    workflow.connect([(labels, write, origin), (make, write, [("table", "table")])])

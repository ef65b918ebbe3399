"""From maps to a derivative data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.bids.input.spaces import Space
from bids_brnn.interfaces.regions.labels import GatherFiles
from bids_brnn.interfaces.sinks.native import WriteMaps, WriteSeries
from bids_brnn.interfaces.sinks.page import WriteForPage
from bids_brnn.interfaces.sinks.spaces import WriteSpace
from bids_brnn.workflows.fields import ANATOMY, ESTIMATED, HISTORY, MOTION, PREPARED, SUPPLIED
from bids_brnn.workflows.regions import Segmentation, init_regions_wf, label_fields

_SERIES = (*(field for field in PREPARED if field != "coefficients"), *HISTORY)


def init_outputs_wf(
    *,
    series: Path,
    recipes: Mapping[str, Path],
    output_dir: Path,
    segmentations: Mapping[str, Segmentation],
    erode: int = 0,
    spaces: Sequence[Space] = (),
    has_fields: bool = False,
    has_rate: bool = False,
    has_t1w: bool = False,
    has_motion: bool = False,
    has_page: bool = False,
    has_spectrum: bool = False,
    num_threads: int = 1,
    name: str = "outputs_wf",
) -> Workflow:
    """Write what belongs to one series.

    Parameters
    ----------
    series
        Description of the series (``write_series``).
    recipes
        Files of the recipes by name of the estimator.
    output_dir
        Root of the derivative data set.
    segmentations
        Where regions come from, by the label for ``seg-``.
    erode
        Layers of voxels to take off each region.
    spaces
        Further spaces to write the maps in.
    has_fields
        Whether supplied field maps come through ``inputnode.supplied``.
    has_rate
        Whether one of them is R1.
    has_t1w
        Whether a T1w image on the grid of the series comes through ``inputnode.t1w_moved``.
    has_motion
        Whether a table of motion comes through ``inputnode.motion``.
    has_page
        Whether the participant gets a page, for which further tables are written.
    has_spectrum
        Whether a Z-spectrum for it comes through ``inputnode.coefficients``.
    num_threads
        Maps that are written at a time.

    Returns
    -------
    Workflow
        ``inputnode``: mask, mask_source, reference and what was found of the noise; those of
        :func:`~bids_brnn.workflows.regions.label_fields`;
        for each estimator ``E`` the fields ``E_maps_file`` and ``E_maps``.
    """
    workflow = Workflow(name=name)
    fields = [*_SERIES, *(ANATOMY if has_t1w else ()), *(SUPPLIED if has_fields else ())]
    fields += MOTION if has_motion else ()
    spectrum = ["coefficients"] if has_page and has_spectrum else []
    told = label_fields(segmentations)
    estimated = [f"{estimator}_{field}" for estimator in recipes for field in ESTIMATED]
    inputnode = Node(
        IdentityInterface(fields=[*fields, *spectrum, *told, *estimated]), name="inputnode"
    )
    shared = {"series": str(series), "output_dir": str(output_dir)}
    interface = WriteSeries(num_threads=num_threads, **shared)
    write = Node(interface, name="write_series", n_procs=num_threads)
    workflow.connect([(inputnode, write, [(field, field) for field in fields])])
    for estimator, recipe in recipes.items():
        ours = [(f"{estimator}_{field}", field) for field in ESTIMATED]
        interface = WriteMaps(
            recipe=str(recipe), desc=estimator, num_threads=num_threads, **shared
        )
        maps = Node(interface, name=f"write_{estimator}", n_procs=num_threads, mem_gb=2)
        sidecar = [field for field in _SERIES if field not in ("reference", "to_series")]
        sidecar += ["decisions"] if has_fields else []
        workflow.connect([(inputnode, maps, [*ours, *((item, item) for item in sidecar)])])
        for space in spaces:
            label = re.sub(r"\W", "", space.name)
            there = WriteSpace(recipe=str(recipe), desc=estimator, **space_inputs(space), **shared)
            node = Node(there, name=f"write_{estimator}_{label}", mem_gb=2)
            items = [*ours, *((item, item) for item in (*sidecar, "to_series"))]
            workflow.connect([(inputnode, node, items)])
    if has_page:
        inputs = ["mask", *spectrum, *(["supplied"] if has_fields else [])]
        _connect_page(workflow, inputnode, inputs, recipes, shared)
    for label, segmentation in segmentations.items():
        regions = init_regions_wf(
            series=series,
            output_dir=output_dir,
            label=label,
            segmentation=segmentation,
            estimators=list(recipes),
            erode=erode,
            has_rate=has_rate,
            num_threads=num_threads,
            name=f"regions_{label}_wf",
        )
        rate = ["supplied"] if has_rate else []
        passed = [(field, f"inputnode.{field}") for field in ("mask", *rate, *estimated)]
        passed += [
            (field, f"inputnode.{item}") for field, (seg, item) in told.items() if seg == label
        ]
        workflow.connect([(inputnode, regions, passed)])
    return workflow


def _connect_page(
    workflow: Workflow,
    inputnode: Node,
    fields: Sequence[str],
    recipes: Mapping[str, Path],
    shared: Mapping[str, str],
) -> None:
    """Tables for the page, from the maps of all estimators."""
    maps = [f"{desc}_{field}" for desc in recipes for field in ESTIMATED]
    gather = Node(GatherFiles(maps), name="gather_maps")
    workflow.connect([(inputnode, gather, [(field, field) for field in maps])])
    files = list(map(str, recipes.values()))
    interface = WriteForPage(descs=list(recipes), recipes=files, **shared)
    node = Node(interface, name="write_for_page", mem_gb=2)
    workflow.connect([(inputnode, node, [(field, field) for field in fields])])
    workflow.connect(gather, "files", node, "maps")


def space_inputs(space: Space) -> dict[str, str]:
    """A space as inputs of :class:`~bids_brnn.interfaces.sinks.spaces.WriteSpace`."""
    inputs = {"space": space.name, "target_uri": space.target_uri}
    if space.reference is not None:
        inputs["target"] = str(space.reference)
    if space.transform is not None:
        inputs |= {"transform": str(space.transform), "transform_uri": space.transform_uri}
    return inputs

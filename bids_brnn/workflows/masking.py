"""The nodes around the T1w image: registration, brain extraction and the mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nipype.pipeline.engine import Node, Workflow

from bids_brnn.interfaces.preparation.align import AlignSeries
from bids_brnn.interfaces.preparation.masks import BrainMask, StripSkull, SynthesiseT1w
from bids_brnn.workflows.estimation import init_estimation_wf

_STRIP_GB = 1.5  # deepbet, with torch


@dataclass(frozen=True)
class Anatomy:
    """What is known of the head beside the series."""

    t1w: Path | None = None
    registration: Literal["rigid", "header"] = "rigid"
    session: str = ""
    """The other session that the T1w image is from, if it is."""
    mask_in_t1w: bool = False
    """Whether the mask that was found lies in the T1w image, not on the series."""
    strip_t1w: bool = False
    """Make the mask from the T1w image, with deepbet."""
    quick: Mapping[str, Any] | None = None
    """Make the mask from a quick estimate, with deepbet: options of ``init_estimation_wf``."""
    reason: str = ""
    """Why there is no mask of the data set, for the log."""
    hint: str = ""
    """What would give a better one."""


def add_mask(
    workflow: Workflow, prepare: Node, anatomy: Anatomy, *, given: bool, label: str
) -> tuple[Node, Node]:
    """Add registration and mask behind ``prepare``; the two nodes.

    Parameters
    ----------
    workflow, prepare
        Where to add, and the node of the coefficients.
    anatomy
        What is known of the head.
    given
        Whether the mask of ``prepare`` is that of the user.
    label
        Name of the series for messages.
    """
    align = Node(
        AlignSeries(label=label, registration=anatomy.registration, session=anatomy.session),
        name="align",
        mem_gb=1.5,
    )
    if anatomy.t1w is not None:
        align.inputs.t1w = str(anatomy.t1w)
    in_t1w = anatomy.mask_in_t1w or anatomy.strip_t1w
    said = {"reason": anatomy.reason, "hint": anatomy.hint}
    interface = BrainMask(
        label=label,
        given=given,
        in_t1w=in_t1w,
        **{key: text for key, text in said.items() if text},
    )
    mask = Node(interface, name="mask")
    workflow.connect(prepare, "reference", align, "reference")
    workflow.connect([(prepare, mask, [("mask", "head"), ("mask_source", "head_source")])])
    workflow.connect([(align, mask, [(field, field) for field in ("to_series", "alignment")])])
    return align, mask


def add_extraction(
    workflow: Workflow, nodes: Mapping[str, Node], mask: Node, anatomy: Anatomy, *, n: int
) -> None:
    """Add brain extraction before ``mask``: of the T1w image, or of one from a quick estimate.

    Parameters
    ----------
    workflow, mask
        Where to add, and the node that takes the result.
    nodes
        By input of ``init_estimation_wf``, the node that has it.
    anatomy
        What is known of the head.
    n
        CPU threads.
    """
    if not anatomy.strip_t1w and anatomy.quick is None:
        return
    strip = Node(StripSkull(num_threads=n), name="strip", n_procs=n, mem_gb=_STRIP_GB)
    workflow.connect(strip, "mask", mask, "stripped")
    if anatomy.strip_t1w:
        strip.inputs.in_file = str(anatomy.t1w)
        mask.inputs.stripped_source = "the T1w image"
        return
    quick = init_estimation_wf(**(anatomy.quick or {}), name="quick_estimation_wf")
    synthesise = Node(SynthesiseT1w(), name="synthesise")
    for field, node in nodes.items():
        workflow.connect(node, field, quick, f"inputnode.{field}")
    workflow.connect(
        [(quick, synthesise, [(f"outputnode.{f}", f) for f in ("maps_file", "maps")])]
    )
    workflow.connect(synthesise, "out_file", strip, "in_file")
    mask.inputs.stripped_source = "a T1-weighted image made from a quick estimate"

"""From files of a series to coefficients, mask, reference image and field maps on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.bids.acquisition import Part
from bids_brnn.interfaces.fields import PrepareField
from bids_brnn.interfaces.prepare import PrepareCoefficients
from bids_brnn.workflows.fields import PREPARED


def init_preparation_wf(
    *,
    parts: Mapping[Part, Path],
    masks: Mapping[str, Path],
    supplied: Mapping[str, tuple[Path, str]],
    label: str = "",
    mem_gb: float = 1.0,
    name: str = "preparation_wf",
) -> Workflow:
    """Coefficients and mask of one series, and the field maps on its grid.

    Parameters
    ----------
    parts
        Files by ``real``, ``imag``, ``mag``, ``phase`` or ``complex``.
    masks
        ``user_mask`` (on the grid of the series) or ``mask`` (any grid), or neither.
    supplied
        File and units of field maps by ``B1`` or ``w0``.
    label
        Name of the series for messages.
    mem_gb
        Memory that the largest step needs.

    Returns
    -------
    Workflow
        ``outputnode`` holds :data:`~bids_brnn.workflows.fields.PREPARED`, and with field maps
        ``supplied`` and ``decisions`` (lists in the order of ``supplied``).
    """
    workflow = Workflow(name=name)
    outputs = [*PREPARED, *(["supplied", "decisions"] if supplied else [])]
    inputnode = Node(IdentityInterface(fields=[*parts, *masks]), name="inputnode")
    for field, path in (*parts.items(), *masks.items()):
        setattr(inputnode.inputs, field, str(path))
    prepare = Node(PrepareCoefficients(label=label), name="prepare", mem_gb=mem_gb)
    outputnode = Node(IdentityInterface(fields=outputs), name="outputnode")
    workflow.connect([(inputnode, prepare, [(field, field) for field in (*parts, *masks)])])
    workflow.connect([(prepare, outputnode, [(field, field) for field in PREPARED])])
    if supplied:
        _add_fields(workflow, supplied, list(supplied))
    return workflow


def _add_fields(
    workflow: Workflow, supplied: Mapping[str, tuple[Path, str]], order: Sequence[str]
) -> None:
    outputnode, prepare = workflow.get_node("outputnode"), workflow.get_node("prepare")
    merged = {
        output: Node(Merge(len(order)), name=f"merge_{output}")
        for output in ("supplied", "decisions")
    }
    for place, parameter in enumerate(order, start=1):
        path, units = supplied[parameter]
        field = Node(
            PrepareField(name=parameter, field=str(path), units=units), name=f"field_{parameter}"
        )
        workflow.connect(prepare, "mask", field, "mask")
        workflow.connect(field, "field", merged["supplied"], f"in{place}")
        workflow.connect(field, "decision", merged["decisions"], f"in{place}")
    for output, node in merged.items():
        workflow.connect(node, "out", outputnode, output)

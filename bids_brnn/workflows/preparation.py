"""From files of a series to coefficients, mask, reference image and field maps on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.bids.acquisition import Part
from bids_brnn.interfaces.fields import PrepareFields
from bids_brnn.interfaces.noise import EstimateNoise
from bids_brnn.interfaces.prepare import PrepareCoefficients
from bids_brnn.workflows.fields import HISTORY, PREPARED, SUPPLIED


def init_preparation_wf(
    *,
    parts: Mapping[Part, Path],
    masks: Mapping[str, Path],
    supplied: Mapping[str, tuple[Path, str]],
    noise_std: float | None = None,
    frames: bool = False,
    steps: Sequence[Node] = (),
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
    noise_std
        Noise standard deviation per channel, if known; otherwise it is estimated.
    frames
        Whether the series holds time frames; otherwise coefficients.
    steps
        Nodes that take and give ``coefficients`` and ``steps``, one after the other; see
        :func:`~bids_brnn.workflows.steps.step_nodes`.
    label
        Name of the series for messages.
    mem_gb
        Memory that the largest step needs.

    Returns
    -------
    Workflow
        ``outputnode`` holds :data:`~bids_brnn.workflows.fields.PREPARED`,
        :data:`~bids_brnn.workflows.fields.HISTORY`, and with field maps
        :data:`~bids_brnn.workflows.fields.SUPPLIED`, lists in the order of ``supplied``.
    """
    workflow = Workflow(name=name)
    outputs = [*PREPARED, *HISTORY, *(SUPPLIED if supplied else ())]
    inputnode = Node(IdentityInterface(fields=[*parts, *masks]), name="inputnode")
    for field, path in (*parts.items(), *masks.items()):
        setattr(inputnode.inputs, field, str(path))
    prepare = Node(PrepareCoefficients(label=label), name="prepare", mem_gb=mem_gb)
    outputnode = Node(IdentityInterface(fields=outputs), name="outputnode")
    workflow.connect([(inputnode, prepare, [(field, field) for field in (*parts, *masks)])])
    made = [field for field in PREPARED if field not in ("noise_level", "coefficients")]
    workflow.connect([(prepare, outputnode, [(field, field) for field in made])])
    noise = Node(
        EstimateNoise(frames=frames, magnitude=set(parts) == {"mag"}, label=label), name="noise"
    )
    if noise_std is not None:
        noise.inputs.declared = noise_std
    found = ("noise_level", "noise_source")
    workflow.connect([(prepare, noise, [(field, field) for field in ("coefficients", "mask")])])
    workflow.connect([(noise, outputnode, [(field, field) for field in found])])
    data, history = prepare, noise
    for step in steps:
        workflow.connect([(data, step, [("coefficients", "coefficients")])])
        workflow.connect([(history, step, [("steps", "steps")])])
        data = history = step
    workflow.connect([(data, outputnode, [("coefficients", "coefficients")])])
    workflow.connect([(history, outputnode, [("steps", "steps")])])
    if supplied:
        fields = PrepareFields(
            names=list(supplied),
            fields=[str(path) for path, _ in supplied.values()],
            units=[units for _, units in supplied.values()],
        )
        node = Node(fields, name="fields")
        workflow.connect(prepare, "mask", node, "mask")
        workflow.connect([(node, outputnode, [(field, field) for field in SUPPLIED])])
    return workflow

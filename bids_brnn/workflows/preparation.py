"""From files of a series to coefficients, mask, reference image and field maps on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.bids.input.acquisition import Measurements, Part
from bids_brnn.interfaces.preparation.coefficients import PrepareCoefficients
from bids_brnn.interfaces.preparation.fields import PrepareFields
from bids_brnn.interfaces.preparation.noise import EstimateNoise
from bids_brnn.interfaces.preparation.volumes import StackVolumes, places_of
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.workflows.fields import ANATOMY, HISTORY, MOTION, PREPARED, SPREAD, SUPPLIED
from bids_brnn.workflows.masking import Anatomy, add_extraction, add_mask


@dataclass(frozen=True)
class Spectrum:
    """What preparation needs to know of a Z-spectrum."""

    volumes: Measurements
    """Files by part of each repeat of each measurement; a series in one file is one of them."""
    protocol: ZSpectrum

    @property
    def averages(self) -> list[float]:
        """Repeats of each measurement."""
        weights = self.protocol.weights
        return [1.0] * self.protocol.n_samples if weights is None else weights.tolist()

    @property
    def offsets(self) -> list[float]:
        """Of MT pulses that were on, Hz."""
        on = self.protocol.mt_flip_angle > 0
        offsets: list[float] = self.protocol.offset[on].tolist()
        return offsets


def init_preparation_wf(
    *,
    parts: Mapping[Part, Path],
    masks: Mapping[str, Path],
    supplied: Mapping[str, tuple[Path, Mapping[str, Any]]],
    anatomy: Anatomy | None = None,
    spreads: Mapping[str, tuple[Path, Mapping[str, Any]]] | None = None,
    spectrum: Spectrum | None = None,
    noise_std: float | None = None,
    frames: bool = False,
    steps: Sequence[Node] = (),
    label: str = "",
    modules: Sequence[str] = (),
    num_threads: int = 1,
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
        File and sidecar of field maps by ``B1``, ``w0`` or ``R1``.
    spreads
        The same of their standard deviations, where there are any.
    spectrum
        Of a Z-spectrum: its files, in place of ``parts``, and its protocol.
    anatomy
        T1w image, and where masks come from; by default there is none.
    noise_std
        Noise standard deviation per channel, if known; otherwise it is estimated.
    frames
        Whether the series holds time frames; otherwise coefficients.
    steps
        Nodes that take and give ``coefficients`` and ``steps``, one after the other; see
        :func:`~bids_brnn.workflows.steps.step_nodes`. They may also take ``mask`` and
        ``noise_level``, and give ``reference`` and ``motion``.
    label
        Name of the series for messages.
    modules
        Python modules that later steps of this process need, loaded while files are read.
    num_threads
        Of reading and of brain extraction.
    mem_gb
        Memory that the largest step needs.

    Returns
    -------
    Workflow
        ``outputnode`` holds :data:`~bids_brnn.workflows.fields.PREPARED`,
        :data:`~bids_brnn.workflows.fields.HISTORY`, with a T1w image
        :data:`~bids_brnn.workflows.fields.ANATOMY`, with field maps
        :data:`~bids_brnn.workflows.fields.SUPPLIED`, lists in the order of ``supplied``, with
        ``spreads`` :data:`~bids_brnn.workflows.fields.SPREAD`, and with
        a step that corrects motion :data:`~bids_brnn.workflows.fields.MOTION`.
    """
    anatomy = anatomy or Anatomy()
    workflow = Workflow(name=name)
    moved = ANATOMY if anatomy.t1w is not None else ()
    tracked = [step for step in steps if MOTION[0] in step.outputs.copyable_trait_names()]
    outputs = [*PREPARED, *HISTORY, *moved, *(SUPPLIED if supplied else ())]
    outputs += [*(MOTION if tracked else ()), *(SPREAD if spreads else ())]
    single = parts if spectrum is None else {}
    volumes = [] if spectrum is None else ["files"]
    inputnode = Node(IdentityInterface(fields=[*single, *masks, *volumes]), name="inputnode")
    for field, path in (*single.items(), *masks.items()):
        setattr(inputnode.inputs, field, str(path))
    outputnode = Node(IdentityInterface(fields=outputs), name="outputnode")
    # A mask that was found may lie in the T1w image: it comes in behind the registration.
    given = "user_mask" in masks
    first = [*single, *(["user_mask"] if given else [])]
    # The files of a spectrum are read by another step.
    here, before = (list(modules), []) if spectrum is None else ([], list(modules))
    interface = PrepareCoefficients(
        label=label, head_only=not given, num_threads=num_threads, modules=here
    )
    prepare = Node(interface, name="prepare", n_procs=num_threads, mem_gb=mem_gb)
    workflow.connect([(inputnode, prepare, [(field, field) for field in first])])
    if spectrum is not None:
        inputnode.inputs.files, places = places_of(spectrum.volumes)
        reader = StackVolumes(places=places, num_threads=num_threads, modules=before)
        stack = Node(reader, name="stack", n_procs=num_threads, mem_gb=mem_gb)
        workflow.connect([(inputnode, stack, [("files", "files")])])
        workflow.connect([(stack, prepare, [("mag", "mag")])])
    align, mask = add_mask(workflow, prepare, anatomy, given=given, label=label)
    if "mask" in masks:
        workflow.connect(inputnode, "mask", mask, "found")
    # The head tells units and noise too, and is there before a mask made from estimates.
    early = prepare if anatomy.quick else mask
    magnitude = spectrum is not None or set(parts) == {"mag"}
    estimator = EstimateNoise(
        frames=frames, magnitude=magnitude, label=label, num_threads=num_threads
    )
    noise = Node(estimator, name="noise", n_procs=num_threads)
    if spectrum is not None:
        noise.inputs.averages = spectrum.averages
        noise.inputs.normalised = spectrum.protocol.normalised
    if noise_std is not None:
        noise.inputs.declared = noise_std
    workflow.connect(prepare, "coefficients", noise, "coefficients")
    workflow.connect(early, "mask", noise, "mask")
    makers = {"coefficients": prepare, "reference": prepare, "steps": noise}
    _chain(workflow, steps, makers, {"mask": early, "noise_level": noise})
    made = [
        *((node, (field,)) for field, node in makers.items()),
        *((step, MOTION) for step in tracked),
        (align, ("to_series", *moved)),
        (mask, ("mask", "mask_source", "record")),
        (noise, ("noise_level", "noise_source", "noise_warning")),
    ]
    known = {"coefficients": makers["coefficients"], "mask": early, "noise_level": noise}
    if supplied:
        known["supplied"] = fields = _fields_node(supplied, spreads or {}, spectrum, num_threads)
        workflow.connect(early, "mask", fields, "mask")
        made.append((fields, (*SUPPLIED, *(SPREAD if spreads else ()))))
    for node, names in made:
        workflow.connect([(node, outputnode, [(item, item) for item in names])])
    add_extraction(workflow, known, mask, anatomy, n=num_threads)
    return workflow


def _chain(
    workflow: Workflow, steps: Sequence[Node], makers: dict[str, Node], known: Mapping[str, Node]
) -> None:
    """Connect steps one after the other; ``makers`` then holds who made each field last."""
    for step in steps:
        sources = {**known, **makers}
        for field in step.inputs.copyable_trait_names():
            if field in sources:
                workflow.connect(sources[field], field, step, field)
        given = step.outputs.copyable_trait_names()
        makers |= {field: step for field in makers if field in given}


def _fields_node(
    supplied: Mapping[str, tuple[Path, Mapping[str, Any]]],
    spreads: Mapping[str, tuple[Path, Mapping[str, Any]]],
    spectrum: Spectrum | None,
    num_threads: int,
) -> Node:
    fields = PrepareFields(
        names=list(supplied),
        fields=[str(path) for path, _ in supplied.values()],
        sidecars=[dict(sidecar) for _, sidecar in supplied.values()],
        num_threads=num_threads,
    )
    if spectrum is not None:
        fields.inputs.offsets = spectrum.offsets
    if spreads:
        fields.inputs.spread_names = list(spreads)
        fields.inputs.spreads = [str(path) for path, _ in spreads.values()]
        fields.inputs.spread_sidecars = [dict(sidecar) for _, sidecar in spreads.values()]
    return Node(fields, name="fields", n_procs=num_threads)

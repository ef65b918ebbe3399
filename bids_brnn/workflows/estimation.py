"""From coefficients to the maps of one estimator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.config.choices import ALL
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.workflows.fields import ESTIMATED, LEVEL, SPREAD, STRATA


def init_estimation_wf(
    *,
    recipe: Path,
    suffix: str,
    supplied: Sequence[str] = (),
    spreads: Sequence[str] = (),
    noise_std: float | None = None,
    use_level: bool = False,
    check_noise: bool = False,
    check_level: bool = False,
    reference_voxels: str = ALL,
    seed: int = 1,
    stratified: bool = False,
    device: str = "auto",
    use_gpu: bool = False,
    num_threads: int = 1,
    batch_size: int | None = None,
    cache_dir: Path | None = None,
    label: str = "",
    mem_gb: float = 2.0,
    name: str = "estimation_wf",
) -> Workflow:
    """One :class:`EstimateMaps` node.

    Parameters
    ----------
    recipe
        File of an :class:`~bids_brnn.zoo.recipe.EstimatorRecipe`.
    suffix
        ``QMTmap`` or ``MRFmap``, for quality maps.
    supplied
        Parameters whose maps come through ``inputnode.supplied``, in this order.
    spreads
        Those of them whose standard deviations come through ``inputnode.spread``.
    noise_std
        Noise standard deviation per channel, if known.
    use_level
        Whether ``noise_level`` takes its place: for data whose own residual says nothing any more.
    check_noise
        Whether ``noise_std`` is declared, and is to be compared with the residual.
    check_level
        Whether ``noise_level``, which knows no model, is to be compared with it instead, where
        ``noise_source`` says that it is of time frames.
    reference_voxels, seed
        Voxels to estimate (a number, ``auto`` or ``all``), and the seed of their draw.
    stratified
        Whether label images for that come through ``inputnode.strata``.
    device, use_gpu, num_threads
        Where to compute; ``use_gpu`` is what Nipype's scheduler reads.
    batch_size
        Voxels estimated together; what suits the estimator by default.
    cache_dir
        Where dictionaries are kept for other participants with the same pulse train.
    label
        Name of the series for messages.
    mem_gb
        Memory that the step needs.

    Returns
    -------
    Workflow
        ``inputnode``: ``coefficients``, ``mask``, ``noise_level`` (for the SNR map; 0 if unknown)
        and, with supplied parameters, ``supplied``, with ``spreads`` also ``spread``,
        ``stratified`` also ``strata``, with ``check_level`` also ``noise_source``;
        ``outputnode``: :data:`~bids_brnn.workflows.fields.ESTIMATED`.
    """
    workflow = Workflow(name=name)
    fields = ["coefficients", "mask", "noise_level", *(["supplied"] if supplied else [])]
    fields += LEVEL if check_level else ()
    fields += SPREAD if spreads else ()
    fields += STRATA if stratified else ()
    inputnode = Node(IdentityInterface(fields=fields), name="inputnode")
    outputnode = Node(IdentityInterface(fields=list(ESTIMATED)), name="outputnode")
    interface = EstimateMaps(
        recipe=str(recipe),
        suffix=suffix,
        reference_voxels=reference_voxels,
        seed=seed,
        device=device,
        use_gpu=use_gpu,
        num_threads=num_threads,
        check_level=check_level,
        label=label,
    )
    if supplied:
        interface.inputs.supplied_names = list(supplied)
    if spreads:
        interface.inputs.spread_names = list(spreads)
    if batch_size is not None:
        interface.inputs.batch_size = batch_size
    if cache_dir is not None:
        interface.inputs.cache_dir = str(cache_dir)
    if noise_std is not None:
        interface.inputs.noise_std = noise_std
        interface.inputs.check_noise = check_noise
    estimate = Node(interface, name="estimate", n_procs=num_threads, mem_gb=mem_gb)
    workflow.connect([(inputnode, estimate, [(field, field) for field in fields])])
    if use_level:
        workflow.connect(inputnode, "noise_level", estimate, "noise_std")
    workflow.connect([(estimate, outputnode, [(field, field) for field in ESTIMATED])])
    return workflow

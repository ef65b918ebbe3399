"""The optional steps between files and estimation, and what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node

from bids_brnn.config.run_config import RunConfig
from bids_brnn.interfaces.preparation.motion import CorrectMotion
from bids_brnn.interfaces.preparation.mrtrix import find_tool
from bids_brnn.interfaces.preparation.steps import DenoiseSeries, RemoveGibbs


def check_tools(config: RunConfig) -> None:
    """Refuse options whose programs are not installed, before anything is read.

    Raises
    ------
    UsageError
        Naming the option and the program.
    """
    if config.denoise == "dwidenoise":
        find_tool("dwidenoise", "--denoise dwidenoise")
    if config.degibbs:
        find_tool("mrdegibbs", "--degibbs")


def step_nodes(
    *,
    denoise: str = "none",
    degibbs: bool = False,
    motion_recipe: Path | None = None,
    motion_window: int = 0,
    label: str = "",
    num_threads: int = 1,
    mem_gb: float = 2.0,
) -> list[Node]:
    """Nodes of optional steps, in the order in which they must run.

    Denoising comes first, as it needs untouched noise; what interpolates comes last.

    Parameters
    ----------
    denoise
        ``none``, ``mppca`` or ``dwidenoise``.
    degibbs
        Whether Gibbs ringing is removed.
    motion_recipe
        File of an ``EstimatorRecipe`` whose signal model tells what frames
        have in common; None leaves motion as it is.
    motion_window
        Frames that share a position; 0: a 20th of them.
    label
        Name of the series for messages.
    num_threads, mem_gb
        Of each node.

    Returns
    -------
    list of Node
        For ``steps`` of :func:`~bids_brnn.workflows.init_preparation_wf`. Each takes and gives
        ``coefficients`` and ``steps`` (what was done, in words); that of motion also takes
        ``mask`` and ``noise_level`` and gives ``reference`` and ``motion``.
    """
    shared: dict[str, Any] = {"label": label, "num_threads": num_threads}
    interfaces: dict[str, Any] = {}
    if denoise != "none":
        interfaces["denoise"] = DenoiseSeries(method=denoise, **shared)
    if degibbs:
        interfaces["degibbs"] = RemoveGibbs(**shared)
    if motion_recipe is not None:
        recipe = str(motion_recipe)
        interfaces["motion"] = CorrectMotion(recipe=recipe, window=motion_window, **shared)
    return [
        Node(interface, name=name, n_procs=num_threads, mem_gb=mem_gb)
        for name, interface in interfaces.items()
    ]

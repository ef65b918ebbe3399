"""Rigid motion between time frames: estimated with the model's own subspace, then corrected."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import File, traits

from bids_brnn.errors import DataError
from bids_brnn.files import write_text
from bids_brnn.imaging.grids import load, save
from bids_brnn.imaging.motion import COLUMNS, HEAD_RADIUS, Motion, correct_motion
from bids_brnn.imaging.motion_estimation import estimate_motion, signal_subspace
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.preparation.steps import StepInputSpec, StepOutputSpec, finish
from bids_brnn.zoo.recipe import EstimatorRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISPLACEMENT = "framewise_displacement"
_ATOMS = 600
_FEW = 200
"""Frames; below, the contrast has changed too little to tell motion by."""
_LOG = logging.getLogger("bids_brnn.prepare")


class CorrectMotionInputSpec(StepInputSpec):
    """Inputs of :class:`CorrectMotion`."""

    mask = File(exists=True, mandatory=True, desc="mask on the same grid")
    recipe = File(exists=True, mandatory=True, desc="JSON of an EstimatorRecipe: its signal model")
    noise_level = traits.Float(0.0, usedefault=True, desc="noise per channel; 0: unknown")
    window = traits.Range(
        low=0, value=0, usedefault=True, desc="frames that share a position; 0: a 20th of them"
    )


class CorrectMotionOutputSpec(StepOutputSpec):
    """Outputs of :class:`CorrectMotion`."""

    motion = File(exists=True, desc="TSV, a row per frame: position and displacement")
    reference = File(exists=True, desc="mean magnitude of the corrected frames")


class CorrectMotion(Node):
    """Bring all time frames to one position; coefficients of a subspace cannot be.

    >>> CorrectMotion().inputs.window
    0
    """

    input_spec = CorrectMotionInputSpec
    output_spec = CorrectMotionOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, estimate, move, save."""
        inputs = self.inputs
        recipe = EstimatorRecipe.from_file(Path(inputs.recipe))
        if recipe.basis is not None:
            raise DataError(
                "Motion between frames cannot be corrected in coefficients of a subspace, which "
                "are sums over all frames; correct it in the reconstruction."
            )
        if recipe.n_values < _FEW:
            _LOG.warning(
                "%s: with %d frames, slow motion can hardly be told from relaxation; check the "
                "figure of motion in the report",
                inputs.label,
                recipe.n_values,
            )
        image = load(inputs.coefficients)
        data = np.asanyarray(image.dataobj)
        mask = np.asanyarray(load(inputs.mask).dataobj) > 0
        spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
        motion = estimate_motion(
            data,
            spacing,
            signal_subspace(simulated(recipe)),
            mask,
            noise=inputs.noise_level,
            window=inputs.window,
        )
        corrected = correct_motion(data, spacing, motion)
        table = folder / "motion.tsv"
        write_text(table, motion_table(motion))
        reference = np.abs(corrected).mean(axis=3, dtype=np.float32)
        outputs = finish(folder / "corrected.nii", corrected, image, summary(motion), inputs)
        path = save(folder / "reference.nii", reference, image.affine, image.header)
        return {**outputs, "motion": str(table), "reference": str(path)}


def simulated(recipe: EstimatorRecipe) -> NDArray[np.complex64]:
    """Signals ``(A, N)`` of the model of a recipe, over the range of its parameters."""
    import torch

    from bids_brnn.estimators.dictionary.atoms import default_atoms

    model = recipe.build_model()
    with torch.no_grad():
        atoms = model(default_atoms(model.parameters, _ATOMS))
    return np.asarray(atoms.resolve_conj().numpy(), dtype=np.complex64)


def motion_table(motion: Motion) -> str:
    """A row per frame; the first has no displacement."""
    lines = ["\t".join([*COLUMNS, DISPLACEMENT])]
    for frame, (row, step) in enumerate(zip(motion.per_frame, motion.displacement, strict=True)):
        cells = [f"{value:.6g}" for value in row]
        lines.append("\t".join([*cells, f"{step:.6g}" if frame else "n/a"]))
    return "\n".join(lines) + "\n"


def motion_sidecar(sources: list[str]) -> dict[str, object]:
    """Columns of the table of motion."""
    columns: dict[str, object] = {}
    for axis, number in (("x", "first"), ("y", "second"), ("z", "third")):
        words = f"Shift of the head along the {number} axis of the image"
        columns[f"trans_{axis}"] = {"Description": words, "Units": "mm"}
    for axis, number in (("x", "first"), ("y", "second"), ("z", "third")):
        words = f"Rotation about the {number} axis of the image (rotation vector)"
        columns[f"rot_{axis}"] = {"Description": words, "Units": "rad"}
    words = (
        "Sum of the absolute changes of shifts and rotations since the frame before, rotations on "
        f"a sphere of {HEAD_RADIUS:g} mm (Power 2012)"
    )
    columns["framewise_displacement"] = {"Description": words, "Units": "mm"}
    return {
        "Description": "Position of the head in each time frame, from the corrected to the "
        "acquired one; a row per frame",
        "Sources": sources,
        **columns,
    }


def summary(motion: Motion) -> str:
    """What was done, in words, with the numbers that tell whether it mattered."""
    largest = np.abs(motion.parameters).max(0)
    frames = motion.n_frames / len(motion.starts)
    return (
        f"motion between frames corrected ({len(motion.starts)} windows of {frames:.3g} frames; "
        f"up to {largest[:3].max():.2f} mm and {np.degrees(largest[3:].max()):.2f} deg; largest "
        f"framewise displacement {motion.displacement.max():.2f} mm): frames were interpolated, "
        "which smooths them and changes their noise; standard deviations are approximate"
    )

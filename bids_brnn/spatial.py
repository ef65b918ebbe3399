"""Rigid registration and resampling of finished images, by SimpleITK.

Coefficients and time frames are never interpolated here: their noise and phase would change.
What moves are masks, labels, B1 and B0 maps (to the series) and finished maps (to other spaces).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from bids_brnn.errors import DataError
from bids_brnn.files import replacing

Interpolation = Literal["linear", "nearest", "label"]
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world axes point left and posterior


def same_grid(first: nib.spatialimages.SpatialImage, second: Any, tolerance: float = 1e-3) -> bool:
    """Whether two images have one 3D shape and affines equal to ``tolerance`` mm."""
    return first.shape[:3] == second.shape[:3] and bool(
        np.allclose(first.affine, second.affine, atol=tolerance)
    )


def to_itk(data: NDArray[Any], affine: NDArray[np.floating[Any]]) -> sitk.Image:
    """A 3D array with a NIfTI affine (RAS, mm) as an ITK image.

    Raises
    ------
    DataError
        If the affine is singular or sheared: ITK knows rotation, flips and spacing only.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(data).T))
    lps = _LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if not (np.isfinite(lps).all() and (spacing > 0).all()):
        raise DataError("an image affine is singular or not finite; correct the image header")
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-2):
        raise DataError("an image affine holds shear; resample the image to a rectangular grid")
    # Headers keep float32 rotations; ITK wants orthonormal ones to 1e-6.
    left, _, right = np.linalg.svd(direction)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((left @ right).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def register_rigid(
    moving: NDArray[np.floating[Any]],
    moving_affine: NDArray[np.floating[Any]],
    fixed: NDArray[np.floating[Any]],
    fixed_affine: NDArray[np.floating[Any]],
) -> sitk.Transform:
    """Rigid transform that maps points of ``fixed`` to points of ``moving``.

    Mattes mutual information on three resolutions, started at the centres of mass; contrasts may
    differ or be inverted. The same images give the same transform (regular sampling, fixed seed).
    Single-slice images are registered in the plane only.

    Returns
    -------
    SimpleITK.Transform
        Use it with :func:`resample` to bring ``moving`` to the grid of ``fixed``.
    """
    fixed_image = sitk.Cast(to_itk(_finite(fixed), fixed_affine), sitk.sitkFloat32)
    moving_image = sitk.Cast(to_itk(_finite(moving), moving_affine), sitk.sitkFloat32)
    start = sitk.CenteredTransformInitializer(
        fixed_image,
        moving_image,
        sitk.VersorRigid3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25, 20312)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    thick = min(min(fixed_image.GetSize()), min(moving_image.GetSize())) >= 8
    method.SetShrinkFactorsPerLevel([4, 2, 1] if thick else [1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0] if thick else [0.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed_image, moving_image)


def resample(
    data: NDArray[Any],
    affine: NDArray[np.floating[Any]],
    shape: tuple[int, int, int],
    target_affine: NDArray[np.floating[Any]],
    transform: sitk.Transform | None = None,
    *,
    interpolation: Interpolation = "linear",
    outside: float = 0.0,
) -> NDArray[Any]:
    """Bring a 3D image to another grid.

    Parameters
    ----------
    data, affine
        Image ``(X, Y, Z)`` and its affine (mm).
    shape, target_affine
        The grid to fill.
    transform
        From :func:`register_rigid` (target points to image points); identity if absent.
    interpolation
        ``label`` keeps label values and draws smooth borders (Gaussian per label).
    outside
        Value where the image does not reach.
    """
    source = to_itk(data.astype(np.float64 if interpolation == "linear" else data.dtype), affine)
    grid = to_itk(np.zeros(shape, dtype=np.uint8), target_affine)
    kinds = {
        "linear": sitk.sitkLinear,
        "nearest": sitk.sitkNearestNeighbor,
        "label": sitk.sitkLabelGaussian,
    }
    moved = sitk.Resample(
        source, grid, transform or sitk.Transform(3, sitk.sitkIdentity),
        kinds[interpolation], outside, source.GetPixelID(),
    )  # fmt: skip
    return sitk.GetArrayFromImage(moved).T


def write_transform(transform: sitk.Transform, path: Path) -> None:
    """Write an ITK text transform in one step, as ANTs and fMRIPrep read it."""
    with replacing(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def read_transform(path: Path) -> sitk.Transform:
    """Read an ITK transform (``.txt``, ``.tfm``, ``.h5``).

    Raises
    ------
    DataError
        If the file is not an ITK transform.
    """
    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise DataError(f"{path} is not a transform that ITK can read") from error


def _finite(data: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return np.nan_to_num(np.asarray(data, dtype=np.float32), posinf=0.0, neginf=0.0)

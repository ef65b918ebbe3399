"""Rigid registration and resampling of finished images, by SimpleITK.

Coefficients and time frames are never interpolated here: their noise and phase would change.
What moves are masks, labels, B1 and B0 maps (to the series) and finished maps (to other spaces).
SimpleITK is loaded by what uses it: a run that finds everything done needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.safe import unreadable
from bids_brnn.errors import DataError
from bids_brnn.files import check_regular, replacing

if TYPE_CHECKING:
    import SimpleITK as sitk

Interpolation = Literal["linear", "nearest", "label"]
MIN_VOXELS = 8
MIN_EXTENT = 40.0
"""mm; with fewer voxels or less extent in any direction a slab fits at many heights."""
_SAMPLES = 50_000  # of the fixed image, at each level
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world axes point left and posterior


def to_itk(data: NDArray[Any], affine: NDArray[np.floating[Any]]) -> sitk.Image:
    """A 3D array with a NIfTI affine (RAS, mm) as an ITK image.

    Raises
    ------
    DataError
        If the affine is singular or sheared: ITK knows rotation, flips and spacing only.
    """
    import SimpleITK as sitk

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
    *,
    score: Callable[[sitk.Transform], float] | None = None,
) -> sitk.Transform:
    """Rigid transform that maps points of ``fixed`` to points of ``moving``.

    Mattes mutual information on three resolutions; contrasts may differ or be inverted. The same
    images give the same transform (regular sampling, fixed seed, one thread).

    Parameters
    ----------
    moving, fixed
        ``(X, Y, Z)``; voxels that are not finite count as 0.
    moving_affine, fixed_affine
        Voxel to mm, RAS.
    score
        Tells good transforms from bad ones. With it the coarse step starts from the headers and
        from the centres of mass, and the better result goes on; without it only from the latter.

    Returns
    -------
    SimpleITK.Transform
        Use it with :func:`resample` to bring ``moving`` to the grid of ``fixed``.

    Raises
    ------
    RuntimeError
        If the images hardly overlap.
    """
    import SimpleITK as sitk

    fixed_image = sitk.Cast(to_itk(_finite(fixed), fixed_affine), sitk.sitkFloat32)
    moving_image = sitk.Cast(to_itk(_finite(moving), moving_affine), sitk.sitkFloat32)
    centred = sitk.CenteredTransformInitializer(
        fixed_image,
        moving_image,
        sitk.VersorRigid3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    thick = min(min(fixed_image.GetSize()), min(moving_image.GetSize())) >= 8
    if not thick:
        return _optimise(fixed_image, moving_image, centred, [(1, 0.0)])
    start = centred
    if score is not None:
        unmoved = sitk.VersorRigid3DTransform()
        unmoved.SetCenter(sitk.VersorRigid3DTransform(centred).GetCenter())
        tried = []
        for candidate in (unmoved, centred):
            # One of the two may lie outside of the other image.
            with suppress(RuntimeError):
                tried.append(_optimise(fixed_image, moving_image, candidate, [(4, 4.0)]))
        start = max(tried, key=score, default=centred)
    levels = [(2, 2.0), (1, 0.0)] if score is not None else [(4, 4.0), (2, 2.0), (1, 0.0)]
    return _optimise(fixed_image, moving_image, start, levels)


def _optimise(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Transform,
    levels: Sequence[tuple[int, float]],
) -> sitk.Transform:
    """Maximise mutual information from ``start``; levels are shrink factor and blur (mm)."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # several add up the metric in another order each time
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    voxels = fixed.GetNumberOfPixels()
    shares = [min(1.0, _SAMPLES * shrink**3 / voxels) for shrink, _ in levels]
    method.SetMetricSamplingPercentagePerLevel(shares, 20312)
    # Gradients at the samples only: filtering a whole T1w image takes longer than all the rest.
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=2e-4, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in levels])
    method.SetSmoothingSigmasPerLevel([blur for _, blur in levels])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def rigid_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """The same rigid transform as matrix and offset, the form that every ITK-like tool reads.

    Raises
    ------
    DataError
        If it is not a rotation with a translation.
    """
    import SimpleITK as sitk

    points = _LPS @ affine_of(transform) @ _LPS
    matrix, zero = points[:3, :3], points[:3, 3]
    if not np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-6):
        raise DataError("the transform is not rigid")
    from scipy.spatial.transform import Rotation  # a tenth of a second that few runs need

    # A micrometre at the skull is enough, and runs on other processors then write the same file.
    turn = Rotation.from_rotvec(np.round(Rotation.from_matrix(matrix).as_rotvec(), 5))
    return sitk.AffineTransform(turn.as_matrix().ravel().tolist(), np.round(zero, 3).tolist())


def affine_of(transform: sitk.Transform) -> NDArray[np.float64]:
    """Matrix ``(4, 4)`` of a linear transform, for points in mm with NIfTI's axes (RAS)."""
    zero = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis, row in enumerate(np.eye(3).tolist()):
        matrix[:3, axis] = np.array(transform.TransformPoint(row)) - zero
    matrix[:3, 3] = zero
    return np.asarray(_LPS @ matrix @ _LPS)


def thin_axis(shape: Sequence[int], affine: NDArray[np.floating[Any]]) -> str | None:
    """The shortest side in words if an image is too thin to be placed in three dimensions."""
    sides = np.linalg.norm(affine[:3, :3], axis=0) * np.array(shape[:3])
    axis = int(np.argmin(sides))
    count = min(shape[:3])
    if count >= MIN_VOXELS and sides[axis] >= MIN_EXTENT:
        return None
    slices = "1 slice" if count == 1 else f"{count} slices"
    return f"{slices}, {sides[axis]:.0f} mm; {MIN_VOXELS} and {MIN_EXTENT:.0f} mm are needed"


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
    import SimpleITK as sitk

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


def inverse(transform: sitk.Transform) -> sitk.Transform:
    """The way back.

    Raises
    ------
    DataError
        If the transform cannot be inverted.
    """
    try:
        return transform.GetInverse()
    except RuntimeError as error:
        raise DataError(f"a {transform.GetName()} cannot be inverted") from error


def chained(first: sitk.Transform, then: sitk.Transform) -> sitk.Transform:
    """The transform that maps a point by ``first`` and the result by ``then``."""
    import SimpleITK as sitk

    return sitk.CompositeTransform([then, first])  # ITK applies the last one first


def warp_grid(
    transform: sitk.Transform,
) -> tuple[tuple[int, int, int], NDArray[np.float64]] | None:
    """Shape and affine (RAS) of the grid of a displacement field, None if there is none.

    Of a composite transform the field that is applied first counts: its grid is that of the space
    the transform starts from.
    """
    import SimpleITK as sitk

    if transform.GetName() == "CompositeTransform":
        composite = sitk.CompositeTransform(transform)
        parts = [composite.GetNthTransform(n) for n in range(composite.GetNumberOfTransforms())]
        return next((grid for part in reversed(parts) if (grid := warp_grid(part))), None)
    if transform.GetName() != "DisplacementFieldTransform":
        return None
    field = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(field.GetDirection(), (3, 3)) * field.GetSpacing()
    affine[:3, 3] = field.GetOrigin()
    x, y, z = field.GetSize()
    return (x, y, z), np.asarray(_LPS @ affine)


def write_transform(transform: sitk.Transform, path: Path) -> None:
    """Write an ITK text transform in one step, as ANTs and fMRIPrep read it."""
    import SimpleITK as sitk

    with replacing(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def read_transform(path: Path) -> sitk.Transform:
    """Read an ITK transform (``.txt``, ``.tfm``, ``.h5``).

    Raises
    ------
    DataError
        If the file is not an ITK transform.
    ReadError
        If it is absent, or no regular file.
    """
    import SimpleITK as sitk

    try:
        check_regular(path)
        return sitk.ReadTransform(str(path))
    except (RuntimeError, UnicodeError) as error:  # its message quotes the file
        raise DataError(f"{path} is not a transform that ITK can read") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _finite(data: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return np.nan_to_num(np.asarray(data, dtype=np.float32), posinf=0.0, neginf=0.0)

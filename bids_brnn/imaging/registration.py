"""Is the T1-weighted image where its header says? Rigid registration that knows when it failed.

The series is the fixed image: it is often a slab, so every one of its voxels has a counterpart in
the T1-weighted image but not the other way round. A registration that does not convince is
dropped, and the headers are believed instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bids_brnn.imaging.resampling import register_rigid, resample, rigid_affine, thin_axis, to_itk

if TYPE_CHECKING:
    import SimpleITK as sitk

Image = NDArray[np.floating[Any]]
Method = Literal["rigid", "header"]

MAX_ROTATION = 40.0
"""Degrees; a head coil allows less, and mirror-like optima lie far above."""
MAX_SHIFT = 80.0
"""mm, at the centre of the series; above what another landmark or table position makes."""
MIN_PEAK = 1.25
"""Least mutual information relative to displaced positions. Heads reach 1.9 and more, also as
slabs of 42 mm, inverted, or drowned in noise, and a plain phantom of 7 mm voxels 1.36; unrelated
images and false optima (head upside down, 70 degrees away) stay at 1.2 or below."""
_DISPLACED = (10.0, 15.0)  # mm and degrees of the displaced positions
_LOST = 0.05  # share of the head that may leave the T1-weighted head
_COARSE = 4.0  # mm, grid of the measures


@dataclass(frozen=True)
class Alignment:
    """Where the points of a series lie in the T1-weighted image."""

    transform: sitk.AffineTransform
    """Points of the series to points of the T1-weighted image (ITK, mm)."""
    method: Method
    reason: str
    """Why this method, in words; ends without a full stop."""
    rotation: float = 0.0
    """Degrees."""
    shift: float = 0.0
    """mm, of the centre of the series."""
    before: float = math.nan
    """Mutual information by the headers, nat."""
    after: float = math.nan
    """The same after registration, also if that was dropped."""
    failed: bool = False
    """Whether a registration was tried and dropped."""
    peak: float = math.nan
    """Of the header geometry, where nothing better was found: see :data:`MIN_PEAK`."""

    @property
    def doubtful(self) -> bool:
        """Whether the images themselves say nothing for this transform."""
        return self.method == "header" and not self.peak >= MIN_PEAK

    def record(self) -> dict[str, object]:
        """For sidecars."""
        found: dict[str, object] = {
            "Method": self.method,
            "Description": self.reason,
            "RotationDegrees": round(self.rotation, 3),
            "TranslationMillimetres": round(self.shift, 3),
        }
        if math.isfinite(self.after):
            found["MutualInformation"] = {
                "Header": round(self.before, 4),
                "Rigid": round(self.after, 4),
            }
        return found


def by_header(
    reason: str, *, before: float = math.nan, after: float = math.nan, failed: bool = False
) -> Alignment:
    """Series and T1-weighted image taken to share scanner coordinates."""
    import SimpleITK as sitk

    return Alignment(
        sitk.AffineTransform(3), "header", reason, before=before, after=after, failed=failed
    )


def align(
    series: Image,
    series_affine: NDArray[np.floating[Any]],
    t1w: Image,
    t1w_affine: NDArray[np.floating[Any]],
) -> Alignment:
    """Register a series to a T1-weighted image, or say why the headers are believed.

    Parameters
    ----------
    series, t1w
        ``(X, Y, Z)`` magnitude images of any contrast.
    series_affine, t1w_affine
        Voxel to mm, RAS.

    Returns
    -------
    Alignment
        ``rigid`` if a registration within :data:`MAX_ROTATION` and :data:`MAX_SHIFT` raises the
        mutual information, keeps the head inside, and stands out from displaced positions by
        :data:`MIN_PEAK`; otherwise ``header``.
    """
    import SimpleITK as sitk

    for words, image, affine in (("series", series, series_affine), ("T1w", t1w, t1w_affine)):
        if (thin := thin_axis(image.shape, affine)) is not None:
            return by_header(f"the {words} is too thin to be registered ({thin})")
    measure = _Measure(series, series_affine, t1w, t1w_affine)
    try:
        found = register_rigid(t1w, t1w_affine, series, series_affine, score=measure)
    except RuntimeError as error:  # ITK: too few samples overlap, or an image is empty
        return _dropped(f"it stopped ({str(error).strip().splitlines()[-1]})")
    transform, header = rigid_affine(found), sitk.AffineTransform(3)
    rotation, shift = extent_of(transform, series.shape, series_affine)
    before, after = measure(header), measure(transform)
    words = f"{rotation:.1f} degrees and {shift:.1f} mm from the header geometry"
    if rotation > MAX_ROTATION or shift > MAX_SHIFT:
        return _dropped(f"it moved by {words}", before, after)
    better = transform if after > before else header
    peak = measure.peak(better, max(before, after))
    if peak < MIN_PEAK:
        return _dropped("the images have too little in common", before, after)
    if better is header:
        words = "registration found nothing better than the header geometry"
        return replace(by_header(words, before=before, after=after), peak=peak)
    inside = measure.inside(transform)
    if inside < measure.inside(header) - _LOST:
        return _dropped(f"{100 * inside:.0f} % of the head would lie in the T1w", before, after)
    reason = f"rigid registration, {words}"
    return Alignment(transform, "rigid", reason, rotation, shift, before, after)


def _dropped(why: str, before: float = math.nan, after: float = math.nan) -> Alignment:
    reason = f"registration failed: {why}; the header geometry is used"
    return by_header(reason, before=before, after=after, failed=True)


def extent_of(
    transform: sitk.AffineTransform,
    shape: tuple[int, ...],
    affine: NDArray[np.floating[Any]],
) -> tuple[float, float]:
    """Rotation (degrees) of a rigid transform, and how far it moves the centre of a grid (mm)."""
    matrix = np.reshape(transform.GetMatrix(), (3, 3))
    cosine = float(np.clip((np.trace(matrix) - 1) / 2, -1, 1))
    centre = affine[:3, :3] @ ((np.array(shape[:3]) - 1) / 2) + affine[:3, 3]
    point = (centre * [-1, -1, 1]).tolist()
    moved = np.array(transform.TransformPoint(point)) - point
    return math.degrees(math.acos(cosine)), float(np.linalg.norm(moved))


class _Measure:
    """Mutual information of the two images on a coarse grid over the series."""

    def __init__(
        self,
        series: Image,
        series_affine: NDArray[np.floating[Any]],
        t1w: Image,
        t1w_affine: NDArray[np.floating[Any]],
    ) -> None:
        spacing = np.linalg.norm(series_affine[:3, :3], axis=0)
        extent = spacing * series.shape[:3]
        sizes = np.maximum(np.round(extent / np.maximum(spacing, _COARSE)), 1).astype(int)
        self.shape = (int(sizes[0]), int(sizes[1]), int(sizes[2]))
        step = extent / sizes
        self.affine = np.array(series_affine, dtype=np.float64)
        self.affine[:3, :3] = series_affine[:3, :3] / spacing * step
        start = series_affine[:3, :3] @ ((step / spacing - 1) / 2)
        self.affine[:3, 3] = series_affine[:3, 3] + start
        self.centre = self.affine[:3, :3] @ ((sizes - 1) / 2) + self.affine[:3, 3]
        self.t1w, self.t1w_affine = _smoothed(t1w, t1w_affine), t1w_affine
        blurred = _smoothed(series, series_affine)
        self.series = resample(blurred, series_affine, self.shape, self.affine)
        self.bins = [_levels(self.series), _levels(self.t1w)]

    def moved(self, transform: sitk.Transform) -> Image:
        return resample(self.t1w, self.t1w_affine, self.shape, self.affine, transform)

    def __call__(self, transform: sitk.Transform) -> float:
        counts, _, _ = np.histogram2d(
            self.series.ravel(), self.moved(transform).ravel(), bins=self.bins
        )
        joint = counts / max(counts.sum(), 1)
        apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        filled = joint > 0
        return float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())

    def inside(self, transform: sitk.Transform) -> float:
        """Share of the bright voxels of the series that are bright in the other image too."""
        head = self.series > self.series.mean()
        return float((self.moved(transform)[head] > self.t1w.mean()).mean())

    def peak(self, transform: sitk.AffineTransform, value: float) -> float:
        """``value`` over the mean of displaced positions."""
        import SimpleITK as sitk

        length, angle = _DISPLACED
        others = []
        for axis in np.eye(3):
            for sign in (-1, 1):
                shift = sitk.TranslationTransform(3, (sign * length * axis).tolist())
                turn = sitk.VersorRigid3DTransform()
                turn.SetCenter((self.centre * [-1, -1, 1]).tolist())
                turn.SetRotation(axis.tolist(), math.radians(sign * angle))
                for step in (shift, turn):
                    others.append(self(sitk.CompositeTransform([transform, step])))
        return value / max(float(np.mean(others)), 1e-12)


def _smoothed(image: Image, affine: NDArray[np.floating[Any]]) -> Image:
    import SimpleITK as sitk

    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    return sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(to_itk(values, affine), _COARSE / 2)
    ).T  # fmt: skip


def _levels(image: Image, count: int = 32) -> NDArray[np.floating[Any]]:
    """Edges of equal steps up to the 99.5th percentile; the ends are open."""
    low, high = (float(value) for value in np.percentile(image, [0.5, 99.5]))
    inner = np.linspace(low, high if high > low else low + 1, count - 1)
    return np.concatenate([[-np.inf], inner, [np.inf]])

"""A head made of ellipsoids and cosines, and the physical fields in and around it.

Coordinates are dimensionless: ``x`` to the right, ``y`` to the front, ``z`` upwards, each from -1
to 1 over :data:`HALF_FOV`. All functions are continuous in space, so that any grid can sample the
same head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import TISSUES

Array = NDArray[np.float64]

HALF_FOV = np.array([80.0, 100.0, 80.0])
"""Half of the field of view, mm."""

LABELS: Mapping[int, tuple[str, str]] = {
    2: ("Left-Cerebral-White-Matter", "WM"),
    3: ("Left-Cerebral-Cortex", "GM"),
    4: ("Left-Lateral-Ventricle", "CSF"),
    10: ("Left-Thalamus", "GM"),
    24: ("CSF", "CSF"),
    41: ("Right-Cerebral-White-Matter", "WM"),
    42: ("Right-Cerebral-Cortex", "GM"),
    43: ("Right-Lateral-Ventricle", "CSF"),
    49: ("Right-Thalamus", "GM"),
}
"""Name and tissue by label; numbers and names are those of FreeSurfer's aseg."""

_WATER = {"WM": 0.75, "GM": 0.85, "CSF": 1.0}  # proton density relative to water
_FACTORS = {10: {"m0s": 1.3, "R2f": 1.1, "R2": 1.1}, 49: {"m0s": 1.3, "R2f": 1.1, "R2": 1.1}}
_VARIATION = 0.06  # relative, within one tissue
_BETWEEN = 0.03  # relative standard deviation between subjects


@dataclass(frozen=True)
class Head:
    """What differs between subjects."""

    radii: Array
    """Half axes of the brain, in units of the half field of view."""
    tilt: float
    """Rotation about z, rad."""
    ventricle: float
    """Size of the ventricles relative to the average."""
    gyri: Array
    """Phases of the folding of the cortex, rad."""
    tissue: Mapping[str, float]
    """Factor on each tissue parameter."""
    waves: Mapping[str, Array]
    """``(2, 4)`` wave vectors and phases of the variation within tissue, per parameter."""
    b1: Array
    """Height, curvature and slope of the transmit field."""
    w0: Array
    """Amplitudes of the off-resonance field, rad/s."""
    phase: Array
    """Coefficients of the phase of the receiver, rad."""


def draw_head(parameters: ParameterSet, rng: np.random.Generator) -> Head:
    """A subject with the tissue parameters of ``parameters``, reproducible from ``rng``."""
    names = [item.name for item in parameters if item.role == "estimated"]
    return Head(
        radii=np.array([0.84, 0.82, 1.6]) * (1 + 0.03 * rng.uniform(-1, 1, 3)),
        tilt=math.radians(6) * rng.uniform(-1, 1),
        ventricle=1 + 0.25 * rng.uniform(-1, 1),
        gyri=rng.uniform(0, 2 * math.pi, 2),
        tissue={name: float(np.exp(_BETWEEN * rng.standard_normal())) for name in names},
        waves={
            name: np.column_stack(
                [rng.uniform(-3, 3, (2, 3)), rng.uniform(0, 2 * math.pi, 2)]
            )
            for name in names
        },
        b1=np.array([1.08, 0.2, 0.05]) + np.array([0.03, 0.04, 0.03]) * rng.uniform(-1, 1, 3),
        w0=np.array([120.0, 60.0, 220.0]) * rng.uniform(0.6, 1.0, 3),
        phase=rng.uniform(-1, 1, 5) * np.array([math.pi, 1.5, 1.5, 1.0, 1.0]),
    )  # fmt: skip


def affine_of(shape: tuple[int, int, int], thickness: float) -> Array:
    """Voxel to mm; the centre of the image is the centre of the head."""
    size = np.array([*(2 * HALF_FOV[:2] / shape[:2]), thickness])
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = -size * (np.array(shape) - 1) / 2
    return affine


def points_of(shape: tuple[int, int, int], affine: Array) -> Array:
    """Dimensionless coordinates ``(*shape, 3)`` of the voxel centres."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points: Array = (voxels @ affine[:3, :3].T + affine[:3, 3]) / HALF_FOV
    return points


def label_map(head: Head, points: Array) -> NDArray[np.uint8]:
    """Labels of :data:`LABELS` at ``points`` ``(..., 3)``; 0 outside the brain."""
    cosine, sine = math.cos(head.tilt), math.sin(head.tilt)
    turned = np.stack(
        [
            cosine * points[..., 0] + sine * points[..., 1],
            cosine * points[..., 1] - sine * points[..., 0],
            points[..., 2],
        ],
        axis=-1,
    )
    x, y, z = np.moveaxis(turned / head.radii, -1, 0)
    radius = np.sqrt(x**2 + y**2 + z**2)
    angle = np.arctan2(y, x)
    fold = 0.045 * np.sin(11 * angle + head.gyri[0]) + 0.035 * np.sin(6 * angle + head.gyri[1])
    right = x > 0
    labels = np.zeros(points.shape[:-1], dtype=np.uint8)
    labels[radius <= 1] = 24
    labels = np.where(radius < 0.92, np.where(right, 42, 3), labels)
    labels = np.where(radius < 0.72 + fold, np.where(right, 41, 2), labels)
    thalamus = ((np.abs(x) - 0.19) / 0.13) ** 2 + ((y + 0.1) / 0.2) ** 2 + z**2 < 1
    labels = np.where(thalamus, np.where(right, 49, 10), labels)
    bend = np.abs(x) - 0.11 - 0.25 * (y - 0.25) ** 2
    size = head.ventricle
    ventricle = (bend / (0.075 * size)) ** 2 + ((y - 0.2) / (0.34 * size)) ** 2 + z**2 < 1
    labels = np.where(ventricle & ~thalamus, np.where(right, 43, 4), labels)
    return labels.astype(np.uint8)


def tissue_map(labels: NDArray[np.uint8]) -> NDArray[np.str_]:
    """``WM``, ``GM``, ``CSF`` or an empty text at each label."""
    table = np.full(256, "", dtype="<U3")
    for label, (_, tissue) in LABELS.items():
        table[label] = tissue
    mapped: NDArray[np.str_] = table[labels]
    return mapped


def parameter_map(head: Head, name: str, labels: NDArray[np.uint8], points: Array) -> Array:
    """A tissue parameter at each of ``labels`` ``(V,)`` and ``points`` ``(V, 3)``, SI units."""
    values = np.zeros(labels.shape)
    for label, (_, tissue) in LABELS.items():
        factor = _FACTORS.get(label, {}).get(name, 1.0)
        values[labels == label] = TISSUES[tissue][name] * factor
    waves = head.waves[name]
    ripple = np.cos(points @ waves[:, :3].T + waves[:, 3]).mean(-1)
    # Fluids are fluids: no variation of what the model cannot see in them.
    varied = values * head.tissue[name] * (1 + _VARIATION * ripple)
    return np.where(tissue_map(labels) == "CSF", values, varied)


def transmit_field(head: Head, points: Array) -> Array:
    """Actual over nominal flip angle ``(...)``: high in the centre, as at 3 T."""
    height, curvature, slope = head.b1
    x, y = points[..., 0], points[..., 1]
    field: Array = height - curvature * (x**2 + y**2) + slope * x
    return field


def off_resonance(head: Head, points: Array) -> Array:
    """Off-resonance ``(...)``, rad/s: a gradient, a quadrupole and a bump above the sinuses."""
    x, y = points[..., 0], points[..., 1]
    linear, quadratic, bump = head.w0
    field: Array = (
        linear * x
        + quadratic * (x**2 - y**2)
        + bump * np.exp(-(x**2 + (y - 0.75) ** 2) / 0.08)
    )  # fmt: skip
    return field


def scale_map(
    head: Head, labels: NDArray[np.uint8], points: Array
) -> NDArray[np.complex128]:  # fmt: skip
    """Complex M0 ``(...)``: proton density times a smooth receiver; about 1 in water."""
    density = np.zeros(labels.shape)
    for tissue, water in _WATER.items():
        density[tissue_map(labels) == tissue] = water
    x, y = points[..., 0], points[..., 1]
    receiver = 1 + 0.15 * (x**2 + y**2 - 0.5)
    c = head.phase
    phase = c[0] + c[1] * x + c[2] * y + c[3] * x * y + c[4] * (x**2 - y**2)
    m0: NDArray[np.complex128] = density * receiver * np.exp(1j * phase)
    return m0

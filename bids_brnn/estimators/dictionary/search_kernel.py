"""Inner loops of the exact dictionary search; import where they are first needed (numba)."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.signals.compiling import jit_in_place, jit_inlined

Array = NDArray[Any]
Arrays = tuple[Array, ...]

LEAF = 32
"""Atoms of a leaf, one per SIMD lane."""


@jit_in_place
def search(
    real: Array, imag: Array, atoms: Arrays, members: Array, centres: Arrays, cosine: Array,
    sine: Array, scratch: Array, axes: Arrays, index: Array, match: Array,
) -> None:  # fmt: skip
    """Best atom of each voxel by branch and bound.

    With ``t`` the inner product of a voxel ``y`` and the centre of a leaf, no atom within the
    angle ``r`` of the centre can reach more than ``|y| cos(acos(t/|y|) - r)``; leaves that cannot
    beat what is found already are left out. For real atoms, ``|<d, y>|^2`` is the sum of the
    squares of ``d.a`` and ``d.b``, with the principal axes ``a`` and ``b`` of the real and the
    imaginary part of the voxel; each is bounded on its own, which is tighter.

    Parameters
    ----------
    real, imag
        ``(V, R)``: the voxels.
    atoms
        ``(leaves, R, LEAF)``: real part, and imaginary part (no leaves if atoms are real).
    members
        ``(leaves, LEAF)``: index of each atom in the dictionary.
    centres
        ``(leaves / LEAF rounded up, R, LEAF)``, as ``atoms``; zero where there is no leaf.
    cosine, sine
        ``(leaves rounded up to LEAF,)`` of the largest angle between an atom and its centre, with
        a margin for round-off.
    scratch
        ``(3, leaves rounded up to LEAF)`` or wider, work space.
    axes
        ``(R,)``, ``(R,)`` and ``(2,)``, work space too.
    index, match
        ``(V,)``: results; ``match`` is ``|<d, y>|^2``.
    """
    is_complex = atoms[1].shape[0] > 0
    a, b, energy = axes
    bound = scratch[0]
    first, second = scratch[1, :LEAF], scratch[2, :LEAF]
    for voxel in range(real.shape[0]):
        turn_to_axes(real[voxel], imag[voxel], a, b, energy, is_complex)
        energy_a, energy_b = energy[0], energy[1]
        for group in range(centres[0].shape[0]):
            products(centres, group, a, b, is_complex, first, second)
            begin = group * LEAF
            c, s, reach = cosine[begin:], sine[begin:], bound[begin:]
            if is_complex:
                for lane in range(LEAF):
                    size = math.sqrt(first[lane] * first[lane] + second[lane] * second[lane])
                    reach[lane] = within(size, energy_a, c[lane], s[lane])
            else:
                for lane in range(LEAF):
                    reach[lane] = within(abs(first[lane]), energy_a, c[lane], s[lane]) + within(
                        abs(second[lane]), energy_b, c[lane], s[lane]
                    )
        n_leaves = members.shape[0]
        # The leaf that promises most is searched first, so that most others fall away.
        promise, promising = bound[0], 0
        for leaf in range(1, n_leaves):
            if bound[leaf] > promise:
                promise, promising = bound[leaf], leaf
        best, where = evaluate(atoms, members, promising, a, b, is_complex, first, second)
        bound[promising] = -1
        for leaf in range(n_leaves):
            if bound[leaf] > best:
                score, atom = evaluate(atoms, members, leaf, a, b, is_complex, first, second)
                if score > best:
                    best, where = score, atom
        index[voxel] = where
        match[voxel] = best


@jit_inlined
def turn_to_axes(x: Array, y: Array, a: Array, b: Array, energy: Array, is_complex: bool) -> None:
    """Write the voxel ``x + iy``, turned to its principal axes for real atoms, to ``a + ib``.

    ``energy`` gets the squared norms of ``a`` and ``b``; for complex atoms that of both, and zero.
    """
    xx, xy, yy = 0.0, 0.0, 0.0
    for r in range(x.size):
        xx += x[r] * x[r]
        xy += x[r] * y[r]
        yy += y[r] * y[r]
    if is_complex:
        for r in range(x.size):
            a[r], b[r] = x[r], y[r]
        energy[0], energy[1] = xx + yy, 0
        return
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    c, s = math.cos(angle), math.sin(angle)
    xx, yy = 0.0, 0.0
    for r in range(x.size):
        a[r] = c * x[r] + s * y[r]
        b[r] = c * y[r] - s * x[r]
        xx += a[r] * a[r]
        yy += b[r] * b[r]
    energy[0], energy[1] = xx, yy


@jit_inlined
def products(
    blocks: Arrays, block: int, a: Array, b: Array, is_complex: bool, first: Array, second: Array
) -> None:
    """``d.a`` and ``d.b`` of one block of real atoms, or the parts of ``<d, a + ib>``."""
    first[:] = 0
    second[:] = 0
    if is_complex:
        for r in range(a.size):
            p, q, x, y = blocks[0][block, r], blocks[1][block, r], a[r], b[r]
            for lane in range(LEAF):
                first[lane] += x * p[lane] + y * q[lane]
                second[lane] += y * p[lane] - x * q[lane]
    else:
        for r in range(a.size):
            p, x, y = blocks[0][block, r], a[r], b[r]
            for lane in range(LEAF):
                first[lane] += x * p[lane]
                second[lane] += y * p[lane]


@jit_inlined
def evaluate(
    atoms: Arrays, members: Array, leaf: int, a: Array, b: Array, is_complex: bool,
    first: Array, second: Array,
) -> tuple[float, int]:  # fmt: skip
    """Largest ``|<d, y>|^2`` of a leaf and the atom it belongs to."""
    products(atoms, leaf, a, b, is_complex, first, second)
    best = first[0] * first[0]
    for lane in range(LEAF):
        first[lane] = first[lane] * first[lane] + second[lane] * second[lane]
        best = max(best, first[lane])
    for lane in range(LEAF):
        if first[lane] == best:
            return best, members[leaf, lane]
    return best, members[leaf, 0]


@jit_inlined
def within(product: float, energy: float, cosine: float, sine: float) -> float:
    """Largest squared product of anything within an angle of a centre that has ``product``."""
    rest = math.sqrt(abs(energy - product * product))  # where negative, it is not used
    reach = product * cosine + rest * sine
    return energy if product * product >= energy * cosine * cosine else reach * reach

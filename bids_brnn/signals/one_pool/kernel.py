"""Inner loops of the compiled extended phase graph; compiled by :mod:`compiled`.

The real recursion of :mod:`recursion`, arranged for speed:

- ``LANES`` parameter sets advance together, one per SIMD lane; a state row is one order;
- dephasing moves no data: ``F+`` climbs because its window slides down a buffer by one row per
  repetition, ``F-`` descends because its window slides up;
- rows are handled ``UNROLL`` at a time, so that what is read per lane serves several orders;
- decays come as ``1 - E`` and act as ``x - (1 - E) x``: in float32, ``E`` itself would be off by
  1e-5 of the rate where TR << T1;
- samples are projected on the columns of the basis as they appear.

Plain Python: nothing here imports numba, and each function also runs uncompiled.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]

LANES = 32
"""Parameter sets per call: two AVX-512 registers of float32, four of float64."""
UNROLL = 8
UNROLL_TANGENTS = 2
ROWS = 4
"""Value and derivatives with respect to R1, R2, B1."""


def advance(
    train: Arrays, tables: Arrays, n_states: int, constants: Array, basis: Array,
    out: Array, states: Arrays,
) -> None:  # fmt: skip
    """Signal of ``LANES`` parameter sets.

    Parameters
    ----------
    train
        ``window``, ``first_sample`` (pulses + 1), ``inversion``, ``turn`` (+-1); integers.
    tables
        Flat, lane fastest: ``sin a``, ``cos a``, ``(1 - cos a)/2``, ``1 - E1``, ``1 - E2`` per
        pulse, and ``exp(-TE R2)`` per sample.
    n_states
        Orders that are kept.
    constants
        0.5, the start value of Z and the inversion efficiency, in the dtype of all arrays.
    basis
        ``(samples, columns)``; without columns the samples themselves are written.
    out
        Flat ``(columns or samples, LANES)``, zeroed: ``A_0 exp(-TE R2)``.
    states
        Work space ``A``, ``B`` (pulses + orders + 2 UNROLL rows) and ``Z`` (orders + 2 UNROLL).
    """
    window, first_sample, inversion, turn = train
    sine, cosine, less, loss1, loss2, decay = tables
    a, b, z = states
    half, start, efficiency = constants[0], constants[1], constants[2]
    width = UNROLL * LANES
    a[:] = 0
    b[:] = 0
    z[:] = 0
    z[:LANES] = start
    top, bottom = (window.size + UNROLL) * LANES, 0
    for pulse in range(window.size):
        row = pulse * LANES
        s, c, ls = sine[row:], cosine[row:], less[row:]
        q1, q2 = loss1[row:], loss2[row:]
        n_blocks = (min(window[pulse], n_states) + UNROLL - 1) // UNROLL
        if inversion[pulse]:
            a[top : top + n_blocks * width] = 0
            b[bottom : bottom + n_blocks * width] = 0
            for i in range(n_blocks * width):
                z[i] = -efficiency * z[i]
        elif turn[pulse] < 0:
            ak, bk = a[top:], b[bottom:]
            for i in range(n_blocks * width):
                ak[i] = -ak[i]
                bk[i] = -bk[i]
        ak, bk = a[top:], b[bottom:]
        for sample in range(first_sample[pulse], first_sample[pulse + 1]):
            e, o = decay[sample * LANES :], out[sample * LANES :]
            if basis.shape[1] == 0:
                for i in range(LANES):
                    o[i] = (ak[i] + s[i] * z[i] - ls[i] * (ak[i] + bk[i])) * e[i]
            for column in range(basis.shape[1]):
                weight, o = basis[sample, column], out[column * LANES :]
                for i in range(LANES):
                    o[i] += weight * (ak[i] + s[i] * z[i] - ls[i] * (ak[i] + bk[i])) * e[i]
        for block in range(n_blocks):
            ak, bk, zk = a[top + block * width :], b[bottom + block * width :], z[block * width :]
            for i in range(LANES):
                for j in range(UNROLL):
                    n = j * LANES + i
                    both = ak[n] + bk[n]
                    gain = s[i] * zk[n] - ls[i] * both
                    x, y = ak[n] + gain, bk[n] + gain
                    w = c[i] * zk[n] - half * s[i] * both
                    ak[n] = x - q2[i] * x
                    bk[n] = y - q2[i] * y
                    zk[n] = w - q1[i] * w
        for i in range(LANES):
            z[i] += q1[i]
        if not inversion[pulse]:
            top -= LANES
            bottom += LANES
            a[top : top + LANES] = b[bottom : bottom + LANES]
            a[top + n_states * LANES : top + (n_states + 1) * LANES] = 0  # dropped order


def advance_tangents(
    train: Arrays, tables: Arrays, n_states: int, constants: Array, steps: Arrays, basis: Array,
    out: Array, states: Arrays,
) -> None:  # fmt: skip
    """Signal and derivatives of ``LANES`` parameter sets.

    As :func:`advance`, but each row of the states holds ``ROWS`` times ``LANES`` numbers and
    ``out`` is ``(ROWS, columns or samples, LANES)``. ``steps`` holds, per pulse, the nominal flip
    angle and the duration, and the echo time per sample.
    """
    window, first_sample, inversion, turn = train
    sine, cosine, less, loss1, loss2, decay = tables
    flip, duration, echo_time = steps
    a, b, z = states
    half, start, efficiency = constants[0], constants[1], constants[2]
    size = ROWS * LANES
    width = UNROLL_TANGENTS * size
    n_out = out.size // size * LANES
    a[:] = 0
    b[:] = 0
    z[:] = 0
    z[:LANES] = start
    top, bottom = (window.size + UNROLL_TANGENTS) * size, 0
    for pulse in range(window.size):
        row = pulse * LANES
        s, c, ls = sine[row:], cosine[row:], less[row:]
        q1, q2 = loss1[row:], loss2[row:]
        angle, time = flip[pulse], duration[pulse]
        n_blocks = (min(window[pulse], n_states) + UNROLL_TANGENTS - 1) // UNROLL_TANGENTS
        if inversion[pulse]:
            a[top : top + n_blocks * width] = 0
            b[bottom : bottom + n_blocks * width] = 0
            for i in range(n_blocks * width):
                z[i] = -efficiency * z[i]
        elif turn[pulse] < 0:
            ak, bk = a[top:], b[bottom:]
            for i in range(n_blocks * width):
                ak[i] = -ak[i]
                bk[i] = -bk[i]
        ak, bk = a[top:], b[bottom:]
        for sample in range(first_sample[pulse], first_sample[pulse + 1]):
            e, late = decay[sample * LANES :], echo_time[sample]
            for i in range(LANES):
                value = half
                for r in range(ROWS):
                    m = r * LANES + i
                    part = (ak[m] + s[i] * z[m] - ls[i] * (ak[m] + bk[m])) * e[i]
                    if r == 0:
                        value = part
                    elif r == 2:
                        part -= late * value
                    elif r == 3:
                        part += angle * (c[i] * z[i] - half * s[i] * (ak[i] + bk[i])) * e[i]
                    if basis.shape[1] == 0:
                        out[r * n_out + sample * LANES + i] = part
                    for column in range(basis.shape[1]):
                        out[r * n_out + column * LANES + i] += basis[sample, column] * part
        for block in range(n_blocks):
            ak, bk, zk = a[top + block * width :], b[bottom + block * width :], z[block * width :]
            for i in range(LANES):
                for j in range(UNROLL_TANGENTS):
                    n = j * size + i
                    both = ak[n] + bk[n]
                    gain = s[i] * zk[n] - ls[i] * both
                    # d gain / d angle is the new Z before relaxation.
                    w = c[i] * zk[n] - half * s[i] * both
                    turned = s[i] * zk[n] + half * c[i] * both
                    x, y = ak[n] + gain, bk[n] + gain
                    x, y, v = x - q2[i] * x, y - q2[i] * y, w - q1[i] * w
                    ak[n], bk[n], zk[n] = x, y, v
                    n += LANES  # R1
                    both = ak[n] + bk[n]
                    gain = s[i] * zk[n] - ls[i] * both
                    p, q, r = ak[n] + gain, bk[n] + gain, c[i] * zk[n] - half * s[i] * both
                    ak[n] = p - q2[i] * p
                    bk[n] = q - q2[i] * q
                    zk[n] = r - q1[i] * r - time * v
                    n += LANES  # R2
                    both = ak[n] + bk[n]
                    gain = s[i] * zk[n] - ls[i] * both
                    p, q, r = ak[n] + gain, bk[n] + gain, c[i] * zk[n] - half * s[i] * both
                    ak[n] = p - q2[i] * p - time * x
                    bk[n] = q - q2[i] * q - time * y
                    zk[n] = r - q1[i] * r
                    n += LANES  # B1
                    both = ak[n] + bk[n]
                    gain = s[i] * zk[n] - ls[i] * both + angle * w
                    r = c[i] * zk[n] - half * s[i] * both - angle * turned
                    p, q = ak[n] + gain, bk[n] + gain
                    ak[n] = p - q2[i] * p
                    bk[n] = q - q2[i] * q
                    zk[n] = r - q1[i] * r
        for i in range(LANES):
            z[i] += q1[i]
            z[LANES + i] += time * (1 - q1[i])
        if not inversion[pulse]:
            top -= size
            bottom += size
            a[top : top + size] = b[bottom : bottom + size]
            a[top + n_states * size : top + (n_states + 1) * size] = 0

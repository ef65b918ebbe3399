"""The compiled generalized Bloch kernel: one RF pulse as a matrix, and its derivatives.

A pulse of duration ``T`` acts on the state ``(x, y, z, s)`` (free pool; z of the semi-solid pool)
at its centre: what it does is ``F(-T/2) P F(-T/2)`` with free precession ``F``, so that only free
precession between pulse centres remains. Equations: ``docs/theory/fast_qmt.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bids_brnn.signals.two_pools.kernel.layout import ANGLE_LIMIT, STEP, TILT_LIMIT
from bids_brnn.signals.two_pools.kernel.vectors import Array, Lanes, Operand

State = tuple[Operand, Operand, Operand, Operand]
Named = Callable[[str], Operand]
Tables = Mapping[str, Sequence[Operand]]
"""Value and derivatives with respect to B1 and T2s of each table."""


@dataclass(frozen=True)
class Pulse:
    """Matrix of a pulse, or a derivative of it; zeros are plain 0.0 and cost nothing."""

    turn: Sequence[Operand]
    """Free pool: xx, xy, xz, yy, yz, zz; yx = -xy, zx = -xz, zy = yz."""
    exchange: Sequence[Operand]
    """x, y, z, to be multiplied by the rates; towards the semi-solid pool x changes sign."""
    remain: Operand
    """Semi-solid pool."""
    gain: Sequence[Operand]
    """Recovery of x, y, z and of the semi-solid pool, to be multiplied by the rates."""

    def apply(self, c: Named, m: State) -> list[Operand]:
        """Matrix times state, without recovery."""
        x, y, z, s = m
        hx, hy, hz = self.exchange
        xx, xy, xz, yy, yz, zz = self.turn
        to_free, to_solid = c("to_free"), c("to_solid")
        return [
            xx * x + xy * y + xz * z + (to_free * hx) * s,
            yy * y - xy * x + yz * z + (to_free * hy) * s,
            zz * z + yz * y - xz * x + (to_free * hz) * s,
            self.remain * s + ((to_solid * hy) * y + (to_solid * hz) * z - (to_solid * hx) * x),
        ]

    def recovery(self, c: Named) -> list[Operand]:
        """What the pulse adds to any state."""
        x, y, z, s = self.gain
        free = c("gain_free")
        return [free * x, free * y, free * z, c("gain_solid") * s]


@dataclass(frozen=True)
class PulseSlopes:
    """Derivatives of a pulse: with respect to B1, w0, T2s, and per unit of each rate."""

    by_B1: Pulse
    by_w0: Pulse
    by_T2s: Pulse
    by_relaxation: Pulse
    """With respect to R2f - R1f - Rx m0s (``turn``), minus that for the losses (``remain``)."""
    by_return: Sequence[Operand]
    """Per Rx^2 m0s m0f (exchange forth and back): xx, xz, zz; zx = -xz."""

    def sources(self, c: Named, pulse: Pulse, m: State) -> dict[str, list[Operand]]:
        """Derivative of the pulse times the state, for each parameter."""
        x, y, z, s = m
        xx, xy, xz, yy, yz, zz = self.by_relaxation.turn
        q = [xx * x + xy * y + xz * z, yy * y - xy * x + yz * z, zz * z + yz * y - xz * x]
        kxx, kxz, kzz = self.by_return
        back = [kxx * x + kxz * z, 0.0, kzz * z - kxz * x]
        hx, hy, hz = pulse.exchange
        arriving = [hx * s, hy * s, hz * s]
        leaving = hy * y + hz * z - hx * x
        lost = self.by_relaxation.remain * s
        ax, ay, az, aj = pulse.gain
        gains = [ax, ay, az]
        R1f, R1s, Rx, m0s, m0f = (c(name) for name in ("R1f", "R1s", "Rx", "m0s", "m0f"))
        return {
            "m0s": [
                -(Rx * (a + b) + R1f * g) for a, b, g in zip(q, arriving, gains, strict=True)
            ] + [Rx * (leaving + lost) + R1s * aj],
            "R1f": [m0f * g - a for a, g in zip(q, gains, strict=True)] + [0.0],
            "R2f": [*q, 0.0],
            "Rx": [
                m0f * (b + 2.0 * (Rx * m0s) * k) - m0s * a
                for a, b, k in zip(q, arriving, back, strict=True)
            ]
            + [m0s * leaving - m0f * lost],
            "R1s": [0.0, 0.0, 0.0, m0s * aj - lost],
            **{
                name: [a + b for a, b in zip(p.apply(c, m), p.recovery(c), strict=True)]
                for name, p in (("T2s", self.by_T2s), ("w0", self.by_w0), ("B1", self.by_B1))
            },
        }  # fmt: skip


class Angles:
    """Rotation by B1 times the flip angle about y with off-resonance, seen from the centre.

    The rotation is the quaternion ``(w, 0, y, z)``: with ``theta^2 = beta^2 + phi^2``,
    ``phi = w0 T``, that of the pulse is ``(cos(theta/2), 0, beta, phi)`` (the last two times
    ``sin(theta/2)/theta``); turning it back by ``phi/2`` before and after changes w and z only.
    """

    def __init__(self, series: Sequence[Sequence[Sequence[float]]], beta: Lanes, phi: Any) -> None:
        large, small = series
        square = beta * beta + phi * phi
        self.beta, self.phi = beta, phi
        self.half, self.sine, self.slope = (polynomial(c, square) for c in large)
        tilt = phi * phi
        self.cos, self.sin = polynomial(small[0], tilt), phi * polynomial(small[1], tilt)
        self.y, self.bent = beta * self.sine, phi * self.sine
        self.w = self.half * self.cos + self.bent * self.sin
        self.z = self.bent * self.cos - self.half * self.sin

    def matrix(self) -> list[Any]:
        """Entries xx, xy, xz, yy, yz, zz."""
        w, y, z = self.w, self.y, self.z
        yy, zz = y * y, z * z
        return [
            1.0 - 2.0 * (yy + zz), -2.0 * (w * z), 2.0 * (w * y),
            1.0 - 2.0 * zz, 2.0 * (y * z), 1.0 - 2.0 * yy,
        ]  # fmt: skip

    def _differential(self, dhalf: Lanes, dy: Lanes, dbent: Lanes) -> list[Any]:
        w, y, z = self.w, self.y, self.z
        dw = dhalf * self.cos + dbent * self.sin
        dz = dbent * self.cos - dhalf * self.sin
        ydy, zdz = -4.0 * (y * dy), -4.0 * (z * dz)
        return [
            ydy + zdz, -2.0 * (w * dz + z * dw), 2.0 * (w * dy + y * dw),
            zdz, 2.0 * (y * dz + z * dy), ydy,
        ]  # fmt: skip

    def by_B1(self, flip: Lanes) -> list[Any]:
        """Derivative of the matrix with respect to B1."""
        square = 2.0 * (self.beta * flip)
        sine = self.slope * square
        return self._differential(
            -0.25 * self.sine * square, flip * self.sine + self.beta * sine, self.phi * sine
        )

    def by_w0(self, T: Lanes) -> list[Any]:
        """Derivative of the matrix with respect to w0."""
        square, turn = 2.0 * (self.phi * T), 0.5 * T
        sine = self.slope * square
        # Besides the pulse, turning back by phi/2 depends on w0.
        return self._differential(
            self.bent * turn - 0.25 * self.sine * square,
            self.beta * sine,
            T * self.sine + self.phi * sine - self.half * turn,
        )


def finite_pulse(
    series: Any, step: Array, c: Named, tables: Tables, *, slopes: bool
) -> tuple[Pulse, PulseSlopes | None]:
    """A pulse of finite duration, and its derivatives if wanted."""
    flip, T = step[STEP.index("flip")], step[STEP.index("duration")]
    angles = Angles(series, flip * c("B1"), T * c("w0"))
    phi, turn = angles.phi, angles.matrix()
    small = _Small(T, phi, c("relax") * T, c("loss") * T, c("to_free") * c("to_solid") * (T * T))
    v = {name: values[0] for name, values in tables.items()}
    main = _combine(turn, v, small)
    if not slopes:
        return main, None
    b = {name: values[1] for name, values in tables.items()}
    t = {name: values[2] for name, values in tables.items()}
    twice = 2.0 * phi
    by_phi = [
        twice * v["gxx"], v["gxy"], twice * v["gxz"], twice * v["gyy"], v["gyz"], twice * v["gzz"],
    ]  # fmt: skip
    rate = small.relax * T
    by_w0 = Pulse(
        [a + rate * b for a, b in zip(angles.by_w0(T), by_phi, strict=True)],
        [T * T * twice * v["hxx"], T * T * v["hy"], T * T * twice * v["hzz"]],
        0.0,
        [0.0, T * T * v["ay"], 0.0, 0.0],
    )
    # Exchange forth and back is too small for its derivative with respect to T2s to matter.
    by_T2s = Pulse([0.0] * 6, _exchange(t, small), t["S"] - small.loss * t["hs"],
                   [0.0, 0.0, 0.0, T * t["hj"]])  # fmt: skip
    by_relaxation = Pulse(
        [T * a for a in _relaxation(v, phi, 2.0 * small.relax)], [], T * v["hs"], []
    )
    square = T * T
    by_return = [square * v["kxx"], square * v["kxz"], square * v["kzz"]]
    return main, PulseSlopes(
        _combine(angles.by_B1(flip), b, small), by_w0, by_T2s, by_relaxation, by_return
    )


@dataclass(frozen=True)
class _Small:
    """Rates times the duration."""

    T: Any
    phi: Any
    relax: Any
    loss: Any
    forth_and_back: Any


def _relaxation(v: Mapping[str, Any], phi: Any, second: Any) -> list[Any]:
    """Relaxation of the turning free pool per ``relax``: xx, xy, xz, yy, yz, zz."""
    square = phi * phi
    return [
        square * v["gxx"] + second * v["qxx"] - v["g"],
        phi * v["gxy"],
        square * v["gxz"] + second * v["qxz"],
        square * v["gyy"],
        phi * v["gyz"],
        square * v["gzz"] + second * v["qzz"] + v["g"],
    ]


def _exchange(v: Mapping[str, Any], small: _Small) -> list[Any]:
    phi, T = small.phi, small.T
    square = phi * phi
    return [
        T * (v["hx"] + square * v["hxx"]),
        T * (phi * v["hy"]),
        T * (v["hz"] + square * v["hzz"]),
    ]


def _combine(turn: Sequence[Any], v: Mapping[str, Any], small: _Small) -> Pulse:
    """Rotation, saturation and the corrections, which are linear in the tables ``v``."""
    T, phi = small.T, small.phi
    matrix = [
        a + small.relax * b for a, b in zip(turn, _relaxation(v, phi, small.relax), strict=True)
    ]
    for entry, name in ((0, "kxx"), (2, "kxz"), (5, "kzz")):
        matrix[entry] = matrix[entry] + small.forth_and_back * v[name]
    return Pulse(
        matrix,
        _exchange(v, small),
        v["S"] - small.loss * v["hs"],
        [T * v["ax"], T * (phi * v["ay"]), T * v["az"], T * v["hj"]],
    )


def polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """Horner's scheme; the coefficient of the lowest order comes first."""
    result: Any = coefficients[-1]
    for value in coefficients[-2::-1]:
        result = result * x + value
    return result


def angle_series(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Polynomials in the squared angle for :class:`Angles`, up to the limits of the layout."""
    large, small = (7, 4) if dtype == np.float32 else (11, 7)
    return _fit(ANGLE_LIMIT, large), _fit(TILT_LIMIT**2, small)


def _fit(limit: float, degree: int) -> list[list[float]]:
    """``cos(r/2)``, ``sin(r/2)/r`` and its derivative, as polynomials in ``r^2``."""

    def cosine(q: Any) -> Any:
        return np.cos(np.sqrt(q) / 2)

    def sine(q: Any) -> Any:
        return np.sinc(np.sqrt(q) / (2 * math.pi)) / 2

    domain = [0.0, limit]
    interpolate = np.polynomial.Chebyshev.interpolate
    fits = [interpolate(function, degree, domain) for function in (cosine, sine)]
    fits.append(interpolate(sine, degree + 1, domain).deriv())
    return [list(fit.convert(kind=np.polynomial.Polynomial).coef) for fit in fits]

"""What is estimated of two pools with a known observed R1, and what follows. Needs no torch."""

from __future__ import annotations

from typing import Any

from bids_brnn.parameters import Z_SPECTRUM, Derived, MapItem, Parameter, ParameterSet

_R1F = Z_SPECTRUM["R1f"]


def free_pool_rate(R1: Any, m0s: Any, Rx: Any, R1s: Any) -> Any:
    """R1f of two pools that recover together at the observed rate ``R1``; tensors, all 1/s.

    ``R1f = R1 - kf (R1s - R1) / (R1s - R1 + kr)``, ``kf = Rx m0s``, ``kr = Rx (1 - m0s)``:
    ``R1`` is the slower of both rates of recovery (Henkelman, Magn Reson Med 1993;29:759). Pools
    whose exchange is slower than ``R1 - R1s`` cannot recover at ``R1``, others only with an R1f
    beyond its bounds, where it is held.
    """
    among = (R1s - R1 + Rx * (1 - m0s)).clamp(min=1e-3)
    return (R1 - Rx * m0s * (R1s - R1) / among).clamp(_R1F.lower, _R1F.upper)


OBSERVED_R1 = ParameterSet(
    (
        Z_SPECTRUM["m0s"],
        Parameter(
            MapItem("R1", "1/s", "R1map", "Observed longitudinal relaxation rate", (0.0, 2.0)),
            0.05, 10.0, 0.9, "supplied",
        ),
        *Z_SPECTRUM.items[2:],
    ),
    (
        Derived(
            MapItem("F", "1", "QMTmap", "Semi-solid over free pool, m0s / (1 - m0s)", (0.0, 0.3)),
            ("m0s",), lambda m0s: m0s / (1 - m0s),
        ),
        Derived(
            _R1F.item, ("R1", "m0s", "Rx", "R1s"), free_pool_rate, (_R1F.lower, _R1F.upper),
        ),
        Derived(
            MapItem("T2f", "s", "QMTmap", "Transverse relaxation time of the free pool",
                    (0.0, 0.1)),
            ("R2f",), lambda R2f: 1 / R2f,
        ),
        Derived(
            MapItem("kr", "1/s", "QMTmap", "Rate constant from the semi-solid to the free "
                    "pool, Rx (1 - m0s)", (0.0, 40.0)),
            ("Rx", "m0s"), lambda Rx, m0s: Rx * (1 - m0s),
        ),
        Derived(
            MapItem("kf", "1/s", "QMTmap", "Rate constant from the free to the semi-solid "
                    "pool, Rx m0s", (0.0, 5.0)),
            ("Rx", "m0s"), lambda Rx, m0s: Rx * m0s,
        ),
    ),
)  # fmt: skip
"""Conventional qMT as it is estimated, with the observed R1 in the place of R1f."""

"""Points of fluid in a range of off-resonance, and atoms put together or mirrored."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.starts import Candidates
from bids_brnn.parameters import ParameterSet

FLUID: Mapping[str, tuple[float, float]] = {
    "m0s": (0.0, 0.0), "R1": (0.14, 1.0), "R1f": (0.14, 1.0), "R1a": (0.14, 1.0),
    "R2": (0.2, 2.0), "R2f": (0.2, 2.0), "B1": (0.6, 1.3),
}  # fmt: skip
"""Ranges of the priors: T1 of 1 to 7 s, T2 of 0.5 to 5 s."""


def fluid_points(
    parameters: ParameterSet, n: int, w0: tuple[float, float] | None = None, *, seed: int = 1
) -> Tensor:
    """``(n, P)`` float64, evenly over :data:`FLUID` and off-resonance; rates by logarithm.

    Parameters
    ----------
    parameters
        Of the signal model.
    n
        Number of points.
    w0
        rad/s: range of off-resonance; by default all that is within bounds.
    seed
        Of the points.
    """
    if w0 is None and "w0" in parameters.names:
        w0 = (parameters["w0"].lower, parameters["w0"].upper)
    ranges = {"w0": w0} if w0 is not None else {}
    ranges |= {name: span for name, span in FLUID.items() if name in parameters.names}
    even = torch.quasirandom.SobolEngine(len(ranges), scramble=True, seed=seed)
    theta = parameters.start(torch.zeros((), dtype=torch.float64)).repeat(n, 1)
    for (name, (low, high)), share in zip(
        ranges.items(), even.draw(n, dtype=torch.float64).unbind(1), strict=True
    ):
        rate = low * (high / low) ** share if low > 0 else low + share * (high - low)
        theta[:, parameters.index((name,))[0]] = rate
    # Not beyond bounds that leave tissue out: the exact signal refuses what is.
    return theta.clamp(*parameters.bounds(theta))


def joined(parts: list[Candidates]) -> Candidates:
    """All atoms of ``parts``, which know their derivatives."""
    slopes = [part.slopes for part in parts if part.slopes is not None]
    return Candidates(
        torch.cat([part.unit for part in parts]),
        torch.cat([part.signal for part in parts]),
        torch.cat(slopes),
    )


def mirrored(atoms: Candidates, column: int) -> Candidates:
    """The atoms at the opposite off-resonance, which is in ``column``."""
    assert atoms.slopes is not None
    unit = atoms.unit.clone()
    unit[:, column] = 1 - unit[:, column]
    real, imaginary = atoms.slopes.chunk(2, 1)
    slopes = torch.cat([real, -imaginary], 1)
    slopes[..., column] *= -1
    return Candidates(unit, atoms.signal.conj().resolve_conj(), slopes)

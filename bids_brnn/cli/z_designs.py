"""What protocols of conventional qMT can tell: a table of the documentation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bids_brnn.phantom.ideal import ideal
from bids_brnn.phantom.spgr import observed_rate
from bids_brnn.priors import TISSUES
from bids_brnn.sequences.z_designs import Z_PROTOCOLS
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

MODEL = "yarnykh"
"""Cheap, and with excitation and delays: its bounds are within 5 % of those of the generalized
Bloch model, but for R2f, whose bounds are up to 40 % smaller."""
SNR = 100.0
"""|M0| over the noise of an image."""
ERROR_OF_R1 = 0.03
"""Relative standard deviation of the R1 map in the last column."""
_SHOWN = ("m0s", "Rx", "R2f", "T2s")


def tissue_theta(tissue: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """``(1, P)`` of a tissue: R1 as observed of it, R1s as assumed, ideal fields."""
    known: Mapping[str, float] = TISSUES[tissue]
    pools = (np.array([known[name]]) for name in ("m0s", "R1f", "Rx", "R1s"))
    values = {name: known[name] for name in _SHOWN} | {"R1": float(observed_rate(*pools)[0])}
    return np.array([[values.get(item.name, item.start) for item in OBSERVED_R1]])


def bounds(
    protocol: ZSpectrum, tissue: str, error: float = 0.0, model: str = MODEL
) -> dict[str, float]:
    """Cramer-Rao bounds in percent of the value at :data:`SNR`, by parameter.

    Parameters
    ----------
    protocol
        With an image without MT pulse; M0 is unknown.
    tissue
        ``WM``, ``GM`` or ``CSF``.
    error
        Relative standard deviation of the R1 map.
    model
        A signal model of Z-spectra.
    """
    theta = tissue_theta(tissue)
    spread = {"R1": error * theta[:, OBSERVED_R1.index(("R1",))[0]]}
    found = ideal(ObservedR1(build_model(model, protocol)), theta, np.array([1 / SNR]), spread)
    columns = OBSERVED_R1.index(_SHOWN)
    percent = 100 * found.std[0, columns] / theta[0, columns]
    return dict(zip(_SHOWN, percent.tolist(), strict=True))


def protocol_table() -> str:
    """A row for each protocol and tissue."""
    heads = ["protocol", "images", "TR, ms", "time", "tissue"]
    heads += [f"{name}, %" for name in _SHOWN] + ["m0s at equal time, %", "m0s, R1 ± 3 %, %"]
    lines = [heads, ["---"] * len(heads)]
    least = min(make().duration for make in Z_PROTOCOLS.values())
    for name, make in Z_PROTOCOLS.items():
        protocol = make()
        longer = protocol.duration / least
        timing = [name, f"{protocol.n_samples}", f"{1e3 * protocol.repetition_time:g}"]
        for tissue in ("WM", "GM"):
            found = bounds(protocol, tissue)
            noisy = bounds(protocol, tissue, ERROR_OF_R1)
            numbers = [*found.values(), found["m0s"] * longer**0.5, noisy["m0s"]]
            cells = [*timing, f"{longer:.2g}", tissue, *(f"{value:.2g}" for value in numbers)]
            lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("--- |", "---|")
                     for line in lines)  # fmt: skip

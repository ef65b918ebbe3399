"""Series of the super-Lorentzian line that take most of a second to solve, from a file.

They follow from the line alone, whatever the protocol is.
``python -m bids_brnn.signals.two_pools.pulses`` writes the file anew; a test compares it with what
is solved.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.two_pools.pulses.lineshapes import SUPER_LORENTZIAN, Lineshape
from bids_brnn.tensor_files import read_tensors

PATH = Path(__file__).with_name("super_lorentzian.safetensors")


def stored_series(kind: str, lineshape: Lineshape) -> dict[str, NDArray[np.float64]]:
    """The series of a ``kind`` by name; empty where the line is another one.

    Raises
    ------
    ReadError
        If the file is broken.
    """
    if lineshape is not SUPER_LORENTZIAN:
        return {}
    start = f"{kind}."
    return {
        name.removeprefix(start): values
        for name, values in _content().items()
        if name.startswith(start)
    }


@cache
def _content() -> dict[str, NDArray[np.float64]]:
    return {name: values.numpy() for name, values in read_tensors(PATH).items()}

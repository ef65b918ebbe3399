"""How threads of numerical libraries behave, said before these are loaded."""

from __future__ import annotations

import os

_POLICY = "OMP_WAIT_POLICY"


def let_threads_sleep() -> None:
    """Have threads that wait for each other sleep, unless the user says otherwise.

    OpenMP's wait by spinning. On a machine that does anything else they then take the very
    processor from the thread that they wait for: with busy cores small products of PyTorch on two
    threads took four times the processor time, and as much longer. Sleeping costs some
    microseconds each time.
    """
    os.environ.setdefault(_POLICY, "PASSIVE")

"""How the programs end: one sentence instead of a traceback, and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from bids_brnn.errors import BidsBrnnError, curable


def exit_code(program: str, work: Callable[[], int]) -> int:
    """Of ``work``, or of what went wrong in it, said on stderr after the name of the program.

    Raises
    ------
    Exception
        What the user cannot cure.
    """
    try:
        return work()
    except (BidsBrnnError, OSError, MemoryError, RuntimeError) as error:
        told = curable(error)
        if told is None:
            raise
        sys.stderr.write(f"{program}: {told}\n")
        return told.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted\n")
        return 128 + signal.SIGINT

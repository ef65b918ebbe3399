"""An estimator at work: device, progress, checkpoint."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_brnn.errors import TemporaryError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_brnn.estimators.base import Estimate, Estimator


_LOG = logging.getLogger("bids_brnn.estimate")


_QUIET = 10.0  # s between two lines of progress


def to_device(voxels: NDArray[np.complex64], device: str, num_threads: int) -> Tensor:
    """Voxels as a tensor where they are to be processed.

    Raises
    ------
    UsageError
        If a CUDA device is asked for and there is none.
    """
    import torch

    torch.set_num_threads(num_threads)
    available = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError("--device cuda was asked for, but no CUDA device is visible here.")
    return torch.from_numpy(voxels).to("cuda" if available else "cpu")


def run_estimator(
    estimator: Estimator,
    data: Tensor,
    supplied: Mapping[str, Tensor],
    sigma: float | Tensor | None,
    checkpoint_file: Path,
    label: str,
    *,
    spread: Mapping[str, Tensor] | None = None,
    **further: Any,
) -> Estimate:
    """Estimate, telling the progress and keeping partial results in ``checkpoint_file``.

    ``spread`` holds standard deviations of supplied values; of estimators that cannot propagate
    them it is said that theirs lack these. ``further`` goes to the estimator as it is.

    Raises
    ------
    TemporaryError
        If the memory of the device does not suffice.
    """
    import torch

    from bids_brnn.estimators.checkpoint import Checkpoint

    _LOG.info("%s: %d voxels on %s", label, len(data), data.device.type)
    if spread and "spread" in inspect.signature(estimator.estimate).parameters:
        further["spread"] = spread
    elif spread:
        _LOG.warning(
            "%s: standard deviations do not include those of the supplied maps (%s)",
            label, ", ".join(spread),
        )  # fmt: skip
    started = time.monotonic()
    try:
        estimate = estimator.estimate(
            data,
            supplied or None,
            sigma=sigma,
            progress=progress_logger(label),
            checkpoint=Checkpoint(checkpoint_file),
            **further,
        )
    except torch.cuda.OutOfMemoryError as error:
        raise TemporaryError(
            "The memory of the CUDA device does not suffice; free it, or use --device cpu."
        ) from error
    seconds = time.monotonic() - started
    _LOG.info("%s: done in %.1f s (%.0f voxels/s)", label, seconds, len(data) / max(seconds, 1e-9))
    return estimate


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Have warnings of voxels, which estimators say themselves, name their series, and come once.

    Noise and maps ask an estimator one after the other, and several series are in one log.
    """
    said: set[str] = set()

    def once(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        record.msg, record.args = "%s: %s", (label, text)
        is_new = text not in said
        said.add(text)
        return is_new

    logger = logging.getLogger("bids_brnn.estimators.voxels")
    logger.addFilter(once)
    try:
        yield
    finally:
        logger.removeFilter(once)


def progress_logger(label: str) -> Callable[[int, int], None]:
    """A callback that logs rate and time left, at most every ten seconds.

    The rate counts from the first report on: what comes before it (compiling, the dictionary,
    voxels of an interrupted run) says nothing of the voxels to come.
    """
    last = time.monotonic()
    first: tuple[float, int] | None = None

    def report(done: int, total: int) -> None:
        nonlocal first, last
        now = time.monotonic()
        first = first or (now, done)
        if now - last < _QUIET or done >= total:
            return
        last = now
        text = f"{label}: {done} of {total} voxels ({100 * done / total:.0f} %)"
        if now > first[0] and done > first[1]:
            rate = (done - first[1]) / (now - first[0])
            text += f", {rate:.0f} voxels/s, {duration((total - done) / rate)} left"
        _LOG.info("%s", text)

    return report


def duration(seconds: float) -> str:
    """Seconds in words: ``50 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

"""Round numbers along an axis, and how they are written."""

from __future__ import annotations

import math

_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
MINUS = "\N{MINUS SIGN}"
FEW = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Steps that are read most easily."""
_SMALL, _LARGE = -3, 4  # powers of ten from which a common factor is taken out
_MANY_DECADES = 3.0
_FINEST, _LEAST = 1e-10, 1e-290
"""Of an interval, in the larger end; twelve digits of a number are written. Smaller ends are 0."""


def tick_labels(
    low: float, high: float, most: int = 4, steps: tuple[float, ...] = _STEPS
) -> tuple[list[float], list[str], str]:
    """Round numbers between two, their labels, and the factor taken out of them.

    Parameters
    ----------
    low, high
        The ends; where they are no numbers, or so close that rounding makes all numbers between
        them alike, there is nothing to label.
    most
        Intervals from one end to the other, at most.
    steps
        Between two of them, times a power of ten; from 1 to 10.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return [], [], ""
    rough = high / most - low / most  # of ends whose difference is no number, too
    if not rough > _FINEST * max(abs(low), abs(high), _LEAST):
        return [], [], ""
    power = math.floor(math.log10(rough))
    step = next(s for s in (*steps, 10 * steps[1]) if s * 10.0**power >= rough * (1 - 1e-9))
    step *= 10.0**power
    slack = 4e-9 * rough
    first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
    # Not k times a step such as 0.1, which would not be the nearest number to what is written.
    ticks = [float(f"{k * step:.12g}") for k in range(first, last + 1)]
    largest = max((abs(tick) for tick in ticks), default=0.0)
    order = math.floor(math.log10(largest)) if largest else 0
    factor = order if not _SMALL < order < _LARGE else 0
    scaled = [tick / 10.0**factor for tick in ticks]
    digits = next(n for n in range(17) if _told(scaled, step / 10.0**factor, n))
    labels = [f"{value:.{digits}f}".replace("-", MINUS) for value in scaled]
    return ticks, labels, f"1e{factor}".replace("-", MINUS) if factor else ""


def _told(values: list[float], step: float, digits: int) -> bool:
    return digits == 16 or all(abs(round(v, digits) - v) < 1e-3 * step for v in values)


def log_ticks(low: float, high: float, *, decades: bool = False) -> list[float]:
    """Powers of ten between two positive numbers, with 2 and 5 times these where they are few.

    ``decades``: powers alone, where there is no room for others.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    few = math.log10(high / low) < _MANY_DECADES and not decades
    found = [factor * 10.0**k for k in powers for factor in ((1, 2, 5) if few else (1,))]
    return [value for value in found if low <= value <= high]

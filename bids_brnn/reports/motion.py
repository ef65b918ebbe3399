"""The figure of motion between time frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from bids_brnn.reports.content import Array

_ROWS = (
    ("shift (mm)", ("trans_x", "trans_y", "trans_z"), 1.0),
    ("rotation (deg)", ("rot_x", "rot_y", "rot_z"), 180 / np.pi),
    ("framewise\ndisplacement (mm)", ("framewise_displacement",), 1.0),
)
_COLOURS = ("#2166ac", "#b2182b", "#1b7837")


def motion_figure(table: Mapping[str, Array]) -> Figure:
    """Shifts, rotations and framewise displacement against the number of the frame.

    Parameters
    ----------
    table
        Columns of ``desc-motion_timeseries.tsv``, mm and rad.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots(len(_ROWS), 1, sharex=True)
    for axis, (title, names, scale) in zip(axes, _ROWS, strict=True):
        for name, colour in zip(names, _COLOURS, strict=False):
            values = scale * np.asarray(table[name])
            label = name.rpartition("_")[2] if len(names) > 1 else None
            axis.step(np.arange(len(values)), values, where="mid", color=colour, label=label)
        axis.set_ylabel(title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        # Noise of microns is not to look like motion.
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, -0.1), max(high, 0.1))
        if len(names) > 1:
            axis.legend(fontsize=7, ncols=3, frameon=False, loc="upper left")
    axes[-1].set_xlabel("frame", fontsize=8)
    return figure

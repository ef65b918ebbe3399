"""The figure of motion between time frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bids_brnn.reports.content import Array
from bids_brnn.reports.drawing import Drawing
from bids_brnn.reports.plots import NAMED, Frame, Plot, areas, legend, padded

_ROWS = (
    ("shift (mm)", ("trans_x", "trans_y", "trans_z"), 1.0),
    ("rotation (deg)", ("rot_x", "rot_y", "rot_z"), 180 / np.pi),
    ("framewise\ndisplacement (mm)", ("framewise_displacement",), 1.0),
)
_COLOURS = ("#2166ac", "#b2182b", "#1b7837")


def motion_figure(table: Mapping[str, Array]) -> Drawing:
    """Shifts, rotations and framewise displacement against the number of the frame.

    Parameters
    ----------
    table
        Columns of ``desc-motion_timeseries.tsv``, mm and rad.
    """
    figure, boxes = areas(
        len(_ROWS), 1, Frame(9.0, 1.4, left=0.8, bottom=0.2, top=0.15), 0.05, NAMED
    )
    frames = np.arange(len(next(iter(table.values()))))
    for box, (title, names, scale) in zip(boxes, _ROWS, strict=True):
        curves = {name: scale * np.asarray(table[name], np.float64) for name in names}
        low, high = padded(np.concatenate(list(curves.values())))
        # Noise of microns is not to look like motion.
        plot = Plot(figure, box, (-0.5, len(frames) - 0.5), (min(low, -0.1), max(high, 0.1)))
        last = box == boxes[-1]
        plot.beside(title, grid=True, most=4)
        plot.below("frame" if last else "", numbers=last, grid=True)
        plot.edges()
        for values, colour in zip(curves.values(), _COLOURS, strict=False):
            plot.steps(np.arange(len(frames) + 1) - 0.5, values, colour, 0.9)
        if len(names) > 1:
            short = [name.rpartition("_")[2] for name in names]
            legend(figure, box.x + 0.1, box.y + 0.03, [list(zip(short, _COLOURS, strict=True))])
    return figure

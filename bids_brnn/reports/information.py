"""Figures of what a pulse train can measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.files import replacing
from bids_brnn.parameters import FIELDS

if TYPE_CHECKING:
    from bids_brnn.information.design import Row


def draw_information(path: Path, rows: Sequence[Row], snr: float) -> None:
    """Bars per tissue and known map; below, inflation against rank where there are ranks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.parameter not in FIELDS]
    tissues = list(dict.fromkeys(row.tissue for row in shown))
    ranked = [row for row in shown if not row.is_full]
    n_rows = 2 if ranked else 1
    figure, axes = plt.subplots(
        n_rows, len(tissues), figsize=(3.6 * len(tissues), 3.2 * n_rows), squeeze=False
    )
    for column, tissue in enumerate(tissues):
        here = [row for row in shown if row.tissue == tissue]
        _bars(axes[0, column], [row for row in here if row.is_full], snr, tissue)
        if ranked:
            _inflation(axes[1, column], here)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)


def _bars(axis: Any, rows: Sequence[Row], snr: float, title: str) -> None:
    variants = list(dict.fromkeys(row.known for row in rows))
    names = list(dict.fromkeys(row.parameter for row in rows))
    for position, known in enumerate(variants):
        heights = [row.percent(snr) for row in rows if row.known == known]
        offset = (position - (len(variants) - 1) / 2) * 0.8 / len(variants)
        axis.bar(
            [index + offset for index in range(len(names))],
            heights,
            0.8 / len(variants),
            label=f"{known} known" if known else "no map",
        )
    axis.set_xticks(range(len(names)), names)
    axis.set_yscale("log")
    axis.set_ylabel(f"std / value (%) at SNR {snr:g}")
    axis.set_title(title)
    if axis.get_subplotspec().is_first_col():
        axis.legend(fontsize=7)


def _inflation(axis: Any, rows: Sequence[Row]) -> None:
    full = {row.parameter: row.std for row in rows if row.is_full and not row.known}
    for name, best in full.items():
        pairs = [
            (int(r.rank), r.std / best) for r in rows if not r.is_full and r.parameter == name
        ]
        axis.plot(*zip(*pairs, strict=True), marker="o", markersize=3, label=name)
    axis.set_xlabel("rank")
    axis.set_ylabel("std / std of all samples")
    axis.set_yscale("log")
    if axis.get_subplotspec().is_first_col():
        axis.legend(fontsize=7)

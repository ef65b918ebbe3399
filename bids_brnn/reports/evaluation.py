"""Figures of ``brnn evaluate``, after figures 1 to 3 of arXiv 2312.11468."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw_figures(evaluation: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``snr_<tissue>.png``, ``sweep.png``, ``distribution.png`` and ``tissue_sets.png``.

    Returns their paths.
    """
    paths = []
    for tissue, curves in evaluation["tissues"].items():
        paths.append(_save(snr_figure(tissue, curves), folder / f"snr_{tissue}.png"))
    paths.append(_save(sweep_figure(evaluation["sweep"]), folder / "sweep.png"))
    paths.append(_save(distribution_figure(evaluation["held_out"]), folder / "distribution.png"))
    paths.append(_save(sets_figure(evaluation["tissue_sets"]), folder / "tissue_sets.png"))
    return paths


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path


def _parameters(table: Mapping[str, Any]) -> list[str]:
    return [name for name, value in table.items() if isinstance(value, Mapping)]


def snr_figure(tissue: str, estimators: Mapping[str, Any]) -> Figure:
    """Bias and standard deviation against SNR, with the bound."""
    names = _parameters(next(iter(estimators.values())))
    figure = Figure(figsize=(2.4 * len(names) + 0.6, 4.6), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False, sharex=True)
    for column, name in enumerate(names):
        for estimator, table in estimators.items():
            curve = table[name]
            axes[0, column].plot(table["snr"], curve["bias_percent"], "o-", label=estimator, ms=3)
            axes[1, column].plot(table["snr"], curve["std_percent"], "o-", label=estimator, ms=3)
        axes[1, column].plot(table["snr"], curve["bound_percent"], "k--", label="Cramer-Rao bound")
        if "unbiased_percent" in curve:
            least = curve["unbiased_percent"]
            axes[1, column].plot(table["snr"], least, "k:", label="second-order bound")
        axes[0, column].axhline(0, color="k", lw=0.8, ls="--")
        axes[0, column].set_title(f"{tissue} {name}", fontsize=9)
        axes[1, column].set_xlabel("|M0| / sigma")
    axes[0, 0].set_ylabel("bias / %")
    axes[1, 0].set_ylabel("std / %")
    axes[1, 0].legend(fontsize=7)
    return figure


def sweep_figure(sweep: Mapping[str, Any]) -> Figure:
    """Estimates at fixed SNR while one parameter changes; the band is one standard deviation."""
    names = _parameters(sweep)
    figure = Figure(figsize=(2.4 * len(names) + 0.6, 2.8), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        rows = zip(*(sweep[name][key] for key in ("truth", "bias", "std", "bound")), strict=True)
        truth, bias, std, bound = (list(column) for column in zip(*rows, strict=True))
        mean = [t + b for t, b in zip(truth, bias, strict=True)]
        axis.plot(sweep["swept"], truth, "k--", lw=1, label="truth")
        axis.plot(sweep["swept"], mean, "C0-", label="mean")
        for spread, style in ((std, {"color": "C0", "alpha": 0.3}), (bound, {"alpha": 0})):
            low = [m - s for m, s in zip(mean, spread, strict=True)]
            high = [m + s for m, s in zip(mean, spread, strict=True)]
            if spread is bound:
                axis.plot(sweep["swept"], low, "k:", lw=0.8, label="bound")
                axis.plot(sweep["swept"], high, "k:", lw=0.8)
            else:
                axis.fill_between(sweep["swept"], low, high, **style)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(f"{sweep['parameter']} / (1/s)")
    axes[0].legend(fontsize=7)
    return figure


def distribution_figure(summary: Mapping[str, Any]) -> Figure:
    """Quantiles over held-out fingerprints of squared bias and variance over the bound."""
    names = [name for name in summary if name != "all"]
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key in zip(axes, ("squared_bias_over_crb", "variance_over_crb"), strict=True):
        boxes = [
            dict(
                zip(
                    ("whislo", "q1", "med", "q3", "whishi"),
                    summary[name][f"{key}_quantiles"],
                    strict=True,
                ),
                mean=summary[name][key],
                label=name,
            )
            for name in names
        ]
        axis.bxp(boxes, showfliers=False, showmeans=True)
        axis.axhline(1.0 if key.startswith("variance") else 0.0, color="k", ls="--", lw=0.8)
        axis.set_title(key.replace("_", " "), fontsize=9)
    return figure


def sets_figure(sets: Mapping[str, Any]) -> Figure:
    """What tells how a network does, by parameter, tissue and SNR; dotted: second-order bound."""
    levels = list(next(iter(sets.values())))
    names = list(next(iter(sets.values()))[levels[0]])
    rows = (
        ("slope", "slope", 1.0),
        ("squared_bias_over_crb", "squared bias / CRB", 0.0),
        ("std_over_crb", "std / CRB", 1.0),
        ("std_over_slope", "std / slope / CRB", 1.0),
        ("coverage", "share in 95 % interval", 0.95),
    )
    figure = Figure(figsize=(2.2 * len(names) + 0.8, 9.0), layout="constrained")
    axes = figure.subplots(len(rows), len(names), squeeze=False, sharex=True, sharey="row")
    for row, (key, label, goal) in enumerate(rows):
        for column, name in enumerate(names):
            axis = axes[row, column]
            for tissue, table in sets.items():
                values = [table[level][name].get(key, float("nan")) for level in levels]
                places = [float(level) for level in levels]
                (line,) = axis.plot(places, values, "o-", ms=3, label=tissue)
                if key.startswith("std"):
                    least = [table[level][name].get("second_order_over_crb") for level in levels]
                    if None not in least:
                        axis.plot(places, least, ":", color=line.get_color(), lw=0.9)
            axis.axhline(goal, color="k", lw=0.8, ls="--")
        axes[row, 0].set_ylabel(label, fontsize=8)
    for column, name in enumerate(names):
        axes[0, column].set_title(name, fontsize=9)
        axes[-1, column].set_xlabel("|M0| / sigma")
    axes[0, 0].legend(fontsize=7)
    return figure

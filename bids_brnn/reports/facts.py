"""What a page says of an estimator beside its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.maps import quality_maps
from bids_brnn.reports.content import MapView


def estimator_facts(
    sidecar: Mapping[str, Any], views: Sequence[MapView], mask: NDArray[np.bool_]
) -> list[tuple[str, str]]:
    """Method, network, voxels and quality of an estimator, from a sidecar and its maps."""
    facts = [("Method", str(sidecar.get("EstimationAlgorithm", "unknown")))]
    for key, title in (("B1Source", "Flip angle scale"), ("WeightsName", "Network weights")):
        if sidecar.get(key, "n/a") not in ("n/a", ""):
            facts.append((title, str(sidecar[key])))
    if "VoxelSelection" in sidecar:
        facts.append(("Voxels", str(sidecar["VoxelSelection"])))
        # Flags are there wherever it was run.
        runs = [np.isfinite(view.values) for view in views if view.name == "flags"]
        mask = np.logical_and.reduce([mask, *runs])
    if views:
        failed = float(np.mean(~np.isfinite(views[0].values[mask]))) if mask.any() else 0.0
        facts.append(("Voxels without an estimate", f"{100 * failed:.2g} %"))
    for view in views:
        entry = quality_maps().get(view.name)
        if entry is not None and entry.summary is not None and entry.summary.title and mask.any():
            middle = float(np.nanmedian(view.values[mask]))
            facts.append((entry.summary.title, f"{middle:.4g}"))
    return facts

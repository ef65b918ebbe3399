"""One map out of many, for workflows that go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.errors import UsageError
from bids_brnn.imaging.grids import load, save
from bids_brnn.interfaces.base import Node


class SelectMapInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`SelectMap`."""

    maps_file = File(exists=True, mandatory=True, desc="from EstimateMaps")
    maps = InputMultiPath(File(exists=True), mandatory=True, desc="the files it lists")
    name = traits.Str(mandatory=True, desc="of the map: T1, m0s, flags ...")
    kind = traits.Str(
        desc="estimate, std (rmse of a network with bias) or flag; default: the map itself"
    )
    fill = traits.Float(desc="value of voxels without an estimate; default: NaN, as in the map")


class SelectMapOutputSpec(TraitedSpec):
    """Outputs of :class:`SelectMap`."""

    out_file = File(exists=True, desc="the map")


class SelectMap(Node):
    """A map by its name, with a value of one's own where there is no estimate.

    Filters that weigh neighbours spread NaN; they need ``fill``.

    >>> SelectMap(name="T1", fill=0).inputs.fill
    0.0
    """

    input_spec = SelectMapInputSpec
    output_spec = SelectMapOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Find, fill, save.

        Raises
        ------
        UsageError
            If there is no such map.
        """
        inputs = self.inputs
        listed = Path(inputs.maps_file)
        rows = json.loads(listed.read_text(encoding="utf-8"))
        kind = inputs.kind if isdefined(inputs.kind) else None
        found = [row for row in rows if row["name"] == inputs.name and kind in (None, row["kind"])]
        if not found:
            there = ", ".join(f"{row['name']} ({row['kind']})" for row in rows)
            wanted = inputs.name if kind is None else f"{inputs.name} ({kind})"
            raise UsageError(f"there is no map {wanted}; {listed.name} lists {there}")
        image = load(listed.parent / found[0]["file"])
        values = np.array(image.dataobj)
        if isdefined(inputs.fill):
            values[~np.isfinite(values)] = inputs.fill
        path = folder / f"{inputs.name}_{found[0]['kind']}.nii"
        return {"out_file": str(save(path, values, image.affine, image.header))}

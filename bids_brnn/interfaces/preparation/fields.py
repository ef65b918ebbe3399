"""Supplied field maps: to the grid of the series and to the units of the models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    OutputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.bids.images import read_grid
from bids_brnn.imaging.fields import check_declared, declared_scale, inverted, supply
from bids_brnn.imaging.grids import load, save
from bids_brnn.imaging.spread import check_shift, supply_spread
from bids_brnn.interfaces.base import Node
from bids_brnn.parameters import FIELD_MAPS
from bids_brnn.system.threads import in_threads

_LOG = logging.getLogger("bids_brnn.prepare")


class PrepareFieldsInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`PrepareFields`; the lists have one order."""

    fields = InputMultiPath(File(exists=True), mandatory=True, desc="field maps, 3D")
    names = traits.List(
        traits.Enum(*FIELD_MAPS), mandatory=True, desc="parameter that each supplies"
    )
    sidecars = traits.List(
        traits.Dict, mandatory=True, desc="what their sidecars say: Units, NominalFlipAngle"
    )
    mask = File(exists=True, mandatory=True, desc="mask on the grid of the series")
    offsets = traits.List(traits.Float, desc="of the MT pulses, Hz: B0 is compared with them")
    spreads = InputMultiPath(File(exists=True), desc="standard deviations of field maps, 3D")
    spread_names = traits.List(traits.Enum(*FIELD_MAPS), desc="of which each is")
    spread_sidecars = traits.List(traits.Dict, desc="what their sidecars say: Units")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


class PrepareFieldsOutputSpec(TraitedSpec):
    """Outputs of :class:`PrepareFields`."""

    supplied = OutputMultiPath(File(exists=True), desc="on the grid of the series, model units")
    decisions = traits.List(traits.Str, desc="which units were read, for the sidecar")
    spread = OutputMultiPath(
        File(exists=True), desc="standard deviations, on the grid of the series, model units"
    )


class _Prepared(NamedTuple):
    """A field map on the grid of the series."""

    file: str
    decision: str
    said: tuple[int, str]
    """Level and words for the log."""
    spread: str = ""


class PrepareFields(Node):
    """Bring field maps to a series: resampling, then scaling as their sidecars say.

    >>> PrepareFields(names=["B1"]).inputs.names
    ['B1']
    """

    input_spec = PrepareFieldsInputSpec
    output_spec = PrepareFieldsOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, resample, scale, save."""
        inputs = self.inputs
        target = read_grid(Path(inputs.mask))
        mask = np.asanyarray(load(inputs.mask).dataobj) > 0
        n = int(mask.sum())
        spreads = self._spreads()

        def prepared(item: tuple[str, str, Mapping[str, Any]]) -> _Prepared:
            text, name, sidecar = item
            path, field = Path(text), FIELD_MAPS[name]
            scale = declared_scale(field, sidecar, path.name)
            source = read_grid(path)
            found = supply(field, source, target, mask, inverted if scale.unit.inverse else None)
            scaled = (found.values * scale.factor).astype(np.float32)
            check_declared(field, scale, scaled[mask], path.name)
            if name == "w0" and isdefined(inputs.offsets):
                check_shift(scaled[mask], scale, inputs.offsets, path.name)
            gaps = found.words(n)
            decision = f"{scale.words}; {gaps}" if gaps else scale.words
            level = logging.WARNING if found.absent else logging.INFO
            said = (level, f"{path.name}: read as {decision}")
            saved = save(folder / f"{name}.nii", scaled, target.affine, target.header)
            whole = f"{path.name}, {decision}"
            if name not in spreads:
                return _Prepared(str(saved), whole, said)
            other, about = spreads[name]
            values = supply_spread(field, (source, scale), (other, about), target, mask)
            beside = save(folder / f"{name}_std.nii", values, target.affine, target.header)
            whole += f", standard deviation from {other.name}"
            return _Prepared(str(saved), whole, said, str(beside))

        items = zip(inputs.fields, inputs.names, inputs.sidecars, strict=True)
        done = []
        for one in in_threads(prepared, items, inputs.num_threads):
            _LOG.log(*one.said)  # in the order of the maps
            done.append(one)
        return {
            "supplied": [one.file for one in done],
            "decisions": [one.decision for one in done],
            "spread": [one.spread for one in done if one.spread],
        }

    def _spreads(self) -> dict[str, tuple[Path, Mapping[str, Any]]]:
        """File and sidecar of each standard deviation, by name of the parameter."""
        inputs = self.inputs
        if not isdefined(inputs.spreads):
            return {}
        pairs = zip(map(Path, inputs.spreads), inputs.spread_sidecars, strict=True)
        return dict(zip(inputs.spread_names, pairs, strict=True))

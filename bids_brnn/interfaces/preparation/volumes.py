"""From the files of a Z-spectrum to one image of all measurements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    traits,
)
from numpy.typing import NDArray

from bids_brnn.bids.input.acquisition import Measurements, Part
from bids_brnn.bids.magnitudes import read_magnitudes
from bids_brnn.imaging.grids import save
from bids_brnn.interfaces.base import Node
from bids_brnn.interfaces.preparation.meanwhile import module_list, read_meanwhile
from bids_brnn.system.threads import in_threads


class StackVolumesInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`StackVolumes`; the lists have one order."""

    files = InputMultiPath(File(exists=True), mandatory=True, desc="all images of the series")
    places = traits.List(
        traits.Tuple(traits.Int, traits.Int, traits.Str),
        mandatory=True,
        desc="of each: measurement, repeat and part",
    )
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")
    modules = module_list()


class StackVolumesOutputSpec(TraitedSpec):
    """Outputs of :class:`StackVolumes`."""

    mag = File(exists=True, desc="magnitudes (x, y, z, measurements)")


class StackVolumes(Node):
    """Take magnitudes, average repeats, stack measurements; nothing is interpolated.

    >>> places_of((({"mag": Path("a.nii")}, {"mag": Path("b.nii")}),))
    (['a.nii', 'b.nii'], [(0, 0, 'mag'), (0, 1, 'mag')])
    """

    input_spec = StackVolumesInputSpec
    output_spec = StackVolumesOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Load, average, stack, save."""
        found: dict[int, dict[int, dict[Part, Path]]] = {}
        for text, (measurement, repeat, part) in zip(
            self.inputs.files, self.inputs.places, strict=True
        ):
            found.setdefault(measurement, {}).setdefault(repeat, {})[part] = Path(text)
        measurements = [list(found[key].values()) for key in sorted(found)]
        threads = self.inputs.num_threads

        def stacked() -> Path:
            volume = read_magnitudes(measurements, threads)
            # In the order of the file.
            values: NDArray[np.float32] = np.empty(volume.data.shape, np.float32, order="F")

            def place(measurement: int) -> None:
                values[..., measurement] = volume.data.real[..., measurement]

            list(in_threads(place, range(values.shape[3]), threads))
            return save(folder / "mag.nii", values, volume.affine, volume.header)

        return {"mag": str(read_meanwhile(stacked, self.inputs.modules))}


def places_of(volumes: Measurements) -> tuple[list[str], list[tuple[int, int, str]]]:
    """Files and places as inputs of :class:`StackVolumes`."""
    files, places = [], []
    for measurement, repeats in enumerate(volumes):
        for repeat, parts in enumerate(repeats):
            for part, path in parts.items():
                files.append(str(path))
                places.append((measurement, repeat, str(part)))
    return files, places

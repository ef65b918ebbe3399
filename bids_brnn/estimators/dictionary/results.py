"""Where the dictionary collects its results."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.voxels import real_dtype


class Maps:
    """Results of all voxels, NaN until they are estimated."""

    def __init__(self, data: Tensor, n_parameters: int, *, with_std: bool) -> None:
        n, device, real = len(data), data.device, real_dtype(data)
        self._maps = {
            name: torch.full(shape, torch.nan, dtype=real, device=device)
            for name, shape in {
                "theta": (n, n_parameters),
                "residual": (n,),
                "match": (n,),
                **({"std": (n, n_parameters)} if with_std else {}),
            }.items()
        }
        self._maps["m0"] = torch.full((n,), torch.nan, dtype=data.dtype, device=device)

    def put(self, voxels: Tensor, values: Mapping[str, Tensor]) -> None:
        """Fill in ``voxels``."""
        for name, part in values.items():
            self._maps[name][voxels] = part.to(self._maps[name].dtype)

    def stored(self, voxels: Tensor) -> dict[str, Tensor]:
        """What is known of ``voxels``, in a form that can be stored."""
        done = {name: values[voxels] for name, values in self._maps.items()}
        done["m0"] = torch.view_as_real(done["m0"])
        return done

    def restore(self, voxels: Tensor, stored: dict[str, Tensor]) -> int:
        """Fill in what an earlier run did of ``voxels``; returns how many."""
        if not stored:
            return 0
        done = len(stored["residual"])
        values = {name: part.to(voxels.device) for name, part in stored.items()}
        values["m0"] = torch.view_as_complex(values["m0"])
        self.put(voxels[:done], values)
        return done

    def estimate(self) -> Estimate:
        """The finished result."""
        maps = self._maps
        quality = {"match": maps["match"]}
        return Estimate(maps["theta"], maps["m0"], maps["residual"], maps.get("std"), quality)

"""Results that fill up block by block, and that go on where a killed run stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bids_brnn.estimators.base import Estimate, Progress
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.voxels import real_dtype


class Results:
    """Maps of all voxels: NaN, or 0 where they are integers, until a voxel is estimated.

    Parameters
    ----------
    data
        ``(V, R)`` complex; maps have its precision and lie on its device.
    n_parameters
        Columns of ``theta``.
    quality
        Names of further ``(V,)`` maps, with their dtype where they are integers.
    with_std
        Whether there are standard deviations.
    with_covariance
        Whether there are covariances of all parameters.
    """

    def __init__(
        self,
        data: Tensor,
        n_parameters: int,
        quality: Mapping[str, torch.dtype | None],
        *,
        with_std: bool = True,
        with_covariance: bool = False,
    ) -> None:
        n, device, real = len(data), data.device, real_dtype(data)
        names = ("theta", "std") if with_std else ("theta",)
        wide: dict[str, tuple[int, ...]] = dict.fromkeys(names, (n, n_parameters))
        if with_covariance:
            wide["covariance"] = (n, n_parameters, n_parameters)
        real_maps: dict[str, tuple[int, ...]] = {
            **wide,
            "residual": (n,),
            **{k: (n,) for k, v in quality.items() if v is None},
        }
        self._maps = {
            name: torch.full(shape, torch.nan, dtype=real, device=device)
            for name, shape in real_maps.items()
        }
        self._maps["m0"] = torch.full((n,), torch.nan, dtype=data.dtype, device=device)
        for name, dtype in quality.items():
            if dtype is not None:
                self._maps[name] = torch.zeros((n,), dtype=dtype, device=device)
        self._quality = tuple(quality)

    def put(self, voxels: Tensor, values: Mapping[str, Tensor]) -> None:
        """Fill in ``voxels``, by the names of ``Estimate`` and of ``quality``."""
        for name, part in values.items():
            kept = self._maps[name]
            kept[voxels] = part.to(dtype=kept.dtype, device=kept.device)

    def remaining(
        self,
        blocks: Sequence[Tensor],
        progress: Progress | None,
        checkpoint: Checkpoint | None,
        key: str,
    ) -> Iterator[tuple[int, Tensor]]:
        """Number and voxels of each block that is still to be done.

        Before the next one is asked for, its results must be ``put``; they are then saved if that
        is due, and ``progress`` is told.

        Parameters
        ----------
        blocks
            Indices of voxels, always in the same order; empty ones are left out.
        progress, checkpoint
            See :class:`~bids_brnn.estimators.base.Estimator`.
        key
            Of the checkpoint: partial results with another one are not used.
        """
        order = torch.cat(list(blocks)) if blocks else torch.empty(0, dtype=torch.long)
        resumed = 0 if checkpoint is None else self._restore(order, checkpoint.load(key))
        done = 0
        for number, block in enumerate(blocks):
            done += len(block)
            if done <= resumed or len(block) == 0:
                continue
            yield number, block
            if checkpoint is not None and checkpoint.due():
                checkpoint.save(self._stored(order[:done]), key)
            if progress is not None:
                progress(done, len(order))

    def estimate(self) -> Estimate:
        """The result, complete or not."""
        maps = self._maps
        quality = {name: maps[name] for name in self._quality}
        return Estimate(
            maps["theta"],
            maps["m0"],
            maps["residual"],
            maps.get("std"),
            quality,
            maps.get("covariance"),
        )

    def _stored(self, voxels: Tensor) -> dict[str, Tensor]:
        """What is known of ``voxels``, in a form that can be stored."""
        done = {name: values[voxels] for name, values in self._maps.items()}
        done["m0"] = torch.view_as_real(done["m0"])
        return done

    def _restore(self, voxels: Tensor, stored: Mapping[str, Tensor]) -> int:
        """Fill in what an earlier run did of ``voxels``; returns how many."""
        done = stored["residual"].numel() if "residual" in stored else 0
        if _kinds(stored) != _kinds(self._stored(voxels[:done])):
            return 0  # nothing, or maps of other kinds
        self.put(voxels[:done], {**stored, "m0": torch.view_as_complex(stored["m0"])})
        return done


def _kinds(maps: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (part.shape, part.dtype) for name, part in maps.items()}

"""Maps that fill up block by block."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.results import Results

DATA = torch.ones(6, 4, dtype=torch.complex64)
BLOCKS = [torch.tensor([4, 1]), torch.tensor([], dtype=torch.long), torch.tensor([0, 2, 3])]


def _results(**options) -> Results:
    return Results(DATA, 2, {"match": None, "stop": torch.int32}, **options)


def _values(block: torch.Tensor) -> dict[str, torch.Tensor]:
    number = block.double()
    return {
        "theta": torch.stack([number, -number], -1),
        "std": torch.stack([number, number], -1),
        "m0": torch.complex(number, number),
        "residual": number,
        "match": number,
        "stop": block,
    }


def test_voxels_that_are_not_estimated_are_nan_and_integers_zero():
    results = _results()
    seen = []
    for number, block in results.remaining(BLOCKS, lambda *call: seen.append(call), None, ""):
        assert torch.equal(block, BLOCKS[number])
        results.put(block, _values(block))
    assert seen == [(2, 5), (5, 5)]  # an empty block is none
    found = results.estimate()
    assert found.residual[:5].tolist() == [0, 1, 2, 3, 4]
    assert found.theta[4].tolist() == [4, -4]
    assert (found.theta.dtype, found.m0.dtype) == (torch.float32, torch.complex64)
    for values in (found.theta[5], found.std[5], found.residual[5], found.m0[5].abs()):
        assert torch.isnan(values).all()
    assert list(found.quality) == ["match", "stop"]
    assert found.quality["stop"].dtype == torch.int32
    assert found.quality["stop"].tolist() == [0, 1, 2, 3, 4, 0]
    assert _results(with_std=False).estimate().std is None


def test_blocks_that_are_done_are_not_asked_for_again(tmp_path):
    place = Checkpoint(tmp_path / "partial.safetensors", interval=0.0)
    first, second = _results(), _results()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for _, block in first.remaining(BLOCKS, stop, place, "key"):
            first.put(block, _values(block))
    numbers = []
    for number, block in second.remaining(BLOCKS, None, place, "key"):
        numbers.append(number)
        second.put(block, _values(block))
    assert numbers == [2]
    assert second.estimate().m0[4] == 4 + 4j
    assert not torch.isnan(second.estimate().theta[:5]).any()
    assert list(_results().remaining(BLOCKS, None, place, "key")) == []  # all was saved
    assert [number for number, _ in _results().remaining(BLOCKS, None, place, "other")] == [0, 2]


@pytest.mark.parametrize("blocks", [[], [torch.tensor([], dtype=torch.long)]])
def test_no_voxel_at_all(blocks, tmp_path):
    place = Checkpoint(tmp_path / "partial.safetensors", interval=0.0)
    assert list(_results().remaining(blocks, None, place, "key")) == []
    assert not place.path.exists()

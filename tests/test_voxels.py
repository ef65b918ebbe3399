import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.voxels import to_volume, to_voxels

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_voxels_and_back(shape, order):
    mask = RNG.random((4, 5, 3)) > 0.4
    data = np.asarray(RNG.normal(size=(4, 5, 3, *shape)), order=order)
    voxels = to_voxels(data, mask)
    assert np.array_equal(voxels, data[mask])
    assert voxels.flags.c_contiguous
    back = to_volume(voxels, mask, fill=-1)
    assert np.array_equal(back[mask], data[mask])
    assert np.all(back[~mask] == -1)
    with pytest.raises(DataError, match="differ in shape"):
        to_voxels(data, mask[:2])
    with pytest.raises(DataError, match="do not fill"):
        to_volume(voxels[1:], mask)

"""The compiled search: the process that compiles it finds what all later ones find."""

from __future__ import annotations

import os
import subprocess
import sys

_SCRIPT = """
import hashlib, torch
from bids_brnn.estimators.dictionary.search import SearchTree
rng = torch.Generator().manual_seed(1)
shape = 3000, 10, 2
atoms, data = (torch.view_as_complex(torch.randn(shape, generator=rng)) for _ in range(2))
atoms = torch.view_as_real(atoms[:1] + 0.05 * atoms)
found = hashlib.sha256()
for kind in (atoms[..., 0].contiguous(), torch.view_as_complex(atoms)):
    unit = kind / kind.norm(dim=-1, keepdim=True)
    for part in SearchTree.build(unit).best(atoms[:, 0, None, 0] * kind + 0.02 * data):
        found.update(part.numpy().tobytes())
print(found.hexdigest())
"""


def test_machine_code_that_was_kept_gives_the_same_bits(tmp_path):
    places = {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    told = [
        subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={**os.environ, **places}, capture_output=True, text=True, check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert any(tmp_path.rglob("*.nbc"))
    assert told[0] == told[1]

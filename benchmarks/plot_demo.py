"""Truth, estimates and errors of ``brnn demo`` in one picture, for docs/demo.md.

brnn demo demo && python benchmarks/plot_demo.py demo docs/images/demo_maps.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import nibabel as nib
import numpy as np
from matplotlib import pyplot as plt

SHOWN = {
    "m0s": (0, 0.3),
    "R1f": (0.1, 0.8),
    "R2f": (5, 18),
    "Rx": (5, 25),
    "R1s": (1, 5),
    "T2s": (8e-6, 20e-6),
    "T1": (0.5, 2),
    "T2": (0.05, 0.2),
}


def read(root: Path, subject: str, parameter: str, desc: str) -> np.ndarray:
    if parameter in ("T1", "T2"):
        name = f"{subject}_acq-fisp_desc-{desc}_{parameter}map.nii.gz"
    else:
        name = f"{subject}_acq-hsfp_model-genbloch_param-{parameter}_desc-{desc}_QMTmap.nii.gz"
    volume = np.asanyarray(nib.load(root / subject / "anat" / name).dataobj)
    return np.rot90(volume[:, :, volume.shape[2] // 2]).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--subject", default="sub-01")
    options = parser.parse_args()
    derivatives = options.folder / "derivatives"
    figure, axes = plt.subplots(3, len(SHOWN), figsize=(2.1 * len(SHOWN), 6.2))
    for column, (name, limits) in enumerate(SHOWN.items()):
        estimator = "dict" if name in ("T1", "T2") else "nlls"
        truth = read(derivatives / "truth", options.subject, name, "truth")
        bound = read(derivatives / "truth", options.subject, name, "truthStd")
        estimate = read(derivatives / "bids_brnn", options.subject, name, estimator)
        error = np.where((bound > 0) & (estimate != 0), estimate - truth, 0)
        score = np.divide(error, bound, out=np.zeros_like(error), where=bound > 0)
        for row, (image, (low, high), colours) in enumerate(
            ((truth, limits, "viridis"), (estimate, limits, "viridis"), (score, (-5, 5), "RdBu_r"))
        ):
            axis = axes[row, column]
            shown = axis.imshow(image, vmin=low, vmax=high, cmap=colours)
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0 or (row == 2 and column == len(SHOWN) - 1):
                figure.colorbar(shown, ax=axis, fraction=0.05)
        axes[0, column].set_title(name)
    for axis, words in zip(axes[:, 0], ("truth", "estimate", "error / bound"), strict=True):
        axis.set_ylabel(words)
    figure.tight_layout()
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=60)


if __name__ == "__main__":
    main()

"""Field names of the workflows, written once and shared by nodes and connections."""

from __future__ import annotations

PREPARED = ("coefficients", "mask", "mask_source", "reference", "to_series", "noise_level")
"""What preparation makes of every series, to be used."""

HISTORY = ("noise_source", "noise_warning", "steps", "record")
"""What preparation tells of every series, for sidecars and report."""

ANATOMY = ("t1w_moved",)
"""What preparation makes of a T1w image, where there is one."""

SUPPLIED = ("supplied", "decisions")
"""What preparation makes of field maps, where there are any."""

SPREAD = ("spread",)
"""What preparation makes of standard deviations of field maps, where there are any."""

LEVEL = ("noise_source",)
"""What preparation tells of the noise, where it is compared with the residual."""

STRATA = ("strata",)
"""Label images by which a sample of the voxels is drawn, where there are any."""

MOTION = ("motion",)
"""What preparation makes of time frames whose motion is corrected."""

ESTIMATED = ("maps_file", "maps")
"""What an estimator makes."""

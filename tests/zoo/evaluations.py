"""Numbers of cards, as an evaluation leaves them."""

from __future__ import annotations


def judged(bias=0.01, variance=1.0, fingerprints=1000, tissue_snr="40", **changes):
    """The numbers of a network that was found good; ``changes`` of R1 in white matter."""
    row = {"squared_bias_over_crb": bias, "variance_over_crb": variance}
    good = {
        "slope": 0.99, "slope_error": 0.001, "squared_bias_over_crb": 0.01,
        "std_over_slope": 1.02, "coverage": 0.95,
    }  # fmt: skip
    return {
        "fingerprints": fingerprints,
        "draws": 100,
        "held_out": {"R1": row, "all": row},
        "tissue_sets": {"WM": {tissue_snr: {"R1": {**good, **changes}, "R2": good}}},
        "outside_training": {"flagged_noise_only": 1.0, "flagged_white_matter_snr_20": 0.0},
    }

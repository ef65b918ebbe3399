"""Synthetic BIDS data sets with known truth, and the comparison of maps with it."""

from bids_brnn.phantom.dataset import make_dataset
from bids_brnn.phantom.truth import Agreement, compare_with_truth

__all__ = ["Agreement", "compare_with_truth", "make_dataset"]

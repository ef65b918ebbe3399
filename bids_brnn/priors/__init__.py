"""What tissues may look like: mixtures of tissue classes for training, dictionaries and bases.

The classes of :func:`qmt_prior` follow the training distributions of arXiv 2312.11468; those of
:func:`relaxation_prior` are ours. A user writes others in TOML, see :meth:`Prior.from_toml`.
"""

from bids_brnn.priors.distributions import Distribution, constant, loguniform, normal, uniform
from bids_brnn.priors.mixture import Prior, TissueClass
from bids_brnn.priors.tissues import (
    TISSUE_SETS,
    TISSUES,
    at_field,
    qmt_prior,
    relaxation_prior,
    tissue_set,
    tissue_values,
)

__all__ = [
    "TISSUES",
    "TISSUE_SETS",
    "Distribution",
    "Prior",
    "TissueClass",
    "at_field",
    "constant",
    "loguniform",
    "normal",
    "qmt_prior",
    "relaxation_prior",
    "tissue_set",
    "tissue_values",
    "uniform",
]

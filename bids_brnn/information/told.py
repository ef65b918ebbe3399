"""Whether data can tell the parameters of a model at all, before a map is made of them.

Too few images, coefficients or frames, or such as are all alike, leave every parameter where the
search began: the fit is perfect, no residual tells, and the map looks like tissue.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.information.bounds import images_of, project_out_scale
from bids_brnn.signals.base import SignalModel, amplitude_of

_UNTOLD = 1e-7
"""Norm of the change of the signal (M0 = 1) for a change of parameters by their own size, below
which nobody sees it: at an SNR of 10,000 they would be off by a thousand times their value.
The weakest of protocols that are in use are at 1e-4."""
_PLACES = (0.3, 0.5, 0.7)
"""Points between the bounds that are asked where the start tells nothing: it may be an odd one."""
_SHARE = 0.05
"""Least part of a parameter in a change that nobody sees, for it to be named."""


def check_told(model: SignalModel, name: str) -> None:
    """Refuse data that cannot tell the parameters that are to be estimated, whatever the tissue.

    Parameters
    ----------
    model
        As the data are: compressed, magnitudes, with what maps supply known.
    name
        Of the pulse train or protocol, for the message.

    Raises
    ------
    DataError
        Naming the parameters.
    """
    parameters = model.parameters
    like = torch.zeros((), dtype=torch.float64)
    lower, upper = parameters.bounds(like)
    start = parameters.start(like).clamp(lower, upper)
    supplied = parameters.columns("supplied")
    names: list[str] = []
    for place in (None, *_PLACES):
        theta = start.clone() if place is None else lower + place * (upper - lower)
        theta[supplied] = start[supplied]
        found = _untold(model, theta, upper - lower)
        if not found:
            return
        names = names or found
    free = len(parameters.columns("estimated", "nuisance"))
    raise DataError(
        f"{name}: the data cannot tell {', '.join(names)}: values per voxel, {model.n_samples}, "
        f"are too few for {free} parameters and M0, or too much alike, and maps would show where "
        "the search began. Measure more that differs (offsets, flip angles, intervals)."
    )


def _untold(model: SignalModel, theta: Tensor, span: Tensor) -> list[str]:
    """Estimated parameters that can change together without a change of the signal."""
    parameters = model.parameters
    with torch.no_grad():
        signal, derivatives = (part.cpu() for part in images_of(model, theta[None]))
    if amplitude_of(model) != "one":
        derivatives = project_out_scale(signal, derivatives)
    size = torch.where(theta == 0, span, theta.abs())
    free = parameters.columns("estimated", "nuisance")
    changes = (derivatives[0] * size)[:, free].to(torch.complex128)
    rows = torch.view_as_real(changes).movedim(-1, 0).reshape(-1, len(free))
    if not bool(rows.isfinite().all()):
        return [parameters.names[column] for column in parameters.columns("estimated")]
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=True)
    seen = int((sizes >= _UNTOLD).sum())
    part = directions[seen:].abs().amax(0) if seen < len(free) else torch.zeros(len(free))
    estimated = set(parameters.columns("estimated"))
    return [
        parameters.names[column]
        for column, share in zip(free, part.tolist(), strict=True)
        if share > _SHARE and column in estimated
    ]

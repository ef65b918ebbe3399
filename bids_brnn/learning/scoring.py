"""Inputs that mean the same in every protocol: estimates of one Fisher-scoring step.

A network for any protocol of Z-spectra needs inputs that do not depend on how many images there
are and how they were made. They are made by the Fisher information of the protocol itself. From
each of twelve anchors ``k`` (tissues that span the prior) one scoring step leads to

    e_k = theta_k + (J^T J snr^2 + 1)^-1 J^T snr^2 (y - s_k)        in units of the prior's widths,

an estimate with a prior of unit width around the anchor (Kay, Fundamentals of Statistical Signal
Processing I, 7.7), linear in the data. The covariance of such a step goes beside it: it tells what
the protocol can see. What maps supply (B1, R1, w0) changes signals and slopes of the anchors; over
the range of the prior the steps are polynomials of it, found by least squares.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bids_brnn.information.bounds import project_out_scale
from bids_brnn.learning import scoring_shape
from bids_brnn.learning.scoring_shape import GAIN_DEGREES, LEVEL_DEGREES, SUPPLIED, powers
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel, amplitude_of

NAMES = ("m0s", "R2f", "Rx", "T2s")
"""What is estimated."""
ANCHORS = torch.tensor([
    [0.04, 10, 10, 9e-6], [0.04, 30, 25, 14e-6], [0.09, 10, 25, 14e-6], [0.09, 30, 10, 9e-6],
    [0.13, 18, 17, 11.5e-6], [0.17, 10, 10, 14e-6], [0.17, 30, 25, 9e-6], [0.22, 10, 25, 9e-6],
    [0.22, 30, 10, 14e-6], [0.02, 4, 12, 12e-6], [0.10, 55, 17, 11e-6], [0.15, 18, 35, 17e-6],
], dtype=torch.float64)  # fmt: skip
"""Of :data:`NAMES`, in SI units."""
WIDTHS = torch.tensor([0.08, 16.0, 10.0, 3.5e-6], dtype=torch.float64)
"""Of the prior: units of the steps."""
RANGES = {"B1": (0.55, 1.4), "R1": (0.15, 2.0), "w0": (-1000.0, 1000.0)}
"""Of what maps supply; beyond it the steps of the nearest value are taken."""
_TYPICAL = 150.0
"""SNR of the steps."""
_SQUEEZE = 4.0
"""Widths from which on estimates of remote anchors count by their logarithm."""
_NODES = (10, 9, 9)
"""Values of B1, R1 and w0 at which steps are computed."""


class ScoringSteps(nn.Module):
    """The steps of one protocol of ``N`` images.

    Parameters
    ----------
    n_samples
        ``N``.
    is_divided
        Whether M0 is known, so that data are taken as they are.
    """

    gain: Tensor
    """``(N terms, anchors parameters)``: of data times polynomials of what is supplied."""
    level: Tensor
    """``(terms, anchors parameters)``: the estimates where there is no signal."""
    spread: Tensor
    """``(terms, anchors told)``: logarithms of deviations, and correlations."""

    def __init__(self, n_samples: int, *, is_divided: bool) -> None:
        super().__init__()
        self.is_divided = is_divided
        for name, shape in scoring_shape.step_shapes(n_samples, len(NAMES)).items():
            self.register_buffer(name, torch.zeros(shape))

    @classmethod
    def of(cls, model: SignalModel) -> ScoringSteps:
        """The steps of a signal model, whose images all have the same noise."""
        is_divided = amplitude_of(model) == "one"
        found = cls(model.n_samples, is_divided=is_divided)
        unit = _nodes()
        signal, slopes = _anchors(model, _supplied_at(unit), is_divided=is_divided)
        information = slopes.mT @ slopes * _TYPICAL**2 + torch.eye(len(NAMES)).to(slopes)
        exact = torch.linalg.solve(information, slopes.mT) * _TYPICAL**2
        terms = _terms(unit, GAIN_DEGREES)
        gain = _fit(terms, exact)
        # The level belongs to the gains as they are taken, not to exact ones.
        taken = (terms @ gain).reshape(exact.shape)
        level = ANCHORS / WIDTHS - (taken @ signal[..., None])[..., 0]
        n_terms, n_anchors = terms.shape[1], scoring_shape.ANCHORS
        by_image = gain.reshape(n_terms, n_anchors * len(NAMES), -1).permute(2, 0, 1)
        found.gain.copy_(by_image.flatten(0, 1))
        found.level.copy_(_fit(_terms(unit, LEVEL_DEGREES), level))
        found.spread.copy_(_fit(terms, _told(information)))
        return found

    def forward(self, data: Tensor, supplied: Tensor) -> Tensor:
        """Inputs of the network ``(..., F)`` in float32.

        Parameters
        ----------
        data
            ``(..., N)`` real.
        supplied
            ``(..., 3)`` B1, R1 and w0 in SI units, with the same or with fewer leading axes.
        """
        with torch.autocast(data.device.type, enabled=False):
            data, supplied = data.float(), supplied.float()
            if not self.is_divided:
                data = data / data.norm(dim=-1, keepdim=True)
            unit = _unit(supplied)
            terms = _terms(unit, GAIN_DEGREES)
            products = (data[..., :, None] * terms[..., None, :]).flatten(-2)
            scored = products @ self.gain + _terms(unit, LEVEL_DEGREES) @ self.level
            squeezed = torch.asinh(scored / _SQUEEZE) * _SQUEEZE
            known = torch.cat([terms @ self.spread, unit * 2], dim=-1)
            return torch.cat([squeezed, known.expand(*squeezed.shape[:-1], -1)], dim=-1)


def supplied_of(parameters: ParameterSet, theta: Tensor) -> Tensor:
    """What maps tell ``(..., 3)`` of ``theta`` ``(..., P)``."""
    return theta[..., list(parameters.index(SUPPLIED))]


def _anchors(model: SignalModel, cells: Tensor, *, is_divided: bool) -> tuple[Tensor, Tensor]:
    """Signals ``(C, A, N)`` and slopes ``(C, A, N, 4)`` by widths, of unit norm and without M0."""
    parameters = model.parameters
    columns = list(parameters.index(NAMES))
    theta = parameters.start(cells).repeat(len(cells), len(ANCHORS), 1)
    theta[..., list(parameters.index(SUPPLIED))] = cells[:, None]
    theta[..., columns] = ANCHORS
    signal, slopes = model.linearize(theta.flatten(0, 1))
    slopes = slopes[..., columns] * WIDTHS
    if not is_divided:
        size = signal.abs().square().sum(-1).sqrt()
        signal, slopes = signal / size[:, None], slopes / size[:, None, None]
        slopes = project_out_scale(signal, slopes)
    shape = theta.shape[:2]
    return signal.real.unflatten(0, shape), slopes.real.unflatten(0, shape)


def _told(information: Tensor) -> Tensor:
    """Logarithms of deviations and correlations ``(..., told)`` of steps."""
    covariance = torch.linalg.inv(information)
    std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    i, j = torch.tril_indices(len(NAMES), len(NAMES), -1)
    correlation = (covariance / (std[..., :, None] * std[..., None, :]))[..., i, j]
    return torch.cat([std.log(), correlation], dim=-1)


def _nodes() -> Tensor:
    """``(C, 3)`` Chebyshev nodes of each supplied value, from -1 to 1."""
    axes = [torch.cos((torch.arange(n, dtype=torch.float64) + 0.5) * math.pi / n) for n in _NODES]
    return torch.cartesian_prod(*axes)


def _centres(like: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half of the range ``(3,)`` of each supplied value, R1 by its logarithm."""
    ends = [RANGES[name] for name in SUPPLIED]
    ends[1] = math.log(ends[1][0]), math.log(ends[1][1])
    low, high = (like.new_tensor([pair[side] for pair in ends]) for side in (0, 1))
    return (low + high) / 2, (high - low) / 2


def _unit(supplied: Tensor) -> Tensor:
    """``(..., 3)`` from -1 to 1."""
    B1, R1, w0 = supplied.unbind(-1)
    centre, half = _centres(supplied)
    scaled = torch.stack([B1, R1.clamp_min(1e-6).log(), w0], dim=-1)
    return ((scaled - centre) / half).clamp(-1, 1)


def _supplied_at(unit: Tensor) -> Tensor:
    """Inverse of :func:`_unit`."""
    centre, half = _centres(unit)
    B1, R1, w0 = (centre + unit * half).unbind(-1)
    return torch.stack([B1, R1.exp(), w0], dim=-1)


def _terms(unit: Tensor, degrees: tuple[int, int, int]) -> Tensor:
    """Products of Chebyshev polynomials ``(..., terms)`` of ``unit`` ``(..., 3)``."""
    found = unit.new_ones(())
    for axis, value in enumerate(unit.unbind(-1)):
        chain = [torch.ones_like(value), value]
        while len(chain) <= degrees[axis]:
            chain.append(2 * value * chain[-1] - chain[-2])
        rows = torch.tensor([term[axis] for term in powers(degrees)], device=unit.device)
        found = found * torch.stack(chain, dim=-1)[..., rows]
    return found


def _fit(terms: Tensor, values: Tensor) -> Tensor:
    """Coefficients ``(terms, ...)`` of values ``(C, ...)``, flattened."""
    found: Tensor = torch.linalg.lstsq(terms, values.flatten(1)).solution
    return found

"""One network for every Z-spectrum protocol: an experiment that stands outside the application.

    python benchmarks/any_spectrum.py train DIR                    about half an hour of one CPU
    python benchmarks/any_spectrum.py judge DIR --model ramani     protocols it has never seen

A network that takes the images of any protocol needs inputs that mean the same in all of them.
Here they are made by the Fisher information of the protocol itself: at each of twelve anchors
(tissues that span the prior) the estimate of one Fisher-scoring step from there,

    e_k = theta_k + (J^T J snr^2 + 1)^-1 J^T snr^2 (y - s_k)        in units of the prior's widths,

which is linear in the data, whatever their number, pulses, timing and signal model are, and
beside it the covariance that such a step has. R1, B1 and B0 enter through a grid of such anchors,
between which is interpolated. A residual network makes the estimate of all this; it is trained by
efficient regression (``bids_brnn.learning.losses``) over random protocols with the Ramani model,
whose signals cost nothing.

What came out is in docs/theory/networks.md. Missing on the way to an estimator of the application:
deviations, support and flags, training over the generalized Bloch model too, whose tables take
seconds per protocol.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bids_brnn.information.averaged import Whitened
from bids_brnn.information.bounds import project_out_scale
from bids_brnn.learning.bodies import ResidualBody
from bids_brnn.learning.config import Stage
from bids_brnn.learning.losses import Loss, efficient_regression
from bids_brnn.learning.optimisers import build_optimisers
from bids_brnn.learning.training_set import TrainingSet, simulate_fingerprints
from bids_brnn.priors import qmt_prior, tissue_set
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_designs import demo_protocol, qmrlab_like, wand_like
from bids_brnn.sequences.z_spectrum import ZSpectrum, usual_protocol
from bids_brnn.signals import model_entry
from bids_brnn.signals.base import SignalModel, amplitude_of
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

NAMES = ("m0s", "R2f", "Rx", "T2s")
ANCHORS = torch.tensor([
    [0.04, 10, 10, 9e-6], [0.04, 30, 25, 14e-6], [0.09, 10, 25, 14e-6], [0.09, 30, 10, 9e-6],
    [0.13, 18, 17, 11.5e-6], [0.17, 10, 10, 14e-6], [0.17, 30, 25, 9e-6], [0.22, 10, 25, 9e-6],
    [0.22, 30, 10, 14e-6], [0.02, 4, 12, 12e-6], [0.10, 55, 17, 11e-6], [0.15, 18, 35, 17e-6],
], dtype=torch.float64)  # fmt: skip
"""Of ``NAMES``."""
WIDTHS = torch.tensor([0.08, 16.0, 10.0, 3.5e-6], dtype=torch.float64)
"""Of the prior: units of everything below."""
SUPPLIED = {
    "B1": torch.tensor([0.55, 0.75, 0.9, 1.05, 1.2, 1.4], dtype=torch.float64),
    "R1": torch.tensor([0.15, 0.4, 0.7, 1.1, 2.0], dtype=torch.float64),
    "w0": torch.tensor([-1000.0, 0.0, 1000.0], dtype=torch.float64),
}
"""Grid of what maps tell, in SI units."""
SNR = (30.0, 300.0)
_TYPICAL = 150.0  # SNR of the scoring steps
_SQUEEZE = 4.0  # widths from which on estimates of remote anchors count by their logarithm
_UNSEEN = 4.0  # variance in squared widths beyond which a parameter is not asked for
_SHAPES = ("HARD", "GAUSSIAN", "GAUSSHANN", "SINC", "SINCHANN", "SINCGAUSS", "FERMI")
_SHARES = (0.06, 0.34, 0.25, 0.12, 0.08, 0.05, 0.10)
_MOST_FIELD = 2 * math.pi * 42.577e6 * 25e-6  # rad/s


def random_protocol(rng: np.random.Generator) -> ZSpectrum:
    """A protocol that a scanner could play: 5 to 30 images, one to three flip angles."""
    while True:
        found = _drawn(rng)
        if found is not None:
            return found


def _drawn(rng: np.random.Generator) -> ZSpectrum | None:
    duration = math.exp(rng.uniform(math.log(0.005), math.log(0.02)))
    shape = str(rng.choice(_SHAPES, p=_SHARES))
    narrow = shape.startswith("GAUSS") and rng.random() < 0.5
    pulse = MTPulse(
        shape,  # type: ignore[arg-type]
        duration,
        rng.uniform(1.0, 3.0) / duration if narrow else None,
    )
    delay, excitation = (
        float(rng.choice([0.0, 0.001, 0.002, 0.003, 0.005])),
        rng.uniform(5e-4, 3e-3),
    )
    repetition = (
        duration + delay + excitation + math.exp(rng.uniform(math.log(4e-3), math.log(0.05)))
    )
    n_angles = int(rng.choice([1, 2, 2, 2, 3]))
    mean_field = np.exp(rng.uniform(math.log(120), math.log(900), n_angles))
    angles = mean_field * math.sqrt(repetition / pulse.power)
    if (angles / pulse.area).max() > _MOST_FIELD:
        return None
    low = math.exp(rng.uniform(math.log(250), math.log(1500)))
    high = math.exp(rng.uniform(math.log(8000), math.log(40000)))
    n = int(rng.integers(4, 30))
    if rng.random() < 0.6:  # every angle at every offset
        each = max(2, n // n_angles)
        offset = np.geomspace(low, high, each) * np.exp(0.05 * rng.standard_normal(each))
        angle, offset = np.repeat(angles, each), np.tile(offset, n_angles)
    else:
        angle = rng.choice(angles, n)
        offset = np.exp(rng.uniform(math.log(low), math.log(high), n))
    divided = bool(rng.random() < 0.35)
    weights = np.ones(len(angle))
    if not divided:
        angle, offset = np.append(0.0, angle), np.append(0.0, offset)
        weights = np.append(float(rng.choice([1, 1, 2])), weights)
    if len(angle) < 5:
        return None
    return ZSpectrum(
        angle, offset, pulse, math.radians(rng.uniform(4, 15)), repetition, delay, excitation,
        divided, None if (weights == 1).all() else weights,
    )  # fmt: skip


def model_of(protocol: ZSpectrum, name: str) -> SignalModel:
    """The model with the observed R1, all images with the same noise."""
    return Whitened(ObservedR1(model_entry(name).build(protocol)))


@dataclass(frozen=True)
class Scoring:
    """Scoring steps of one protocol: cells ``C`` of the grid, anchors ``A``, images ``N``."""

    gain: Tensor
    """``(N, C A 4)``."""
    level: Tensor
    """``(C, A 4)``: of the estimate where there is no signal."""
    spread: Tensor
    """``(C, A 10)``: logarithms of deviations, and correlations."""
    is_divided: bool

    @classmethod
    def of(cls, model: SignalModel) -> Scoring:
        """The steps of a protocol."""
        parameters = model.parameters
        columns = list(parameters.index(NAMES))
        cells = torch.cartesian_prod(*SUPPLIED.values())
        theta = parameters.start(cells).repeat(len(cells), len(ANCHORS), 1)
        theta[..., list(parameters.index(tuple(SUPPLIED)))] = cells[:, None]
        theta[..., columns] = ANCHORS
        signal, slopes = model.linearize(theta.flatten(0, 1))
        slopes = slopes[..., columns] * WIDTHS
        is_divided = amplitude_of(model) == "one"
        if not is_divided:  # the data come with norm 1
            size = signal.abs().square().sum(-1).sqrt()
            signal, slopes = signal / size[:, None], slopes / size[:, None, None]
            slopes = project_out_scale(signal, slopes)
        signal, slopes = signal.real, slopes.real
        information = slopes.mT @ slopes * _TYPICAL**2 + torch.eye(4, dtype=slopes.dtype)
        gain = torch.linalg.solve(information, slopes.mT) * _TYPICAL**2
        covariance = torch.linalg.inv(information)
        std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        below = torch.tril_indices(4, 4, -1)
        correlation = (covariance / (std[:, :, None] * std[:, None, :]))[:, below[0], below[1]]
        anchors = (ANCHORS / WIDTHS).repeat(len(cells), 1)
        level = anchors - (gain @ signal[..., None])[..., 0]

        def by_cell(values: Tensor) -> Tensor:
            return values.float().reshape(len(cells), -1)

        spread = torch.cat([by_cell(std.log()), by_cell(correlation)], dim=-1)
        flat = gain.float().reshape(-1, gain.shape[-1]).T.contiguous()
        return cls(flat, by_cell(level), spread, is_divided)

    def inputs(self, data: Tensor, supplied: Tensor) -> Tensor:
        """Inputs of the network ``(K, V, F)``.

        Parameters
        ----------
        data
            ``(K, V, N)`` real.
        supplied
            ``(V, 3)``: of :data:`SUPPLIED`.
        """
        if not self.is_divided:
            data = data / data.norm(dim=-1, keepdim=True)
        index, weights = _corners(supplied)
        every = (data.flatten(0, 1) @ self.gain).reshape(*data.shape[:2], *self.level.shape)
        wanted = index[None, :, :, None].expand(len(data), -1, -1, every.shape[-1])
        scored = ((every.gather(2, wanted) + self.level[index]) * weights[..., None]).sum(2)
        around = (self.spread[index] * weights[..., None]).sum(1)
        known = torch.cat([around, _even(supplied)], dim=-1)
        squeezed = torch.asinh(scored / _SQUEEZE) * _SQUEEZE
        return torch.cat([squeezed, known.expand(len(data), -1, -1)], dim=-1)


def _even(supplied: Tensor) -> Tensor:
    B1, R1, w0 = supplied.float().unbind(-1)
    return torch.stack([(B1 - 1) / 0.2, (R1.log() + 0.2) / 0.5, w0 / 400], dim=-1)


def _corners(supplied: Tensor) -> tuple[Tensor, Tensor]:
    """Cells around each voxel ``(V, 8)`` and their weights; R1 on a logarithmic scale."""
    index = torch.zeros(len(supplied), 1, dtype=torch.long)
    weights = torch.ones(len(supplied), 1)
    for column, (name, ends) in enumerate(SUPPLIED.items()):
        grid = ends.log() if name == "R1" else ends
        values = supplied[:, column].log() if name == "R1" else supplied[:, column]
        values = values.clamp(grid[0], grid[-1]).contiguous()
        low = (torch.searchsorted(grid, values, right=True) - 1).clamp(0, len(grid) - 2)
        share = ((values - grid[low]) / (grid[low + 1] - grid[low])).float()
        pair = torch.stack([low, low + 1], dim=-1)
        index = (index[:, :, None] * len(grid) + pair[:, None]).flatten(1)
        weights = (weights[:, :, None] * torch.stack([1 - share, share], -1)[:, None]).flatten(1)
    return index, weights


@dataclass(frozen=True)
class Lesson:
    """Fingerprints of one protocol."""

    scoring: Scoring
    data: TrainingSet
    supplied: Tensor
    truth: Tensor
    """``(n, 4)``, in widths."""
    bound: Tensor
    """``(n, 4)``, in squared widths, at an SNR of 1."""
    gain: Tensor
    """``(n, 4, N)``: of an efficient estimator."""

    @classmethod
    def of(cls, model: SignalModel, theta: Tensor) -> Lesson:
        """Fingerprints of ``theta`` ``(n, P)``."""
        parameters = model.parameters
        columns = list(parameters.index(NAMES))
        data = simulate_fingerprints(model, theta, with_gain=True)
        assert data.gain is not None
        widths = WIDTHS.float()
        return cls(
            Scoring.of(model),
            data,
            data.theta[:, list(parameters.index(tuple(SUPPLIED)))].double(),
            data.theta[:, columns] / widths,
            data.bound[:, columns] / widths**2,
            data.gain[:, columns].real / widths[:, None],
        )

    def draw(
        self, rows: Tensor, snr: Tensor, n: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, efficient estimates ``(n, V, 4)``, bounds ``(V, 4)``; noise in pairs."""
        clean = self.data.coefficients[rows].real
        shape = (max(1, n // 2), *clean.shape)
        noise = torch.randn(shape, generator=rng) / snr[:, None]
        if n > 1:
            noise = torch.cat([noise, -noise])
        inputs = self.scoring.inputs(clean + noise, self.supplied[rows])
        efficient = self.truth[rows] + torch.einsum("vpn,kvn->kvp", self.gain[rows], noise)
        return inputs, efficient, self.bound[rows] / snr[:, None] ** 2


class AnySpectrum(nn.Module):
    """Estimates in widths of the prior ``(..., 4)`` of the inputs of :class:`Scoring`."""

    centre: Tensor
    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, n_inputs: int, width: int = 192, blocks: int = 4) -> None:
        super().__init__()
        self.body = ResidualBody(n_inputs, len(NAMES), width, blocks)
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))
        self.register_buffer("mean", torch.zeros(len(NAMES)))
        self.register_buffer("std", torch.ones(len(NAMES)))

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = self.mean + self.std * self.body((inputs - self.centre) / self.scale)
        return found


def lessons(model: str, n: int, fingerprints: int) -> Iterator[Lesson]:
    """Random protocols with tissue of the prior."""
    for number in range(n):
        protocol = random_protocol(np.random.default_rng(number))
        exact = model_of(protocol, model)
        rng = torch.Generator().manual_seed(number)
        yield Lesson.of(exact, qmt_prior(exact.parameters).sample(fingerprints, rng=rng).float())


def train(folder: Path, protocols: int, steps: tuple[int, int]) -> None:
    """Train over random protocols with the Ramani model; weights into ``folder``."""
    known = list(lessons("ramani", protocols, 300))
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    some = torch.arange(20)
    first = [each.draw(some, torch.full((20,), 100.0), 1, rng)[0][0] for each in known[:300]]
    inputs, truth = torch.cat(first), torch.cat([each.truth for each in known[:50]])
    network = AnySpectrum(inputs.shape[-1])
    network.centre.copy_(inputs.mean(0))
    network.scale.copy_(inputs.std(0).clamp_min(1e-3))
    network.mean.copy_(truth.mean(0))
    network.std.copy_(truth.std(0))
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    began, done = time.monotonic(), 0
    for n_steps, voxels, draws, rate, weight in (
        (steps[0], 256, 1, 3e-3, 0.0), (steps[1], 64, 4, 1.5e-3, 8.0),
    ):  # fmt: skip
        stage = Stage(Loss("mse-crb"), n_steps, 16 * voxels, learning_rate=rate, warmup=100)
        optimisers = build_optimisers(network, stage)
        for step in range(n_steps):
            loss = _step(network, known, voxels, draws, weight, rng)
            network.zero_grad(set_to_none=True)
            loss.sum().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = stage.rate(step)
                optimiser.step()
            done += 1
            share = 1 - min(0.999, done / (done + 9))
            for name, value in network.state_dict().items():
                kept[name].lerp_(value, share)
            if done % 200 == 0:
                numbers = " ".join(f"{float(value):.3f}" for value in loss.detach())
                print(
                    f"step {done}: loss {numbers} ({time.monotonic() - began:.0f} s)", flush=True
                )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in kept.items()}, folder / "any.safetensors"
    )


def _step(
    network: AnySpectrum,
    known: list[Lesson],
    voxels: int,
    draws: int,
    weight: float,
    rng: torch.Generator,
) -> Tensor:
    """Loss ``(4,)`` of a batch of sixteen protocols."""
    parts = []
    for number in torch.randint(len(known), (16,), generator=rng).tolist():
        rows = torch.randint(len(known[number].truth), (voxels,), generator=rng)
        snr = SNR[0] * (SNR[1] / SNR[0]) ** torch.rand(voxels, generator=rng)
        parts.append(known[number].draw(rows, snr, draws, rng))
    inputs, efficient = (torch.cat([part[item] for part in parts], dim=1) for item in (0, 1))
    bound = torch.cat([part[2] for part in parts])
    bound = torch.where(bound < _UNSEEN, bound, torch.inf)
    found = network(inputs)
    return efficient_regression(found, efficient, bound, weight=weight, mirrored=draws > 1)


def designs() -> dict[str, ZSpectrum]:
    """Protocols of the literature and of the demonstration, none of them drawn above."""
    demo = demo_protocol()

    def some(rows: list[int]) -> ZSpectrum:
        return replace(demo, mt_flip_angle=demo.mt_flip_angle[rows], offset=demo.offset[rows])

    return {
        "like WAND": wand_like(), "like qMRLab": qmrlab_like(), "usual": usual_protocol(),
        "demo": demo, "10 of demo": some([0, 1, 2, 4, 6, 7, 8, 9, 10, 11]),
        "5 of demo": some([0, 2, 7, 9, 11]),
    }  # fmt: skip


def judge(folder: Path, model: str, snr: float = 100.0, draws: int = 800) -> None:
    """Squared bias, variance and the slope of m0s on protocols that were not trained with."""
    weights = load_file(folder / "any.safetensors")
    network = AnySpectrum(len(weights["centre"]))
    network.load_state_dict(weights)
    for name, protocol in designs().items():
        exact = model_of(protocol, model)
        for tissue in ("WM", "GM", "lesion"):
            theta = tissue_set(exact.parameters, tissue, 20, rng=torch.Generator().manual_seed(3))
            step = torch.zeros_like(theta)
            step[:, 0] = 0.1 * theta[:, 0]
            lesson = Lesson.of(exact, torch.cat([theta, theta - step, theta + step]).float())
            means = []
            for part in range(3):
                rows, rng = torch.arange(20) + 20 * part, torch.Generator().manual_seed(8)
                with torch.no_grad():
                    inputs = lesson.draw(rows, torch.full((20,), snr), draws, rng)[0]
                    found = torch.cat([network(block) for block in inputs.split(100)])
                if part == 0:
                    bound = lesson.bound[:20] / snr**2
                    spread = found.var(0)
                    bias = (found.mean(0) - lesson.truth[:20]).square() - spread / draws
                means.append(found.mean(0)[:, 0])
            slope = (means[2] - means[1]) / (2 * step[:, 0] / WIDTHS[0]).float()
            cells = [f"{float(value):6.3f}" for value in (bias / bound).median(0).values]
            cells += [f"{float(value):5.2f}" for value in (spread / bound).median(0).values]
            print(f"{name:12} {tissue:7}", *cells, f"slope of m0s {float(slope.median()):.3f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["train", "judge"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="ramani", help="signal model to judge with")
    parser.add_argument("--protocols", type=int, default=665)
    parser.add_argument("--steps", type=int, nargs=2, default=[3000, 2500])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "train":
        train(options.folder, options.protocols, tuple(options.steps))
    else:
        judge(options.folder, options.model)


if __name__ == "__main__":
    main()

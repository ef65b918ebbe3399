"""What a training of a shipped or own model is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import Prior
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.base import SignalModel, amplitude_of
from bids_brnn.signals.subspace import CompressedSignal, Subspace


@dataclass(frozen=True)
class Portion:
    """Fingerprints of a part of the prior, or of other ranges than the prior has."""

    prior: Prior
    fingerprints: int


@dataclass(frozen=True, eq=False)
class Experiment:
    """Everything that a training needs; nothing in it is a file."""

    name: str
    description: str
    kind: str
    """Name of the signal model in the registry."""
    model: SignalModel
    """Of the time samples, or of the images of a Z-spectrum, such that all have the same noise."""
    sequence: PulseSequence | ZSpectrum
    subspace: Subspace
    prior: Prior
    training: TrainingConfig
    network: Mapping[str, Any]
    """Options of :class:`NetworkSpec`: layout, width, blocks, normalisation."""
    surrogate: Mapping[str, Any]
    """Options of :func:`train_surrogate`."""
    fingerprints: int
    held_out: int
    seed: int
    command: str
    errors: Mapping[str, Any] = field(default_factory=dict)
    """Options of :func:`train_error_network`."""
    extra: tuple[Portion, ...] = ()
    """Beside ``fingerprints``, where the signal is steep and the prior is thin; never held out."""
    focus: tuple[Portion, ...] = ()
    """Fingerprints for the stages with a ``focus``."""
    field_strength: float | None = None
    """T: of the tissue of the prior, if that is known."""
    basis_from: str = ""
    """``derivatives`` or ``signals``: what the subspace was made of; ``table``; or ``images``."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """The configuration as it was read."""

    @property
    def compressed(self) -> CompressedSignal:
        """The model that makes coefficients."""
        return CompressedSignal(self.model, self.subspace)

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the model."""
        return self.model.parameters

    @property
    def spec(self) -> NetworkSpec:
        """Shape of the network: outputs are the estimated parameters, then the nuisances."""
        outputs = self.parameters.select("estimated").names
        outputs += self.parameters.select("nuisance").names
        table = self.parameters
        return NetworkSpec(
            n_coefficients=self.subspace.rank,
            outputs=outputs,
            supplied=self.parameters.select("supplied").names,
            lower=tuple(table[name].lower for name in outputs),
            upper=tuple(table[name].upper for name in outputs),
            scale=amplitude_of(self.model),
            odd="w0" if self._folds else "",
            **self.network,
        )

    @property
    def _folds(self) -> bool:
        # The nested layout stays as published.
        return self.training.conjugate and self.network.get("layout", "residual") == "residual"

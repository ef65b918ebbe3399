"""How to build an estimator, as a value that lives in a file.

A Nipype node takes the *file*: its content hash is the cache key, while a Python object would get
a new key in every run. Arrays (pulse train, basis) lie beside it in one ``.npz`` whose digest the
JSON holds. Importing this module loads no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError, ReadError
from bids_brnn.estimators.registry import NETWORK, estimator_entry
from bids_brnn.files import write_bytes, write_text
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.registry import model_entry
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.choice import card_path
from bids_brnn.zoo.recipe_file import FORMAT, digest_of, read_recipe, unusable
from bids_brnn.zoo.sameness import same_train
from bids_brnn.zoo.sequences import arrays_of, sequence_from, values_of
from bids_brnn.zoo.shared_models import shared_model

if TYPE_CHECKING:
    from bids_brnn.estimators.base import Estimator
    from bids_brnn.signals.base import Amplitude, SignalModel


@dataclass(frozen=True, eq=False)
class EstimatorRecipe:
    """Estimator, signal model, pulse train (or protocol) and basis by name and value."""

    estimator: str
    """Name in the registry: ``brnn``, ``nlls``, ``dict`` ..."""
    model: str
    """Name of a signal model: ``gbloch``, ``fisp``, ``bssfp`` ..."""
    sequence: PulseSequence | ZSpectrum
    basis: NDArray[Any] | None = None
    """``(N, R)``: the data are coefficients; without it they are ``N`` time frames."""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    estimator_options: Mapping[str, Any] = field(default_factory=dict)
    supplied: tuple[str, ...] = ()
    """Parameters known from maps; they are not estimated."""
    spreads: tuple[str, ...] = ()
    """Those of them of which maps of the standard deviation are known."""
    weights: str = ""
    """Card of the trained network, for an estimator that has one."""
    weights_sha256: str = ""
    """Digest of its weights, so that other weights are another recipe."""
    magnitude: bool = False
    """The data are magnitudes (of time frames, of a Z-spectrum), and so is the model."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """What the network was trained with, for sidecars: ``name`` and options."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained and what it reaches (:attr:`ModelCard.facts`)."""

    @classmethod
    def of_network(
        cls,
        weights: str | Path,
        sequence: PulseSequence | ZSpectrum,
        basis: NDArray[Any] | None = None,
        *,
        supplied: tuple[str, ...] = (),
        spreads: tuple[str, ...] = (),
        estimator_options: Mapping[str, Any] | None = None,
    ) -> EstimatorRecipe:
        """The recipe of a trained network; everything else stands on its card.

        Parameters
        ----------
        weights
            Name of an installed network, or the path of its card, weights or folder.
        sequence, basis
            Of the data.
        supplied, spreads
            Parameters known from maps, and those with maps of their standard deviation; what the
            network has no input for is left out, because its estimates would not follow.
        estimator_options
            Of the network estimator.

        Raises
        ------
        ReadError
            If there is no such network.
        DataError
            If it was trained for another pulse train.
        """
        path = card_path(weights)
        card = ModelCard.from_file(path)
        if not same_train(path, card, sequence):
            trained = card.sequence.get("name") or card.sequence.get("digest")
            raise DataError(
                f'the network "{card.name}" was trained for another pulse train ({trained}) than '
                f"{sequence.name or 'that of the data'}; train one for it with: brnn train"
            )
        heard = card.network["supplied"]
        return cls(
            estimator=NETWORK,
            model=card.model,
            sequence=sequence,
            basis=basis,
            estimator_options=dict(estimator_options or {}),
            supplied=tuple(name for name in supplied if name in heard),
            spreads=tuple(name for name in spreads if name in heard),
            weights=str(path),
            weights_sha256=card.weights_sha256,
            loss=dict(card.last_loss),
            training=card.facts | ({"Shortcoming": why} if (why := card.shortcoming) else {}),
        )

    def to_file(self, path: Path) -> Path:
        """Write ``path`` (JSON) and the arrays beside it; each file whole or not at all.

        The same recipe gives the same bytes.
        """
        arrays = arrays_of(self.sequence)
        if self.basis is not None:
            arrays["basis"] = np.ascontiguousarray(self.basis)
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        beside = path.with_suffix(".npz")
        content = {
            "format": FORMAT,
            "estimator": self.estimator,
            "estimator_options": dict(self.estimator_options),
            "model": self.model,
            "model_options": dict(self.model_options),
            "supplied": list(self.supplied),
            **({"spreads": list(self.spreads)} if self.spreads else {}),
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "magnitude": self.magnitude,
            "loss": dict(self.loss),
            "training": dict(self.training),
            "arrays": beside.name,
            "digest": digest_of(arrays),
            **values_of(self.sequence),
            "sequence_name": self.sequence.name,
        }
        write_bytes(beside, buffer.getvalue())
        write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
        return path

    @classmethod
    def from_file(cls, path: Path) -> EstimatorRecipe:
        """Read what :meth:`to_file` wrote.

        Raises
        ------
        ReadError
            If a file is absent, broken, or the arrays are not those of the JSON.
        """
        content, arrays = read_recipe(path)
        try:
            return cls._from_content(content, arrays)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise unusable(path, error) from error

    @classmethod
    def _from_content(
        cls, content: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> EstimatorRecipe:
        return cls(
            estimator=content["estimator"],
            model=content["model"],
            sequence=sequence_from(arrays, content, content["sequence_name"]),
            basis=arrays.get("basis"),
            model_options=content["model_options"],
            estimator_options=content["estimator_options"],
            supplied=tuple(content["supplied"]),
            spreads=tuple(content.get("spreads", ())),
            weights=content["weights"],
            weights_sha256=content["weights_sha256"],
            magnitude=content["magnitude"],
            loss=content.get("loss", {}),
            training=content.get("training", {}),
        )

    @property
    def n_values(self) -> int:
        """Values per voxel: coefficients with a basis, else time frames."""
        return self.sequence.n_samples if self.basis is None else int(self.basis.shape[1])

    @property
    def digest(self) -> str:
        """Hash of everything, for names of folders."""
        arrays = arrays_of(self.sequence)
        if self.basis is not None:
            arrays["basis"] = np.ascontiguousarray(self.basis)
        train = values_of(self.sequence)
        told = str(train["start"]) if "start" in train else json.dumps(train, sort_keys=True)
        words = [self.estimator, self.model, told, *self.supplied]
        words += ["spreads", *self.spreads] if self.spreads else []
        words += [self.weights_sha256, *(["magnitude"] if self.magnitude else [])]
        options = json.dumps([dict(self.model_options), dict(self.estimator_options)])
        text = "|".join([*words, options, digest_of(arrays)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def amplitude(self) -> Amplitude:
        """What is unknown of M0 in the data."""
        if isinstance(self.sequence, ZSpectrum):
            return self.sequence.amplitude
        return "real" if self.magnitude else "complex"

    def build_model(self, *, check: bool = False) -> SignalModel:
        """The signal model, seen through the basis if there is one.

        Parameters
        ----------
        check
            Simulate usual tissue, and refuse a train that gives no signal.

        Raises
        ------
        DataError
            For magnitudes of coefficients, which mean nothing.
        SequenceError
            With ``check``, for a train whose samples are all zero or not finite.
        """
        if isinstance(self.sequence, ZSpectrum):
            return self._z_model(self.sequence, check=check)
        import torch

        from bids_brnn.signals.base import check_signal
        from bids_brnn.signals.magnitude import MagnitudeSignal
        from bids_brnn.signals.subspace import CompressedSignal, Subspace

        model = shared_model(self.model, self.sequence, self.model_options)
        if check:
            check_signal(model, self.sequence)
        if self.supplied:
            model = SuppliedModel(model, self.supplied)
        if self.magnitude:
            if self.basis is not None:
                raise DataError("magnitudes of coefficients mean nothing; give complex data")
            return MagnitudeSignal(model)
        if self.basis is None:
            return model
        return CompressedSignal(model, Subspace(torch.from_numpy(np.array(self.basis))))

    def _z_model(self, sequence: ZSpectrum, *, check: bool) -> SignalModel:
        """A model of the Z-spectrum with the observed R1 in the place of R1f."""
        from bids_brnn.signals.base import check_signal
        from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

        if self.basis is not None:
            raise DataError("a Z-spectrum has no basis; give its images")
        options = dict(self.model_options)
        observed = {name: options.pop(name) for name in ("R1s",) if name in options}
        inner = shared_model(self.model, sequence, options)
        model: SignalModel = ObservedR1(inner, **observed)
        if check:
            check_signal(model, sequence)
        return SuppliedModel(model, self.supplied) if self.supplied else model

    def build(self, cache_dir: Path | None = None, *, block_size: int | None = None) -> Estimator:
        """The estimator.

        Parameters
        ----------
        cache_dir
            Where an estimator may keep what it computes from the recipe alone (a dictionary), for
            the next participant with the same pulse train.
        block_size
            Voxels estimated together, where the estimator's own choice does not suit; no part of
            the recipe, as it does not change the result.

        Raises
        ------
        DataError
            If the estimator does not exist, a network does not fit pulse train and basis, the
            estimator needs complex data and these are magnitudes, or the data cannot tell a
            parameter.
        ReadError
            If the weights of a network are not those of the recipe.
        """
        entry = estimator_entry(self.estimator)
        if entry.trained:
            return self._build_network(block_size)
        from bids_brnn.information.told import check_told

        options = dict(self.estimator_options)
        unmixes = options.pop("csf_fraction", False)
        if block_size is not None:
            options["block_size"] = block_size
        model = self.build_model(check=True)
        check_told(model, self.sequence.name or "the pulse train")
        if isinstance(self.sequence, ZSpectrum):
            return entry.build_real(model, **options)
        built = entry.build(model, cache_dir=cache_dir, magnitude=self.magnitude, **options)
        return self._unmixing(built, model) if unmixes else built

    def _unmixing(self, estimator: Any, model: SignalModel) -> Estimator:
        """The estimator with a share of fluid where one compartment does not explain the data."""
        from bids_brnn.estimators.csf import CsfEstimator, fluid_mixture

        suffix = model_entry(self.model).kind.map_suffix
        return cast("Estimator", CsfEstimator(estimator, fluid_mixture(model, suffix)))

    def _build_network(self, block_size: int | None) -> Estimator:
        if self.magnitude and not isinstance(self.sequence, ZSpectrum):
            raise DataError("networks need complex data, and these are magnitudes")
        from bids_brnn.zoo.match import load_network

        if not self.weights:
            raise DataError(
                "the recipe of a network names no weights; make it with "
                "EstimatorRecipe.of_network(weights, sequence, basis)"
            )
        card = ModelCard.from_file(card_path(self.weights))
        if not self.weights_sha256:
            raise DataError(
                f"the recipe of {self.weights} holds no weights_sha256, so that other weights "
                "would go unnoticed; make it with EstimatorRecipe.of_network"
            )
        if card.weights_sha256 != self.weights_sha256:
            raise ReadError(
                f"{self.weights} is not the network that the recipe was made for (other SHA-256): "
                "it was changed since; make the recipe again, or run again."
            )
        options = dict(self.estimator_options)
        unmixes = options.pop("csf_fraction", False)
        model = self.build_model()
        network: Any = load_network(model, self.model, weights=self.weights, **options)
        network = replace(network, block_size=block_size)
        return self._unmixing(network, model) if unmixes else cast("Estimator", network)

"""Canonical tissue values and the priors made from published ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import FIELD_MAPS, QMT, RELAXATION, Parameter, ParameterSet
from bids_brnn.priors.distributions import Distribution, constant, loguniform, normal, uniform
from bids_brnn.priors.mixture import Prior, TissueClass

FIELD_STRENGTH = 3.0
"""T: of all values and ranges of this file."""
# White and grey matter: Wansapura 1999 (T1, T2), Stanisz 2005 (apparent T1) and the values of
# arXiv 2312.11468 (qMT, white matter); qMT of grey matter and fluids: our own round values.
TISSUES: Mapping[str, Mapping[str, float]] = {
    "WM": {
        "m0s": 0.2, "R1f": 1 / 1.92, "R2f": 1 / 0.0776, "Rx": 16.5, "R1s": 1 / 0.337,
        "T2s": 12.4e-6, "R1": 1 / 0.832, "R2": 1 / 0.0796, "R1a": 1 / 1.084,
    },
    "GM": {
        "m0s": 0.1, "R1f": 0.42, "R2f": 12.0, "Rx": 14.0, "R1s": 2.6, "T2s": 13.5e-6,
        "R1": 1 / 1.331, "R2": 1 / 0.110, "R1a": 1 / 1.82,
    },
    "CSF": {
        "m0s": 1e-3, "R1f": 0.24, "R2f": 0.6, "Rx": 10.0, "R1s": 3.0, "T2s": 12e-6,
        "R1": 1 / 4.16, "R2": 1 / 1.65, "R1a": 0.24,
    },
}  # fmt: skip
"""Canonical values at 3 T by tissue and parameter name, SI units."""


TISSUE_SETS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "WM": {
        "m0s": (0.15, 0.25), "R1f": (0.45, 0.6), "R2f": (11, 15), "Rx": (13, 20),
        "R1s": (2.4, 3.6), "T2s": (10.5e-6, 14.5e-6), "R1": (1.0, 1.35), "R2": (11, 15),
        "R1a": (0.85, 1.1),
    },
    "GM": {
        "m0s": (0.07, 0.12), "R1f": (0.37, 0.47), "R2f": (9, 13), "Rx": (11, 18),
        "R1s": (2.0, 3.2), "T2s": (11.5e-6, 15.5e-6), "R1": (0.62, 0.85), "R2": (8, 11),
        "R1a": (0.5, 0.7),
    },
    "lesion": {
        "m0s": (0.03, 0.1), "R1f": (0.33, 0.5), "R2f": (6, 11), "Rx": (9, 18),
        "R1s": (1.8, 3.4), "T2s": (9e-6, 15e-6), "R1": (0.5, 0.85), "R2": (5, 10),
        "R1a": (0.4, 0.7),
    },
    "oedema": {
        "m0s": (0.02, 0.07), "R1f": (0.25, 0.38), "R2f": (3, 7), "Rx": (9, 18),
        "R1s": (1.8, 3.4), "T2s": (9e-6, 15e-6), "R1": (0.4, 0.6), "R2": (3, 6),
        "R1a": (0.3, 0.5),
    },
}  # fmt: skip
"""Ranges at 3 T in which estimators are judged: healthy, and changed by disease (our own round
values; lesions lose their semi-solid pool, oedema adds free water)."""
_FIELDS: Mapping[str, tuple[float, float]] = {"B1": (0.8, 1.15), "w0": (-0.45, 0.45)}
"""Of every set; ``w0`` in units of its bound: between the stop bands of a balanced train."""
_FROM_MAP = 2000.0
"""rad/s: unit of ``w0`` where it comes from a map; half of it is what the prior reaches."""


def tissue_set(parameters: ParameterSet, tissue: str, n: int, *, rng: torch.Generator) -> Tensor:
    """``n`` parameter sets ``(n, P)`` of a kind of tissue, uniform in :data:`TISSUE_SETS`.

    A parameter without a range, and one that is known without a map, has its start value.

    Raises
    ------
    ParameterError
        If the kind is unknown.
    """
    if tissue not in TISSUE_SETS:
        raise ParameterError(f'unknown tissue "{tissue}"; known: {", ".join(TISSUE_SETS)}')
    unit = torch.rand(n, len(parameters), generator=rng, dtype=torch.float64)
    theta = parameters.start(unit).repeat(n, 1)
    for column, item in enumerate(parameters):
        low, high = {**_FIELDS, **TISSUE_SETS[tissue]}.get(item.name, (item.start, item.start))
        if _is_constant(item):
            low = high = item.start
        if item.name == "w0":
            reach = item.upper if item.role == "nuisance" else _FROM_MAP
            low, high = low * reach, high * reach
        theta[:, column] = low + (high - low) * unit[:, column]
    return theta


def tissue_values(
    parameters: ParameterSet, tissue: str, like: Tensor, field_strength: float = FIELD_STRENGTH
) -> Tensor:
    """Canonical ``theta`` ``(P,)`` of ``"WM"``, ``"GM"`` or ``"CSF"``; w0 = 0 and B1 = 1.

    Rates are moved to another field (T) as those of priors are (:func:`at_field`).

    Raises
    ------
    ParameterError
        If the tissue is unknown.
    """
    if tissue not in TISSUES:
        raise ParameterError(f'unknown tissue "{tissue}"; known: {", ".join(TISSUES)}')
    field = FIELD_STRENGTH if tissue == "CSF" else field_strength
    known = {name: value * _moved(name, field) for name, value in TISSUES[tissue].items()}
    told = [item.name for item in parameters if item.name in known and not _is_constant(item)]
    return parameters.theta({name: known[name] for name in told}, like)


def _is_constant(item: Parameter) -> bool:
    """Whether a parameter is known without a map, such as R1s of a Z-spectrum."""
    return item.role == "supplied" and item.name not in FIELD_MAPS


_OF_R1, _OF_R2 = (-0.38, 0.2), (0.3, 1.5)
_WITH_FIELD: Mapping[str, tuple[float, float]] = {
    "R1": _OF_R1, "R1f": _OF_R1, "R1a": _OF_R1, "R2": _OF_R2, "R2f": _OF_R2,
}  # fmt: skip
"""Exponent of ``B0 / 3 T`` by rate, and the field (T) below which it is not known to hold: R1 of
brain tissue from 0.2 to 7 T (Rooney 2007, doi:10.1002/mrm.21122); R2 between the T2 of 1.5, 3 and
7 T (about 80, 75 and 55 ms in white matter), rounded. Below, rates stay: lower R2 would fall under
R1, while T2 is 80 to 100 ms down to 0.06 T. Those of the semi-solid pool (R1s, T2s) change by less
than their ranges."""


def _moved(name: str, field: float, known: float = FIELD_STRENGTH) -> float:
    """Factor of a rate from one field (T), at which it is ``known``, to another."""
    exponent, lowest = _WITH_FIELD.get(name, (0.0, 1.0))
    ratio: float = (max(field, lowest) / max(known, lowest)) ** exponent
    return ratio


def at_field(prior: Prior, field_strength: float) -> Prior:
    """The prior with relaxation rates of tissue as they are at another field (T).

    Fluids, whose rates hardly change with the field, stay. Ranges are cut at the bounds of the
    model.
    """
    known = prior.field_strength or FIELD_STRENGTH
    classes = []
    for tissue in prior.classes:
        moved = dict(tissue.distributions)
        for name in _WITH_FIELD:
            if name in moved and tissue.name != "CSF":
                factor = _moved(name, field_strength, known)
                moved[name] = moved[name].scaled(factor, prior.parameters[name])
        classes.append(replace(tissue, distributions=moved))
    return replace(prior, classes=tuple(classes), field_strength=field_strength)


def _bounds(parameters: ParameterSet, name: str) -> Distribution:
    return uniform(parameters[name].lower, parameters[name].upper)


def qmt_prior(parameters: ParameterSet = QMT) -> Prior:
    """Parenchyma, CSF and fat (72 : 9 : 9) as in arXiv 2312.11468.

    ``parameters`` should be those of the model: off-resonance is uniform over its bounds, which
    a ``GeneralizedBloch`` narrows to +-pi/TR of its pulse train. A model
    with one apparent rate R1a takes ranges of our own for it, and one of Z-spectra, whose observed
    R1 is supplied, those of :func:`_spectrum_prior`.
    """
    fixed = {"Rx": constant(10), "R1s": constant(3), "T2s": constant(12e-6), "m0s": constant(1e-3)}
    w0 = _bounds(parameters, "w0")
    parenchyma = {
        "m0s": normal(0.15, 0.15, 0, 0.35),
        "R1a": normal(0.8, 0.3, 0.2, 2),
        "R1f": normal(0.45, 0.2, 0.1, 1),
        "R2f": normal(12.5, 4, 1, 20),
        "Rx": normal(10, 5, 2, 30),
        "R1s": normal(3, 0.75, 1, 6),
        "T2s": normal(14e-6, 4e-6, 5e-6, 25e-6),
        "w0": w0,
        "B1": normal(0.9, 0.2, 0.6, 1.3),
    }
    csf = fixed | {
        "R1a": normal(4, 0.75, 1, 7, reciprocal=True),
        "R1f": normal(4, 0.75, 1, 7, reciprocal=True),
        "R2f": normal(2, 1, 0.5, 5, reciprocal=True),
        "w0": w0,
        "B1": normal(0.9, 0.3, 0.6, 1.3),
    }
    fat = fixed | {
        "R1a": normal(0.4, 0.075, 0.1, 0.7, reciprocal=True),
        "R1f": normal(0.4, 0.075, 0.1, 0.7, reciprocal=True),
        "R2f": normal(0.1, 0.02, 0.05, 0.2, reciprocal=True),
        "w0": w0,
        "B1": normal(0.75, 0.125, 0.6, 1.3),
    }
    if "R1" in parameters.names:
        return _spectrum_prior(parameters)
    rate = "R1f" if "R1f" in parameters.names else "R1a"
    classes = (
        ("parenchyma", 72, parenchyma, (("R2f", rate),)),
        ("CSF", 9, csf, ()),
        ("fat", 9, fat, ()),
    )
    return Prior(
        parameters,
        tuple(
            TissueClass(name, share, {key: all_[key] for key in parameters.names}, conditions)
            for name, share, all_, conditions in classes
        ),
        name="qmt",
        field_strength=FIELD_STRENGTH,
    )


def _spectrum_prior(parameters: ParameterSet) -> Prior:
    """Parenchyma and CSF (9 : 1) as fits of Z-spectra see them; ranges of our own.

    Fitted T2 of the free pool is shorter there than in relaxometry, and exchange hardly known, so
    that both are wide; off-resonance reaches 160 Hz.
    """
    fields = {"w0": uniform(-1000, 1000), "B1": normal(1, 0.2, 0.55, 1.4)}
    fixed = {item.name: constant(item.start) for item in parameters if _is_constant(item)}
    parenchyma = {
        "m0s": normal(0.11, 0.08, 0, 0.3),
        "R1": normal(0.85, 0.3, 0.25, 2),
        "R2f": normal(22, 16, 3, 80),
        "Rx": normal(17, 10, 3, 50),
        "T2s": normal(12e-6, 3.5e-6, 5e-6, 25e-6),
        **fixed,
        **fields,
    }
    fluid = {
        "m0s": uniform(0, 0.02),
        "R1": normal(4, 0.75, 1.5, 7, reciprocal=True),
        "R2f": normal(1, 0.5, 0.1, 3, reciprocal=True),
        "Rx": constant(10),
        "T2s": constant(12e-6),
        **fixed,
        **fields,
    }
    return Prior(
        parameters,
        (TissueClass("parenchyma", 9, parenchyma), TissueClass("CSF", 1, fluid)),
        name="Z-spectra",
        field_strength=FIELD_STRENGTH,
    )  # fmt: skip


def relaxation_prior(parameters: ParameterSet = RELAXATION) -> Prior:
    """Parenchyma, CSF, fat-like and log-uniform filler (70 : 10 : 10 : 10) for fingerprinting.

    The filler leaves no hole between the tissues; T2 <= T1 everywhere. Off-resonance, where the
    model has it, is uniform over its bounds.
    """
    b1 = normal(1, 0.15, 0.6, 1.4)
    ordered = (("R2", "R1"),)
    parenchyma = {"R1": normal(1, 0.35, 0.3, 3), "R2": normal(13, 4.5, 3, 50), "B1": b1}
    csf = {
        "R1": normal(4, 0.75, 1, 7, reciprocal=True),
        "R2": normal(2, 1, 0.5, 5, reciprocal=True),
        "B1": b1,
    }
    fat = {
        "R1": normal(0.4, 0.075, 0.1, 0.7, reciprocal=True),
        "R2": normal(0.1, 0.02, 0.05, 0.2, reciprocal=True),
        "B1": b1,
    }
    filler = {
        "R1": loguniform(0.1, 5, reciprocal=True),
        "R2": loguniform(0.01, 2.5, reciprocal=True),
        "B1": b1,
    }
    fields = {"w0": _bounds(parameters, "w0")} if "w0" in parameters.names else {}
    return Prior(
        parameters,
        tuple(
            TissueClass(name, share, {**tissue, **fields}, ordered)
            for name, share, tissue in (
                ("parenchyma", 70, parenchyma),
                ("CSF", 10, csf),
                ("fat", 10, fat),
                ("filler", 10, filler),
            )
        ),
        name="relaxation",
        field_strength=FIELD_STRENGTH,
    )

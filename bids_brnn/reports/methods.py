"""Methods boilerplate and references, for what was run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from bids_brnn.config.choices import PRESETS
from bids_brnn.estimators.registry import NETWORK, estimators
from bids_brnn.learning.loss_words import loss_words
from bids_brnn.signals.registry import models


@cache
def _texts() -> dict[str, Any]:
    content = files("bids_brnn.reports").joinpath("methods.toml").read_text(encoding="utf-8")
    return tomllib.loads(content)


@dataclass(frozen=True)
class Reference:
    """A publication."""

    key: str
    author: str
    """As cited: ``Ma D, Gulani V`` or ``Ma D et al``."""
    title: str
    journal: str
    year: int
    doi: str
    volume: str = ""
    pages: str = ""

    @property
    def text(self) -> str:
        """As in a list of references."""
        issue = f" {self.year};{self.volume}:{self.pages}" if self.volume else f" ({self.year})"
        return f"{self.author}. {self.title}. {self.journal}{issue}."

    @property
    def url(self) -> str:
        """Where the DOI leads."""
        return f"https://doi.org/{self.doi}"

    @property
    def bibtex(self) -> str:
        """An entry for a bibliography of LaTeX."""
        fields = {
            "author": " and ".join(_last_first(name) for name in self._names()),
            "title": f"{{{self.title}}}",
            "journal": self.journal,
            "year": str(self.year),
            "volume": self.volume,
            "pages": self.pages.replace("-", "--"),
            "doi": self.doi,
        }
        rows = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
        return f"@article{{{self.key},\n" + ",\n".join(rows) + "\n}\n"

    def _names(self) -> list[str]:
        known = self.author.removesuffix(" et al").rstrip(",")
        others = ["others"] if known != self.author else []
        return [*known.split(", "), *others]


def _last_first(name: str) -> str:
    last, _, initials = name.rpartition(" ")
    return f"{last}, {initials}" if last else initials


def methods(
    used: Iterable[str],
    parts: Iterable[str],
    version: str,
    losses: Iterable[Mapping[str, Any]] = (),
    trainings: Iterable[Mapping[str, Any]] = (),
    samples: Iterable[str] = (),
) -> tuple[list[str], list[Reference]]:
    """Paragraphs and references.

    Parameters
    ----------
    used
        Names of signal models.
    parts
        Names of estimators, and of steps of preparation; those without a text are left out.
    version
        Of this program.
    losses
        Of the networks that were used; each is told once.
    trainings
        How these were trained (``WeightsTraining`` of sidecars); each is told once.
    samples
        What was estimated in a sample of the voxels only, as :func:`sample_sentence` says it.
    """
    words = [loss_words(loss) for loss in losses]
    texts = _texts()
    keys = ["intro", *dict.fromkeys(used), *dict.fromkeys(parts)]
    known = {**texts["references"]}
    paragraphs: list[str] = []
    cited: list[str] = []
    for key in keys:
        entry = models().get(key) or estimators().get(key)
        if entry is not None:
            known |= entry.bibliography
            text, cites = entry.methods, list(entry.cites)
            if key == NETWORK:
                told = list(dict.fromkeys(item.methods for item in words))
                if len(told) > 1:
                    told = [item.replace("It was", "One of the networks was") for item in told]
                text = " ".join([text, *told, *dict.fromkeys(map(training_words, trainings))])
                cites += [item.cites for item in words]
        else:
            part = texts.get(key, {"text": "", "references": []})
            text, cites = part["text"].format(version=version), part["references"]
        paragraphs += [text] if text else []
        cited += cites
    paragraphs += [text] if (text := " ".join(dict.fromkeys(samples))) else []
    return paragraphs, [Reference(key, **known[key]) for key in dict.fromkeys(cited)]


def training_words(about: Mapping[str, Any]) -> str:
    """How a network was trained, in sentences; what its card does not tell is left out.

    >>> training_words({"Name": "my", "SNRRange": [10, 100], "Fingerprints": 2000})
    'The network "my" was trained for the signal of this acquisition on 2000 simulated \
fingerprints with signal-to-noise ratios from 10 to 100.'
    """
    if not about.get("Name"):
        return ""
    text = f'The network "{about["Name"]}" '
    is_general = _known(about, "Protocols")
    preset, basis = about.get("Preset"), about.get("Basis")
    text += f"(preset {preset}) was " if preset in PRESETS else "was "
    if is_general:
        text += f'made of the network "{about.get("MadeFrom", "n/a")}", which was trained'
    else:
        text += "trained for the signal of this acquisition"
        if isinstance(basis, str) and _known(about, "Coefficients"):
            text += _BASES.get(basis, "").format(about["Coefficients"])
    if _known(about, "Fingerprints"):
        text += f" on {about['Fingerprints']} simulated fingerprints"
        if is_general:
            text += f" of {about['Protocols']} random protocols"
        if _known(about, "NoiseRealisations"):
            text += f", {about['NoiseRealisations'] / 1e6:.3g} million noise realisations,"
    if isinstance(about.get("SNRRange"), list) and len(about["SNRRange"]) == 2:
        low, high = about["SNRRange"]
        text += f" with signal-to-noise ratios from {low:g} to {high:g}"
    tissue = ""
    if _known(about, "MagneticFieldStrength"):
        tissue = f", of tissue as it is at {about['MagneticFieldStrength']:g} T"
    whose = f" of the protocol of this acquisition{tissue}" if is_general else ""
    text += "" if is_general else tissue
    if _known(about, "SquaredBiasOverBound") and _known(about, "VarianceOverBound"):
        text += (
            f". On fingerprints{whose} that it was not trained with, its squared bias is "
            f"{about['SquaredBiasOverBound']:.2g} and its variance "
            f"{about['VarianceOverBound']:.2g} Cramér-Rao bounds on average"
        )
    if is_general:
        text += (
            "; its inputs were estimates of one Fisher-scoring step each, computed with the "
            "signal model of this protocol"
        )
    if follows := slope_words(about):
        text += f". {follows}"
    if isinstance(why := about.get("Shortcoming"), str):
        text += f". It does not pass the quality rule of the program ({why}), and was asked for"
    return f"{text}."


_BASES = {
    "derivatives": ", projected on a subspace of {} coefficients that was made of signals and "
    "their derivatives,",
    "signals": ", projected on a subspace of {} coefficients that was made of signals,",
    "table": " in its subspace of {} coefficients",
}
"""Of what a network is given, by where its subspace is from; the images of a Z-spectrum are their
own coefficients."""


def slope_words(about: Mapping[str, Any]) -> str:
    """How far a network follows a change of tissue; empty where its card does not tell.

    >>> slopes = {"WM": {"R1": 1.0, "R2": 0.98}, "lesion": {"R1": 0.9, "R2": 0.95}}
    >>> slope_words({"Sensitivity": {"SNR": 40.0, "Slopes": slopes}})
    'At a signal-to-noise ratio of 40 its expected estimate follows a change of the truth with a \
slope (1: fully) of at least 0.98 in WM (R2), 0.90 in lesion (R1)'
    """
    told = about.get("Sensitivity")
    if not isinstance(told, Mapping) or not _known(told, "SNR"):
        return ""
    slopes = told.get("Slopes")
    least = []
    for tissue, rows in (slopes if isinstance(slopes, Mapping) else {}).items():
        names = [name for name in rows if _known(rows, name)] if isinstance(rows, Mapping) else []
        if names:
            name = min(names, key=rows.__getitem__)
            least.append(f"{rows[name]:.2f} in {tissue} ({name})")
    if not least:
        return ""
    return (
        f"At a signal-to-noise ratio of {told['SNR']:g} its expected estimate follows a change of "
        f"the truth with a slope (1: fully) of at least {', '.join(least)}"
    )


def sample_sentence(title: str, selection: str) -> str:
    """That an estimator was run in a sample of the voxels.

    >>> sample_sentence("NLLS", "estimated in 5 of 9 voxels of the mask")
    'The maps of NLLS were estimated in 5 of 9 voxels of the mask.'
    """
    return f"The maps of {title} were {selection}."


def _known(about: Mapping[str, Any], key: str) -> bool:
    value = about.get(key)
    return isinstance(value, int | float) and not isinstance(value, bool)


def citation_files(
    used: Iterable[str],
    parts: Iterable[str],
    version: str,
    losses: Iterable[Mapping[str, Any]] = (),
    trainings: Iterable[Mapping[str, Any]] = (),
    samples: Iterable[str] = (),
) -> dict[str, str]:
    """The same by name of file: a page, and its references for LaTeX."""
    paragraphs, references = methods(used, parts, version, losses, trainings, samples)
    listed = [f"{index}. {item.text} <{item.url}>" for index, item in enumerate(references, 1)]
    body = "\n\n".join(paragraphs)
    page = f"# Methods\n\n{body}\n\n## References\n\n" + "\n".join(listed) + "\n"
    return {
        "CITATION.md": page,
        "CITATION.bib": "\n".join(item.bibtex for item in references),
    }

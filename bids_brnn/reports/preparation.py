"""What a page says of mask, registration, noise and networks, from sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_brnn.bids.safe import read_json


def preparation_methods(about: Mapping[str, Any]) -> list[str]:
    """Names of the paragraphs of ``methods.toml`` that apply."""
    registration = about.get("Registration")
    rigid = isinstance(registration, dict) and registration.get("Method") == "rigid"
    deepbet = about.get("MaskMethod") == "deepbet"
    return [*(["rigid"] if rigid else []), *(["deepbet"] if deepbet else [])]


_STEPS = {
    "magnitudes only": "magnitude",
    "denoised by principal": "mppca",
    "denoised by dwidenoise": "dwidenoise",
    "Gibbs ringing removed": "degibbs",
    "motion between frames": "motion",
}
"""Paragraphs of ``methods.toml`` by the first words of ``PreparationSteps``."""


def step_methods(about: Mapping[str, Any]) -> list[str]:
    """The same for what was done to the data, from the sidecar of the reference image."""
    steps = [str(step) for step in about.get("PreparationSteps", [])]
    return [key for words, key in _STEPS.items() if any(step.startswith(words) for step in steps)]


def preparation_facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Check of the mask and registration, from the sidecar of the mask."""
    facts = []
    if "MaskCheck" in about:
        facts.append(("mask check", str(about["MaskCheck"])))
    if isinstance(about.get("Registration"), dict):
        facts.append(("T1w image", str(about["Registration"].get("Description", "unknown"))))
    return facts


def preparation_notes(about: Mapping[str, Any]) -> list[str]:
    """What a reader must not overlook in networks, mask and registration."""
    notes = [str(note) for note in about.get("NetworkNotes", [])]
    if about.get("MaskMethod") == "threshold":
        notes.append("There is no brain mask: an intensity threshold is taken, skull included.")
    if about.get("MaskCheck", "passed") not in ("passed", "not checked"):
        notes.append(f"Check the mask: {about['MaskCheck']}.")
    registration = about.get("Registration")
    if isinstance(registration, dict) and "failed" in str(registration.get("Description")):
        words = str(registration["Description"])
        notes.append(f"{words[:1].upper()}{words[1:]}.")
    return notes


def noise_warnings(sidecars: Iterable[Path]) -> list[str]:
    """How the data contradict the noise that was declared, each sentence once."""
    about = [read_json(path) for path in sidecars if path.is_file()]
    return [
        str(text) for text in dict.fromkeys(item.get("NoiseWarning") for item in about) if text
    ]


def loss_of(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a network was trained with, from the sidecar of a map; empty for fits."""
    found = about.get("TrainingLoss")
    return found if isinstance(found, Mapping) else {}


def training_of(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a network was trained, from the sidecar of a map; empty for fits."""
    found = about.get("WeightsTraining")
    return found if isinstance(found, Mapping) else {}

"""The Boutiques descriptor, made from the argument parser.

``python -m bids_brnn.cli.boutiques FILE`` writes it; a test keeps the copy of the repository in
step. Identifiers and command line have the form that ``bosh validate --bids`` asks for.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bids_brnn import __version__
from bids_brnn.cli.options import LEAST_MB, memory
from bids_brnn.cli.parser import build_parser
from bids_brnn.config.run_config import RunConfig

_LEVELS = ("participant", "session", "group")
"""Levels that Boutiques knows; with ``train`` in it, ``bosh validate --bids`` refuses the file."""
_POSITIONAL = ("bids_dir", "output_dir", "analysis_level")
_FIRST = ("participant_label", "session_label")  # their place in the command line is prescribed
_LEFT_OUT = ("help", "version", "bids_exec_spec")
_REGISTRY = "registry.example"
"""Stands for where a site keeps its images; see ``docs/clusters.md``."""


def descriptor(config: type[RunConfig] = RunConfig) -> dict[str, Any]:
    """The descriptor as plain values."""
    parser = build_parser(config)
    actions = {action.dest: action for action in parser._actions}
    named = [name for name in actions if name not in (*_POSITIONAL, *_FIRST, *_LEFT_OUT)]
    optional = [_option(actions[name]) for name in (*_FIRST, *named)]
    keys = ["[BIDS_DIR]", "[OUTPUT_DIR]", "[ANALYSIS_LEVEL]"]
    keys += [item["value-key"] for item in optional]
    return {
        "name": "bids_brnn",
        "tool-version": __version__,
        "schema-version": "0.5",
        "author": "The bids_brnn developers",
        "description": parser.description,
        "command-line": f"mkdir -p [OUTPUT_DIR]; bids_brnn {' '.join(keys)}",
        "container-image": {
            "type": "docker",
            "image": f"{_REGISTRY}/bids_brnn:{__version__}",
        },
        "inputs": [
            {
                "id": "bids_dir",
                "name": "BIDS directory",
                "type": "File",
                "description": "The BIDS data set.",
                "value-key": "[BIDS_DIR]",
                "optional": False,
            },
            *_output_inputs(),
            {
                "id": "analysis_level",
                "name": "Analysis level",
                "type": "String",
                "description": actions["analysis_level"].help,
                "value-key": "[ANALYSIS_LEVEL]",
                "value-choices": [
                    level for level in actions["analysis_level"].choices or () if level in _LEVELS
                ],
                "optional": False,
            },
            *optional,
        ],
        "groups": [
            {
                "id": "instead_of_a_run",
                "name": "Instead of a run",
                "description": "At most one of them.",
                "members": ["reports_only", "boilerplate_only"],
                "mutually-exclusive": True,
            },
        ],
        "output-files": [
            {
                "id": "output_dir",
                "name": "Output directory",
                "description": "The derivative data set.",
                "path-template": "[OUTPUT_DIR]",
                "optional": False,
            }
        ],
        "tags": {"domain": ["neuroinformatics", "mri", "bids"]},
        "custom": {"BIDSAppSpecVersion": "1.0"},
    }


def _output_inputs() -> list[dict[str, Any]]:
    """The output folder as a name, and as a file for engines that mount what they are given.

    Keys are replaced one input after the other, and one without a value by nothing: only the first
    reaches the command line, so it has to have a value.
    """
    shared = {"value-key": "[OUTPUT_DIR]"}
    return [
        {
            "id": "output_dir_name",
            "name": "Output directory name",
            "type": "String",
            "description": "Folder of the derivative data set, at every level.",
            "optional": False,
            **shared,
        },
        {
            "id": "participant_level_analysis_dir",
            "name": "Participant level directory",
            "type": "File",
            "description": "The same folder, where it exists already and has to be mounted.",
            "optional": True,
            **shared,
        },
    ]


def _option(action: argparse.Action) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " ").capitalize(),
        "description": action.help,
        "value-key": f"[{action.dest.upper()}]",
        "command-line-flag": next(
            (text for text in action.option_strings if text.startswith("--")),
        ),
        "optional": True,
    }
    if isinstance(action, argparse._StoreTrueAction | argparse._CountAction):
        row["type"] = "Flag"
    elif action.type is not None and getattr(action.type, "__name__", "") == "positive":
        row |= {"type": "Number", "integer": True, "minimum": 1}
    elif action.type is not None and getattr(action.type, "__name__", "") == "count":
        row |= {"type": "Number", "integer": True, "minimum": 0}
    elif action.type is memory:
        row |= {"type": "Number", "integer": True, "minimum": LEAST_MB}
    elif str(action.metavar).rpartition("=")[2] in ("FILE", "PATH") and action.dest != "work_dir":
        # Engines mount what is a file to them; of NAME=PATH the name may be left out.
        row["type"] = "File"
    else:
        row["type"] = "String"
    if action.choices:
        row["value-choices"] = list(action.choices)
    if action.nargs in ("+", "*"):
        row["list"] = True
    return row


def descriptor_text() -> str:
    """The descriptor as JSON text, the same bytes each time."""
    return json.dumps(descriptor(), indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(descriptor_text(), encoding="utf-8")

"""Tables of the documentation that the program itself knows: options, maps, flags, models.

``python -m bids_brnn.cli.documents docs`` puts them in; a test keeps the pages in step.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bids_brnn.bids.input.declared import ABOUT
from bids_brnn.cli import network_tables
from bids_brnn.cli.messages import message_tables
from bids_brnn.cli.parser import build_parser
from bids_brnn.cli.z_designs import protocol_table
from bids_brnn.config.run_config import RunConfig
from bids_brnn.estimators.registry import estimators
from bids_brnn.experiments.keys import KEYS
from bids_brnn.maps import flags, quality_maps
from bids_brnn.parameters import MapItem
from bids_brnn.sequences.columns import COLUMNS
from bids_brnn.signals.mixture import FRACTION, fraction_item
from bids_brnn.signals.registry import models
from bids_brnn.zoo.limits import limit_rows


def option_tables(config: type[RunConfig] = RunConfig) -> str:
    """A table for each part of the help."""
    parser = build_parser(config)
    return "\n\n".join(
        "\n".join([f"### {title}", "", "| option | effect |", "|---|---|", *rows])
        for group in parser._action_groups
        if (title := _title(group.title or "")) and (rows := list(_rows(group)))
    )


def _title(text: str) -> str:
    return {"how": "How it is processed"}.get(text, text[:1].upper() + text[1:])


def _rows(group: argparse._ArgumentGroup) -> Iterator[str]:
    for action in group._group_actions:
        names = ", ".join(f"`{name}`" for name in _names(action))
        effect = (action.help or "").replace("|", r"\|").replace("<", r"\<")
        yield f"| {names} | {effect} |"


def _names(action: argparse.Action) -> list[str]:
    """Spellings without those that differ by underscores only; the last one with its value."""
    names = [name for name in action.option_strings if "_" not in name] or [action.dest]
    value = "/".join(action.choices or ()) or str(action.metavar or "")
    if not action.option_strings or not value:
        return names
    value += {"+": " ...", "*": " ..."}.get(str(action.nargs), "")
    return [*names[:-1], f"{names[-1]} {value}"]


def map_table() -> str:
    """Every map that may be written."""
    items: dict[str, MapItem] = {}
    for entry in models().values():
        for parameter in entry.sought:
            if parameter.role == "estimated":
                items.setdefault(parameter.name, parameter.item)
            for derived in entry.sought.maps_of(parameter.name):
                items.setdefault(derived.item.name, derived.item)
    items[FRACTION] = fraction_item("")
    shared = {entry.kind.map_suffix for entry in models().values()} | {""}
    items |= {name: entry.item("") for name, entry in quality_maps().items()}
    rows = [
        (
            item.description.partition(", the sum of")[0],
            f"`param-{item.name}`" if item.suffix in shared else f"`{item.suffix}`",
            item.unit,
        )
        for item in items.values()
    ]
    return _table(("quantity", "file", "unit"), rows)


def flag_table() -> str:
    """Every reason to doubt a voxel."""
    return _table(("bit", "reason"), [(str(flag.bit), flag.words) for flag in flags()])


def estimator_table() -> str:
    """Every estimator."""
    rows = [(f"`{name}`", entry.words, entry.url) for name, entry in estimators().items()]
    return _table(("`desc-`", "what", "published"), rows)


def model_table() -> str:
    """Every signal model."""
    rows = [
        (
            f"`{name}`",
            f"`{entry.kind.suffix}`",
            ", ".join(parameter.name for parameter in entry.parameters),
            ", ".join(f"`{field}`" for field in entry.field_maps) or "none",
            f"`{entry.start}`",
            f"`{entry.reference}`",
        )
        for name, entry in models().items()
        if entry.protocol == "pulses"  # Z-spectra are not read from series yet
    ]
    heads = ("model", "series", "parameters", "from field maps", "start by default", "reference")
    return _table(heads, rows)


def limit_table() -> str:
    """The quality rule of networks."""
    return _table(
        ("figure", "marks a map beyond", "refuses a network beyond", "why"), limit_rows()
    )


def trained_table() -> str:
    """How the shipped networks were trained."""
    heads = (
        "network", "model", "pulse train or protocol", "coefficients", "SNR", "field, T", "loss",
        "fingerprints", "noise draws", "minutes",
    )  # fmt: skip
    return _table(heads, network_tables.trained_rows())


def quality_table() -> str:
    """How good the shipped networks are, and whether they serve."""
    heads = (
        "network", "squared bias", "variance", "voxels/s of a core", "serves by itself",
        "marked: look at these with care",
    )  # fmt: skip
    return _table(heads, network_tables.quality_rows())


def tissue_table() -> str:
    """What the maps of the shipped networks show of healthy and changed tissue."""
    heads = ("network", "map", *network_tables.TISSUES)
    return _table(heads, network_tables.tissue_rows())


def goal_table() -> str:
    """What the shipped networks reach of what they were made for."""
    return _table(network_tables.GOAL_HEADS, network_tables.goal_rows())


def reach_table() -> str:
    """Protocols that the shipped network for any protocol of Z-spectra serves."""
    return _table(("of a protocol", "least", "most"), network_tables.reach_rows())


def pulse_table() -> str:
    """Every column of a pulse table."""
    rows = [(f"`{name}`", item.unit, item.needed, item.meaning) for name, item in COLUMNS.items()]
    return _table(("column", "unit", "required", "meaning"), rows)


def sidecar_table() -> str:
    """Every key of the sidecar of a series of pulse trains."""
    rows = [
        (f"`{key}`: {item.values}", item.qmt, item.mrf, item.absent) for key, item in ABOUT.items()
    ]
    return _table(("key", "qMT", "MRF", "if absent"), rows)


def training_table() -> str:
    """Every key of a training configuration."""
    rows = [(keys.shown, keys.meaning, keys.fallback) for keys in KEYS]
    return _table(("key", "meaning", "default"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("--- |", "---|")
                     for line in lines)  # fmt: skip


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "conventional_qmt.md": {"protocols": protocol_table, "reach": reach_table},
    "usage.md": {"options": option_tables},
    "inputs.md": {"models": model_table, "pulses": pulse_table, "keys": sidecar_table},
    "messages.md": {"messages": message_tables},
    "training.md": {"keys": training_table, "limits": limit_table},
    "networks.md": {
        "trained": trained_table,
        "quality": quality_table,
        "tissue": tissue_table,
        "goals": goal_table,
        "limits": limit_table,
    },
    "outputs.md": {"estimators": estimator_table, "maps": map_table, "flags": flag_table},
}
"""What each page holds between its marks."""


def filled(page: str, name: str, text: str) -> str:
    """A page with another text between the marks of one section.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    begin = f"<!-- {name}: python -m bids_brnn.cli.documents docs -->"
    end = f"<!-- end of {name} -->"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    if len(re.findall(pattern, page, re.DOTALL)) != 1:
        raise ValueError(f"there is no section {begin} ... {end}")
    whole = f"{begin}\n\n{text}\n\n{end}"
    return re.sub(pattern, lambda _: whole, page, flags=re.DOTALL)


def in_step(page: str, text: str) -> str:
    """The text of a page with all its sections as the program knows them."""
    for name, make in PAGES[page].items():
        text = filled(text, name, make())
    return text


if __name__ == "__main__":
    for page in PAGES:
        file = Path(sys.argv[1]) / page
        file.write_text(in_step(page, file.read_text(encoding="utf-8")), encoding="utf-8")

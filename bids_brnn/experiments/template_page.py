"""The page that lies beside templates: what to change, and the commands from there to maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bids_brnn.sequences.columns import Column
from bids_brnn.sequences.z_spectrum import COLUMNS as Z_COLUMNS
from bids_brnn.sequences.z_spectrum import CONSTANTS
from bids_brnn.sequences.z_words import MEANINGS
from bids_brnn.signals.registry import ModelEntry


def commands(label: str, entry: ModelEntry | None) -> list[tuple[str, str]]:
    """From templates to maps, called in their folder: what each step is for, and its command."""
    if entry is None:
        table = f"acq-{label}_zspectrum.tsv"
        what, tell = "protocol", f"--model gbloch --protocol {table}"
        phantom = f"--protocol {table}"
        inputs: tuple[str, ...] = ("fmriprep", "relaxometry")
    else:
        what, tell = "train", f"--model {entry.name} --pulses acq-{label}_rfpulses.tsv"
        phantom = f"--sidecar acq-{label}_{entry.kind.suffix}.json"
        inputs = ("fmriprep",)
    maps = "bids_brnn PHANTOM MAPS participant -d " + " ".join(
        f"{name}=PHANTOM/derivatives/{name}" for name in inputs
    )
    return [
        (f"what the {what} can tell", f"brnn crb {tell}"),
        ("a data set with known truth", f"brnn simulate-dataset PHANTOM {phantom}"),
        ("its maps", maps),
        ("a network for it in minutes, and its maps", f"{maps} --train-missing quick"),
        ("or one by a configuration of your own", f"brnn train {label}.toml NETWORK"),
        ("maps with that one", f"{maps} --weights NETWORK/{label}.json"),
    ]


def page(
    label: str,
    entry: ModelEntry | None,
    *,
    source: str,
    table: Path,
    columns: Mapping[str, Column],
    rank: int = 0,
) -> str:
    """The text of the page.

    Parameters
    ----------
    label, table
        How the files are called.
    entry
        Model of a pulse train; None: a Z-spectrum.
    source
        Where the train is from; empty: it is an example.
    columns
        Of the pulse table.
    rank
        Columns of the basis beside it; 0: there is none.
    """
    what = "Z-spectrum" if entry is None else f"pulse train ({entry.name})"
    begin = (
        f"The table was made from {source}; compare it with what the scanner plays."
        if source
        else f"`{table.name}` holds an example: put the protocol of your scanner in its place."
    )
    lines = [f"# A {what} of one's own", "", begin, ""]
    if entry is None:
        lines += ["| column | unit | meaning |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {MEANINGS[name][0]} | {MEANINGS[name][1]} |" for name in Z_COLUMNS
        ]
        lines += ["", f"`{table.stem}.json` holds what all measurements share:", ""]
        lines += ["| key | unit | required | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{key}` | {MEANINGS[key][0]} | {'yes' if needed else 'no'} | {MEANINGS[key][1]} |"
            for key, (needed, _) in CONSTANTS.items()
        ]
        lines += ["", f"The keys of `{label}.toml` are explained in its comments."]
    else:
        lines += ["| column | unit | required | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | {item.unit} | {item.needed} | {item.meaning} |"
            for name, item in columns.items()
        ]
        lines += [
            "",
            "Other columns are refused, but for `comment`, which is not read. The keys of the "
            "sidecar are explained in it, under `Comments`; those of the training in its own "
            "comments.",
        ]
    if rank:
        lines += [
            "",
            f"`acq-{label}_basis.tsv` belongs to this train: make it again whenever the table "
            "changes, by",
            "",
            f"    brnn crb --model {entry.name if entry else ''} --pulses {table.name} "
            f"--design-basis {rank} --out DESIGN",
            "",
            "whose `DESIGN/basis.tsv` takes its place, or that of the reconstruction does.",
        ]
    lines += ["", "Called in this folder:", ""]
    for words, command in commands(label, entry):
        lines += [f"    {command}    # {words}"]
    lines += [
        "",
        "Copy the tables and the sidecar to the root of your BIDS data set; images are called "
        f"`sub-01_acq-{label}_..._{entry.kind.suffix if entry else 'QMT'}.nii.gz`.",
    ]
    return "\n".join(lines) + "\n"

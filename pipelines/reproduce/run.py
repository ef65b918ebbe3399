"""Run every script and gather ``results.md``: claim, number, 95 % interval, verdict.

``python run.py --data QMT_INVIVO --out DIR``; ``--only figure1 losses`` runs some again and keeps
the others as they are in DIR.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from shared import Result

from bids_brnn import __version__
from bids_brnn.files import write_text

SCRIPTS = (
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "losses",
    "outside",
    "cards",
    "pools",
)


def run(name: str, data: Path | None, out: Path, *, small: bool) -> None:
    """One script, written into ``out`` with its seconds."""
    began = time.process_time()
    options: dict[str, Any] = {"folder": out / "cache"} if name == "losses" else {}
    result: Result = importlib.import_module(name).reproduce(data, small=small, **options)
    result.write(out)
    path = out / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cpu_seconds"] = round(time.process_time() - began, 1)
    content["version"] = __version__
    write_text(path, json.dumps(content, indent=1) + "\n")


def page(out: Path) -> str:
    """``results.md`` from what lies in ``out``."""
    lines = [
        "# Reproduction of arXiv 2312.11468",
        "",
        f"bids_brnn {__version__}, torch {torch.__version__}, {platform.machine()}. Made by "
        "`pipelines/reproduce/run.py`; *cannot be told* where the 95 % interval holds the "
        "limit. Bias, spread and distances are in units of the Cramer-Rao bound (CRB) where no "
        "other unit stands.",
    ]  # fmt: skip
    for name in SCRIPTS:
        path = out / f"{name}.json"
        if path.is_file():
            lines += section(name, json.loads(path.read_text(encoding="utf-8")), out)
    return "\n".join(lines) + "\n"


def section(name: str, content: Mapping[str, Any], out: Path) -> list[str]:
    """Heading, how, figure, claims and tables of one script."""
    lines = ["", f"## {content['title']} (`{name}.py`)", "", content["how"]]
    if "cpu_seconds" in content:
        lines[-1] += f" {content['cpu_seconds']:.0f} CPU seconds."
    if (out / f"{name}.png").is_file():
        lines += ["", f"![{content['title']}]({name}.png)"]
    if content["claims"]:
        lines += ["", "| claim | number | 95 % interval | verdict | |", "|---|---|---|---|---|"]
    for claim in content["claims"]:
        interval = f"{claim['low']:.3g} to {claim['high']:.3g}"
        text = claim["text"].replace("|", "\\|")
        lines.append(
            f"| {text} | {claim['number']:.3g} | {interval} | {claim['verdict']} | "
            f"{claim['note']} |"
        )
    for title, table in content["tables"].items():
        if title not in ("WM", "GM"):  # curves of figure 2, which are drawn
            lines += ["", *_table(title, table)]
    return lines


def _table(title: str, table: Mapping[str, Any]) -> list[str]:
    """Rows and columns; a table of tables gets one heading each."""
    rows = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if any(isinstance(v, Mapping) for row in rows.values() for v in row.values()):
        return [
            line for key, row in rows.items() for line in [*_table(f"{title}, {key}", row), ""]
        ]
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for key, row in rows.items():
        cells = (_cell(row.get(column, "")) for column in columns)
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join("never" if item is None else f"{item:.3g}" for item in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="see shared.py")
    parser.add_argument("--out", type=Path, default=Path("reproduced"), metavar="DIR")
    parser.add_argument("--small", action="store_true", help="few draws, to see that it runs")
    parser.add_argument("--only", nargs="*", choices=SCRIPTS, default=SCRIPTS)
    options = parser.parse_args()
    for name in options.only:
        run(name, options.data, options.out, small=options.small)
    write_text(options.out / "results.md", page(options.out))


if __name__ == "__main__":
    main()

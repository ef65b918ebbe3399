"""Files of the repository that are pages of the site too, and links between the two worlds.

A page that says ``<!-- from: CONTRIBUTING.md -->`` is that file; one that says
``<!-- fragments -->`` gets the changes that are not released yet, and ``<!-- public names -->``
becomes the reference of the public names. Links work in the repository as they stand; on the site,
those that leave ``docs/`` lead to the page made of their file, a link to a file that is no page
becomes its name, and links whose words are the name of a page show its title.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bids_brnn

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FROM = re.compile(r"<!-- from: (\S+) -->")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
_NAME = re.compile(r"[\w/.]+\.md")
_NAMES = "<!-- public names -->"
_KINDS = {"feature": "New", "change": "Changed", "fix": "Mended"}


def fragments(folder: Path) -> str:
    """Changes that are not released, by kind; ``<topic>.<kind>.md`` each."""
    texts: dict[str, list[str]] = {title: [] for title in _KINDS.values()}
    for path in sorted(folder.glob("*.md")):
        kind = path.stem.rpartition(".")[2]
        texts[_KINDS[kind]].append(path.read_text(encoding="utf-8").strip())
    return "\n\n".join(
        f"### {title}\n\n" + "\n".join(f"- {' '.join(text.split())}" for text in found)
        for title, found in texts.items()
        if found
    )


def public_names() -> str:
    """Directives that document every public name of the package, in its home."""
    lines = ["```{eval-rst}"]
    for name, home in bids_brnn._HOMES.items():
        is_class = isinstance(getattr(bids_brnn, name), type)
        lines.append(f".. auto{'class' if is_class else 'function'}:: bids_brnn.{home}.{name}")
        # The page of the module is what references lead to.
        lines += ["   :no-index:", *(["   :members:"] if is_class else []), ""]
    return "\n".join([*lines, "```"])


def origins() -> dict[Path, Path]:
    """Files outside of ``docs/`` that are pages, and the page of each."""
    found = {}
    for page in DOCS.glob("*.md"):
        for name in _FROM.findall(page.read_text(encoding="utf-8")):
            found[ROOT / name] = page
    return found


def led_home(text: str, origin: Path, page: Path, known: dict[Path, Path]) -> str:
    """A text with the links of the file it stands in turned into those of a page."""

    def turn(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = Path(os.path.normpath(origin.parent / target))
        path = known.get(path, path)
        if path.suffix == ".md" and path.is_relative_to(DOCS):
            words = "" if _NAME.fullmatch(words) else words
            return f"[{words}]({os.path.relpath(path, page.parent)}{anchor})"
        if not path.exists():
            return match[0]  # Sphinx says so
        return words if "`" in words else f"`{words}`"

    return _LINK.sub(turn, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    text, origin = source[0], page
    if (match := _FROM.search(text)) and page.is_relative_to(DOCS):
        origin = ROOT / match[1]
        app.env.note_dependency(str(origin))
        text = origin.read_text(encoding="utf-8")
    if "<!-- fragments -->" in source[0]:
        text += f"\n\n## Not released yet\n\n{fragments(ROOT / 'changes')}\n"
    text = text.replace(_NAMES, public_names()) if _NAMES in text else text
    source[0] = led_home(text, origin, page, origins())


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

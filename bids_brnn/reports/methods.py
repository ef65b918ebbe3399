"""Methods boilerplate and references, for what was run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _texts() -> dict[str, Any]:
    content = files("bids_brnn.reports").joinpath("methods.toml").read_text(encoding="utf-8")
    return tomllib.loads(content)


def methods(
    kinds: Iterable[str], estimators: Iterable[str], version: str
) -> tuple[list[str], list[tuple[str, str]]]:
    """Paragraphs and ``(text, link)`` references.

    Parameters
    ----------
    kinds
        ``QMT``, ``MRF``.
    estimators
        Values of ``desc-``, and steps of preparation; those without a text are left out.
    version
        Of this program.
    """
    texts = _texts()
    keys = ["intro", *dict.fromkeys(kinds), *dict.fromkeys(estimators)]
    chosen = [texts[key] for key in keys if key in texts]
    cited = dict.fromkeys(reference for part in chosen for reference in part["references"])
    references = texts["references"]
    return (
        [part["text"].format(version=version) for part in chosen],
        [(references[key]["text"], references[key]["url"]) for key in cited],
    )


def citation_markdown(kinds: Iterable[str], estimators: Iterable[str], version: str) -> str:
    """The same as a Markdown page, for ``CITATION.md``."""
    paragraphs, references = methods(kinds, estimators, version)
    listed = [f"{index}. {text} <{url}>" for index, (text, url) in enumerate(references, 1)]
    body = "\n\n".join(paragraphs)
    return f"# Methods\n\n{body}\n\n## References\n\n" + "\n".join(listed) + "\n"

"""Methods boilerplate and references, for what was run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


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
    kinds: Iterable[str], estimators: Iterable[str], version: str
) -> tuple[list[str], list[Reference]]:
    """Paragraphs and references.

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
        [Reference(key, **references[key]) for key in cited],
    )


def citation_files(
    kinds: Iterable[str], estimators: Iterable[str], version: str
) -> dict[str, str]:
    """The same by name of file: a page, and its references for LaTeX."""
    paragraphs, references = methods(kinds, estimators, version)
    listed = [f"{index}. {item.text} <{item.url}>" for index, item in enumerate(references, 1)]
    body = "\n\n".join(paragraphs)
    page = f"# Methods\n\n{body}\n\n## References\n\n" + "\n".join(listed) + "\n"
    return {
        "CITATION.md": page,
        "CITATION.bib": "\n".join(item.bibtex for item in references),
    }

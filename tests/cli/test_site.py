"""Links of the documentation lead somewhere, and the site finds what it is made of.

The site itself is built, without warnings, by ``.ci/run``; addresses outside are never fetched.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "pipelines").rglob("*.md")]
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors_of(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    heads = re.findall(r"^#+ +(.+?) *$", prose_of(path), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in plain}


@pytest.fixture(scope="module")
def repository() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "repository", ROOT / "docs" / "extensions" / "repository.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page, repository):
    origins = {made: origin for origin, made in repository.origins().items()}
    for link in _LINK.findall(re.sub(r"`[^`\n]*`", "", prose_of(page))):
        address = urlsplit(link)
        if address.scheme:
            assert address.scheme in ("https", "mailto"), link
            assert "." in address.netloc, link
            continue
        target = (page.parent / address.path).resolve() if address.path else page
        assert target.exists(), link
        if address.fragment:
            assert address.fragment in anchors_of(origins.get(target, target)), link


def test_every_page_is_reached_from_the_index():
    listed = set()
    for index in (ROOT / "docs" / "index.md", ROOT / "docs" / "theory" / "index.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", index.read_text(), re.DOTALL):
            names = [line for line in tree.split() if not line.startswith(":")]
            listed |= {index.parent / f"{name}.md" for name in names}
    made = ROOT / "docs"
    pages = {page for page in PAGES if page.is_relative_to(made)} - {made / "index.md"}
    assert {str(page.relative_to(made)) for page in pages - listed} == set()


def test_fragments_of_changes_are_gathered_by_kind(repository, tmp_path):
    (tmp_path / "b.feature.md").write_text("A new\nthing.\n")
    (tmp_path / "a.fix.md").write_text("A fault.\n")
    assert (
        repository.fragments(tmp_path) == "### New\n\n- A new thing.\n\n### Mended\n\n- A fault."
    )
    assert "### New" in repository.fragments(ROOT / "changes")
    (tmp_path / "c.news.md").write_text("No kind.\n")
    with pytest.raises(KeyError, match="news"):
        repository.fragments(tmp_path)


def test_links_out_of_the_folder_lead_to_the_pages_made_of_files(repository):
    docs = ROOT / "docs"
    known = {ROOT / "SECURITY.md": docs / "security.md"}
    text = (
        "[security](../SECURITY.md#scope), [toy](../tests/contracts/toy.py), [usage.md](usage.md)"
    )
    turned = repository.led_home(text, docs / "inputs.md", docs / "inputs.md", known)
    assert turned == "[security](security.md#scope), `toy`, [](usage.md)"
    below = repository.led_home("[a](../docs/usage.md)", ROOT / "pipelines" / "README.md",
                                docs / "pipelines.md", known)  # fmt: skip
    assert below == "[a](usage.md)"
    assert repository.led_home("[a](gone.md)", docs / "x.md", docs / "x.md", {}) == "[a](gone.md)"


def test_every_public_name_is_in_the_reference(repository):
    import bids_brnn

    page = repository.public_names()
    for name, home in bids_brnn._HOMES.items():
        assert re.search(rf":: bids_brnn\.{re.escape(home)}\.{name}\n", page), name


_OWN = re.compile(r"`((?:bids_brnn|benchmarks|docs|pipelines|tests)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    named = set(_OWN.findall(prose_of(page)))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_files_that_a_module_names_are_there():
    own = re.compile(r"``?((?:bids_brnn|benchmarks|docs|pipelines|tests)/[\w./-]+\.\w+)``?")
    for path in sorted((ROOT / "bids_brnn").rglob("*.py")):
        named = set(own.findall(path.read_text(encoding="utf-8")))
        assert [name for name in named if not (ROOT / name).exists()] == [], path


def test_every_extra_of_the_package_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [name for name in extras if f'`pip install ".[{name}]"`' not in page] == []


def test_the_citation_is_of_this_version():
    import bids_brnn

    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", text, re.MULTILINE)[1] == bids_brnn.__version__

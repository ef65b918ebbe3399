"""The documentation site: ``python -m sphinx -W docs docs/_build/html``. Needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.highlighting import lexers  # noqa: E402

from bids_brnn import __version__  # noqa: E402

lexers["tsv"] = TextLexer()

project = "bids_brnn"
author = "The bids_brnn developers"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "mathml",
    "repository",
]
exclude_patterns = ["_build", "extensions", "templates"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

templates_path = ["templates"]
autosummary_generate = True
# |M0| in docstrings is a magnitude, not a substitution.
rst_prolog = "".join(f".. |{name}| replace:: \\|{name}\\|\n" for name in ("M0", "v"))
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures hold them; docstrings say shapes and units
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"bids_brnn {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

"""Equations of the documentation as MathML, which browsers draw without scripts of others.

Sphinx brings only renderers that load MathJax or make pictures; Docutils holds the converter.
"""

from __future__ import annotations

import re
from typing import Any
from unicodedata import normalize

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator

_SAME = {r"\tfrac": r"\frac", r"\dfrac": r"\frac", r"\dots": r"\ldots"}
"""Commands of the pages that the converter does not know, and what looks alike."""
_ACCENTED = re.compile(
    r"<munderover>\s*(<mi>[^<]*</mi>)\s*((?:<m[in]>[^<]*</m[in]>)|(?:<mrow>.*?</mrow>))\s*"
    r"(<mo stretchy=\"false\">[^<]*</mo>)\s*</munderover>",
    re.DOTALL,
)
"""An accent and an index, which the converter puts above and below one another."""
_DOTTED = re.compile(
    r'<mover accent="true">\s*<mi>([^<])</mi>\s*<mo stretchy="false">\u02d9</mo>\s*</mover>'
)
"""A time derivative; fonts without tables for equations draw the dot inside of the letter."""


def to_mathml(latex: str, *, block: bool) -> str:
    """MathML of an equation.

    Raises
    ------
    sphinx.errors.ExtensionError
        If there is a command that cannot be converted: a page must not show raw LaTeX.
    """
    for command, same in _SAME.items():
        latex = latex.replace(command, same)
    try:
        text = tex2mathml(latex, as_block=block)
    except MathError as error:
        raise ExtensionError(f"this equation cannot be drawn: {latex}\n{error}") from error
    text = _ACCENTED.sub(r'<msub><mover accent="true">\1\3</mover>\2</msub>', text)
    text = _DOTTED.sub(_dotted, text)
    text = text.replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em"></mspace>')
    return text.replace('<mtable class="ams-align">',
                        '<mtable class="ams-align" displaystyle="true">')  # fmt: skip


def _dotted(match: re.Match[str]) -> str:
    letter = normalize("NFC", match[1] + "\u0307")
    return f'<mi style="font-style: italic">{letter}</mi>'


def _inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(to_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{to_mathml(node.astext(), block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

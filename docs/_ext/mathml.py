"""Mathematics as MathML, made while pages are built: browsers show it as it is, and nothing is fetched.

Browsers break no line within a formula, so that a long one is written as several, which meet where TeX would break.
"""

import contextlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

BAR = re.compile(r'<mo(?: fence="false")? stretchy="false">(&#x0007C;|&#x02016;)</mo>')
FUNCTION = re.compile(r"(<mi>(?:log|exp|sin|cos|det|max|min)</mi>)(?=<m(?:i|n|sub|sup|frac|row)>)")
STYLED = re.compile(r'<(m[in]) mathvariant="(script|bold|double-struck|bold-italic)">(\w+)</m[in]>')


PIECE = 12  # characters that stay together, if there are more
BREAKS = {"=", "≤", "≥", "<", ">", "≈", "∼", "≡", "→", "←", "∈", "≪", "≫", "+", "−", "⋅", ","}
ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")


def visit_inline(writer: Any, node: Any) -> None:
    _write(writer, node, "inline")


def visit_block(writer: Any, node: Any) -> None:
    _write(writer, node, "block")


def _write(writer: Any, node: Any, display: str) -> None:
    text = node.astext()
    try:
        found = convert(text, display=display)
    except Exception as error:  # of any kind: they have no base of their own
        found, wrong = "", repr(error)
    else:
        # after \big the converter leaves these as they are
        found = found.replace(r">\|<", ">‖<").replace(r">\{<", ">{<").replace(r">\}<", ">}<")
        # browsers have letters of these styles, not the attribute; and they set bars apart, as if between two things
        found = STYLED.sub(lambda match: f"<{match[1]}>{_styled(match[2], match[3])}</{match[1]}>", found)
        found = BAR.sub(r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>', found)
        found = FUNCTION.sub(r'\1<mspace width="0.17em"/>', found)
        wrong = "a command is unknown" if "\\" in found else ""
    if wrong:
        logging.getLogger(__name__).warning("this formula cannot be read (%s): %s", wrong, text, location=node)
    pieces = "".join(_pieces(found, display == "block")) if found else ""
    writer.body.append(f'<div class="formula">{pieces}</div>' if display == "block" else pieces)
    raise SkipNode


def _pieces(formula: str, block: bool) -> Iterator[str]:
    """The formula cut after relations, sums and commas that stand outside of all else, where it is long."""
    root = ElementTree.fromstring(formula)
    terms = list(root[0])
    piece: list[ElementTree.Element] = []
    for number, term in enumerate(terms):
        piece.append(term)
        after = sum(map(_length, terms[number + 1 :]))
        is_break = term.tag.endswith("}mo") and (term.text or "") in BREAKS
        if number + 1 == len(terms) or (is_break and sum(map(_length, piece)) > PIECE and after > PIECE / 2):
            if is_break and len(piece) > 1:
                term.set("form", "infix")
            yield _math(piece, block)
            piece = []


def _length(element: ElementTree.Element) -> int:
    return len("".join(element.itertext()))


def _math(terms: list[ElementTree.Element], block: bool) -> str:
    attributes = {"displaystyle": "true"} if block else {}
    math = ElementTree.Element("{http://www.w3.org/1998/Math/MathML}math", attributes)
    ElementTree.SubElement(math, "{http://www.w3.org/1998/Math/MathML}mrow").extend(terms)
    return ElementTree.tostring(math, encoding="unicode")


def _styled(style: str, text: str) -> str:
    """Letters and digits of a style, which Unicode has one by one: a script A is 𝒜."""
    names = [unicodedata.name(letter).replace("LATIN ", "").replace("LETTER ", "") for letter in text]
    style = style.replace("-italic", " italic").upper()
    return "".join(_lookup(f"MATHEMATICAL {style} {name}", f"{style} {name}") for name in names)


def _lookup(*names: str) -> str:
    for name in names:
        with contextlib.suppress(KeyError):
            return unicodedata.lookup(name)
    raise KeyError(names[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

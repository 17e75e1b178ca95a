"""Statements as a terminal shows them: their mathematics in LaTeX, as letters."""

import contextlib
import re
import unicodedata
from collections.abc import Iterator

_SIGNS = {"le": "≤", "ge": "≥", "ne": "≠", "sum": "Σ", "dots": "...", "lambda": "λ"}
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.")


def plain(text: str) -> str:
    r"""Free a sentence of markup: what stands between dollars is LaTeX, and becomes Unicode.

    Greek letters, roots, fractions, bars, indices and powers are known; what a page typesets a terminal can read.

    **Arguments**: `text`, as `Claim.statement`, `Claim.why` and `Paper.setting` are written.

    **Returns** the text.

        >>> import theorylab as tl
        >>> tl.papers.plain(r"A step contracts $E|x - x^*|^2$ by $\sqrt{1 - \gamma_1n\mu/2}$.")
        'A step contracts E|x - x^*|^2 by √(1 - γ_1 n μ/2).'
        >>> tl.papers.plain(r"$\frac{1 - \delta_w}{8}\sigma\sigma_{W_2}$ or $\bar\alpha T^{-1/2}$")
        '((1 - δ_w)/8) σ σ_W2 or ᾱ T^(-1/2)'
    """
    return re.sub(r"\$([^$]+)\$", lambda match: _words(match[1]), text)


def _words(formula: str) -> str:
    return _sequence(iter(_TOKEN.findall(formula)))


def _sequence(tokens: Iterator[str]) -> str:
    """What stands before the end or a closing brace; factors of which one is a word or has an index are set apart."""
    text, last_is_long = "", False
    for token in tokens:
        if token == "}":
            break
        if token in "_^":
            text, last_is_long = text + token + _bracketed(_argument(tokens).replace("_", "")), True
            continue
        piece, is_long = _piece(token, tokens), token.startswith("\\")
        ends = r"[\w)]$" if last_is_long else r"[^\W\d]$"  # a number and a letter stay together
        if (is_long or last_is_long) and re.search(ends, text) and re.match(r"\w", piece):
            text += " "
        text, last_is_long = text + piece, is_long
    return re.sub(r"\s+", " ", text).strip()


def _piece(token: str, tokens: Iterator[str]) -> str:
    match token:
        case "{":
            return _sequence(tokens)
        case r"\frac":
            above, below = _bracketed(_argument(tokens)), _argument(tokens)
            return f"({above}/{below})" if re.fullmatch(r"\d+|\w", below) else f"({above}/({below}))"
        case r"\sqrt":
            return f"√{_bracketed(_argument(tokens))}"
        case r"\bar":
            return unicodedata.normalize("NFC", _argument(tokens) + "\u0304")
    return _sign(token[1:]) if token.startswith("\\") else token


def _argument(tokens: Iterator[str]) -> str:
    return _piece(next(token for token in tokens if token.strip()), tokens)


def _bracketed(text: str) -> str:
    return text if re.fullmatch(r"-?[\w.]+|\*|\([^()]*\)", text) else f"({text})"


def _sign(name: str) -> str:
    greek = f"GREEK {'CAPITAL' if name[0].isupper() else 'SMALL'} LETTER {name.upper()}"
    with contextlib.suppress(KeyError):
        return unicodedata.lookup(greek)
    return _SIGNS.get(name, name)

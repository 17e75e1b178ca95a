"""How to cite: BibTeX for papers, for methods, and for what a run used."""

import unicodedata
from typing import Any

from .paper import Paper
from .registry import find


def cite(what: Any) -> str:
    """Give BibTeX for whatever a result rests on.

    **Arguments**: `what`, a slug, a `Paper`, a method (its class names its papers in `cites`), a solution (its
    `provenance["cites"]`), the BibTeX entry of a work that is no paper here, or a sequence of these.

    **Returns** the entries, each once, separated by an empty line; an empty string where there is nothing to cite.

    **Raises** `UnknownName` for a slug that no paper has; `TypeError` for what cannot name its papers.

        >>> import theorylab as tl
        >>> tl.cite("seg_rr").splitlines()[0]
        '@inproceedings{seg_rr,'
    """
    return "\n".join(dict.fromkeys(_entries(what)))


def bibtex(paper: Paper) -> str:
    r"""Give a paper's BibTeX entry, in plain ASCII as far as LaTeX has a command for a letter.

    **Arguments**: `paper`.

    **Returns** the entry, its title in double braces, so that styles keep the capitals.

    **Source**: derived here; the commands are those of LaTeX's kernel.

        >>> import theorylab as tl
        >>> from theorylab.papers.citation import bibtex
        >>> print(bibtex(tl.papers.find("seg_rr")))
        @inproceedings{seg_rr,
          title = {{Stochastic Extragradient with Random Reshuffling: ...}},
          author = {Konstantinos Emmanouilidis and Ren{\'e} Vidal and Nicolas Loizou},
        ...
    """
    where = "journal" if paper.entry == "article" else "booktitle" if paper.entry == "inproceedings" else "howpublished"
    fields = {
        "title": f"{{{latex(paper.title)}}}",
        "author": " and ".join(latex(author) for author in paper.authors),
        where: latex(paper.venue),
        "year": str(paper.year),
        **{name: latex(value) for name, value in paper.bibtex.items()},
    }
    if paper.arxiv:
        fields |= {"eprint": paper.arxiv, "archiveprefix": "arXiv"}
    lines = (f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{paper.entry}{{{paper.slug},\n{''.join(lines)}}}\n"


def latex(text: str) -> str:
    r"""Turn plain text into LaTeX: special characters escaped, accents as commands; other letters stay as they are."""
    output: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        base, *marks = unicodedata.normalize("NFD", character)
        if character in _SPECIAL:
            output.append(_SPECIAL[character])
        elif len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
            accent, base = _ACCENTS[marks[0]], {"i": r"\i", "j": r"\j"}.get(base, base)
            output.append(f"{{\\{accent}{{{base}}}}}" if accent.isalpha() or len(base) > 1 else f"{{\\{accent}{base}}}")
        else:
            output.append(character)
    return "".join(output)


def _entries(what: Any) -> list[str]:
    if isinstance(what, str):
        return [what.strip() + "\n"] if what.lstrip().startswith("@") else [bibtex(find(what))]
    if isinstance(what, Paper):
        return [bibtex(what)]
    if isinstance(what, tuple | list):
        return [entry for each in what for entry in _entries(each)]
    provenance = getattr(what, "provenance", None)
    slugs = provenance.get("cites") if isinstance(provenance, dict) else getattr(what, "cites", None)
    if slugs is None:
        raise TypeError(f"cannot cite {type(what).__name__}: give a slug, a method, a solution, or a list of these")
    return _entries(tuple(slugs))


_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c", "\u0328": "k",
}  # fmt: skip

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "ł": r"{\l}", "Ł": r"{\L}", "ø": r"{\o}", "Ø": r"{\O}", "ß": r"{\ss}", "æ": r"{\ae}", "Æ": r"{\AE}",
    "œ": r"{\oe}", "Œ": r"{\OE}", "å": r"{\aa}", "Å": r"{\AA}", "đ": r"{\dj}", "Đ": r"{\DJ}", "ı": r"{\i}",
    "–": "--", "—": "---", "’": "'", "‘": "`", "“": "``", "”": "''",
}  # fmt: skip

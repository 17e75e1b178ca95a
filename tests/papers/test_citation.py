"""BibTeX that any LaTeX reads: special characters are escaped, accents are commands, braces balance."""

import dataclasses
from types import SimpleNamespace

import pytest

from theorylab import games
from theorylab.papers import cite, find, slugs
from theorylab.papers.citation import bibtex, latex
from theorylab.papers.registry import UnknownName


@pytest.mark.parametrize(
    "text, expected",
    [
        ("René Vidal", r"Ren{\'e} Vidal"),
        ("Re\u0301my", r"R{\'e}my"),
        ("Łukasz Żółć", r"{\L}ukasz {\.Z}{\'o}{\l}{\'c}"),
        ("Jürgen Ångström", r"J{\"u}rgen {\AA}ngstr{\"o}m"),
        ("Đặng", r"{\DJ}ặng"),
        ("Erdős & Ševčík", r"Erd{\H{o}}s \& {\v{S}}ev{\v{c}}{\'{\i}}k"),
        ("50% of $x_i^2$ #1 {~}", r"50\% of \$x\_i\textasciicircum{}2\$ \#1 \{\textasciitilde{}\}"),
        ("a\\b – c", r"a\textbackslash{}b -- c"),
        ("λ-trick", "λ-trick"),
    ],
)
def test_latex(text, expected):
    assert latex(text) == expected


def test_braces_balance_and_fields_stand_once():
    odd = {"title": "{Odd} & \\strange_", "authors": ("Ł. Ó'B", "Č. D"), "arxiv": "", "bibtex": {"volume": "238"}}
    entry = bibtex(dataclasses.replace(find("seg_rr"), **odd))
    unescaped = entry.replace(r"\{", "").replace(r"\}", "")
    assert unescaped.count("{") == unescaped.count("}")
    names = [line.split(" = ")[0].strip() for line in entry.splitlines() if " = " in line]
    assert names == ["title", "author", "booktitle", "year", "volume"]


def test_cite_reads_methods_and_solutions_and_says_each_once():
    slug = next(iter(slugs()))
    entry = bibtex(find(slug))
    method = type("Method", (), {"cites": (slug, slug)})
    solution = SimpleNamespace(provenance={"cites": [slug]})
    assert (
        cite(slug)
        == cite(find(slug))
        == cite(method)
        == cite(method())
        == cite(solution)
        == cite([slug, solution])
        == entry
    )
    assert cite(SimpleNamespace(cites=())) == ""


def test_cite_takes_works_that_are_no_papers_here():
    work = "@article{korpelevich1976,\n  title = {The extragradient method},\n}"
    assert cite(SimpleNamespace(cites=("seg_rr", work))) == f"{cite('seg_rr')}\n{work}\n"


def test_works_that_are_no_papers_here_are_cited_too():
    """Reshuffled Hamiltonian descent rests on a work of its own; extrapolated, on the paper of the scheme as well."""
    method = games.HamiltonianGradient(0.1)
    own = cite(method)
    assert own.startswith("@inproceedings{loizou2020hamiltonian,") and own.count("{") == own.count("}")
    assert cite(games.Richardson(method)) == cite("rr_richardson_vip") + "\n" + own


def test_cite_refuses():
    with pytest.raises(TypeError, match="cannot cite float"):
        cite(1.0)
    with pytest.raises(UnknownName, match="did you mean"):
        cite(next(iter(slugs())) + "x")

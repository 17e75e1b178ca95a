"""Mathematics in statements: LaTeX on pages, Unicode in a terminal."""

import re

import pytest

from theorylab import papers

# how plain text writes what a page should typeset
BARE = r"[\^_]\w|\b(?:sqrt|alpha|beta|gamma|delta|epsilon|eta|kappa|lambda|mu|nu|pi|rho|sigma|chi|omega)\d*\b|\w\*"


@pytest.mark.parametrize("slug", papers.slugs())
def test_all_mathematics_stands_between_dollars(slug):
    paper = papers.find(slug)
    for text in (paper.setting, *(words for claim in paper.claims for words in (claim.statement, claim.why))):
        without = re.sub(r"\$[^$]+\$|`[^`]*`|\w+\.bias_expansion", "", text)
        assert not re.search(BARE, without) and "$" not in without, text
        assert not re.search(r"[$\\{}]", papers.plain(text)), papers.plain(text)


@pytest.mark.parametrize(
    "latex, shown",
    [
        (r"$E|x - x^*|^2$ by $1 - \gamma_1n\mu/2$", "E|x - x^*|^2 by 1 - γ_1 n μ/2"),
        (r"$-\frac{1}{2n}\bar A^{-1}\sum_i A_ib_i$", "-(1/(2n)) Ā^-1 Σ_i A_i b_i"),
        (r"$\frac12\log(K\delta/\epsilon)$", "(1/2) log(K δ/ε)"),
        (r"$\sqrt{a(1 - a)}/(1 + a) \le 1/\sqrt{8}$", "√(a(1 - a))/(1 + a) ≤ 1/√8"),
        (r"$2x^{(\gamma)} - x^{(2\gamma)}$", "2x^(γ) - x^(2γ)"),
        ("at most 5 % of $k$", "at most 5 % of k"),
        ("no mathematics, 10 < 20 and f(x)", "no mathematics, 10 < 20 and f(x)"),
    ],
)
def test_plain(latex, shown):
    assert papers.plain(latex) == shown

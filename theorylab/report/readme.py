"""The README's table of papers: `python -m theorylab.report.readme README.md` brings it up to date."""

import re
import sys
from pathlib import Path

from theorylab.papers import Paper, find, slugs

_MARKERS = re.compile(r"(?<=<!-- papers: generated -->\n).*?(?=<!-- end of papers -->)", re.DOTALL)


def papers_table() -> str:
    """Every paper as a row of a Markdown table.

    **Returns** the table; a claim counts as what is expected of it.

    **Source**: derived here.

        >>> from theorylab.report.readme import papers_table
        >>> papers_table().splitlines()[0]
        '| paper | room | claims | run it |'
    """
    lines = ["| paper | room | claims | run it |", "|---|---|---|---|"]
    for paper in map(find, slugs()):
        link = f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else paper.title
        lines.append(f"| {link} ({paper.venue}) | {paper.room} | {_counts(paper)} | `theorylab run {paper.slug}` |")
    return "\n".join(lines) + "\n"


def updated(readme: str) -> str:
    """The text of a README with its table of papers brought up to date.

    **Arguments**: `readme`, a text with the markers `<!-- papers: generated -->` and `<!-- end of papers -->`.

    **Returns** the text.

    **Raises** `ValueError` when the markers are not there.

    **Source**: derived here.

        >>> from theorylab.report.readme import updated
        >>> updated("<!-- papers: generated -->\\n<!-- end of papers -->").splitlines()[1]
        '| paper | room | claims | run it |'
    """
    text, count = _MARKERS.subn(lambda match: papers_table(), readme)
    if count != 1:
        raise ValueError(
            f"the README has {count} tables between '<!-- papers: generated -->' and its end marker: make it 1"
        )
    return text


def _counts(paper: Paper) -> str:
    expected = [claim.expected for claim in paper.claims]
    words = (("holds", "hold"), ("fails", "fail"), ("undecided", "undecided"))
    return ", ".join(f"{expected.count(word)} {verb}" for word, verb in words if word in expected)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")

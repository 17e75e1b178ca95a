"""The README's table of papers: `python -m theorylab.report.readme README.md` brings it up to date."""

import re
import sys
from pathlib import Path

from theorylab.papers import find, slugs

from .pages import counts, read

_MARKERS = re.compile(r"(?<=<!-- papers: generated -->\n).*?(?=<!-- end of papers -->)", re.DOTALL)


def papers_table(results: Path) -> str:
    """Every paper as a row of a Markdown table.

    **Arguments**: `results`, the committed runs, one folder a paper, whose verdicts count.

    **Returns** the table.

    **Source**: derived here.

        >>> from pathlib import Path
        >>> from theorylab.report.readme import papers_table
        >>> papers_table(Path("docs/results")).splitlines()[0]
        '| paper | room | claims | run it |'
    """
    lines = ["| paper | room | claims | run it |", "|---|---|---|---|"]
    for paper in map(find, slugs()):
        link = f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else paper.title
        verdicts = counts(read(results, paper.slug, "claims"))
        lines.append(f"| {link} ({paper.venue}) | {paper.room} | {verdicts} | `theorylab run {paper.slug}` |")
    return "\n".join(lines) + "\n"


def updated(readme: str, results: Path) -> str:
    """The text of a README with its table of papers brought up to date.

    **Arguments**: `readme`, a text with the markers `<!-- papers: generated -->` and `<!-- end of papers -->`;
    `results`, as in `papers_table`.

    **Returns** the text.

    **Raises** `ValueError` when the markers are not there.

    **Source**: derived here.

        >>> from pathlib import Path
        >>> from theorylab.report.readme import updated
        >>> updated("<!-- papers: generated -->\\n<!-- end of papers -->", Path("docs/results")).splitlines()[1]
        '| paper | room | claims | run it |'
    """
    text, count = _MARKERS.subn(lambda match: papers_table(results), readme)
    if count != 1:
        raise ValueError(
            f"the README has {count} tables between '<!-- papers: generated -->' and its end marker: make it 1"
        )
    return text


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8"), path.parent / "docs" / "results"), encoding="utf-8")

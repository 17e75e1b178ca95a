"""The README's tables of rooms and cores: `python -m theorylab.report.readme README.md` brings them up to date."""

import re
import sys
from pathlib import Path

from theorylab.papers import find, slugs

from .committed import read
from .pages import counts

_MARKERS = re.compile(r"(?<=<!-- papers: generated -->\n).*?(?=<!-- end of papers -->)", re.DOTALL)


def tables(results: Path) -> str:
    """Make the tables of the rooms, with counts, and of the cores, in Markdown.

    **Arguments**: `results`, the committed ones, whose verdicts count.

    **Returns** the tables.

        >>> from theorylab.report.committed import RESULTS
        >>> from theorylab.report.readme import tables
        >>> tables(RESULTS).splitlines()[0]
        '| room | papers | claims |'
    """
    rows = {slug: read(slug, results)["claims"] for slug in slugs()}
    by_room: dict[str, list[str]] = {}
    for slug, room in slugs().items():
        by_room.setdefault(room, []).append(slug)
    lines = ["| room | papers | claims |", "|---|---|---|"]
    for room, papers in by_room.items():
        verdicts = counts(row for slug in papers for row in rows[slug])
        lines.append(f"| [{room}](docs/rooms/{room}.md) | {len(papers)} | {verdicts} |")
    lines += ["", "| core | paper | claims | run it |", "|---|---|---|---|"]
    for paper in filter(lambda paper: paper.core, map(find, slugs())):
        title = f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else paper.title
        lines.append(f"| {paper.core} | {title} | {counts(rows[paper.slug])} | `theorylab run {paper.slug}` |")
    return "\n".join(lines) + "\n"


def updated(readme: str, results: Path) -> str:
    """Bring the tables of a README up to date.

    **Arguments**: `readme`, a text with the markers `<!-- papers: generated -->` and `<!-- end of papers -->`;
    `results`, as in `tables`.

    **Returns** the text.

    **Raises** `ValueError` when the markers are not there.

        >>> from theorylab.report.committed import RESULTS
        >>> from theorylab.report.readme import updated
        >>> updated("<!-- papers: generated -->\\n<!-- end of papers -->", RESULTS).splitlines()[1]
        '| room | papers | claims |'
    """
    text, count = _MARKERS.subn(lambda match: tables(results), readme)
    if count != 1:
        raise ValueError(
            f"the README has {count} places between '<!-- papers: generated -->' and its end marker: make it 1"
        )
    return text


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8"), path.parent / "docs" / "results"), encoding="utf-8")

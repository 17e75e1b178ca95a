"""The tables of the rooms' pages: `python docs/rooms/tables.py` brings them up to date, `--check` only looks.

A page says which names a table has, `<!-- table: Extragradient Richardson -->`, and the docstrings what they are.
"""

import inspect
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
TABLE = re.compile(r"<!-- table: (?P<names>[^>]*?) -->\n.*?<!-- end of table -->", re.DOTALL)


def updated(page: str, room: str) -> str:
    """The page's text with its tables made anew."""
    import theorylab

    package = getattr(theorylab, room)

    def table(match: re.Match[str]) -> str:
        rows = "".join(
            f"| {{py:obj}}`{name} <theorylab.{room}.{name}>` | {_line(package, name)} |\n"
            for name in match["names"].split()
        )
        return f"<!-- table: {match['names']} -->\n| name | what it is |\n|---|---|\n{rows}<!-- end of table -->"

    return TABLE.sub(table, page)


def _line(package, path: str) -> str:
    item = package
    for name in path.split("."):
        item = getattr(item, name)
    line = (inspect.getdoc(item) or "").partition("\n")[0]
    # a bar ends a cell, and in mathematics an escaped one is a norm
    return line.replace(r"\|", r"\Vert ").replace("|", r"\|")


if __name__ == "__main__":
    stale = []
    for path in sorted(HERE.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = updated(old, path.stem)
        if new != old:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: run python docs/rooms/tables.py")

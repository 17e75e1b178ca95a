"""The pages of the rooms: they print what they say, and their tables are whole and up to date."""

import ast
import runpy
from pathlib import Path

import pytest

import theorylab as tl
from theorylab._names import rooms

ROOT = Path(__file__).parents[2]
ROOMS = sorted(page.stem for page in (ROOT / "docs" / "rooms").glob("*.md"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room(room, check_page):
    check_page(f"rooms/{room}")


def test_every_room_has_a_page():
    assert rooms() == ROOMS


def missing(package, prefix, shown):
    """The public names that no table has; a package or module may stand there itself, or by its names, and what stands
    there in its own package need not stand there twice."""
    stub = ast.parse((package / "__init__.pyi").read_text())
    imports = [node for node in ast.walk(stub) if isinstance(node, ast.ImportFrom)]
    home = {alias.name: (node.module or "").split(".")[0] for node in imports for alias in node.names}
    names = [name for name in home if not {prefix + name, f"{prefix}{home[name]}.{name}"} & set(shown)]
    packages = [name for name in names if (package / name).is_dir()]
    inner = [one for name in packages for one in missing(package / name, f"{prefix}{name}.", shown)]
    rest = [prefix + name for name in names if name not in packages]
    return inner + [name for name in rest if not any(one.startswith(f"{name}.") for one in shown)]


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_stands_in_a_table_once_and_every_paper_is_linked(room):
    tables = runpy.run_path(str(ROOT / "docs" / "rooms" / "tables.py"))
    page = (ROOT / "docs" / "rooms" / f"{room}.md").read_text(encoding="utf-8")
    assert tables["updated"](page, room) == page, "run python docs/rooms/tables.py"
    shown = [name for match in tables["TABLE"].finditer(page) for name in match["names"].split()]
    assert len(shown) == len(set(shown)) and missing(ROOT / "theorylab" / room, "", shown) == []
    for slug, home in tl.papers.slugs().items():
        assert home != room or f"papers/{slug}.md" in page, f"docs/rooms/{room}.md does not link to the paper {slug}"

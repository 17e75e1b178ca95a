"""The engine's face, and what lies behind it."""

from pathlib import Path

import theorylab as tl

HOUSE = Path(tl.__file__).parent


def test_nobody_else_reaches_into_a_folder_with_an_underscore():
    """The rule of the engine's docstring: these may change at any time, with no word to the rooms."""
    private = {f"engine.{path.parent.name}" for path in (HOUSE / "engine").glob("_*/__init__.py")}
    assert private
    outside = [path for path in HOUSE.rglob("*.py") if HOUSE / "engine" not in path.parents]
    assert [str(path) for path in outside if any(name in path.read_text() for name in private)] == []

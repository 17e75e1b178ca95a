"""The engine's face, and what lies behind it."""

import importlib.util
from pathlib import Path

import theorylab as tl

HOUSE = Path(tl.__file__).parent


def test_nobody_else_reaches_into_a_folder_with_an_underscore():
    """The rule of the engine's docstring: these may change at any time, with no word to the rooms."""
    private = {f"engine.{path.parent.name}" for path in (HOUSE / "engine").glob("_*/__init__.py")}
    assert private
    outside = [path for path in HOUSE.rglob("*.py") if HOUSE / "engine" not in path.parents]
    assert [str(path) for path in outside if any(name in path.read_text() for name in private)] == []


def test_no_module_hides_a_name_of_the_face():
    """An import of a module puts it under its name into its package: `launch` must stay the function."""
    for name in tl.engine.__all__:
        if name not in ("keys", "status"):
            assert not importlib.util.find_spec(f"theorylab.engine.{name}"), name

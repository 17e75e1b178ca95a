"""Every public name says what it is and where it comes from, and shows it: the doctests themselves run beside these."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import types

import pytest

import theorylab as tl

ROOT = pathlib.Path(tl.__path__[0])
STUBS = {".".join(stub.parent.relative_to(ROOT.parent).parts): stub for stub in sorted(ROOT.rglob("__init__.pyi"))}


def exported():
    """Every public module, function and class, by its qualified name: stubs list them, listed modules hold more."""
    found = []
    for package, stub in STUBS.items():
        for name in _names(stub):
            item = getattr(importlib.import_module(package), name)
            found.append(item)
            if isinstance(item, types.ModuleType):
                members = [member for name, member in vars(item).items() if not name.startswith("_")]
                found += [member for member in members if getattr(member, "__module__", None) == item.__name__]
    return {_name(item): item for item in found if isinstance(item, types.ModuleType | types.FunctionType | type)}


def _names(stub):
    return [alias.asname for node in ast.walk(ast.parse(stub.read_text())) for alias in getattr(node, "names", ())]


def _name(item):
    if isinstance(item, types.ModuleType):
        return item.__name__
    return f"{inspect.unwrap(item).__module__}.{item.__qualname__}"


def _is_error(item):
    return isinstance(item, type) and issubclass(item, Exception)


PUBLIC = exported()
# an exception has neither mathematics nor arguments: those who raise it speak of it
DEFINED = [name for name, item in PUBLIC.items() if not isinstance(item, types.ModuleType) and not _is_error(item)]
# a result type is told of by the function that returns it
CALLED = [name for name in DEFINED if not (isinstance(PUBLIC[name], type) and issubclass(PUBLIC[name], tuple))]
PLUMBING = {"engine", "data", "figures", "papers", "report", "cli"}  # without theory, so that nothing has a source


def test_every_package_lists_its_names():
    found = {one.name for one in pkgutil.walk_packages(tl.__path__, "theorylab.") if one.ispkg}
    packages = {name for name in found if "._" not in name}  # folders with an underscore have no names to list
    # `find` finds those of papers
    rooms_of_papers = {name for name in packages if name.startswith("theorylab.papers.")} - {"theorylab.papers.kit"}
    assert set(STUBS) == packages - rooms_of_papers | {"theorylab"}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_it_begins_with_one_line(name):
    first = (inspect.getdoc(PUBLIC[name]) or "").partition("\n")[0]
    assert first.endswith((".", "...")), f"{name}: begin its docstring with one line that ends in a full stop"


@pytest.mark.parametrize("name", sorted(CALLED))
def test_it_shows_an_example(name):
    assert ">>> " in PUBLIC[name].__doc__, f"{name}: show a short example, which runs as a doctest"


@pytest.mark.parametrize("name", sorted(name for name in CALLED if name.split(".")[1] not in PLUMBING))
def test_it_says_where_it_comes_from(name):
    text = PUBLIC[name].__doc__
    assert "**Source**" in text, f"{name}: say in a **Source** line which paper it follows, or that it is derived here"


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_it_says_what_goes_in_and_what_comes_out(name):
    item, text = PUBLIC[name], PUBLIC[name].__doc__
    named = [
        p.name for p in inspect.signature(item).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    silent = [argument for argument in named if f"`{argument}" not in text]
    assert not silent, f"{name}: say what {silent} are: shapes, dtypes, units"
    if inspect.isfunction(item):
        assert "**Arguments**" in text or not named, f"{name}: name its arguments under **Arguments**"
        assert "**Returns**" in text, f"{name}: say under **Returns** what comes out"


def test_errors_stand_under_what_raises_them():
    errors = [item.__name__ for item in PUBLIC.values() if _is_error(item)]
    texts = [PUBLIC[name].__doc__ for name in DEFINED]
    silent = [error for error in errors if not any(f"`{error}`" in text for text in texts)]
    assert errors and not silent, f"no public docstring says under **Raises** when {silent} are raised"

"""What users see of a package: its stub's names, each imported at its first use, with arguments that are checked.

Inside the house functions are those of the modules, which check nothing. A class is one for all: it is checked where it
is built and in its methods, from the moment its module has been imported, whoever imported it.
"""

import ast
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

FLOORS = frozenset({"numerics", "engine", "data", "figures", "learning", "papers", "report"})
"""Packages that are no rooms."""


def rooms() -> list[str]:
    """The names of the rooms: every package that is no floor beneath or above them."""
    found = {init.parent.name for init in Path(__file__).parent.glob("*/__init__.py")}
    return sorted(found - FLOORS)


def attach_stub(
    package: str, file: str, *, unchecked: tuple[str, ...] | Literal["all"] = (), folders: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose stub says where each public name lives.

    **Arguments**: `package` and `file`, its `__name__` and `__file__`; `unchecked`, names that look at their arguments
    themselves, or `"all"`, where JAX is not to be loaded for it; `folders`, public packages that the stub may not name.
    """
    homes = _homes(Path(file).with_suffix(".pyi")) | dict.fromkeys(folders, "")
    face: Any = sys.modules[package]
    face.__class__ = _Face
    vars(face).update(_homes=homes, _unchecked=homes if unchecked == "all" else unchecked)

    def __getattr__(name: str) -> Any:
        if name not in homes:
            near = difflib.get_close_matches(name, homes, 1)
            hint = f"; did you mean {near[0]!r}?" if near and not name.startswith("_") else ""
            raise AttributeError(f"{package} has no {name!r}{hint}")
        if not homes[name]:
            return importlib.import_module(f"{package}.{name}")
        item = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        return vars(face).setdefault(name, item if name in face._unchecked else _guarded(item, package))

    names = sorted(homes)
    return __getattr__, names.copy, names


class _Face(ModuleType):
    """A package, to which Python tells each module of it that has been imported by setting it as an attribute."""

    def __setattr__(self, name: str, value: Any) -> None:
        homes, package = vars(self)["_homes"], self.__name__
        if getattr(value, "__name__", "") == f"{package}.{name}" and isinstance(value, ModuleType):
            if vars(self)["_unchecked"] is not homes and not hasattr(value, "__path__"):
                _guard(value, homes)
            if homes.get(name):  # a function that has its module's name
                return
        super().__setattr__(name, value)


def _homes(stub: Path) -> dict[str, str]:
    """The module of each public name; of a public module, the empty string."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in nodes for alias in node.names}


def _guard(module: ModuleType, homes: dict[str, str]) -> None:
    """The public classes of a module, and all functions of a public one."""
    public = homes.get(module.__name__.rpartition(".")[2]) == ""
    for name, item in list(vars(module).items()):
        own = getattr(item, "__module__", None) == module.__name__ and not name.startswith("_")
        if own and (public or (name in homes and isinstance(item, type))):
            setattr(module, name, _guarded(item, module.__name__))


def _guarded(item: Any, place: str) -> Any:
    """A class, with those of the house that it inherits from; a function, as the one that pickles find there."""
    from .numerics.guard import checked, is_checked

    if isinstance(item, type):
        for kind in item.__mro__:
            if kind.__module__.startswith("theorylab."):
                checked(kind)
    elif not is_checked(item) and (inspect.isroutine(item) or hasattr(item, "__wrapped__")):
        found = checked(item)
        if found is not item:
            found.__module__ = place
        return found
    return item

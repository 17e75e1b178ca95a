"""One valid call of every public function, class and method: the first that its own doctest makes."""

import contextlib
import doctest
import importlib
import inspect
import io
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from theorylab._names import rooms


@dataclass
class Call:
    """A function with the arguments of a call, by name."""

    name: str
    function: Callable
    arguments: inspect.BoundArguments


class _Captured(BaseException):
    """Ends a doctest once the call has been seen."""


def public() -> dict[str, Any]:
    """Every function and class of the rooms that a user can name, by that name."""
    found = {}
    for room in rooms():
        found |= _of_package(room)
    ranked = sorted(found, key=lambda name: name.count("."), reverse=True)
    first = {id(found[name]): name for name in ranked}  # a name of a module may be one of its room
    return {name: item for name, item in found.items() if first[id(item)] == name and not _is_error(item)}


def _of_package(path: str) -> dict[str, Any]:
    """What a package lists, and what the packages and modules hold that it lists."""
    found, package = {}, importlib.import_module(f"theorylab.{path}")
    for name in package.__all__:
        item = getattr(package, name)
        if not isinstance(item, types.ModuleType):
            found[f"{path}.{name}"] = item
        elif hasattr(item, "__path__"):
            found |= _of_package(f"{path}.{name}")
        else:
            members = {key: value for key, value in vars(item).items() if not key.startswith("_")}
            own = {key: value for key, value in members.items() if getattr(value, "__module__", None) == item.__name__}
            found |= {f"{path}.{name}.{key}": value for key, value in own.items() if callable(value)}
    return found


def _is_error(item):
    return isinstance(item, type) and issubclass(item, Exception)


def is_result(item: Any) -> bool:
    """Whether a class only holds what a function returns."""
    return isinstance(item, type) and issubclass(item, tuple)


def methods(item: Any) -> Iterator[str]:
    """The public methods that a class and its parents in theorylab write."""
    if not isinstance(item, type):
        return
    text = inspect.getdoc(item) or ""
    for name in dir(item):
        if not name.startswith("_") and f".{name}(" in text and _own(inspect.getattr_static(item, name)):
            yield name


def _own(member):
    function = getattr(member, "__func__", member)
    return getattr(function, "__module__", "").startswith("theorylab") and callable(function)


def capture(name: str, text: str, owner: Any, attribute: str) -> Call | None:
    """The first call of `owner.attribute` in a docstring, or None where there is none."""
    globs = {}
    original = inspect.getattr_static(owner, attribute)
    function = getattr(original, "__func__", original)

    def spy(*args, **keywords):
        if inspect.currentframe().f_back.f_globals is not globs:
            return function(*args, **keywords)
        raise _Captured(Call(name, function, inspect.signature(function).bind(*args, **keywords)))

    class Spy:
        """What stands in for a class or function of a module."""

        __call__ = staticmethod(spy)

        def __getattr__(self, attribute):
            return getattr(original, attribute)

    if isinstance(owner, types.ModuleType):
        new = Spy()
    else:
        new = type(original)(spy) if isinstance(original, classmethod | staticmethod) else spy
    mine = attribute in vars(owner)
    setattr(owner, attribute, new)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for example in doctest.DocTestParser().get_examples(text):
                with contextlib.suppress(Exception):
                    exec(compile(example.source, name, "single"), globs)
    except _Captured as seen:
        return seen.args[0]
    finally:
        if mine:
            setattr(owner, attribute, original)
        else:
            delattr(owner, attribute)
    return None


def calls(name: str, item: Any) -> Iterator[Call]:
    """The calls of one public name: itself, and its methods."""
    path, _, last = name.rpartition(".")
    text = inspect.getdoc(item) or ""
    if not is_result(item):
        found = capture(name, text, importlib.import_module(f"theorylab.{path}"), last)
        if found is not None:
            yield found
    for method in methods(item):
        found = capture(f"{name}.{method}", text, item, method)
        if found is not None:
            yield found

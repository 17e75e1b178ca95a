"""Packages that import a name at its first use, and know what a misspelt one was meant to be."""

import difflib
from collections.abc import Callable
from typing import Any

import lazy_loader


def attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`lazy_loader.attach_stub`, with a suggestion in the error for a name that the package has not."""
    load, listed, names = lazy_loader.attach_stub(package, file)

    def __getattr__(name: str) -> Any:
        if name in names:
            return load(name)
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near and not name.startswith("_") else ""
        raise AttributeError(f"{package} has no {name!r}{hint}")

    return __getattr__, listed, names

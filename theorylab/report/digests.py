"""What code a paper rests on, as one short word: another word means that its results may differ.

The word covers the paper's own modules, what runs them, and all that these import, transitively, down to numerics: read
from the sources, without an import. A lazy package such as `theorylab.games` counts by the modules of the names that
are used, which its stub tells. Comments, docstrings, layout and the seconds that an experiment took do not count, nor
do versions of other packages, which a run records.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeGuard

from theorylab.papers import Paper
from theorylab.papers.registry import files, slugs

_ROOT = Path(__file__).parents[1]
_RUNNER = Path(__file__).with_name("experiments.py")  # how keys are drawn, and claims decided


def digest(paper: Paper | str) -> str:
    """Digest a paper's code.

    **Arguments**: `paper`, or its slug.

    **Returns** sixteen hexadecimal digits. A paper that the registry does not have counts by the files of its
    experiments' `run`; typed into a session it has none, and an empty digest, which equals none that was kept.

    **Raises** `UnknownName` for a slug that no paper has.

        >>> from theorylab.report.digests import digest
        >>> len(digest("seg_rr"))
        16
    """
    slug = paper if isinstance(paper, str) else paper.slug
    own = files(slug) if isinstance(paper, str) or slug in slugs() else _home(paper)
    if not own:
        return ""
    code = sorted((_name(path), _read(path)[0]) for path in covered([*own, _RUNNER]))
    return hashlib.sha256(repr(code).encode()).hexdigest()[:16]


def covered(own: Iterable[Path]) -> set[Path]:
    """The files of theorylab that some files rest on, with these themselves."""
    reached, waiting = set(), list(own)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += _read(path)[1]
    return reached


def _home(paper: Paper) -> list[Path]:
    """The files that define what a paper of no registry runs."""
    found = set()
    for experiment in paper.experiments:
        run = experiment.run
        while hasattr(run, "func"):  # of a partial function
            run = run.func
        file = getattr(sys.modules.get(run.__module__), "__file__", None)
        found |= {Path(file)} if file else set()
    return sorted(found)


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name


@cache
def _read(path: Path) -> tuple[str, frozenset[Path]]:
    """A digest of a module's code, and the files that it imports: as they were when this process first asked."""
    module = _Module()
    module.visit(ast.parse(path.read_text(encoding="utf-8")))
    code = hashlib.sha256("\n".join(module.words).encode()).hexdigest()
    return code, frozenset(_imports(path, module))


_NAMES, _IMPORTS = (ast.Attribute, ast.Name), (ast.Import, ast.ImportFrom)  # a union made at each node is slow


class _Module:
    """A module, walked once: its code as words that every version of Python gives, without docstrings; its imports;
    and the chains of attributes that it asks of each name, `("a", "b")` where it says `name.a.b`."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self.used: dict[str, set[tuple[str, ...]]] = {}

    def visit(self, node: object) -> None:
        if isinstance(node, list):
            for each in node:
                self.visit(each)
            self.words.append("]")
        elif not isinstance(node, ast.AST):
            self.words.append(repr(node))
        elif isinstance(node, _NAMES):
            self._use(node)
        elif not _is_prose(node):
            self.words.append(type(node).__name__)
            for field in node._fields:
                value = getattr(node, field, None)
                if field == "keywords" and _is_experiment(node):
                    value = [each for each in node.keywords if each.arg != "seconds"]
                if value is not None and value != []:
                    self.words.append(field)
                    self.visit(value)
            if isinstance(node, _IMPORTS):
                self.imports.append(node)

    def _use(self, node: ast.expr) -> None:
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        self.words += [".", *names]
        if isinstance(node, ast.Name):
            self.words.append(node.id)
            self.used.setdefault(node.id, set()).add(tuple(reversed(names)))
        else:
            self.visit(node)


def _is_experiment(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Experiment"


def _is_prose(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(path: Path, module: _Module) -> Iterator[Path]:
    """The files of theorylab that a module imports, by the names that it uses of them."""
    for node in module.imports:
        if isinstance(node, ast.ImportFrom):
            place = path.parents[node.level - 1] if node.level else _ROOT.parent
            bound = {each.asname or each.name: f"{node.module or ''}.{each.name}" for each in node.names}
        else:
            place = _ROOT.parent
            tops = {each.name.partition(".")[0]: each for each in node.names}
            bound = {each.asname or top: each.name if each.asname else top for top, each in tops.items()}
        for name, full in bound.items():
            names = [part for part in full.split(".") if part]
            if place != _ROOT.parent or names[0] == _ROOT.name:
                for further in module.used.get(name, {()}):
                    yield from _files(place, [*names, *further])


def _files(place: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files behind names, from a folder or module on: all of a package where the names do not tell which."""
    module, face = place.parent / f"{place.name}.py", place / "__init__.py"
    if module.is_file():
        yield module
    elif place.is_dir():
        if face.is_file() and place != _ROOT:  # which has nothing but the version
            yield face
        listed = _listed(face.with_suffix(".pyi"))
        first, *further = names or ["*"]
        if first in listed:
            home, names = listed[first]
            yield from _files(place.joinpath(*home), [*names, *further])
        elif (place / first).is_dir() or (place / f"{first}.py").is_file():
            yield from _files(place / first, further)
        elif listed or first == "*":
            yield from place.rglob("*.py")


@cache
def _listed(stub: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Of each name that a lazy package lists, the module that it comes from, and what it is called there."""
    found = {}
    if stub.is_file():
        for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for each in node.names:
                    home = (node.module or each.name).split(".")
                    found[each.asname or each.name] = home, [each.name] if node.module else []
    return found

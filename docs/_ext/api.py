"""The API reference: one page a package, from the stubs that list its public names and the docstrings behind them.

Docstrings are Markdown, so that a page is one too, and the parser of the guides reads both.
"""

import ast
import importlib
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from sphinx.util.inspect import signature, stringify_signature

import theorylab

ROOT = Path(theorylab.__path__[0])


@dataclass
class Page:
    """A module's public names that no page before it shows, and those that another page shows."""

    name: str
    module: ModuleType
    items: dict[str, Any] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def pages() -> dict[str, str]:
    """Every page's Markdown by the name of its module, and the index."""
    found = _pages()
    links = {}
    for page in found:
        links |= {f"{page.name}.{name}": f"{page.name}.{name}" for name in page.items}
        links |= {_home(item): f"{page.name}.{name}" for name, item in page.items.items()}
    return {page.name: _page(page, links) for page in found} | {"index": _index(found)}


def _pages() -> list[Page]:
    stubs = sorted(ROOT.rglob("__init__.pyi"), key=lambda stub: len(stub.parts))
    found, shown, modules = [], {}, []
    for stub in stubs:
        name = ".".join(stub.parent.relative_to(ROOT.parent).parts)
        page = Page(name, importlib.import_module(name))
        for public in _names(stub):
            item = getattr(page.module, public)
            if not isinstance(item, ModuleType):
                _put(page, public, item, shown)
            elif not hasattr(item, "__path__") and item not in [module for _, module in modules]:
                modules.append((f"{name}.{public}", item))
        found.append(page)
    for name, module in modules:  # after the packages, whose names come first
        page = Page(name, module)
        for public, item in vars(module).items():
            if not public.startswith("_") and (
                getattr(item, "__module__", None) == module.__name__ or public.isupper()
            ):
                _put(page, public, item, shown)
        found.append(page)
    return sorted(found, key=lambda page: page.name)


def _names(stub: Path) -> list[str]:
    nodes = ast.walk(ast.parse(stub.read_text(encoding="utf-8")))
    return [alias.asname for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname]


def _put(page: Page, public: str, item: Any, shown: dict[int, str]) -> None:
    if id(item) in shown:
        page.elsewhere.append(shown[id(item)])
    else:
        page.items[public] = item
        shown[id(item)] = f"{page.name}.{public}"


def _home(item: Any) -> str:
    """Where it is defined; papers and rooms know the engine's names by its package."""
    module = getattr(item, "__module__", "")
    return f"{module}.{getattr(item, '__name__', '')}"


def _index(found: list[Page]) -> str:
    rows = "\n".join(f"- {{doc}}`{page.name}`: {_first_line(page.module)}" for page in found)
    contents = "\n".join(f"{page.name.removeprefix('theorylab.')} <{page.name}>" for page in found)
    return (
        "# API reference\n\nEvery public name, as `import theorylab as tl` gives it: `theorylab.games` is `tl.games`."
        f" The examples run as tests.\n\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{contents}\n```\n"
    )


def _page(page: Page, links: dict[str, str]) -> str:
    parts = [f"# {page.name}\n\n```{{py:module}} {page.name}\n```\n\n{_markdown(page.module, links, page.name)}"]
    if page.elsewhere:
        parts.append("Also here: " + ", ".join(f"{{py:obj}}`{name}`" for name in sorted(page.elsewhere)) + ".")
    by_module: dict[str, list[str]] = {}
    for name, item in page.items.items():
        by_module.setdefault(getattr(item, "__module__", page.name), []).append(name)
    for module, names in by_module.items():
        if module != page.module.__name__ and module.startswith("theorylab"):
            last = module.rpartition(".")[2].strip("_").replace("_", " ").capitalize()
            parts.append(f"## {last}\n\n{_markdown(importlib.import_module(module), links, page.name)}")
        parts += [_entry(page.name, name, page.items[name], links) for name in names]
    return "\n\n".join(parts) + "\n"


def _entry(package: str, name: str, item: Any, links: dict[str, str]) -> str:
    if not _is_code(item):
        return f"`````{{py:data}} {name}\n:module: {package}\n:value: {item!r}\n`````"
    kind = "function" if not isinstance(item, type) else "exception" if issubclass(item, Exception) else "class"
    members = [] if kind != "class" else [_member(package, name, *pair, links) for pair in _members(item)]
    aliased = f":canonical: {_alias(package, name, item)}\n"
    body = "\n\n".join([_markdown(item, links, package), *members])
    return f"`````{{py:{kind}}} {name}{_signature(item)}\n:module: {package}\n{aliased}\n{body}\n`````"


def _alias(package: str, name: str, item: Any) -> str:
    """The other name by which code knows it: the engine's at the top level, elsewhere that of its own module."""
    engine = importlib.import_module("theorylab.engine")
    if package == "theorylab" and getattr(engine, name, None) is item:
        return f"theorylab.engine.{name}"
    return f"{item.__module__}.{item.__qualname__}"


def _members(item: type) -> list[tuple[str, Any]]:
    return [
        (name, member)
        for name, member in vars(item).items()
        if not name.startswith("_")
        and isinstance(member, FunctionType | classmethod | staticmethod | property)
        and inspect.getdoc(member)
    ]


def _member(package: str, owner: str, name: str, member: Any, links: dict[str, str]) -> str:
    body = _markdown(member, links, package)
    if isinstance(member, property):
        return f"````{{py:property}} {owner}.{name}\n:module: {package}\n\n{body}\n````"
    bound = isinstance(member, classmethod | staticmethod)
    function = member.__func__ if bound else member
    flag = f":{type(member).__name__}:\n" if bound else ""
    method = _signature(function, skip_first=not isinstance(member, staticmethod))
    return f"````{{py:method}} {owner}.{name}{method}\n:module: {package}\n{flag}\n{body}\n````"


def _signature(item: Any, skip_first: bool = False) -> str:
    if isinstance(item, type) and issubclass(item, Exception):
        return ""
    found = signature(item)
    if skip_first:
        found = found.replace(parameters=list(found.parameters.values())[1:])
    return stringify_signature(found, show_annotation=False, show_return_annotation=False)


def _is_code(item: Any) -> bool:
    """Whether it is a class or a function, one that JAX has wrapped too."""
    return isinstance(item, type | FunctionType) or (callable(item) and hasattr(item, "__wrapped__"))


def _first_line(item: Any) -> str:
    return _text(item).partition("\n")[0]


def _text(item: Any) -> str:
    text = inspect.getdoc(item)
    if not text:
        raise LookupError(f"{item!r} is public and has no docstring")
    return text


def _markdown(item: Any, links: dict[str, str], package: str) -> str:
    """A docstring with its examples fenced, and the public names that it speaks of linked."""
    own = re.findall(r"\w+", _signature(item)) if _is_code(item) else ()
    text = re.sub(r"^( {4,}>>> .*\n?(?:^ {4,}\S.*\n?)*)+", _fenced, _text(item) + "\n", flags=re.MULTILINE)

    def linked(match: re.Match[str]) -> str:
        word = match[1]
        for full in (f"{package}.{word}", f"theorylab.{word.removeprefix('tl.')}", f"theorylab.engine.{word}"):
            if full in links and word not in own and links[full] != f"{package}.{getattr(item, '__name__', '')}":
                return f"{{py:obj}}`{word} <{links[full]}>`"
        return match[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if part.startswith("```") else re.sub(r"(?<!`)`([A-Za-z_][\w.]*)`", linked, part) for part in parts
    ).strip()


def _fenced(match: re.Match[str]) -> str:
    return f"```pycon\n{inspect.cleandoc(match[0])}\n```\n"

"""The API reference, from the stubs that list the public names and the docstrings behind them: one page a concept.

A concept is a module. A package with few names is one page; another has a page that leads to those of its concepts.
Docstrings are Markdown, so that a page is one too, and the parser of the guides reads both.
"""

import ast
import importlib
import inspect
import re
import textwrap
import typing
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType, UnionType
from typing import Any

from sphinx.util.inspect import signature, stringify_signature

import theorylab
from theorylab._names import rooms

ROOT = Path(theorylab.__path__[0])
WHOLE = 16  # names that one page shows
ACRONYMS = {"clt": "CLT", "dit": "DiT", "gan": "GAN", "lora": "LoRA"}


@dataclass
class Page:
    """A module's public names that no page before it shows, and those that another page shows."""

    name: str
    module: ModuleType
    items: dict[str, Any] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def pages() -> dict[str, str]:
    """Every page's Markdown by its name, and the index."""
    found = _pages()
    links = {}
    for page in found:
        links |= {f"{page.name}.{name}": f"{page.name}.{name}" for name in page.items}
        links |= {_home(item): f"{page.name}.{name}" for name, item in page.items.items()}
    deeper = [page for page in found if page.name.count(".") > 1 or not hasattr(page.module, "__path__")]
    made, inner = {}, set()
    for page in found:
        if len(page.items) > WHOLE or not page.items:
            concepts = {_document(module): names for module, names in _by_module(page).items()}
            made |= {name: _concept(page, names, links) for name, names in concepts.items()}
            beneath = [one for one in deeper if one.name.rpartition(".")[0] == page.name and one.name not in concepts]
            made[page.name] = _overview(page, concepts, beneath)
            inner |= {*concepts, *(one.name for one in beneath)}
        elif page.name in made:  # a module of its own, some of whose names the package has too
            made[page.name] += f"\n## In {page.name}\n\n{_body(page, links, introduced=True)}\n"
        else:
            made[page.name] = f"# {page.name}\n\n{_body(page, links)}\n"
    return made | {"index": _index([page for page in found if page.name not in inner])}


def _pages() -> list[Page]:
    # a name of a package within a room stands there, and one of the engine at the top level
    whole, *packages = sorted(ROOT.rglob("__init__.pyi"), key=lambda stub: len(stub.parts))
    stubs = [whole, *sorted(packages, key=lambda stub: -len(stub.parts))]
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


def _raw(item: Any) -> Any:
    """A function as its module has it: that of a package is another, which checks its arguments."""
    return inspect.unwrap(item) if callable(item) else item


def _home(item: Any) -> str:
    """Where it is defined; papers and rooms know the engine's names by its package."""
    module = getattr(_raw(item), "__module__", "")
    return f"{module}.{getattr(item, '__name__', '')}"


def _index(listed: list[Page]) -> str:
    named = {f"theorylab.{room}" for room in rooms()}
    papers = {"theorylab.papers", "theorylab.report", "theorylab.figures"}
    groups: dict[str, list[Page]] = {"Run": [], "Rooms": [], "Papers": [], "Beneath": []}
    for page in listed:
        of_run = page.name == "theorylab" or page.name.startswith("theorylab.engine")
        group = "Run" if of_run else "Rooms" if page.name in named else "Papers" if page.name in papers else "Beneath"
        groups[group].append(page)
    parts = [
        "# API reference\n\nEvery public name, as `import theorylab as tl` gives it: `theorylab.games` is `tl.games`."
        " The examples run as tests. What to use for what is said by the pages of the rooms, and by"
        " [choosing a method](../guides/choosing_a_method.md)."
    ]
    for group, found in groups.items():
        rows = "\n".join(f"- {{doc}}`{page.name}`: {_first_line(page.module)}" for page in found)
        parts.append(f"## {group}\n\n{rows}\n\n{_toctree({page.name: _short(page.name) for page in found})}")
    return "\n\n".join(parts) + "\n"


def _toctree(titles: dict[str, str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *(f"{title} <{name}>" for name, title in titles.items()), "```"])


def _short(name: str) -> str:
    return name.removeprefix("theorylab.")


def _overview(page: Page, concepts: dict[str, list[str]], beneath: list[Page]) -> str:
    """A package of many names: its concepts, each with what it is, and their names."""
    parts = [f"# {page.name}\n\n```{{py:module}} {page.name}\n```\n\n{_text(page.module)}", _elsewhere(page)]
    if (Path(__file__).parents[1] / "rooms" / f"{_short(page.name)}.md").exists():
        parts.append(f"What to use for what: {{doc}}`../rooms/{_short(page.name)}`.")
    lines = []
    for name, names in concepts.items():
        listed = ", ".join(f"{{py:obj}}`{one} <{page.name}.{one}>`" for one in names)
        module = importlib.import_module(_origin(page, names[0]))
        lines.append(f"- {{doc}}`{_title(name)} <{name}>`: {_first_line(module)} {listed}")
    lines += [f"- {{doc}}`{_short(one.name)} <{one.name}>`: {_first_line(one.module)}" for one in beneath]
    titles = {name: _title(name) for name in concepts} | {one.name: _short(one.name) for one in beneath}
    return "\n\n".join([*filter(None, parts), "\n".join(lines), _toctree(titles)]) + "\n"


def _concept(page: Page, names: list[str], links: dict[str, str]) -> str:
    module = importlib.import_module(_origin(page, names[0]))
    title = f"# {_title(_document(module.__name__))}\n\nIn {{py:mod}}`{page.name}`."
    entries = [_entry(page.name, name, page.items[name], links) for name in names]
    return "\n\n".join([title, _markdown(module, links, page.name), *entries]) + "\n"


def _document(module: str) -> str:
    return module.replace("._", ".")


def _title(name: str) -> str:
    words = " ".join(ACRONYMS.get(word, word) for word in name.rpartition(".")[2].split("_"))
    return words[0].upper() + words[1:]


def _by_module(page: Page) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in page.items:
        found.setdefault(_origin(page, name), []).append(name)
    return found


def _origin(page: Page, name: str) -> str:
    """The module that defines a name: the item's own, or that of the stub where an item such as an alias of types does
    not know."""
    item, stub = page.items[name], Path(str(page.module.__file__)).with_suffix(".pyi")
    if typing.get_origin(item) is None or not stub.exists():
        return getattr(_raw(item), "__module__", page.name)
    imports = [node for node in ast.walk(ast.parse(stub.read_text())) if isinstance(node, ast.ImportFrom)]
    return next(f"{page.name}.{node.module}" for node in imports if name in [alias.name for alias in node.names])


def _elsewhere(page: Page) -> str:
    names = ", ".join(f"{{py:obj}}`{name}`" for name in sorted(page.elsewhere))
    return f"Also here: {names}." if names else ""


def _body(page: Page, links: dict[str, str], introduced: bool = False) -> str:
    parts = [f"```{{py:module}} {page.name}\n```", "" if introduced else _markdown(page.module, links, page.name)]
    parts = [*filter(None, parts), _elsewhere(page)]
    for module, names in _by_module(page).items():
        if module != page.module.__name__ and module.startswith("theorylab"):
            parts.append(f"## {_title(module)}\n\n{_markdown(importlib.import_module(module), links, page.name)}")
        parts += [_entry(page.name, name, page.items[name], links) for name in names]
    return "\n\n".join(filter(None, parts))


def _entry(package: str, name: str, item: Any, links: dict[str, str]) -> str:
    if not _is_code(item):
        union = typing.get_args(item) if typing.get_origin(item) in (typing.Union, UnionType) else ()
        value = " | ".join(getattr(one, "__name__", repr(one)) for one in union) or repr(item)
        return f"`````{{py:data}} {name}\n:module: {package}\n:value: {value}\n`````"
    kind = "function" if not isinstance(item, type) else "exception" if _is_exception(item) else "class"
    members = [] if kind != "class" else [_member(package, name, *pair, links) for pair in _members(item)]
    aliased = f":canonical: {_alias(package, name, item)}\n"
    body = "\n\n".join([_markdown(item, links, package), *members])
    return f"`````{{py:{kind}}} {name}{_signature(item)}\n:module: {package}\n{aliased}\n{body}\n`````"


def _alias(package: str, name: str, item: Any) -> str:
    """The other name by which code knows it: the engine's at the top level, a room's of what a package within it has,
    elsewhere that of its own module."""
    other = importlib.import_module(package.rpartition(".")[0] or "theorylab.engine")
    if getattr(other, name, None) is item:
        return f"{other.__name__}.{name}"
    return f"{_raw(item).__module__}.{item.__qualname__}"


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
    """The signature with its types as the source has them, which are shorter than those that Python keeps."""
    if _is_exception(item):
        return ""
    found, types = signature(item), _annotations(item)
    parameters = [
        one.replace(annotation=types.get(one.name, one.empty), default=_Written.of(one.default))
        for one in list(found.parameters.values())[skip_first:]
    ]
    returns = types.get("return", found.empty)
    return stringify_signature(found.replace(parameters=parameters, return_annotation=returns))


class _Written(str):
    """A default that Python shows as `<function f at 0x...>`, by its name."""

    __repr__ = str.__str__

    @classmethod
    def of(cls, default: Any) -> Any:
        return cls(getattr(default, "__name__", "...")) if repr(default).startswith("<f") else default


def _annotations(item: Any) -> dict[str, str]:
    """The annotations of a function, or of what makes an instance of a class, as they are written."""
    if not isinstance(item, type):
        return _of_function(_source(item))
    found = {}
    for base in reversed(item.__mro__):
        if base.__module__.startswith("theorylab"):
            body = _source(base).body
            fields = [one for one in body if isinstance(one, ast.AnnAssign)]
            found |= {ast.unparse(one.target): ast.unparse(one.annotation) for one in fields}
            found |= next((_of_function(one) for one in body if getattr(one, "name", "") == "__init__"), {})
    return {name: written for name, written in found.items() if name != "return"}


def _source(item: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(item)))).body[0]


def _of_function(node: Any) -> dict[str, str]:
    of = node.args
    arguments = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
    found = {one.arg: ast.unparse(one.annotation) for one in arguments if one.annotation}
    return found | ({"return": ast.unparse(node.returns)} if node.returns else {})


def _is_exception(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, Exception)


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
    own = signature(item).parameters if _is_code(item) and not _is_exception(item) else ()
    text = re.sub(r"^( *>>> .*\n?(?:^ *\S.*\n?)*)+", _fenced, _text(item) + "\n", flags=re.MULTILINE)

    def linked(match: re.Match[str]) -> str:
        word = match[1]
        for full in (f"{package}.{word}", f"theorylab.{word.removeprefix('tl.')}", f"theorylab.engine.{word}"):
            if full in links and word not in own and links[full] != f"{package}.{getattr(item, '__name__', '')}":
                return f"{{py:obj}}`{word} <{links[full]}>`"
        return match[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if part.startswith("```") else re.sub(r"(?<!`)`([A-Za-z_][\w.]*)`", linked, _joined(part))
        for part in parts
    ).strip()


def _joined(text: str) -> str:
    """With every formula on one line: one that begins with a minus would be an item of a list."""
    return re.sub(r"(?<!\$)\$[^$]+\$(?!\$)", lambda match: match[0].replace("\n", " "), text)


def _fenced(match: re.Match[str]) -> str:
    return f"```pycon\n{inspect.cleandoc(match[0])}\n```\n"

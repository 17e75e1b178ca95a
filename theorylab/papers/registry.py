"""Papers are found by themselves: each module or folder `theorylab/papers/<room>/<slug>` is one."""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from pathlib import Path

from .paper import Paper

_PAPERS = __name__.rpartition(".")[0]


class UnknownName(ValueError):
    """A name that nothing here has; its message suggests the nearest one."""


def choose(what: str, name: str, names: Iterable[str]) -> str:
    """The name, when it is one of `names`.

    **Arguments**: `what` it names, for the message; `name`; `names`, those that exist.

    **Returns** `name`.

    **Raises** `UnknownName`, with the nearest name, when it is not one of them.

        >>> from theorylab.papers.registry import choose
        >>> choose("size", "smal", ("small", "paper"))
        Traceback (most recent call last):
        ...
        theorylab.papers.registry.UnknownName: unknown size 'smal': did you mean 'small'? (there are: small, paper)
    """
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    there = (
        f"`theorylab list` shows all {len(names)}"
        if what == "paper" and len(names) > 12
        else f"there are: {', '.join(names)}"
    )
    raise UnknownName(f"unknown {what} {name!r}: {hint}({there})")


def slugs() -> dict[str, str]:
    """Name every paper's slug with its room, by room and then by slug.

    **Returns** a dictionary from slug to room; no paper is imported.

        >>> import theorylab as tl
        >>> tl.papers.slugs()["seg_rr"]
        'games'
    """
    path = importlib.import_module(_PAPERS).__path__
    rooms = sorted({room.name for room in pkgutil.iter_modules(path) if room.ispkg and room.name != "kit"})
    packages = [(room, importlib.import_module(f"{_PAPERS}.{room}").__path__) for room in rooms]
    return {
        module.name: room
        for room, folder in packages
        for module in sorted(pkgutil.iter_modules(folder), key=lambda module: module.name)
        if not module.name.startswith("_")
    }


def files(slug: str) -> list[Path]:
    """Find the files of a paper: its module, or all of its folder's, of which the card is the first.

    **Arguments**: `slug`.

    **Returns** their paths; no paper is imported.

    **Raises** `UnknownName`, with the nearest slug, when there is none.

        >>> from theorylab.papers.registry import files
        >>> files("seg_rr")[0].suffix
        '.py'
    """
    spec = importlib.util.find_spec(_module(slug))
    assert spec is not None and spec.origin is not None
    card = Path(spec.origin)
    if card.name != "__init__.py":
        return [card]
    return [card, *sorted(path for path in card.parent.rglob("*.py") if path != card)]


def find(slug: str) -> Paper:
    """Find the paper of that slug.

    **Arguments**: `slug`, the name of its module, or of its folder.

    **Returns** its `Paper`; no other paper is imported.

    **Raises** `UnknownName`, with the nearest slug, when there is none; `ValueError` when its module has no `PAPER`, or
    one with another slug or room than its place says.

        >>> import theorylab as tl
        >>> tl.papers.find("seg_rr").room
        'games'
    """
    module = _module(slug)
    room = module.split(".")[-2]
    paper = getattr(importlib.import_module(module), "PAPER", None)
    if not isinstance(paper, Paper):
        raise ValueError(f"papers/{room}/{slug} has no PAPER: a paper's module ends with `PAPER = Paper(...)`")
    if (paper.slug, paper.room) != (slug, room):
        raise ValueError(f"papers/{room}/{slug} says slug={paper.slug!r}, room={paper.room!r}: move or rename it")
    return paper


def _module(slug: str) -> str:
    rooms = slugs()
    return f"{_PAPERS}.{rooms[choose('paper', slug, rooms)]}.{slug}"

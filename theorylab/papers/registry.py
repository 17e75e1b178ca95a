"""Papers are found by themselves: every module `theorylab/papers/<room>/<slug>.py` is one."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable

from .paper import Paper

_PAPERS = __name__.rpartition(".")[0]


class UnknownName(ValueError):
    """A name that nothing here has; its message suggests the nearest one."""


def choose(what: str, name: str, names: Iterable[str]) -> str:
    """The name, when it is one of `names`.

    **Arguments**: `what` it names, for the message; `name`; `names`, those that exist.

    **Returns** `name`.

    **Raises** `UnknownName`, with the nearest name, when it is not one of them.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.papers.choose("size", "smal", ("small", "paper"))
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
    """Every paper's slug, with its room, by room and then by slug.

    **Returns** a dictionary from slug to room; no paper is imported.

    **Source**: derived here.

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


def find(slug: str) -> Paper:
    """The paper of that slug.

    **Arguments**: `slug`, the name of its module.

    **Returns** its `Paper`; only that paper's module is imported.

    **Raises** `UnknownName`, with the nearest slug, when there is none; `ValueError` when its module has no `PAPER`, or
    one with another slug or room than its place says.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.papers.find("seg_rr").room
        'games'
    """
    rooms = slugs()
    room = rooms[choose("paper", slug, rooms)]
    paper = getattr(importlib.import_module(f"{_PAPERS}.{room}.{slug}"), "PAPER", None)
    if not isinstance(paper, Paper):
        raise ValueError(f"papers/{room}/{slug}.py has no PAPER: a paper's module ends with `PAPER = Paper(...)`")
    if (paper.slug, paper.room) != (slug, room):
        raise ValueError(f"papers/{room}/{slug}.py says slug={paper.slug!r}, room={paper.room!r}: move or rename it")
    return paper

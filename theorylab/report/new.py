"""Skeletons that are green from the first minute: a room, and a paper with all that belongs to it."""

import ast
import keyword
from pathlib import Path


def new_room(name: str, root: Path) -> list[Path]:
    """Write a room: a package with one kernel, its stub, tests, example, papers' folder and page of the documentation.

    **Arguments**: `name`, an identifier in lower case; `root`, the clone to write into.

    **Returns** the files that were written or changed.

    **Raises** `ValueError` for a name that is taken or no identifier, and where `root` is no clone.
    """
    _check("room", name, root)
    if (root / "theorylab" / name).exists():
        raise ValueError(f"theorylab/{name} exists: choose another name")
    files = {where.format(name=name): text.replace("<room>", name) for where, text in ROOM.items()}
    written = _write(root, files)
    stub = root / "theorylab" / "__init__.pyi"
    return [*written, _add_line(stub, f"from . import {name} as {name}")]


def new_paper(room: str, slug: str, root: Path) -> list[Path]:
    """Write a paper: a card with an experiment and a claim, what it states as code, a test, a line in its room's page.

    **Arguments**: `room` that holds its concepts; `slug`, an identifier in lower case, also its BibTeX key; `root`, the
    clone to write into.

    **Returns** the files that were written or changed.

    **Raises** `ValueError` for a slug that is taken or no identifier, a room that is not there, and where `root` is no
    clone.
    """
    _check("slug", slug, root)
    package = root / "theorylab" / room
    if not (package / "__init__.pyi").exists():
        raise ValueError(f"there is no room {room!r}: write it first, with `theorylab new room {room}`")
    papers = root / "theorylab" / "papers"
    if any(papers.glob(f"*/{slug}.py")) or any(papers.glob(f"*/{slug}/")):
        raise ValueError(f"there is a paper {slug!r}: choose another slug")
    files = {
        where.format(room=room, slug=slug): text.replace("<room>", room).replace("<slug>", slug)
        for where, text in PAPER.items()
    }
    claims = {name: text for name, text in CLAIMS.items() if not (package / "claims" / name).exists()}
    files |= {f"theorylab/{room}/claims/{name}": text.replace("<room>", room) for name, text in claims.items()}
    written = _write(root, files)
    lines = {package / "claims": f"from . import {slug} as {slug}", package: "from . import claims as claims"}
    changed = [_add_line(folder / "__init__.pyi", line) for folder, line in lines.items()]
    return [*written, *changed, _show(root / "docs" / "rooms" / f"{room}.md", room, slug)]


def _check(what: str, name: str, root: Path) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower() or name.startswith("_"):
        raise ValueError(f"{what} {name!r} names a module: use lower-case letters, digits and _, a letter first")
    if not (root / "tests" / "contract").is_dir() or not (root / "docs" / "rooms").is_dir():
        raise ValueError(f"{root} is no clone of theorylab, with its tests and docs: go to one, or name it with --root")


def _write(root: Path, files: dict[str, str]) -> list[Path]:
    paths = {root / name: text for name, text in files.items()}
    for path, text in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(paths)


def _add_line(stub: Path, line: str) -> Path:
    """A stub with one more import, sorted as ruff sorts them: modules first."""
    text = stub.read_text(encoding="utf-8")
    imports = [ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
    rest = [part for part in text.splitlines() if part and not part.startswith("from ")]
    modules = sorted({line, *(one for one in imports if one.startswith("from . "))})
    names = [one for one in imports if not one.startswith("from . ")]
    body = "\n".join([*modules, *names]) + "\n"
    stub.write_text(body + ("\n" + "\n".join(rest) + "\n" if rest else ""), encoding="utf-8")
    return stub


def _show(page: Path, room: str, slug: str) -> Path:
    """A room's page with a paper's claims in its last table, and a link to the paper's page at its end."""
    text = page.read_text(encoding="utf-8")
    head, start, table = text.rpartition("<!-- table: ")
    names, mark, rest = table.partition(" -->\n")
    line = _first_line(PAPER[CLAIM_FILE].replace("<slug>", slug))
    row = f"| {{py:obj}}`claims.{slug} <theorylab.{room}.claims.{slug}>` | {line} |\n"
    end = "<!-- end of table -->"
    rest = rest.replace(end, row + end, 1)
    link = f"- [`{slug}`](../papers/{slug}.md): say here what it adds."
    page.write_text(f"{head}{start}{names} claims.{slug}{mark}{rest.rstrip()}\n\n{link}\n", encoding="utf-8")
    return page


def _first_line(module: str) -> str:
    return (ast.get_docstring(ast.parse(module)) or "").partition("\n")[0]


CLAIM_FILE = "theorylab/{room}/claims/{slug}.py"

ROOM = {
    "theorylab/{name}/__init__.py": '''"""Say here in one line which questions this room answers."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
''',
    "theorylab/{name}/__init__.pyi": "from .distances import squared_distance as squared_distance\n",
    "theorylab/{name}/distances.py": '''"""Distances between points: replace this by the room's first concept."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_distance(x: Float[Array, " d"], y: Float[Array, " d"]) -> Float[Array, ""]:
    r"""Compute the squared distance $|x - y|^2$.

    **Arguments**: `x` and `y`, points (d,).

    **Returns** the distance, (), in their dtype.

    **Source**: the definition.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> float(tl.<room>.squared_distance(jnp.zeros(2), jnp.ones(2)))
        2.0
    """
    return jnp.sum((x - y) ** 2)
''',
    "theorylab/papers/{name}/__init__.py": '"""Papers of the room `<room>`."""\n',
    "tests/{name}/examples.py": '''"""One valid call of each method and kernel of this room."""

from tests.contract.examples import Kernel

METHODS = {}

KERNELS = {"squared_distance": Kernel()}

HOST = {}
"""Public functions that are no kernels, by what they are."""
''',
    "tests/{name}/test_distances.py": '''"""Distances against their axioms."""

import jax
import numpy as np

import theorylab as tl


def test_parallelogram_law():
    """|x + y|^2 + |x - y|^2 = 2 |x|^2 + 2 |y|^2, up to some roundings."""
    x, y = jax.random.normal(jax.random.key(0), (2, 5))
    zero = 0 * x
    sums = tl.<room>.squared_distance(x, -y) + tl.<room>.squared_distance(x, y)
    parts = tl.<room>.squared_distance(x, zero) + tl.<room>.squared_distance(y, zero)
    np.testing.assert_allclose(sums, 2 * parts, rtol=1e-14)
''',
    "docs/rooms/{name}.md": """# <room>

After this page you know what the room `theorylab.<room>` answers, and which of its parts you need.

```python
import jax.numpy as jnp, theorylab as tl

print(tl.<room>.squared_distance(jnp.zeros(2), jnp.ones(2)))
```

```text
2.0
```

<!-- table: squared_distance -->
| name | what it is |
|---|---|
| {py:obj}`squared_distance <theorylab.<room>.squared_distance>` | Compute the squared distance $\\|x - y\\|^2$. |
<!-- end of table -->

## Papers

`theorylab list --room <room>` lists them.
""",
}
"""The files of a new room."""

CLAIMS = {
    "__init__.py": '''"""What papers of this room state, one module a paper; what is derived stands with its concept."""

from ..._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
''',
    "__init__.pyi": "",
}
"""The package of what papers state, in a room that has none."""

PAPER = {
    CLAIM_FILE: '''"""What <slug> states: say here who, when and where."""


def remaining(steps: int, rate: float = 0.5) -> float:
    r"""Say what $t$ steps leave of a distance: $(1 - r)^t$.

    **Arguments**: `steps` $t \\ge 0$; `rate` $r$ in [0, 1].

    **Returns** the share, in [0, 1].

    **Raises** `ValueError` for numbers out of range.

    **Source**: name the paper and its theorem here.

        >>> import theorylab as tl
        >>> tl.<room>.claims.<slug>.remaining(3)
        0.125
    """
    if not (steps >= 0 and 0 <= rate <= 1):
        raise ValueError(f"steps = {steps}, rate = {rate}: give steps >= 0 and a rate in [0, 1]")
    return (1 - rate) ** steps
''',
    "theorylab/papers/{room}/{slug}.py": '''"""Replace this line by the paper's title."""

import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment, Paper


def run_halving(steps, key):
    import theorylab.<room> as <room>

    del key

    def row(t):
        return {"measured": 1 / 2**t, "claimed": <room>.claims.<slug>.remaining(int(t))}

    return kit.tabulate(row, t=range(steps))


def panel(axes, dataset):
    kit.curves(axes, dataset, "measured", x="t", theory="claimed")


HALVING = Experiment(
    "halving",
    "what remains of the distance",
    sizes={"small": 10, "paper": 50, "large": 50},
    run=run_halving,
    plot=kit.drawn(panel, ylabel="share of the distance"),
    claims=(
        Claim(
            "halving",
            "Each step halves the distance.",
            "name the theorem here",
            kit.bounded("measured", "==", "claimed", rounding=1e-15, quantity="share of the distance"),
        ),
    ),
)

PAPER = Paper(
    slug="<slug>",
    title="Replace this by the title",
    authors=("Nobody",),
    venue="Nowhere",
    year=2026,
    room="<room>",
    setting="Say here in a few sentences which problem the paper sets.",
    experiments=(HALVING,),
)
''',
    "tests/{room}/claims/test_{slug}.py": '''"""What <slug> states, against what follows from it."""

import pytest

import theorylab as tl


def test_steps_multiply():
    """Powers of two are exact."""
    remaining = tl.<room>.claims.<slug>.remaining
    assert remaining(5) == remaining(2) * remaining(3)


def test_numbers_out_of_range_are_named():
    with pytest.raises(ValueError, match="rate = 2"):
        tl.<room>.claims.<slug>.remaining(1, 2.0)
''',
}
"""The files of a new paper."""

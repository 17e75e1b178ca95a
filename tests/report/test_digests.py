"""A paper's digest changes with the code that it rests on, and with nothing else."""

import json
import subprocess
import sys

import pytest

import theorylab.report.digests as digests
from theorylab.papers import slugs
from theorylab.papers.registry import files

TREE = {
    "__init__.py": "__version__ = '1'",
    "__init__.pyi": "from . import games as games\nfrom .engine import solve as solve",
    "engine/__init__.py": "from .._names import attach_stub",
    "engine/__init__.pyi": "from .driver import run as solve",
    "engine/driver.py": '"""A driver."""\n\ndef run():\n    """Run."""\n    return 1  # one\n',
    "engine/other.py": "",
    "_names.py": "def attach_stub(): ...",
    "games/__init__.py": "",
    "games/__init__.pyi": "from . import claims as claims\nfrom . import orders as orders\nfrom .affine import A as A\n"
    "from .wide import Wide as Wide",
    "games/affine.py": "from .matrices import inverse",
    "games/matrices.py": "from ..engine import solve\n\ndef inverse(x):\n    return solve(x)",
    "games/orders.py": "ORDER = 1",
    "games/wide.py": "",
    "games/claims/__init__.py": "",
    "games/claims/__init__.pyi": "from . import one as one\nfrom . import two as two",
    "games/claims/one.py": "",
    "games/claims/two.py": "",
    "papers/folder/__init__.py": "from .orders import run",
    "papers/folder/orders.py": "from . import _beside\nfrom .. import kit",
    "papers/folder/_beside.py": "",
    "papers/kit.py": "",
}
ENGINE = {"engine/__init__.py", "engine/driver.py", "_names.py"}
CLAIM = {"games/__init__.py", "games/claims/__init__.py", "games/claims/one.py"}
GAMES, CLAIMS, PAPERS = (
    {name for name in TREE if name.startswith(folder) and name.endswith(".py")}
    for folder in ("games/", "games/claims/", "papers/")
)
AFFINE = {"games/__init__.py", "games/affine.py", "games/matrices.py", *ENGINE}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small library in a folder of its own; `tree(name, text)` writes one of its files."""
    root = tmp_path / "theorylab"

    def write(name, text):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        digests._read.cache_clear()
        digests._listed.cache_clear()
        return root / name

    for name, text in TREE.items():
        write(name, text)
    monkeypatch.setattr(digests, "_ROOT", root)
    yield write
    digests._read.cache_clear()
    digests._listed.cache_clear()


def covered(path):
    return {each.relative_to(digests._ROOT).as_posix() for each in digests.covered([path])} - {"papers/mine.py"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import numpy.linalg as linalg\nlinalg.norm", set()),
        ("import theorylab.games as games\ngames.A(1).b", AFFINE),
        ("def run():\n    import theorylab.games as games\n\n    return games.A", AFFINE),
        ("import theorylab.games\ntheorylab.games.orders.ORDER", {"games/__init__.py", "games/orders.py"}),
        ("import theorylab as tl\ntl.games.orders.ORDER", {"games/__init__.py", "games/orders.py"}),
        ("import theorylab as tl\ntl.solve()", ENGINE),
        ("from theorylab.engine import solve as run", ENGINE),
        ("from theorylab.games import A", AFFINE),
        ("from theorylab import games as g\ng.A\nh = g.orders", AFFINE | {"games/orders.py"}),
        ("from ..games.wide import Wide", {"games/__init__.py", "games/wide.py"}),
        ("from .. import games\ngames.claims.one.x", CLAIM),
        ("import theorylab.games as games\ngetattr(games, name)", GAMES | ENGINE),
        ("import theorylab.games as games\ngames.unknown", GAMES | ENGINE),
        ("from theorylab.games.claims import *", CLAIMS | {"games/__init__.py"}),
        ("from .folder import run", PAPERS),
    ],
)  # fmt: skip
def test_a_name_counts_by_the_module_that_has_it(tree, text, expected):
    """Where the name is lazy too; and a whole package, where it cannot be told which of its names are used."""
    assert covered(tree("papers/mine.py", text)) == expected


def digest_of(path):
    return sorted((each.name, digests._read(each)[0]) for each in digests.covered([path]))


MINE = """import theorylab.games as games
games.A
Experiment("line", seconds={"small": 1.5})
"""


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("engine/driver.py", TREE["engine/driver.py"].replace("return 1", "return 2"), False),
        ("engine/driver.py", TREE["engine/driver.py"].replace("run()", "run(x=1)"), False),
        ("engine/driver.py", "def run():\n    return (\n        1\n    )", True),  # neither prose nor layout count
        ("engine/__init__.pyi", "from .other import run as solve", False),
        ("engine/__init__.pyi", TREE["engine/__init__.pyi"] + "\nfrom .other import new as new", True),
        ("engine/other.py", "new = 1", True),
        ("games/wide.py", "class Wide: ...", True),
        ("papers/mine.py", MINE.replace("1.5", "2.5"), True),  # what a run took
        ("papers/mine.py", MINE.replace("line", "curve"), False),
        ("games/matrices.py", TREE["games/matrices.py"].replace("solve(x)", "solve(-x)"), False),
    ],
)
def test_it_changes_with_code_alone(tree, name, text, same):
    path = tree("papers/mine.py", MINE)
    before = digest_of(path)
    tree(name, text)
    assert (digest_of(path) == before) == same


@pytest.mark.parametrize("slug", slugs())
def test_a_paper_rests_on_its_room_and_on_what_is_beneath(slug):
    folders = {path.relative_to(digests._ROOT).parts[0] for path in digests.covered(files(slug))}
    room = slugs()[slug]
    assert {"papers", room, "engine", "numerics"} <= folders
    assert not folders & ({*slugs().values(), "report", "cli.py"} - {room})


LOADED = """
import json, sys
from theorylab.papers import find
from theorylab.report.experiments import make

paper = find(sys.argv[1])
experiment = paper.experiments[0]
dataset = make(experiment, size="small", seed=0, precision=paper.precision)
experiment.plot(dataset)
[claim.check(dataset) for claim in experiment.claims]
print(json.dumps([module.__file__ for name, module in sys.modules.items() if name.startswith("theorylab.")]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("slug", slugs())
def test_what_a_run_loads_is_covered(slug):
    """All that Python has imported when the first experiment has run, but what finds and reports."""
    done = subprocess.run([sys.executable, "-c", LOADED, slug], capture_output=True, text=True, check=True)
    covered = {str(path) for path in digests.covered(files(slug))}
    finds = {str(digests._ROOT / "papers" / f"{name}.py") for name in ("registry", "citation", "words", "__init__")}
    loaded = {path for path in json.loads(done.stdout.splitlines()[-1]) if "/report/" not in path} - finds
    faces = {str(path) for path in digests._ROOT.rglob("__init__.py")} - {str(path) for path in files(slug)}
    assert loaded - faces <= covered

"""A new room and a new paper in a copy of the tree: what is written parses, is found, and passes what all pass."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from theorylab.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of what is ours, with the room `zoo` and its paper `first_paper`."""
    root = tmp_path_factory.mktemp("clone")
    drop = shutil.ignore_patterns("__pycache__", "_build", ".jax_cache", "results")
    for name in ("theorylab", "tests", "docs"):
        shutil.copytree(ROOT / name, root / name, ignore=drop)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    assert main(["new", "room", "zoo", "--root", str(root)]) == 0
    assert main(["new", "paper", "zoo", "first_paper", "--root", str(root)]) == 0
    return root


def python(clone, *words):
    """Python in the copy; its output, once it has ended well."""
    own = {"PYTHONPATH": str(clone), "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache")}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=clone, env=os.environ | own)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(clone):
    new = [path for path in clone.rglob("*") if path.is_file() and not (ROOT / path.relative_to(clone)).exists()]
    return [path for path in new if path.suffix in (".py", ".pyi", ".md")]


def test_what_is_written_parses_and_has_the_style(clone):
    files = written(clone)
    assert len(files) == 12
    for path in files:
        if path.suffix != ".md":
            ast.parse(path.read_text())
    code = [str(path) for path in [*files, clone / "theorylab" / "__init__.pyi"] if path.suffix != ".md"]
    python(clone, "-m", "ruff", "check", *code)
    python(clone, "-m", "ruff", "format", "--check", *code)


def test_it_is_found_and_its_claim_holds(clone):
    code = (
        "import theorylab as tl\n"
        "paper = tl.papers.find('first_paper')\n"
        "(experiment,), (claim,) = paper.experiments, paper.claims\n"
        "print(claim.check(experiment.run(experiment.sizes['small'], None)).verdict)\n"
        "print(tl.zoo.claims.first_paper.remaining(1), tl.zoo.__all__)\n"
    )
    assert python(clone, "-c", code) == "holds\n0.5 ['claims', 'squared_distance']\n"


@pytest.mark.slow
def test_it_passes_what_all_pass(clone):
    words = ["tests/zoo", "theorylab/zoo", "tests/contract", "tests/guides/test_rooms.py"]
    said = python(clone, "-m", "pytest", "-q", "-n0", *words, "-k", "zoo or first_paper or says_why or floors")
    assert "failed" not in said and "passed" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("room", "zoo"), "theorylab/zoo exists"),
        (("room", "Two Words"), "room 'Two Words' names a module"),
        (("paper", "nowhere", "a_paper"), "there is no room 'nowhere'"),
        (("paper", "zoo", "seg_rr"), "there is a paper 'seg_rr'"),
        (("paper", "zoo"), "theorylab new paper <room> <slug>"),
    ],
)
def test_what_cannot_be_written_is_refused(clone, capsys, words, said):
    before = sorted(clone.rglob("*"))
    assert main(["new", *words, "--root", str(clone)]) == 2
    assert said in capsys.readouterr().err and sorted(clone.rglob("*")) == before


def test_only_a_clone_is_written_into(tmp_path, capsys):
    assert main(["new", "room", "zoo", "--root", str(tmp_path)]) == 2
    assert "is no clone of theorylab" in capsys.readouterr().err and not any(tmp_path.iterdir())

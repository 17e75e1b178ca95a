"""Papers find themselves, cheaply, and a typo finds its paper."""

import subprocess
import sys

import pytest

import theorylab.papers
from theorylab.papers import find, slugs
from theorylab.papers.registry import UnknownName, choose, files


def test_every_module_is_a_paper_at_its_place():
    assert [find(slug).slug for slug in slugs()] == list(slugs())
    assert {find(slug).room for slug in slugs()} == set(slugs().values())
    assert all(
        (files(slug)[0].stem if len(files(slug)) == 1 else files(slug)[0].parent.name) == slug for slug in slugs()
    )


CARD = """
from theorylab.papers import Claim, Experiment, Paper, Verdict
{more}
line = Experiment("line", "a line", sizes=dict.fromkeys(("small", "paper", "large"), 1), run=len, plot=len,
    claims=(Claim("slope", "one", "derived here", lambda dataset: Verdict.compare(1, "==", 1)),))
PAPER = Paper(slug="{slug}", title="A toy", authors=("Nobody",), venue="Nowhere", year=2026, room="toys", setting="",
    experiments=(line,))
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A room with a paper that is a module and one that is a folder, beside helpers that are none."""
    room = tmp_path / "toys"
    (room / "folder").mkdir(parents=True)
    texts = {"__init__.py": "", "module.py": CARD.format(slug="module", more=""), "_helper.py": "",
             "folder/__init__.py": CARD.format(slug="folder", more="from .curves import curve"),
             "folder/curves.py": "from ._shared import curve", "folder/_shared.py": "curve = 1"}  # fmt: skip
    for name, text in texts.items():
        (room / name).write_text(text)
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "__init__.py").write_text("")
    (tmp_path / "kit" / "checks.py").write_text("")
    monkeypatch.setattr(theorylab.papers, "__path__", [*theorylab.papers.__path__, str(tmp_path)])
    yield room
    for name in [name for name in sys.modules if name.startswith("theorylab.papers.toys")]:
        del sys.modules[name]


def test_a_paper_is_a_module_or_a_folder(toys):
    assert [slug for slug, room in slugs().items() if room == "toys"] == ["folder", "module"]
    assert "checks" not in slugs() and "kit" not in slugs().values()
    assert files("module") == [toys / "module.py"]
    assert files("folder") == [toys / "folder" / name for name in ("__init__.py", "_shared.py", "curves.py")]
    assert not any(name.startswith("theorylab.papers.toys.") for name in sys.modules)  # so far none is imported
    assert [find(slug).slug for slug in ("folder", "module")] == ["folder", "module"]


@pytest.mark.parametrize("typo", ["seg_r", "segrr", "seg-rr", "SEG_rr"[:3].lower() + "_rrr"])
def test_typos_find_their_paper(typo):
    with pytest.raises(UnknownName, match="did you mean 'seg_rr'"):
        find(typo)


def test_nothing_near_lists_what_there_is():
    with pytest.raises(UnknownName, match=r"unknown room 'zzz': \(there are: games, lowrank\)"):
        choose("room", "zzz", ("games", "lowrank"))
    with pytest.raises(UnknownName, match=r"\(`theorylab list` shows all 20\)"):
        choose("paper", "zzz", map(str, range(20)))
    with pytest.raises(UnknownName, match=r"there are: 0, 1, .*, 19"):  # what that command does not show
        choose("experiment", "zzz", map(str, range(20)))


def test_importing_papers_is_light():
    """No paper's module may import what takes a second; the first one that does is named."""
    code = (
        "import sys, theorylab.papers as papers\n"
        "heavy = {'jax', 'xarray', 'matplotlib', 'equinox', 'sklearn', 'scipy'}\n"
        "for slug in papers.slugs():\n"
        "    papers.find(slug)\n"
        "    assert not heavy & set(sys.modules), (slug, heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

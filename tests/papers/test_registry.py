"""Papers find themselves, cheaply, and a typo finds its paper."""

import subprocess
import sys

import pytest

from theorylab.papers import find, slugs
from theorylab.papers.registry import UnknownName, choose


def test_every_module_is_a_paper_at_its_place():
    assert [find(slug).slug for slug in slugs()] == list(slugs())
    assert {find(slug).room for slug in slugs()} == set(slugs().values())


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

"""Pages of the documentation run as tests."""

import re

import pytest

NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?|-?\d+e[+-]?\d+")


@pytest.fixture
def check_page(page_blocks, run_block, monkeypatch, tmp_path):
    """`check_page("start/install")`: run a page's blocks in order, as users have it who have set nothing.

    A `text` block says what the Python block before it prints, and a block without one prints nothing; `docs/fill.py`
    writes them. Words and whole numbers agree; a number with a decimal point may be off by one unit of its last place,
    which the roundings of another machine can do.
    """
    monkeypatch.chdir(tmp_path)  # blocks may write files

    def check(page):
        names, blocks = {}, page_blocks(page)
        assert blocks, f"{page} has no Python block"
        for code, expected in blocks:
            printed = run_block(code, names)
            assert _words(printed) == _words(expected), f"{page}: run python docs/fill.py docs/{page}.md\n{printed}"
            for ours, theirs in zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True):
                assert abs(float(ours) - float(theirs)) <= 1.01 * _unit(theirs), f"{page}: {ours}, not {theirs}"

    return check


def _words(text):
    return NUMBER.sub("#", text).split()


def _unit(number):
    """One unit of the last place that a printed number shows."""
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))

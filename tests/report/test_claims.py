"""The table can be read at 80 columns, and the readme's table is that of the papers."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from theorylab.papers import Claim, Verdict, find
from theorylab.report import Result
from theorylab.report.claims import closing, table
from theorylab.report.readme import updated


def results():
    paper = find("seg_rr")

    def make(id, verdict, **more):
        return Result(paper, Claim(id, "a statement of some length, " * 3, "x", len, **more), verdict, "paper")

    quantity = "slope of log error against log step size, reshuffled"
    yield make(
        "reshuffled_is_second_order", Verdict.compare(-1.23456e-5, "==", -1.23999e-5, 1.23e-5, quantity=quantity)
    )
    yield make("contradicted", Verdict.compare(2, "<=", 1), expected="fails", why="exact computation contradicts it")
    yield make("not_a_number", Verdict.compare(float("nan"), ">=", 1.0))


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits(width):
    output = io.StringIO()
    Console(file=output, width=width).print(table(results()))
    lines = output.getvalue().splitlines()
    text = " ".join(output.getvalue().split())
    assert max(map(len, lines)) <= width
    for whole in ("-1.235e-05 == -1.24e-05", "± 1.23e-05", "2 <= 1", "? >= 1", "undecided", "fails", "holds"):
        assert whole in text  # a number that breaks over two lines cannot be read
    assert all(words in text for words in ("slope of log error", "reshuffled"))


def test_expected_failures_have_their_own_colour_and_are_counted():
    """Green where a claim holds, magenta where it fails as documented, red where the verdict is another one."""
    output = io.StringIO()
    Console(file=output, width=80, force_terminal=True, color_system="standard").print(table(results()))
    colours = {"holds": 32, "fails": 35, "undecided": 31}  # as terminals number green, magenta and red
    assert all(f"\x1b[1;{colour}m{word}" in output.getvalue() for word, colour in colours.items())
    assert closing(results()) == "1 hold, 1 fail as documented, 1 unexpected"


@pytest.mark.parametrize(
    "expected, verdict, size, fine",
    [
        ("holds", "holds", "paper", True),
        ("holds", "fails", "small", False),
        ("fails", "holds", "small", False),
        ("holds", "undecided", "small", True),
        ("holds", "undecided", "paper", False),
        ("undecided", "undecided", "paper", True),
        ("undecided", "holds", "small", False),
    ],
)
def test_as_expected(expected, verdict, size, fine):
    """An unexpected success counts like an unexpected failure; a small run may leave a claim open."""
    claim = Claim("c", "s", "derived here", len, expected=expected, why="shown")
    assert Result(find("seg_rr"), claim, Verdict(verdict, 1.0, 1.0, "==", 0.0), size).as_expected == fine


def test_readme_is_current():
    root = Path(__file__).parents[2]
    text = (root / "README.md").read_text(encoding="utf-8")
    assert updated(text, root / "docs" / "results") == text, "run: python -m theorylab.report.readme README.md"


def test_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="0 places"):
        updated("nothing here", Path())

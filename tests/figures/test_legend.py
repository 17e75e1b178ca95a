"""A legend lies where nothing else is, and what looks for ink under it finds some."""

import numpy as np
import pytest

import theorylab.figures as figures
from tests.figures.ink import crowded, hidden


def crossing(axes):
    """Curves through every corner and the middle of each panel."""
    x = np.linspace(0, 1, 50)
    for panel in axes:
        for k in range(5):
            figures.measured(panel, x, abs(x - k / 4), label=f"a curve with a long name, {k}")
            figures.predicted(panel, x, 1 - abs(x - k / 4), label="theory")
        panel.set(title="a panel", xlabel="time, seconds", ylabel="height")


@pytest.mark.parametrize("columns, rows, shared", [(1, 1, True), (3, 1, True), (3, 1, False), (2, 2, False)])
def test_a_legend_hides_nothing(columns, rows, shared):
    with figures.style():
        figure, axes = figures.panels(columns, rows)
        crossing(axes.flat)
        made = [figures.legend(axes)] if shared else [figures.legend(panel) for panel in axes.flat]
        assert crowded(figure) == []
        assert set(hidden(figure).values()) == {0.0}
    assert all(len(one.get_texts()) == 6 for one in made)


def test_ink_and_crowds_are_found():
    """In a panel full of curves every place within hides some; so do words that are moved onto others."""
    with figures.style():
        figure, axes = figures.panels(1)
        crossing(axes)
        axes[0].legend()
        figure.text(0.5, 0.5, "here")
        figure.text(0.5, 0.5, "there")
        figure.text(0.95, 0.5, "cut at the edge")
        assert {"cut at the edge", "here | there"} <= set(crowded(figure))
        assert min(hidden(figure).values()) > 0.02


def test_a_legend_of_nothing_is_refused():
    with pytest.raises(ValueError, match="label="):
        figures.legend(figures.panels(2)[1])

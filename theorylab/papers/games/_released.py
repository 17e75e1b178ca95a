"""What the authors' released code calls reshuffling, n updates with one random component, beside the three true laws.

At the start of an epoch the code draws a permutation and sets its position in it to zero, but never advances it: the
epoch applies the update T_i of one component, drawn uniformly, n times.
"""

from typing import Any

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict

from ._races import BOTH, ERROR, NAMES, SLOPE, check_levels, extragradient, finish, race, theory

RACED = ("reshuffle", "as released")
LAWS = ("independent", *RACED)
LABELS = {**NAMES, "as released": "as released"}
SHAPES = {"small": (6, 2, 8, 1200), "paper": (10, 4, 128, 10_000), "large": (12, 4, 1024, 40_000)}


def ordered(pair, order) -> Any:
    return extragradient(pair, "repeat" if order == "as released" else order)


def run_released(size, key):
    import jax

    n, dim, seeds, epochs = SHAPES[size]
    draw, run = jax.random.split(key)
    game = games.quadratic_game(draw, components=n, dim=dim, mu=1.0, lipschitz=3.0)
    steps = np.geomspace(1e-5, 0.05, 8)[:, None] * (1, 2)
    dataset = race(run, [game], steps[None, -3:], orders=RACED, seeds=seeds, epochs=epochs, method=ordered,
                   start=lambda game: game.solution)  # fmt: skip
    exact = theory([game], steps[None]).exact.rename(choice="exact_choice")
    own = [games.stationary_moments(game, ordered(pair, "as released")).mse for pair in steps]
    levels = np.concatenate([exact.transpose("order", "case", "exact_choice")[:, 0], [own]])
    return dataset.isel(case=0).assign_coords(law=list(LAWS)).assign(
        levels=(("law", "exact_choice"), levels), exact=(("order", "choice"), levels[1:, -3:]),
        exact_steps=("exact_choice", steps[:, 0]), components=n,
    )  # fmt: skip


def plot_released(dataset):
    figure, axes = figures.panels(1)
    for law, colour in zip(LAWS, figures.COLOURS, strict=False):
        figures.predicted(axes[0], dataset.exact_steps, dataset.levels.sel(law=law), color=colour, label=LABELS[law])
        if law in RACED:
            settled = dataset.settled.sel(order=law).transpose("seed", "choice")
            figures.measured(axes[0], dataset.steps[:, 0], settled, color=colour, marker="o", linewidth=0)
    figures.measured(axes[0], [], [], color="black", marker="o", linewidth=0, label="runs")
    axes[0].set(xscale="log", yscale="log", xlabel=r"step size $\gamma_1$", title="by what an epoch draws")
    axes[0].xaxis.set_minor_formatter("")
    return finish(figure, axes, "stationary " + ERROR, "")


def check_released_levels(dataset):
    return check_levels(dataset.sel(order=["as released"]))


def check_released_order(dataset):
    """The slope of the exact errors, as the step goes to zero."""
    steps, values = np.log(dataset.exact_steps[:2]), np.log(dataset.levels.sel(law="as released")[:2])
    slope = np.diff(values) / np.diff(steps)
    # of relative order n L gamma is what the next power leaves at the two smallest steps
    return Verdict.compare(slope[0], "==", 1.0, 0.01, quantity=SLOPE)


def check_released_ratio(dataset):
    """The ratio of the exact errors at the smallest step, over n."""
    one = dataset.levels.isel(exact_choice=0)
    ratio = one.sel(law="as released") / one.sel(law="independent") / dataset.components
    return Verdict.compare(ratio, "==", 1.0, 0.01, quantity="E|x - x*|^2 over n times that of independent sampling")


def check_released_above(dataset):
    """The least ratio of the exact errors of the released order and of another one, over all steps: no run enters."""
    others = dataset.levels.sel(law=list(BOTH))
    ratio = (dataset.levels.sel(law="as released") / others).min()
    return Verdict.compare(ratio, ">=", 1.0, quantity="exact E|x - x*|^2 as released, over that of another order")

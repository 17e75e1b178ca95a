"""What papers on stochastic games share: a race of index orders, its exact theory, and both in one figure."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict

ORDERS = ("independent", "reshuffle", "once", "cyclic")
BOTH = ORDERS[:2]
NAMES = dict(zip(ORDERS, ("independent", "reshuffled", "shuffled once", "cyclic"), strict=True))
COLOURS = dict(zip(ORDERS, figures.COLOURS, strict=False))
ERROR = r"$E|x - x^\star|^2$"


def race(key, drawn, steps, *, orders=BOTH, seeds, epochs, start=lambda game: game.solution + 1) -> Any:
    """Extragradient on games of equal shapes, each at its own steps (case, choice, 2).

    `error` is |x - x*|^2 at forty epochs or so, `settled` its mean over the last quarter of all epochs, and `plane` one
    coordinate of either player, from the solution.
    """
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    together, table = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn), jnp.asarray(steps)

    @jax.jit
    def lane(together, table, case, choice):
        game = jax.tree.map(lambda leaf: leaf[case], together)
        return table[case, choice], game, start(game)

    def build(key, *, order, case, choice):
        pair, game, first = lane(together, table, case, choice)
        return games.Extragradient(step_size=pair[0], extrapolation_step=pair[1], order=order), game, first

    def off(game, state):
        return ravel_pytree(jax.tree.map(jnp.subtract, state.x, game.solution))[0]

    def error(game, state):
        return jnp.sum(off(game, state) ** 2)

    def plane(game, state):
        x = off(game, state)
        return jnp.stack([x[0], x[x.size // 2]])

    record = [
        tl.Record(tl.every(max(1, epochs // 40)), error=error, plane=plane),
        tl.Record(tl.every(1), settled=tl.Mean(error, after=3 * epochs // 4)),
    ]
    over = {"order": orders, "case": jnp.arange(len(drawn)), "choice": jnp.arange(table.shape[1])}
    dataset = tl.sweep(build, over=over, seeds=seeds, key=key, steps=epochs, record=record)
    return dataset[["error", "settled", "plane"]].assign(steps=(("case", "choice", "which"), np.asarray(table)))


def theory(drawn, steps, orders=BOTH) -> Any:
    """Exact stationary errors and mean-square growth an epoch; nan where they take more than a second."""
    import xarray

    def moments(game, pair, order):
        shared = bool(np.all(game.matrices == game.matrices[:1]))
        most = {"independent": np.inf, "reshuffle": np.inf if shared else 12, "once": 8, "cyclic": np.inf}[order]
        if game.d > 40 or game.n > most:
            return np.nan, np.nan
        method = games.Extragradient(step_size=pair[0], extrapolation_step=pair[1], order=order)
        found = games.stationary_moments(game, method)
        return found.mse, found.ms_contraction

    rows = [[[moments(game, pair, order) for pair in pairs] for game, pairs in zip(drawn, steps, strict=True)]
            for order in orders]  # fmt: skip
    exact, growth = np.moveaxis(np.asarray(rows), -1, 0)
    dims = ("order", "case", "choice")
    return xarray.Dataset({"exact": (dims, exact), "growth": (dims, growth)}, {"order": list(orders)})


def mean_and_error(samples) -> Any:
    """The mean over seeds, and its standard error."""
    return samples.mean("seed"), samples.std("seed", ddof=1) / np.sqrt(samples.sizes["seed"])


def ratios(dataset) -> Any:
    """Settled errors over those of independent sampling, with standard errors."""
    mean, error = mean_and_error(dataset.settled)
    base, others = mean.order == "independent", mean.order != "independent"
    relative = (error / mean) ** 2
    ratio = mean[others] / mean[base].squeeze("order")
    return ratio, ratio * np.sqrt(relative[others] + relative[base].squeeze("order"))


def check_below(dataset) -> Verdict:
    """Whether every other order settles below independent sampling."""
    ratio, error = ratios(dataset)
    return Verdict.worst(ratio, "<=", 1.0, error)


def check_levels(dataset) -> Verdict:
    """Whether runs settle at their exact stationary errors."""
    return Verdict.agree(dataset.settled.transpose("seed", *dataset.exact.dims), dataset.exact)


def draw_traces(panel, dataset, title):
    """Errors over epochs of every order, with their exact levels."""
    for order in dataset.order.values:
        one = dataset.sel(order=order)
        figures.measured(panel, one.step, one.error.transpose("seed", "step"), label=NAMES[order], color=COLOURS[order])
        if np.isfinite(one.get("exact", np.nan)):
            figures.predicted(panel, one.step[[0, -1]], float(one.exact), color=COLOURS[order])
    panel.set(yscale="log", xlabel="epoch", title=title)


def draw_levels(panel, dataset, title):
    """Settled errors over the step size, laid over exact ones."""
    steps = dataset.steps.isel(which=0)
    for order in dataset.order.values:
        one = dataset.sel(order=order)
        if "exact" in one:
            figures.predicted(panel, one.get("exact_steps", steps), one.exact, color=COLOURS[order])
        samples = one.settled.transpose("seed", "choice")
        figures.measured(panel, steps, samples, label=NAMES[order], color=COLOURS[order], marker="o", linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel=r"step size $\gamma_1$", title=title)
    panel.xaxis.set_minor_formatter("")  # a decade alone would write its minor ticks over each other


def finish(figure, axes, ylabel, predicted="exact moments"):
    """Label the axis, and say below what is what."""
    if predicted:
        figures.predicted(axes[0], [], [], label=predicted)
    axes[0].set_ylabel(ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure

"""What papers on stochastic games share: a race of index orders, its exact theory, and both in one figure."""

import warnings
from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict, mean_and_error

ORDERS = ("independent", "reshuffle", "once", "cyclic")
BOTH = ORDERS[:2]
NAMES = dict(zip(ORDERS, ("independent", "reshuffled", "shuffled once", "cyclic"), strict=True))
COLOURS = dict(zip(ORDERS, figures.COLOURS, strict=False))
VARIANTS = {
    "shared": "one permutation for both",
    "independent": "one for each",
    "oracle_step": "at the oracle, each step",
    "iterate": "at the iterate",
    "SGDA": "SGDA: independent",
    "RR1": "RR1: reshuffled",
    "RR2": "RR2: extrapolated",
    "RR2+RR1": "RR2+RR1: both",
}  # what is compared where orders are not
ERROR = r"$E|x - x^\star|^2$"
SETTLED = "the settled |x - x*|^2"
SLOPE = "slope of the log of E|x - x*|^2 against the log of the step size"


def extragradient(pair, order) -> Any:
    """The method of a race, unless it is given another, at one pair of steps."""
    return games.Extragradient(step_size=pair[0], extrapolation_step=pair[1], order=order)


def race(
    key,
    drawn,
    steps,
    *,
    orders=BOTH,
    seeds,
    epochs,
    start=lambda game: game.solution + 1,
    method=extragradient,
    also=None,
) -> Any:
    """A method on games of equal shapes, each at its own steps (case, choice, 2), under orders (or variants) of it.

    `error` is |x - x*|^2 at forty epochs or so, `settled` its mean over the last quarter of all epochs, and `plane` one
    coordinate of either player, from the solution. `also` takes another point out of a state, for `also_error` and
    `also_settled`.
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
        return method(pair, order), game, first

    def off(game, x):
        return ravel_pytree(jax.tree.map(jnp.subtract, x, game.solution))[0]

    def plane(game, state):
        x = off(game, state.x)
        return jnp.stack([x[0], x[x.size // 2]])

    points = {"": lambda state: state.x} | ({} if also is None else {"also_": also})
    errors = {
        f"{name}error": lambda game, state, of=of: jnp.sum(off(game, of(state)) ** 2) for name, of in points.items()
    }
    means = {name.replace("error", "settled"): tl.Mean(fn, after=3 * epochs // 4) for name, fn in errors.items()}
    record = [tl.Record(tl.every(max(1, epochs // 40)), plane=plane, **errors), tl.Record(tl.every(1), **means)]
    over = {"order": orders, "case": jnp.arange(len(drawn)), "choice": jnp.arange(table.shape[1])}
    dataset = tl.sweep(build, over=over, seeds=seeds, key=key, steps=epochs, record=record)
    return dataset[["plane", *errors, *means]].assign(steps=(("case", "choice", "which"), np.asarray(table)))


def theory(drawn, steps, orders=BOTH, method=extragradient) -> Any:
    """Exact stationary errors and mean-square growth an epoch; nan where they take more than a second, or cannot be had
    (and a warning says so)."""
    import xarray

    def moments(game, pair, order):
        one = method(pair, order)
        order = getattr(one, "method", one).order
        shared = bool(np.all(game.matrices == game.matrices[:1]))
        most = {"independent": np.inf, "reshuffle": np.inf if shared else 12, "once": 8, "cyclic": np.inf}[order]
        if game.d > 40 or game.n > most:
            return np.nan, np.nan
        try:
            found = games.stationary_moments(game, one)
        except RuntimeError as error:  # an iteration that did not converge
            warnings.warn(f"no exact moments for {order!r} at the steps {tuple(pair)}: {error}", stacklevel=2)
            return np.nan, np.nan
        return found.mse, found.ms_contraction

    rows = [[[moments(game, pair, order) for pair in pairs] for game, pairs in zip(drawn, steps, strict=True)]
            for order in orders]  # fmt: skip
    exact, growth = np.moveaxis(np.asarray(rows), -1, 0)
    dims = ("order", "case", "choice")
    return xarray.Dataset({"exact": (dims, exact), "growth": (dims, growth)}, {"order": list(orders)})


def limit(steps, values) -> Any:
    """The order of values as steps, each a factor below the one before, go to zero: the last local slope, rid of what
    shrinks with the step. Slopes are along the first axis."""
    slopes = np.diff(np.log(np.abs(values)), axis=0).T / np.diff(np.log(steps))
    factor = steps[-2] / steps[-1]
    return ((factor * slopes[..., -1] - slopes[..., -2]) / (factor - 1)).T


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
    return Verdict.worst(ratio, "<=", 1.0, error, quantity="settled |x - x*|^2 over that of independent sampling")


def check_levels(dataset) -> Verdict:
    """Whether runs settle at their exact stationary errors."""
    return Verdict.agree(dataset.settled.transpose("seed", *dataset.exact.dims), dataset.exact, quantity=SETTLED)


def looks(dataset) -> Any:
    """What is compared, each with its name and colour; what is no order has the colour of its place."""
    values = dataset.order.values.tolist()
    if set(values) <= set(NAMES):
        return [(one, NAMES[one], COLOURS[one]) for one in values]
    return [(one, VARIANTS.get(one, one), colour) for one, colour in zip(values, figures.COLOURS, strict=False)]


def draw_traces(panel, dataset, title):
    """Errors over epochs of every order, with their exact levels; markers tell curves that lie on each other."""
    for k, (order, name, colour) in enumerate(looks(dataset)):
        one = dataset.sel(order=order)
        marks = {"marker": "osD^v"[k], "markevery": (2 * k, 8), "markersize": 5}
        figures.measured(panel, one.step, one.error.transpose("seed", "step"), label=name, color=colour, **marks)
        if np.isfinite(one.get("exact", np.nan)):
            figures.predicted(panel, one.step[[0, -1]], float(one.exact), color=colour)
    panel.set(yscale="log", xlabel="epoch", title=title)


def draw_levels(panel, dataset, title):
    """Settled errors over the step size, laid over exact ones."""
    steps = dataset.steps.isel(which=0)
    for order, name, colour in looks(dataset):
        one = dataset.sel(order=order)
        if "exact" in one:
            figures.predicted(panel, one.get("exact_steps", steps), one.exact, color=colour)
        samples = one.settled.transpose("seed", "choice")
        figures.measured(panel, steps, samples, label=name, color=colour, marker="o", linewidth=0)
    panel.set(xscale="log", yscale="log", xlabel=r"step size $\gamma_1$", title=title)
    panel.xaxis.set_minor_formatter("")  # a decade alone would write its minor ticks over each other


def finish(figure, axes, ylabel, predicted="exact moments"):
    """Label the axis, and say below what is what."""
    if predicted:
        figures.predicted(axes[0], [], [], label=predicted)
    axes[0].set_ylabel(ylabel)
    figures.legend(axes)
    return figure

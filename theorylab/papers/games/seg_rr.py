"""Stochastic extragradient with random reshuffling: an order of the step size for the price of a permutation."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Claim, Experiment, Paper, Verdict

ORDERS = ("independent", "reshuffle", "once", "cyclic")
BOTH = ORDERS[:2]
NAMES = dict(zip(ORDERS, ("independent", "reshuffled", "shuffled once", "cyclic"), strict=True))
COLOURS = dict(zip(ORDERS, figures.COLOURS, strict=False))


# what the experiments share: a race of orders, the exact theory of it, and how both are compared


def race(key, drawn, steps, *, orders=BOTH, seeds=1, epochs, every, start=None, path=None) -> Any:
    """Extragradient on games of equal shapes, each at its own steps (case, choice, 2): the error over epochs."""
    import jax
    import jax.numpy as jnp

    together, table = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn), jnp.asarray(steps)

    def build(key, *, order, case, choice):
        game = jax.tree.map(lambda leaf: leaf[case], together)
        method = games.Extragradient(table[case, choice, 0], table[case, choice, 1], order=order)
        return method, game, game.initial(key) if start is None else start(game)

    def error(game, state):
        squares = jax.tree.map(lambda x, solution: jnp.sum((x - solution) ** 2), state.x, game.solution)
        return sum(jax.tree.leaves(squares))

    record = {"error": error} | ({} if path is None else {"path": path})
    over = {"order": orders, "case": jnp.arange(len(drawn)), "choice": jnp.arange(table.shape[1])}
    dataset = tl.sweep(build, over=over, seeds=seeds, key=key, steps=epochs, record=tl.Record(tl.every(every), **record))
    return dataset[list(record)].assign(steps=(("case", "choice", "which"), np.asarray(table)))


def theory(drawn, steps, orders=BOTH) -> Any:
    """Exact stationary errors and mean-square growth an epoch; nan where they take more than a second."""
    import xarray

    def moments(game, pair, order):
        shared = bool(np.all(game.matrices == game.matrices[:1]))
        most = {"independent": np.inf, "reshuffle": np.inf if shared else 12, "once": 8, "cyclic": np.inf}[order]
        if game.d > 40 or game.n > most:
            return np.nan, np.nan
        found = games.stationary_moments(game, games.Extragradient(pair[0], pair[1], order=order))
        return found.mse, found.ms_contraction

    rows = [[[moments(game, pair, order) for pair in pairs] for game, pairs in zip(drawn, steps, strict=True)]
            for order in orders]  # fmt: skip
    exact, growth = np.moveaxis(np.asarray(rows), -1, 0)
    dims = ("order", "case", "choice")
    return xarray.Dataset({"exact": (dims, exact), "growth": (dims, growth)}, {"order": list(orders)})


def settled(dataset) -> Any:
    """The mean error of each lane over the last quarter of its record."""
    return dataset.error.isel(step=slice(-(dataset.sizes["step"] // 4), None)).mean("step")


def mean_and_error(samples) -> Any:
    return samples.mean("seed"), samples.std("seed", ddof=1) / np.sqrt(samples.sizes["seed"])


def ratios(dataset) -> Any:
    """Settled errors over those of independent sampling, with standard errors."""
    mean, error = mean_and_error(settled(dataset))
    base, others = mean.order == "independent", mean.order != "independent"
    relative = (error / mean) ** 2
    ratio = mean[others] / mean[base].squeeze("order")
    return ratio, ratio * np.sqrt(relative[others] + relative[base].squeeze("order"))


def worst(values, errors, relation, predicted):
    """The verdict on the value that is nearest to breaking an inequality."""
    values, errors = np.ravel(values), np.ravel(errors)
    sign = 1 if relation == "<=" else -1
    at = np.argmax(sign * values + 3 * errors)
    return Verdict.estimate(values[at], relation, predicted, errors[at])


def agree(mean, error, exact):
    """All means agree with their exact values, together at three sigma (Bonferroni)."""
    from scipy import stats

    rounding = 1e-12 * np.abs(exact)  # where nothing is random, no spread is left to compare with
    z = np.asarray(np.abs(mean - exact) / (error + rounding))
    z = z[np.isfinite(z)]
    return Verdict.compare(z.max(), "<=", stats.norm.isf(0.00135 / z.size))


def check_below(dataset):
    return worst(*ratios(dataset), "<=", 1.0)


def check_levels(dataset):
    return agree(*mean_and_error(settled(dataset)), dataset.exact)


def draw_traces(panel, dataset, title):
    """Errors over epochs of every order, with their exact levels."""
    for order in dataset.order.values:
        one = dataset.sel(order=order)
        figures.measured(panel, one.step, one.error.transpose("seed", "step"), label=NAMES[order], color=COLOURS[order])
        if "exact" in one and np.isfinite(one.exact):
            figures.predicted(panel, one.step[[0, -1]], float(one.exact), color=COLOURS[order])
    panel.set(yscale="log", xlabel="epoch", title=title)


def draw_levels(panel, dataset, title):
    """Settled errors over the step size, laid over exact ones."""
    late = settled(dataset)
    for order in dataset.order.values:
        steps = dataset.steps.isel(which=0)
        if "exact" in dataset:
            figures.predicted(panel, dataset.get("exact_steps", steps), dataset.exact.sel(order=order), color=COLOURS[order])
        samples = late.sel(order=order).transpose("seed", "choice")
        figures.measured(panel, steps, samples, label=NAMES[order], color=COLOURS[order], marker="o", linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel=r"step size $\gamma_1$", title=title)


def finish(figure, axes, ylabel, theory="exact moments"):
    if theory:
        figures.predicted(axes[0], [], [], label=theory)
    axes[0].set_ylabel(ylabel)
    axes[0].legend()
    return figure


ERROR = r"$E|x - x^\star|^2$"


# the order of the error in the step size


def run_orders(size, key):
    import jax

    n, dim, seeds, epochs = {"small": (6, 2, 32, 400), "paper": (10, 4, 128, 4000), "large": (12, 4, 1024, 20_000)}[size]
    draw, run = jax.random.split(key)
    drawn = [games.quadratic_game(draw, components=n, dim=dim, mu=1.0, lipschitz=3.0, heterogeneous=own)
             for own in (True, False)] * 2  # fmt: skip
    steps = np.geomspace(1e-5, 0.05, 8)[:, None]
    pairs = np.stack([steps * (1, scale) for scale in (2, 2, 0, 0)])
    names = ["own matrices", "equal matrices", "own matrices, descent-ascent", "equal matrices, descent-ascent"]
    dataset = race(run, drawn, pairs[:, -2:], seeds=seeds, epochs=epochs, every=1, start=lambda game: game.solution)
    exact = theory(drawn, pairs).rename(choice="exact_choice")
    return dataset.merge(exact).assign(exact_steps=("exact_choice", steps[:, 0])).assign_coords(case=names)


def plot_orders(dataset):
    figure, axes = figures.panels(2, sharey=True)
    for panel, case, high in zip(axes, dataset.case.values, (2, 3), strict=False):
        one = dataset.sel(case=case)
        draw_levels(panel, one, case)
        for order, slope in zip(BOTH, (1, high), strict=True):
            figures.slope_guide(panel, (1e-4, 1e-3), 4 * np.interp(1e-4, one.exact_steps, one.exact.sel(order=order)), slope)
    return finish(figure, axes, "stationary " + ERROR)


def check_order(order, cases, predicted):
    def check(dataset):
        mse = dataset.exact.sel(order=order).isel(case=cases, exact_choice=slice(2))
        slopes = np.ravel(np.diff(np.log(mse)) / np.diff(np.log(dataset.exact_steps[:2])))
        return Verdict.compare(slopes[np.argmax(np.abs(slopes - predicted))], "==", predicted, 0.1)

    return check


def check_simulation(dataset):
    exact = dataset.exact.isel(exact_choice=slice(-2, None)).rename(exact_choice="choice")
    return agree(*mean_and_error(settled(dataset)), exact.drop_vars("choice", errors="ignore").values)


# A: strongly monotone games at the theorem's steps


def run_theory_steps(size, key):
    import jax

    n, dim, conditions, seeds, epochs = {
        "small": (8, 2, (1.0, 2.0, 4.0), 8, 6000),
        "paper": (100, 10, (1.0, 5.0, 10.0), 5, 40_000),
        "large": (100, 100, (1.0, 5.0, 10.0), 64, 40_000),
    }[size]
    draw, run = jax.random.split(key)
    drawn = [games.quadratic_game(draw, components=n, dim=dim, mu=1.0, lipschitz=kappa) for kappa in conditions]
    pairs = np.asarray([[games.step_sizes.strongly_monotone(game)] for game in drawn])
    dataset = race(run, drawn, pairs, orders=ORDERS, seeds=seeds, epochs=epochs, every=epochs // 40)
    promised = 1 - pairs[:, :, 0] * n / 2
    dataset = dataset.merge(theory(drawn, pairs, ORDERS)).assign(promised=(("case", "choice"), promised))
    return dataset.assign_coords(case=list(conditions))


def plot_theory_steps(dataset):
    figure, axes = figures.panels(dataset.sizes["case"], sharey=True)
    for panel, case in zip(axes, dataset.case.values, strict=True):
        draw_traces(panel, dataset.sel(case=case).isel(choice=0), rf"$\kappa = {case:g}$")
    return finish(figure, axes, ERROR)


def check_rate(dataset):
    return Verdict.compare((dataset.growth - dataset.promised).sel(order=list(BOTH)).max(), "<=", 0.0, 1e-12)


# B and C: constant steps from 1/(6 L) down to 1/(1000 L)


def run_constant_steps(size, key):
    import jax

    n, dim, conditions, seeds, epochs = {
        "small": (8, 2, (1.0, 5.0), 8, 1500),
        "paper": (100, 100, (1.0, 5.0, 10.0), 5, 10_000),
        "large": (100, 100, (1.0, 5.0, 10.0, 100.0), 64, 100_000),
    }[size]
    draw, run = jax.random.split(key)
    drawn = [games.quadratic_game(draw, components=n, dim=dim, mu=1.0, lipschitz=kappa) for kappa in conditions]
    bounds = [games.step_sizes.constants(game).lipschitz_max for game in drawn]
    pairs = np.asarray([[(1 / (k * bound), 4 / (k * bound)) for k in (6, 10, 100, 1000)] for bound in bounds])
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs, every=epochs // 100)
    return dataset.merge(theory(drawn, pairs)).assign_coords(case=list(conditions))


def plot_constant_steps(dataset):
    figure, axes = figures.panels(dataset.sizes["case"], sharey=True)
    for panel, case in zip(axes, dataset.case.values, strict=True):
        draw_levels(panel, dataset.sel(case=case), rf"$\kappa = {case:g}$, $\gamma_2 = 4\gamma_1$")
    return finish(figure, axes, "settled " + ERROR)


def check_gap(dataset):
    """From each step size to the next smaller one the ratio of the errors falls."""
    ratio, error = (part.transpose(..., "choice").values for part in ratios(dataset))
    relative = error / ratio
    return worst(np.diff(np.log(ratio)), np.hypot(relative[..., 1:], relative[..., :-1]), "<=", 0.0)


# D: bilinear games, where descent-ascent (no extrapolation) diverges


def run_bilinear(size, key):
    import jax

    n, seeds, epochs, step = {"small": (10, 8, 800, 0.03), "paper": (100, 2, 30_000, 0.01), "large": (100, 64, 30_000, 0.01)}[size]
    draw, run = jax.random.split(key)
    drawn = [games.bilinear_game(draw, components=n, dim=1, mu=1.0, lipschitz=1.0)]
    pairs = np.asarray([[(step, 0.0), (step, 4 * step)]])
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs, every=epochs // 400,
                   path=lambda game, state: state.x - game.solution)  # fmt: skip
    return dataset.merge(theory(drawn, pairs)).isel(case=0)


def plot_bilinear(dataset):
    figure, axes = figures.panels(3)
    for panel, choice, name in zip(axes, (0, 1), (r"descent-ascent", r"extragradient, $\gamma_2 = 4\gamma_1$"), strict=False):
        draw_traces(panel, dataset.isel(choice=choice), name)
    mean = dataset.error.isel(choice=0).sel(order="independent").mean("seed")
    growth = dataset.growth.isel(choice=0).sel(order="independent")
    figures.predicted(axes[0], mean.step, mean[0] * growth**mean.step)
    for order in BOTH:
        path = dataset.path.sel(order=order).isel(choice=1, seed=0).values.T
        axes[2].plot(*path, color=COLOURS[order], linewidth=1)
    axes[2].plot(0, 0, "k+", markersize=12)
    axes[2].set(xlabel=r"$u - u^\star$", ylabel=r"$v - v^\star$", title="extragradient, one run", aspect="equal")
    return finish(figure, axes, ERROR)


def check_diverges(dataset):
    error = dataset.error.isel(choice=0)
    return worst(*mean_and_error(np.log(error.isel(step=-1) / error.isel(step=0))), ">=", 0.0)


def check_converges(dataset):
    return check_levels(dataset.isel(choice=1))


def check_bilinear_below(dataset):
    return check_below(dataset.isel(choice=1))


# the bilinear toy u v, without noise


def run_toy(size, key):
    import jax.numpy as jnp

    toy = games.AffineGame(jnp.asarray([[[0.0, 1.0], [-1.0, 0.0]]]), jnp.zeros((1, 2)))
    steps = np.geomspace(0.01, 0.5, 24)[:, None]
    pairs = np.stack([steps * (1, scale) for scale in (0, 1, 4)])
    dataset = race(key, [toy] * 3, pairs, orders=("cyclic",), epochs=4, every=1, start=lambda game: jnp.asarray([0.6, 0.8]))
    return dataset.isel(order=0, seed=0).assign_coords(case=[0.0, 1.0, 4.0])


def claimed_toy_contraction(step_size, extrapolation_step):
    """|x+|^2 / |x|^2 of extragradient on u v."""
    return (1 - step_size * extrapolation_step) ** 2 + step_size**2


def plot_toy(dataset):
    figure, axes = figures.panels(1)
    for colour, case in zip(figures.COLOURS, dataset.case.values, strict=False):
        one = dataset.sel(case=case)
        first, second = one.steps.values.T
        name = "descent-ascent" if case == 0 else rf"$\gamma_2 = {case:g}\gamma_1$"
        axes[0].plot(first, one.error.isel(step=1) / one.error.isel(step=0), "o", color=colour, markersize=5, label=name)
        figures.predicted(axes[0], first, claimed_toy_contraction(first, second), color=colour)
    axes[0].set(xlabel=r"step size $\gamma_1$", title=r"$\min_u\max_v\ uv$, one step")
    return finish(figure, axes, r"$|x^+|^2 / |x|^2$", "claimed")


def check_toy(dataset):
    claimed = claimed_toy_contraction(dataset.steps.isel(which=0), dataset.steps.isel(which=1))
    ratio = dataset.error.shift(step=-1) / dataset.error
    return Verdict.compare(np.abs(ratio / claimed - 1).max(), "<=", 0.0, 1e-14)  # forty-five roundings of float64

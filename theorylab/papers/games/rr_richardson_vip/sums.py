"""What is exact beside what is claimed, and the law of sums over epochs, T^(-1/2) sum_t (l(x_t) - E l)."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import ERROR, SEEN, STATED, descent, quadratic

# the bound on the mean-square error


def beside_the_bound(game, fraction):
    claims = games.claims.rr_richardson_vip
    step_size = fraction * claims.step_size_cap(game).product
    bound = claims.mse_bound(game, step_size=step_size)
    exact = games.stationary_moments(game, descent("RR1", step_size))
    return {"step_size": step_size, "mse": exact.mse, "growth": exact.ms_contraction, "bound": bound.neighbourhood,
            "claimed": bound.contraction}  # fmt: skip


def run_bounds(setting, key):
    import jax

    n, drawn = setting
    games_drawn = [quadratic(one, n, 2, 3.0) for one in jax.random.split(key, drawn)]
    return kit.tabulate(beside_the_bound, game=games_drawn, fraction=2.0 ** -np.arange(6))


def panel_bounds(exact, claimed, log, title, ylabel):
    def panel(axes, dataset):
        kit.curves(axes, dataset.isel(game=slice(5)), exact, x="step_size", by="game", theory=claimed, log=log,
                   labels=lambda k: "" if k else "exact", xlabel=r"step size $\gamma$", title=title,
                   marker="o", markersize=4)  # fmt: skip
        axes.set_ylabel(ylabel)

    return panel


def ratio(exact, claimed, quantity):
    """Of an exact number and its bound: no run enters, rounding is the only doubt."""
    return kit.bounded(lambda dataset: dataset[exact] / dataset[claimed], "<=", 1.0, rounding=1e-12, quantity=quantity)


BOUNDS = Experiment(
    "bounds", "exact errors and contractions beside the claimed ones",
    sizes={"small": (5, 5), "paper": (10, 20), "large": (12, 100)}, run=run_bounds,
    plot=kit.drawn(panel_bounds("mse", "bound", "xy", "where it settles, five games", ERROR),
                   panel_bounds("growth", "claimed", "x", "how it contracts", "factor an epoch"),
                   ylabel=ERROR, theory="claimed bound"),
    seconds={"small": 2.0, "paper": 6.0},
    claims=(
        Claim("bound", r"Up to the cap the mean-square error is below $8n\gamma^2L_{\max}^2\sigma^2/\mu^2$.",
              STATED, ratio("mse", "bound", "exact E|x - x*|^2 over its bound")),
        Claim("contraction", r"Up to the cap an epoch contracts the mean square by $1 - \gamma n\mu/2$ or more.",
              STATED, ratio("growth", "claimed", "exact contraction an epoch over the claimed")),
    ),
)  # fmt: skip

# sums over the last T of 200 + 1000 epochs, l the sum of the coordinates

LENGTHS, EPOCHS = (100, 500, 1000), 1200


def run_clt(chains, key):
    import jax
    import jax.numpy as jnp
    import xarray

    draw, run = jax.random.split(key)
    game = quadratic(draw, 4, 2, 2.0)

    def build(key, *, step_size):
        return descent("RR1", step_size), game, game.solution

    def exact(game, method):
        centre, variance = games.stationary_moments(game, method).mean, games.clt_covariance(game, method)
        return {"centre": centre.sum(), "variance": variance.sum()}

    def total(game, state):
        return jnp.sum(state.x)

    means = {f"mean_{length}": tl.Mean(total, after=EPOCHS - length + 1) for length in LENGTHS}
    over = {"step_size": [0.1, 0.02]}
    runs = tl.sweep(build, over=over, seeds=chains, key=run, steps=EPOCHS, record=tl.Record(tl.every(1), **means))
    dataset = kit.predict(exact, build, over)
    sums = [length**0.5 * (runs[name] - dataset.centre) for name, length in zip(means, LENGTHS, strict=True)]
    return dataset.assign(sums=xarray.concat(sums, xarray.DataArray(list(LENGTHS), dims="length", name="length")))


def panel_clt(panel, dataset):
    variance = float(dataset.variance)
    grid = np.linspace(-4, 4, 200) * np.sqrt(variance)
    for colour, length in zip(figures.COLOURS, LENGTHS, strict=False):
        panel.hist(dataset.sums.sel(length=length), bins=60, density=True, histtype="step", color=colour,
                   linewidth=1.5, label=f"T = {length}")  # fmt: skip
    figures.predicted(panel, grid, np.exp(-(grid**2) / 2 / variance) / np.sqrt(2 * np.pi * variance))
    panel.set(title=rf"$\gamma = {dataset.step_size:g}$", xlabel=r"$T^{-1/2} \sum_t (l(x_t) - E\,l)$")


CLT = Experiment(
    "clt", "sums over epochs and their Gaussian limit", sizes={"small": 500, "paper": 20_000, "large": 200_000},
    run=run_clt,
    plot=kit.drawn(panel_clt, ylabel="density", theory="limit, exact variance", per="step_size", sharex=True),
    seconds={"small": 4.4, "paper": 27.0},
    claims=(
        Claim("clt", r"Sums over $T$ epochs, over $\sqrt{T}$, are normal in the limit, with the exact variance.",
              STATED, kit.agrees(lambda dataset: dataset.sums.sel(length=LENGTHS[-1]) ** 2, "variance",
                                 quantity="the squares of the sums over root T")),
        Claim("clt_step", "The smaller the step, the tighter they are.", SEEN,
              kit.bounded(lambda dataset: dataset.variance[1] / dataset.variance[0], "<=", 1.0,
                          quantity="limiting variance at the small step over the large")),
    ),
)  # fmt: skip

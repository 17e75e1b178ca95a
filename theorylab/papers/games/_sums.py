"""The law of sums over epochs, T^(-1/2) sum_t (l(x_t) - E l): normal in the limit, with a variance that is exact."""

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict

from ._extrapolated import quadratic
from ._races import finish


def run_clt(size, key):
    import jax
    import jax.numpy as jnp
    import xarray

    chains = {"small": 1000, "paper": 20_000, "large": 200_000}[size]
    lengths, steps, burn_in = np.asarray([100, 500, 1000]), np.asarray([0.1, 0.02]), 200
    draw, run = jax.random.split(key)
    game = quadratic(draw, 4, 2, 2.0)
    exact = [games.stationary_moments(game, games.GradientDescentAscent(step)) for step in steps]

    @jax.jit
    def totals(game, step, centre, keys):
        method = games.GradientDescentAscent(step)

        def chain(key):
            def epoch(t, carry):
                state, total = carry
                state = method.step(game, state, jax.random.fold_in(key, t))
                return state, total + jnp.where(t >= burn_in, jnp.sum(state.x - centre), 0.0)

            def stretch(carry, ends):
                carry = jax.lax.fori_loop(ends[0], ends[1], epoch, carry)
                return carry, carry[1]

            edges = jnp.asarray([0, *(burn_in + lengths)])
            start = method.init(game, key, game.solution), jnp.zeros_like(step)
            return jax.lax.scan(stretch, start, (edges[:-1], edges[1:]))[1] / jnp.sqrt(lengths)

        return jax.vmap(chain)(keys)

    keys = jax.random.split(run, chains)
    sums = [totals(game, jnp.asarray(step), one.mean, keys) for step, one in zip(steps, exact, strict=True)]
    limits = [np.sum(games.clt_covariance(game, games.GradientDescentAscent(step))) for step in steps]
    return xarray.Dataset(
        {"sums": (("step_size", "seed", "length"), sums), "variance": ("step_size", limits)},
        {"step_size": steps, "length": lengths},
    )


def plot_clt(dataset):
    figure, axes = figures.panels(2, sharex=True)
    for panel, step in zip(axes, dataset.step_size.values, strict=True):
        one = dataset.sel(step_size=step)
        variance = float(one.variance)
        grid = np.linspace(-4, 4, 200) * np.sqrt(variance)
        for colour, length in zip(figures.COLOURS, one.length.values, strict=False):
            values = one.sums.sel(length=length)
            panel.hist(
                values, bins=60, density=True, histtype="step", color=colour, linewidth=1.5, label=f"T = {length}"
            )
        figures.predicted(panel, grid, np.exp(-(grid**2) / 2 / variance) / np.sqrt(2 * np.pi * variance))
        panel.set(title=rf"$\gamma = {step:g}$", xlabel=r"$T^{-1/2} \sum_t (l(x_t) - E\,l)$")
    return finish(figure, axes, "density", "limit, exact variance")


def check_clt(dataset):
    squares = (dataset.sums.isel(length=-1) ** 2).transpose("seed", "step_size")
    return Verdict.agree(squares, dataset.variance, quantity="the squares of the sums over root T")


def check_tighter(dataset):
    large, small = dataset.variance.values
    # both are exact: no run enters
    return Verdict.compare(small / large, "<=", 1.0, quantity="limiting variance at the small step over the large")

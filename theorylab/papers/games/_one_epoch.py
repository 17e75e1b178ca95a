"""One epoch of extragradient from one point: the contraction on the game u v, and the certificate of stability."""

from typing import Any

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict, mean_and_error

from ._races import BOTH, COLOURS, NAMES, finish, theory


def growth(key, game, pairs, order, seeds) -> Any:
    """|x|^2 over |x_0|^2 after an epoch, (choice, seed): the kernels themselves, under vmap."""
    import jax
    import jax.numpy as jnp

    def run(game, pair, key):
        method = games.Extragradient(step_size=pair[0], extrapolation_step=pair[1], order=order)
        point = jnp.asarray([0.6, 0.8])
        state = method.init(game, key, point)
        state = method.step(game, state, key)
        return jnp.sum(state.x**2) / jnp.sum(point**2)

    each = jax.jit(jax.vmap(jax.vmap(run, (None, None, 0)), (None, 0, None)))
    return np.asarray(each(game, jnp.asarray(pairs), jax.random.split(key, seeds)))


def turns(strengths) -> Any:
    """The bilinear game of s_i u v, whose components turn and scale the plane."""
    return games.AffineGame(np.multiply.outer(strengths, [[0.0, 1.0], [-1.0, 0.0]]), np.zeros((len(strengths), 2)))


def claimed_toy_contraction(step_size, extrapolation_step):
    """|x+|^2 / |x|^2 of extragradient on u v."""
    return (1 - step_size * extrapolation_step) ** 2 + step_size**2


def run_toy(size, key):
    import xarray

    steps = np.geomspace(0.01, 0.5, 24)
    pairs = [[(step, scale * step) for step in steps] for scale in (0, 1, 4)]
    ratio = [growth(key, turns([1.0]), each, "cyclic", 1)[:, 0] for each in pairs]
    claimed = claimed_toy_contraction(*np.moveaxis(np.asarray(pairs), -1, 0))
    dims = ("scale", "step_size")
    return xarray.Dataset(
        {"ratio": (dims, ratio), "claimed": (dims, claimed)}, {"scale": [0, 1, 4], "step_size": steps}
    )


def plot_toy(dataset):
    figure, axes = figures.panels(1)
    names = ("descent-ascent", r"$\gamma_2 = \gamma_1$", r"$\gamma_2 = 4\gamma_1$")
    for colour, scale, name in zip(figures.COLOURS, dataset.scale, names, strict=False):
        one = dataset.sel(scale=scale)
        figures.predicted(axes[0], one.step_size, one.claimed, color=colour)
        axes[0].plot(one.step_size, one.ratio, "o", color=colour, markersize=5, label=name)
    axes[0].set(xlabel=r"step size $\gamma_1$", title="one step on the game $uv$")
    return finish(figure, axes, r"$|x^+|^2 / |x|^2$", "claimed")


def check_toy(dataset):
    off = np.abs(dataset.ratio / dataset.claimed - 1).max()
    # 45 roundings of float64
    return Verdict.compare(off, "<=", 0.0, 1e-14, quantity="largest relative deviation of |x+|^2 / |x|^2")


def run_certificate(size, key):
    import xarray

    game, steps = turns([0.5, 1.0, 1.5, 2.0]), np.linspace(0.05, 0.45, 9)
    pairs = [(step, 4 * step) for step in steps]
    seeds = {"small": 16_384, "paper": 65_536, "large": 262_144}[size]
    found = [growth(key, game, pairs, order, seeds) for order in BOTH]
    certified = theory([game], [pairs]).growth.isel(case=0).values
    return xarray.Dataset(
        {"growth": (("order", "step_size", "seed"), found), "certified": (("order", "step_size"), certified)},
        {"order": list(BOTH), "step_size": steps},
    )


def plot_certificate(dataset):
    figure, axes = figures.panels(1)
    for order in BOTH:
        one = dataset.sel(order=order)
        figures.predicted(axes[0], one.step_size, one.certified, color=COLOURS[order])
        figures.measured(
            axes[0], one.step_size, one.growth.T, color=COLOURS[order], label=NAMES[order], marker="o", linewidth=0
        )
    axes[0].axhline(1, color="0.6", linewidth=1)
    axes[0].set(yscale="log", xlabel=r"step size $\gamma_1$", title="one epoch of a bilinear game")
    return finish(figure, axes, r"$E|x_1|^2 / |x_0|^2$", "certificate")


def check_certificate(dataset):
    growth = dataset.growth.transpose("seed", ...)
    return Verdict.agree(growth, dataset.certified, quantity="|x_1|^2 / |x_0|^2 after an epoch")


def check_sides(dataset):
    """The log of the growth, with the sign that makes it positive where run and certificate are on one side of 1."""
    mean, error = mean_and_error(dataset.growth)
    signed = np.log(mean) * np.sign(dataset.certified - 1)
    sides = "log of E|x_1|^2 / |x_0|^2, its sign turned where the certificate is below 1"
    return Verdict.worst(signed, ">=", 0.0, error / mean, quantity=sides)

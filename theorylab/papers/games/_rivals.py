"""The other methods of the paper on extragradient with reshuffling: optimistic, Hamiltonian, double step sizes."""

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict

from ._races import ERROR, draw_traces, finish, race, theory

# optimistic mirror descent learns a mean, the critic at twice the generator's speed


def optimistic(pair, order):
    import jax.numpy as jnp

    return games.OptimisticGradient(step_size=jnp.repeat(jnp.asarray(pair), 2, total_repeat_length=4), order=order)


def run_optimistic(size, key):
    import jax
    import jax.numpy as jnp

    seeds, epochs = {"small": (8, 400), "paper": (5, 10_000), "large": (1024, 10_000)}[size]
    draw, run = jax.random.split(key)
    drawn, pairs = [games.wgan_mean_game(draw, components=100, variance=1.0)], np.asarray([[(0.02, 0.01)]])
    start = jnp.asarray([1.4, 1.4, 1.7, 1.7])
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs, start=lambda game: start, method=optimistic)
    return dataset.merge(theory(drawn, pairs, method=optimistic)).isel(case=0, choice=0)


def plot_optimistic(dataset):
    figure, axes = figures.panels(1)
    draw_traces(axes[0], dataset, "optimistic descent learns a mean")
    return finish(figure, axes, ERROR)


# Hamiltonian descent on bilinear games


def hamiltonian(pair, order):
    return games.HamiltonianGradient(step_size=pair[0], order=order)


def run_hamiltonian(size, key):
    import jax

    n, dim, seeds, epochs = {"small": (6, 2, 8, 800), "paper": (100, 2, 5, 1000), "large": (100, 2, 64, 1000)}[size]
    draw, run = jax.random.split(key)
    drawn = [games.bilinear_game(draw, components=n, dim=dim, mu=1.0, lipschitz=top) for top in (1.0, 1.5)]
    pairs = np.asarray([[(step, 0.0) for step in (0.01, 0.02)]] * 2)
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs, method=hamiltonian)
    return dataset.merge(theory(drawn, pairs, method=hamiltonian)).assign_coords(case=[1.0, 1.5])


def plot_hamiltonian(dataset):
    figure, axes = figures.panels(2, sharey=True)
    for panel, case in zip(axes, dataset.case.values, strict=True):
        draw_traces(panel, dataset.sel(case=case).isel(choice=1), rf"Hamiltonian descent, $\kappa = {case:g}$")
    return finish(figure, axes, ERROR)


# double step sizes, whose look-ahead falls more slowly than the update

RULES = ((0.7, 0.7), (0.5, 0.0), (0.7, 0.2))


def double(pair, order):
    return games.Extragradient(games.Power(1.0, pair[0], 19.0), games.Power(0.1, pair[1], 19.0), order=order)


def run_double(size, key):
    import jax

    n, dim, seeds, epochs = {"small": (6, 2, 8, 2000), "paper": (100, 100, 5, 10_000), "large": (100, 100, 64, 10_000)}[
        size
    ]
    draw, run = jax.random.split(key)
    drawn = [games.bilinear_game(draw, components=n, dim=dim, mu=1.0, lipschitz=top) for top in (1.0, 1.5)]
    dataset = race(run, drawn, np.asarray([RULES] * 2), seeds=seeds, epochs=epochs, method=double)
    path = [contraction(*rule, n * epochs)[n * dataset.step.values] for rule in RULES]
    return dataset.assign(path=(("choice", "step"), path)).assign_coords(case=[1.0, 1.5])


def contraction(update, ahead, count):
    """|E x_t|^2 / |x_0|^2 of a bilinear game whose coupling is the identity, for t = 0, ..., count."""
    t = np.arange(count) + 19.0
    g1, g2 = t**-update, 0.1 * t**-ahead
    return np.concatenate([[1.0], np.cumprod((1 - g1 * g2) ** 2 + g1**2)])


def plot_double(dataset):
    figure, axes = figures.panels(len(RULES), sharey=True)
    for choice, (panel, (update, ahead)) in enumerate(zip(axes, RULES, strict=True)):
        look = rf"t^{{-{ahead:g}}}/10" if ahead else "1/10"
        one = dataset.isel(case=0, choice=choice)
        draw_traces(panel, one, rf"$\gamma_1 = t^{{-{update:g}}}$, $\gamma_2 = {look}$")
        level = float(one.error.isel(step=0).mean()) * one.path
        figures.predicted(panel, one.step, level.where(level > 1e-7))
    return finish(figure, axes, ERROR, "the mean's own path")


def check_path(dataset):
    """Where the mean's path does not vanish, runs of the game with the identity's coupling end on it."""
    one = dataset.isel(case=0, step=-1, choice=[0, 2]).sel(order="reshuffle")
    start = dataset.error.isel(case=0, step=0, choice=[0, 2]).sel(order="reshuffle").mean("seed")
    return Verdict.agree(one.error.transpose("seed", "choice"), start * one.path, quantity="the last |x - x*|^2")

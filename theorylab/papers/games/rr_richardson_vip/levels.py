"""Where the pair settles on one permutation or on one each, and reshuffled descent-ascent with smoothing noise."""

import numpy as np

import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import ERROR, HERE, SETTLED, STATED, WORDS, quadratic

STEPS = np.geomspace(1e-6, 0.05, 10)[::-1]  # falling: the limit is at their end, and runs settle at the first alone


def run_levels(method, variants):
    """Settled errors at three steps, with exact ones at more."""

    def build(key, *, variant, game, step_size):
        return method(variant, step_size), game, game.solution

    def run(setting, key):
        import jax
        import xarray

        n, dim, seeds, epochs = setting
        draw, run = jax.random.split(key)
        over = {"variant": variants, "game": kit.cases([quadratic(draw, n, dim, 2.0)])}
        dataset = kit.race(build, {**over, "step_size": STEPS[:3]}, seeds=seeds, key=run, steps=epochs,
                           record={"error": lambda game, state: games.squared_distance(game, state.x)})  # fmt: skip
        fine = xarray.DataArray(STEPS, {"exact_step": STEPS}, ("exact_step",))
        theory = kit.predict(games.stationary_error, build, {**over, "step_size": fine})
        return dataset.merge(theory.drop_vars("step_size")).isel(game=0)

    return run


def panel_levels(title, slopes):
    def panel(axes, dataset):
        kit.curves(axes, dataset, "error_settled", x="step_size", by="variant", theory="mse",
                   labels=WORDS.__getitem__, log="xy", xlabel=r"step size $\gamma_1$", title=title,
                   marker="o", linewidth=0)  # fmt: skip
        for variant, slope in slopes.items():
            kit.guide(axes, dataset.mse.sel(variant=variant), slope)

    return kit.drawn(panel, ylabel="stationary " + ERROR, theory="exact moments")


def power_of(variant, exponent):
    return kit.power(lambda dataset: dataset.mse.sel(variant=variant), "exact_step", "==", exponent, tail=3,
                     quantity="E|x - x*|^2 in the step size")  # fmt: skip


AT_RUNS = kit.agrees(
    "error_settled", lambda dataset: dataset.mse.sel(exact_step=dataset.step_size).drop_vars("exact_step"),
    quantity=SETTLED)  # fmt: skip


def one_over_two(dataset):
    return dataset.mse.sel(variant="shared") / dataset.mse.sel(variant="independent")


COUPLING = Experiment(
    "coupling", "the pair on one permutation, or on one each",
    sizes={"small": (4, 2, 8, 2000), "paper": (6, 2, 128, 10_000), "large": (10, 3, 1024, 20_000)},
    run=run_levels(lambda coupling, step: games.Richardson(games.GradientDescentAscent(step), coupling=coupling),
                   ("shared", "independent")),
    plot=panel_levels("RR2+RR1, by its permutations", {"independent": 3}),
    seconds={"small": 5.3, "paper": 49.0},
    claims=(
        Claim("shared_below", "On one permutation the pair's mean-square error is below that on two.", HERE,
              kit.bounded(one_over_two, "<=", 1.0, quantity="exact E|x - x*|^2 on one permutation over that on two")),
        Claim("shared_order", "It is of third order on one.", HERE, power_of("shared", 3)),
        Claim("independent_order", "It is of third order on two.", HERE, power_of("independent", 3)),
        Claim("coupling_levels", "Runs settle at the exact errors of either.", HERE, AT_RUNS),
    ),
)  # fmt: skip
NOISE = Experiment(
    "noise", "smoothing noise, by where it enters", sizes=COUPLING.sizes,
    run=run_levels(lambda site, step: games.GradientDescentAscent(step, noise_site=site), ("oracle_step", "iterate")),
    plot=panel_levels("RR1 with smoothing noise", {"oracle_step": 2, "iterate": 1}),
    seconds={"small": 5.1, "paper": 35.6},
    claims=(
        Claim("oracle_noise", "Smoothing noise at the oracle leaves the mean-square error of second order.",
              STATED, power_of("oracle_step", 2)),
        Claim("iterate_noise", "At the iterate the same noise makes it of first order.",
              HERE, power_of("iterate", 1)),
        Claim("noise_levels", "Runs settle at the exact errors of all.", HERE, AT_RUNS),
    ),
)  # fmt: skip

"""The four variants over epochs: on quadratic games, and where a Wasserstein GAN learns a mean."""

import numpy as np

import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import ERROR, FOUR, HERE, SEEN, SETTLED, descent, quadratic, traces, variant_of


def race_of_four(key, build, over, seeds, epochs):
    """All four variants from two races: the first chain of an extrapolated run is the plain one."""
    import xarray

    record = {
        "plain": lambda game, state: games.squared_distance(game, state.chains.x[0]),
        "pair": lambda game, state: games.squared_distance(game, state.x),
    }
    runs = kit.race(build, {"variant": FOUR[2:], **over}, seeds=seeds, key=key, steps=epochs, record=record)
    parts = [runs[[name, f"{name}_settled"]].rename({name: "error", f"{name}_settled": "error_settled"})
             for name in record]  # fmt: skip
    both = xarray.concat([parts[0].assign_coords(variant=FOUR[:2]), parts[1]], "variant")
    theory = kit.predict(games.stationary_error, build, {"variant": FOUR, **over})
    return both.merge(theory, compat="no_conflicts")


def run_curves(setting, key):
    import jax
    import xarray

    n, dim, seeds, epochs, conditions = setting
    draw, run = jax.random.split(key)
    kappas = np.repeat(conditions, 4)
    drawn = [quadratic(one, n, dim, kappa) for kappa in conditions for one in jax.random.split(draw, 4)]
    # variance over squared bias grows as (gamma n) n^2: few components and small steps, or the pair has nothing to mend
    steps = [1 / (80 * n * games.step_sizes.constants(game).lipschitz_max) for game in drawn]
    over = {"game": kit.cases(drawn), "step_size": xarray.DataArray(steps, {"kappa": ("game", kappas)}, ("game",))}

    def build(key, *, variant, game, step_size):
        return descent(variant, step_size), game, game.solution + 1

    return race_of_four(run, build, over, seeds, epochs)


def plot_curves(dataset):
    """Each game's errors relative to where it starts, in the mean over the games of a condition number."""
    means = dataset[["error", "mse"]].groupby("kappa").mean("game")
    start = means.error.isel(step=0).mean(("variant", "seed"))
    panels = kit.drawn(lambda panel, one: traces(panel, one, rf"$\kappa = {one.kappa:g}$, four games"), per="kappa",
                       ylabel=r"$|x - x^\star|^2 / |x_0 - x^\star|^2$", theory="exact moments",
                       sharey=True)  # fmt: skip
    return panels(means / start)


def lowest(dataset):
    return dataset.error_settled.groupby("kappa").mean("game")


CURVES = Experiment(
    "curves", "four variants on quadratic games, over epochs",
    sizes={"small": (4, 2, 5, 2400, (1.0, 2.0)), "paper": (4, 5, 5, 16_000, (1.0, 5.0, 10.0)),
           "large": (4, 100, 64, 16_000, (1.0, 5.0, 10.0))},
    run=run_curves, plot=plot_curves, seconds={"small": 6.0, "paper": 34.0},
    claims=(
        Claim("lowest", "Reshuffled and extrapolated it settles lowest of the four (few components, small steps).",
              SEEN, kit.estimated(kit.ratio(lowest, "variant", "RR2+RR1", FOUR[:3]), "<=", 1.0,
                                  quantity="settled |x - x*|^2 of RR2+RR1 over that of another variant")),
        Claim("exact_levels", "Runs settle at the exact stationary errors.", HERE,
              kit.agrees("error_settled", "mse", quantity=SETTLED)),
    ),
)  # fmt: skip


def run_wgan(setting, key):
    import jax
    import jax.numpy as jnp

    draw, run = jax.random.split(key)

    def build(key, *, variant, game):
        method = variant_of(variant, lambda order: games.Extragradient(0.01, 0.04, order))
        return method, game, jnp.asarray([1.4, 1.4, 1.7, 1.7])

    return race_of_four(run, build, {"game": kit.cases([games.wgan_mean_game(draw, components=100)])}, *setting).isel(
        game=0
    )


def over_plain(dataset):
    """An extrapolated variant's exact error over its plain twin's."""
    plain, extrapolated = (dataset.mse.sel(variant=names).drop_vars("variant") for names in (FOUR[:2], FOUR[2:]))
    return extrapolated / plain


WGAN = Experiment(
    "wgan", "a Wasserstein GAN learns a mean", sizes={"small": (8, 300), "paper": (5, 1000), "large": (1024, 1000)},
    run=run_wgan, plot=kit.drawn(lambda panel, dataset: traces(panel, dataset, "a WGAN that learns a mean"),
                                 ylabel=ERROR, theory="exact moments"),
    seconds={"small": 6.6, "paper": 4.0},
    claims=(
        Claim("wgan", "Learning a mean, either method settles lower when it is reshuffled.", SEEN,
              kit.estimated(kit.ratio("error_settled", "variant", ["RR1", "RR2+RR1"], ["SGDA", "RR2"]), "<=", 1.0,
                            quantity="settled |x - x*|^2, reshuffled over independent")),
        Claim("wgan_levels", "It settles at the exact stationary errors about the sample's solution.",
              HERE, kit.agrees("error_settled", "mse", quantity=SETTLED)),
        Claim("wgan_extrapolated", "Where all matrices are equal there is no bias, and extrapolation adds variance.",
              HERE, kit.bounded(over_plain, ">=", 1.0, quantity="exact E|x - x*|^2, extrapolated over plain")),
    ),
)  # fmt: skip

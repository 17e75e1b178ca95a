"""Other games and other methods: a Wasserstein GAN, optimistic and Hamiltonian descent, double steps, real data."""

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from . import race
from .race import BOTH, HERE, SEEN, Setting


def start(game):
    import jax.numpy as jnp

    return jnp.asarray([1.4, 1.4, 1.7, 1.7])


def optimistic(order):
    """The critic at twice the generator's speed."""
    import jax.numpy as jnp

    return games.OptimisticGradient(jnp.asarray([0.02, 0.02, 0.01, 0.01]), order)


def mean_game(variance):
    return lambda key, setting: [games.wgan_mean_game(key, components=setting.n, variance=variance)]


WGAN = Experiment(
    "wgan", "a Wasserstein GAN that learns a mean",
    sizes={"small": Setting(100, 2, 8, 300), "paper": Setting(100, 2, 5, 1000), "large": Setting(100, 2, 1024, 1000)},
    run=race.run(mean_game(0.1), race.setup(start=start, step_size=0.01, scale=4.0)),
    plot=race.plot(lambda panel, one: race.traces(panel, one, "a WGAN that learns a mean"), per="game"),
    seconds={"small": 3.2, "paper": 8.0},
    claims=(
        Claim("below_wgan", "Learning a mean, reshuffling settles below.", SEEN, race.below()),
        Claim("wgan_moments", "It settles at the exact stationary error about the sample's solution.",
              HERE, race.levels()),
    ),
)  # fmt: skip
OPTIMISTIC = Experiment(
    "optimistic", "optimistic descent learns a mean",
    sizes={"small": Setting(100, 2, 8, 400), "paper": Setting(100, 2, 5, 10_000),
           "large": Setting(100, 2, 1024, 10_000)},
    run=race.run(mean_game(1.0), race.setup(optimistic, start)),
    plot=race.plot(lambda panel, one: race.traces(panel, one, "optimistic descent learns a mean"), per="game"),
    seconds={"small": 5.0, "paper": 16.0},
    claims=(
        Claim("below_optimistic", "Optimistic descent, too, settles lower when it is reshuffled.", SEEN, race.below()),
    ),
)  # fmt: skip


def hamiltonian(order, step_size):
    return games.HamiltonianGradient(step_size, order)


def panel_hamiltonian(panel, dataset):
    race.traces(panel, dataset.isel(step_size=1), rf"Hamiltonian descent, $\kappa = {dataset.game:g}$")


HAMILTONIAN = Experiment(
    "hamiltonian", "Hamiltonian descent on bilinear games",
    sizes={"small": Setting(6, 2, 8, 800), "paper": Setting(100, 2, 5, 1000), "large": Setting(100, 2, 64, 1000)},
    run=race.run(race.bilinears, race.setup(hamiltonian), lambda drawn, setting: {"step_size": [0.01, 0.02]}),
    plot=race.plot(panel_hamiltonian, per="game"), seconds={"small": 7.0, "paper": 14.0},
    claims=(
        Claim("below_hamiltonian", "So does Hamiltonian descent, on bilinear games.", SEEN, race.below()),
        Claim("hamiltonian_moments", "It settles at its exact stationary error.", HERE, race.levels()),
    ),
)  # fmt: skip

# double step sizes, whose look-ahead falls more slowly than the update

RULES = np.asarray([(0.7, 0.7), (0.5, 0.0), (0.7, 0.2)])


def double(order, update, extrapolation):
    step_size, extrapolation_step = games.step_sizes.double(update=update, extrapolation=extrapolation)
    return games.Extragradient(step_size, extrapolation_step, order)


def rules(drawn, setting):
    import xarray

    return {name: xarray.DataArray(RULES[:, k], dims="rule") for k, name in enumerate(("update", "extrapolation"))}


def predicted(dataset):
    """|E x_t|^2 where the coupling is the identity: each update multiplies it by (1 - g1 g2)^2 + g1^2."""
    import xarray

    updates = int(dataset.components) * dataset.step
    t = xarray.DataArray(np.arange(int(updates[-1])) + 19.0, dims="t")
    g1, g2 = t ** -dataset["update"], 0.1 * t ** -dataset["extrapolation"]
    path = ((1 - g1 * g2) ** 2 + g1**2).cumprod("t").isel(t=np.maximum(updates - 1, 0))
    return dataset.error.isel(step=0).mean() * path.where(updates > 0, 1.0)


def panel_double(panel, dataset):
    update, ahead = float(dataset["update"]), float(dataset["extrapolation"])
    look = rf"t^{{-{ahead:g}}}/10" if ahead else "1/10"
    race.traces(panel, dataset.isel(game=0), rf"$\gamma_1 = t^{{-{update:g}}}$, $\gamma_2 = {look}$", None)
    level = predicted(dataset)
    figures.predicted(panel, dataset.step, level.where(level > 1e-7))


def left(dataset):
    """Where the path does not vanish, on the game with the identity's coupling."""
    return dataset.isel(game=0, rule=[0, 2]).sel(order="reshuffle")


DOUBLE = Experiment(
    "double", "decreasing double steps on bilinear games",
    sizes={"small": Setting(6, 2, 8, 2000), "paper": Setting(100, 100, 5, 10_000),
           "large": Setting(100, 100, 64, 10_000)},
    run=race.run(race.bilinears, race.setup(double), rules, theory=False),
    plot=race.plot(panel_double, per="rule", theory="the mean's own path"),
    seconds={"small": 5.7, "paper": 2420.0},  # extrapolated from 120 of its epochs
    claims=(
        Claim("below_double", "With the double steps $(t + 19)^{-0.5}$ and 1/10 reshuffling ends below.",
              SEEN, race.below(rule=[1])),
        Claim("double_path", "With the other two pairs bilinear games are left where the mean's own path ends: the"
              r" product of $(1 - \gamma_1\gamma_2)^2 + \gamma_1^2$ over all updates, which does not vanish.", HERE,
              kit.agrees(lambda dataset: left(dataset).error.isel(step=-1),
                         lambda dataset: predicted(left(dataset)).isel(step=-1),
                         quantity="the last |x - x*|^2")),
    ),
)  # fmt: skip

# distributionally robust logistic regression on real data


def run_logistic(setting, key):
    build = race.setup(start=lambda game: game.start, scale=2.0)
    over = {"order": BOTH, "game": kit.cases([games.robust_logistic_game()]), "step_size": [0.005, 0.01]}
    record = {"error": lambda game, state: games.squared_distance(game, state.x)}
    return kit.race(build, over, seeds=setting.seeds, key=key, steps=setting.epochs, record=record).isel(game=0)


def panel_logistic(k):
    def panel(axes, dataset):
        title = rf"breast cancer, $\gamma_1 = {dataset.step_size[k]:g}$"
        race.traces(axes, dataset.isel(step_size=k), title, None)
        if k == 1:
            low = dataset.error_settled.mean("seed").isel(step_size=0)
            for order, colour, slope in zip(BOTH, figures.COLOURS, (1, 2), strict=False):
                figures.predicted(axes, dataset.step[[0, -1]], float(low.sel(order=order)) * 2**slope, color=colour)

    return panel


LOGISTIC = Experiment(
    "logistic", "robust logistic regression on the breast-cancer data",
    sizes={"small": Setting(57, 31, 4, 100), "paper": Setting(57, 31, 16, 4000), "large": Setting(57, 31, 256, 4000)},
    run=run_logistic,
    plot=race.plot(panel_logistic(0), panel_logistic(1), theory="left level, scaled by the order"),
    seconds={"small": 8.4, "paper": 79.0},
    claims=(
        Claim("below_logistic", "On real data, beyond affine games, reshuffling settles below.", HERE, race.below()),
    ),
)  # fmt: skip

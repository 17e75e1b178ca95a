"""Other games and other methods: a Wasserstein GAN, optimistic and Hamiltonian descent, double steps, real data."""

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import BOTH, ERROR, HERE, SEEN, below, levels, race, setup, traces


def start(game):
    import jax.numpy as jnp

    return jnp.asarray([1.4, 1.4, 1.7, 1.7])


def optimistic(order):
    import jax.numpy as jnp

    return games.OptimisticGradient(jnp.asarray([0.02, 0.02, 0.01, 0.01]), order)


def run_mean(build, variance):
    """A Wasserstein GAN learns the mean of a sample."""

    def run(setting, key):
        import jax

        seeds, epochs = setting
        draw, run = jax.random.split(key)
        over = {"order": BOTH, "game": kit.cases([games.wgan_mean_game(draw, components=100, variance=variance)])}
        return race(run, build, over, seeds=seeds, epochs=epochs).isel(game=0)

    return run


WGAN = Experiment(
    "wgan", "a Wasserstein GAN that learns a mean",
    sizes={"small": (8, 300), "paper": (5, 1000), "large": (1024, 1000)},
    run=run_mean(setup(start=start, step_size=0.01, scale=4.0), 0.1),
    plot=kit.drawn(lambda panel, dataset: traces(panel, dataset, "a WGAN that learns a mean"),
                   ylabel=ERROR, theory="exact moments"),
    seconds={"small": 2.4, "paper": 8.0},
    claims=(
        Claim("below_wgan", "Learning a mean, reshuffling settles below.", SEEN, below()),
        Claim("wgan_moments", "It settles at the exact stationary error about the sample's solution.", HERE, levels()),
    ),
)  # fmt: skip
# the critic at twice the generator's speed
OPTIMISTIC = Experiment(
    "optimistic", "optimistic descent learns a mean",
    sizes={"small": (8, 400), "paper": (5, 10_000), "large": (1024, 10_000)},
    run=run_mean(setup(optimistic, start), 1.0),
    plot=kit.drawn(lambda panel, dataset: traces(panel, dataset, "optimistic descent learns a mean"),
                   ylabel=ERROR, theory="exact moments"),
    seconds={"small": 3.9, "paper": 16.0},
    claims=(
        Claim("below_optimistic", "Optimistic descent, too, settles lower when it is reshuffled.", SEEN, below()),
    ),
)  # fmt: skip


def bilinears(key, components, dim):
    """Two games, as an axis."""
    drawn = [games.bilinear_game(key, components=components, dim=dim, mu=1.0, lipschitz=top) for top in (1.0, 1.5)]
    return {"order": BOTH, "game": kit.cases(drawn, (1.0, 1.5))}


def hamiltonian(order, step_size):
    return games.HamiltonianGradient(step_size, order)


def run_hamiltonian(setting, key):
    import jax

    n, dim, seeds, epochs = setting
    draw, run = jax.random.split(key)
    build, over = setup(hamiltonian), {**bilinears(draw, n, dim), "step_size": [0.01, 0.02]}
    return race(run, build, over, seeds=seeds, epochs=epochs)


def panel_hamiltonian(panel, dataset):
    traces(panel, dataset.isel(step_size=1), rf"Hamiltonian descent, $\kappa = {dataset.game:g}$")


HAMILTONIAN = Experiment(
    "hamiltonian", "Hamiltonian descent on bilinear games",
    sizes={"small": (6, 2, 8, 800), "paper": (100, 2, 5, 1000), "large": (100, 2, 64, 1000)}, run=run_hamiltonian,
    plot=kit.drawn(panel_hamiltonian, ylabel=ERROR, theory="exact moments", per="game", sharey=True),
    seconds={"small": 3.9, "paper": 14.0},
    claims=(
        Claim("below_hamiltonian", "So does Hamiltonian descent, on bilinear games.", SEEN, below()),
        Claim("hamiltonian_moments", "It settles at its exact stationary error.", HERE, levels()),
    ),
)  # fmt: skip


# double step sizes, whose look-ahead falls more slowly than the update

RULES = np.asarray([(0.7, 0.7), (0.5, 0.0), (0.7, 0.2)])


def double(order, update, extrapolation):
    return games.Extragradient(*games.step_sizes.double(update=update, extrapolation=extrapolation), order)


def run_double(setting, key):
    import jax
    import xarray

    n, dim, seeds, epochs = setting
    draw, run = jax.random.split(key)
    rules = {name: xarray.DataArray(RULES[:, k], dims="rule") for k, name in enumerate(("update", "extrapolation"))}
    over = {**bilinears(draw, n, dim), **rules}
    dataset = race(run, setup(double), over, seeds=seeds, epochs=epochs, theory=None)
    return dataset.assign(path=(("rule", "step"), [path(*rule, n * epochs)[n * dataset.step] for rule in RULES]))


def path(update, ahead, count):
    """|E x_t|^2 / |x_0|^2 of a bilinear game whose coupling is the identity, for t = 0, ..., count."""
    t = np.arange(count) + 19.0
    g1, g2 = t**-update, 0.1 * t**-ahead
    return np.concatenate([[1.0], np.cumprod((1 - g1 * g2) ** 2 + g1**2)])


def predicted(dataset):
    """The mean's path from where runs of the game with the identity's coupling start."""
    one = dataset.isel(game=0)
    return one.error.isel(step=0, seed=0, drop=True).sel(order="reshuffle", drop=True) * one.path


def panel_double(panel, dataset):
    update, ahead = float(dataset["update"]), float(dataset["extrapolation"])
    look = rf"t^{{-{ahead:g}}}/10" if ahead else "1/10"
    traces(panel, dataset.isel(game=0), rf"$\gamma_1 = t^{{-{update:g}}}$, $\gamma_2 = {look}$", None)
    level = predicted(dataset)
    figures.predicted(panel, dataset.step, level.where(level > 1e-7))


def ends(dataset):
    """Where the path does not vanish."""
    return dataset.error.isel(game=0, step=-1, rule=[0, 2]).sel(order="reshuffle")


DOUBLE = Experiment(
    "double", "decreasing double steps on bilinear games",
    sizes={"small": (6, 2, 8, 2000), "paper": (100, 100, 5, 10_000), "large": (100, 100, 64, 10_000)}, run=run_double,
    plot=kit.drawn(panel_double, ylabel=ERROR, theory="the mean's own path", per="rule", sharey=True),
    seconds={"small": 5.0},
    claims=(
        Claim("below_double", "With the double steps $(t + 19)^{-0.5}$ and 1/10 reshuffling ends below.",
              SEEN, below(rule=[1])),
        Claim("double_path", "With the other two pairs bilinear games are left where the mean's own path ends: the"
              r" product of $(1 - \gamma_1\gamma_2)^2 + \gamma_1^2$ over all updates, which does not vanish.", HERE,
              kit.agrees(ends, lambda dataset: predicted(dataset).isel(step=-1, rule=[0, 2]),
                         quantity="the last |x - x*|^2")),
    ),
)  # fmt: skip


# distributionally robust logistic regression on real data


def run_logistic(setting, key):
    seeds, epochs = setting
    build = setup(start=lambda game: game.start, scale=2.0)
    over = {"order": BOTH, "game": kit.cases([games.robust_logistic_game()]), "step_size": [0.005, 0.01]}
    return race(key, build, over, seeds=seeds, epochs=epochs, theory=None).isel(game=0)


def panel_logistic(k):
    def panel(axes, dataset):
        traces(axes, dataset.isel(step_size=k), rf"breast cancer, $\gamma_1 = {dataset.step_size[k]:g}$", None)
        if k == 1:
            low = dataset.error_settled.mean("seed").isel(step_size=0)
            for order, colour, slope in zip(BOTH, figures.COLOURS, (1, 2), strict=False):
                figures.predicted(axes, dataset.step[[0, -1]], float(low.sel(order=order)) * 2**slope, color=colour)

    return panel


LOGISTIC = Experiment(
    "logistic", "robust logistic regression on the breast-cancer data",
    sizes={"small": (4, 100), "paper": (16, 4000), "large": (256, 4000)}, run=run_logistic,
    plot=kit.drawn(panel_logistic(0), panel_logistic(1), ylabel=ERROR, theory="left level, scaled by the order",
                   sharey=True),
    seconds={"small": 3.3},
    claims=(Claim("below_logistic", "On real data, beyond affine games, reshuffling settles below.", HERE, below()),),
)  # fmt: skip

"""Constant steps on strongly monotone games and on bilinear ones, the theorem's and larger."""

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import (
    BOTH,
    ERROR,
    HERE,
    ORDERS,
    RATES,
    SEEN,
    SMALL,
    below,
    levels,
    race,
    settled,
    setup,
    steps_of,
    traces,
)


def quadratics(key, n, dim, conditions):
    return [games.quadratic_game(key, components=n, dim=dim, mu=1.0, lipschitz=kappa) for kappa in conditions]


# strongly monotone games at the theorem's steps, and at twice, four and eight times them


def run_theory_steps(setting, key):
    import jax

    draw, run = jax.random.split(key)
    drawn = quadratics(draw, setting["n"], setting["dim"], setting["conditions"])
    step_size = steps_of(drawn, setting["conditions"], "multiple", [1, 2, 4, 8],
                         lambda game, multiple: multiple * games.step_sizes.strongly_monotone(game)[0])  # fmt: skip
    over = {"order": ORDERS, "game": kit.cases(drawn, setting["conditions"]), "step_size": step_size}
    promised = [games.claims.seg_rr.contraction(step_size=step, n=setting["n"], mu=1.0)
                for step in step_size.values[:, 0]]  # fmt: skip
    dataset = race(run, setup(scale=2.0), over, seeds=setting["seeds"], epochs=setting["epochs"])
    return dataset.assign(promised=("game", promised))


def panel_theory_steps(panel, dataset):
    one = dataset.sel(multiple=1)
    traces(panel, one, rf"$\kappa = {one.game:g}$")
    path = one.error.isel(step=0).mean() * one.promised**one.step
    figures.predicted(panel, one.step, path, linestyle="-.", label="theorem's rate")


THEORY_STEPS = Experiment(
    "theory_steps", "strongly monotone games, the theorem's steps",
    sizes={"small": {**SMALL, "conditions": (1.0, 2.0)},
           "paper": {"n": 100, "dim": 10, "seeds": 5, "epochs": 40_000, "conditions": (1.0, 5.0, 10.0)},
           "large": {"n": 100, "dim": 100, "seeds": 64, "epochs": 40_000, "conditions": (1.0, 5.0, 10.0)}},
    run=run_theory_steps,
    plot=kit.drawn(panel_theory_steps, ylabel=ERROR, theory="exact moments", per="game", sharey=True),
    seconds={"small": 4.9, "paper": 351.0},
    claims=(
        Claim("rate", r"At the theorem's steps an epoch contracts $E|x - x^*|^2$ by $1 - \gamma_1n\mu/2$ or more.",
              RATES, kit.bounded(lambda dataset: dataset.ms_contraction.sel(multiple=1, order=list(BOTH)).max("order"),
                                 "<=", "promised", rounding=1e-12, quantity="contraction of E|x - x*|^2 an epoch")),
        Claim("below_theory_steps", "At the theorem's steps every other order settles below independent sampling.",
              SEEN, below(ORDERS[1:])),
    ),
)  # fmt: skip


# constant steps, the largest 1/(6 L)


def run_constant_steps(setting, key):
    import jax

    draw, run = jax.random.split(key)
    drawn = quadratics(draw, setting["n"], setting["dim"], setting["conditions"])
    step_size = steps_of(drawn, setting["conditions"], "divisor", setting["divisors"],
                         lambda game, k: 1 / (k * games.step_sizes.constants(game).lipschitz_max))  # fmt: skip
    over = {"order": BOTH, "game": kit.cases(drawn, setting["conditions"]), "step_size": step_size}
    return race(run, setup(scale=4.0), over, seeds=setting["seeds"], epochs=setting["epochs"])


def log_ratio(dataset):
    return kit.ratio("error_settled", "order", "reshuffle", "independent")(dataset).log()


CONSTANT_STEPS = Experiment(
    "constant_steps", "constant steps, large and small",
    sizes={"small": {**SMALL, "conditions": (1.0, 5.0), "divisors": (6, 10, 30, 100)},
           "paper": {"n": 100, "dim": 100, "seeds": 5, "epochs": 10_000, "conditions": (1.0, 5.0, 10.0),
                     "divisors": (6, 10, 100, 1000)},
           "large": {"n": 100, "dim": 100, "seeds": 64, "epochs": 100_000, "conditions": (1.0, 5.0, 10.0, 100.0),
                     "divisors": (6, 10, 100, 1000)}},
    run=run_constant_steps,
    plot=kit.drawn(lambda panel, one: settled(panel, one, rf"$\kappa = {one.game:g}$, $\gamma_2 = 4\gamma_1$"),
                   ylabel="settled " + ERROR, theory="exact moments", per="game", sharey=True),
    seconds={"small": 2.6},
    claims=(
        Claim("below_equal_step", "At every constant step reshuffling settles below independent sampling.",
              SEEN, below()),
        Claim("gap_grows", "The gap between them grows as the step shrinks.", SEEN,
              kit.ordered(log_ratio, "divisor", "falls", quantity="log(reshuffled over independent |x - x*|^2)")),
    ),
)  # fmt: skip


# bilinear games, where descent-ascent (scale 0) diverges


def run_bilinear(setting, key):
    import jax
    import jax.numpy as jnp

    import theorylab.engine as tl

    def plane(game, state):
        x = state.x - game.solution
        return jnp.stack([x[0], x[x.size // 2]])

    draw, run = jax.random.split(key)
    drawn = [games.bilinear_game(draw, components=setting["n"], dim=setting["dim"], mu=1.0, lipschitz=top)
             for top in (1.0, 1.5)]  # fmt: skip
    over = {"order": BOTH, "game": kit.cases(drawn, (1.0, 1.5)), "step_size": setting["step_sizes"],
            "scale": [0.0, 4.0]}  # fmt: skip
    also = [tl.Record(tl.every(setting["epochs"] // 40), plane=plane)]
    return race(run, setup(), over, seeds=setting["seeds"], epochs=setting["epochs"], also=also)


def larger(dataset, scale):
    return dataset.isel(game=0, step_size=1).sel(scale=scale)


def panel_descent(panel, dataset):
    one = larger(dataset, 0.0)
    traces(panel, one, "descent-ascent", None)
    growth = one.ms_contraction.sel(order="independent")
    figures.predicted(panel, one.step, one.error.isel(step=0).mean() * growth**one.step)


def panel_plane(panel, dataset):
    for order, colour in zip(BOTH, figures.COLOURS, strict=False):
        path = larger(dataset, 4.0).plane.sel(order=order).isel(seed=0, step=slice(10, None))
        panel.plot(*path.transpose(..., "step").values, "o-", color=colour, linewidth=0.8, markersize=4)
    panel.plot(0, 0, "k+", markersize=14)
    panel.set(xlabel=r"$u_1 - u_1^\star$", ylabel=r"$v_1 - v_1^\star$", title="extragradient, one run, settled")


def growth(dataset):
    error = dataset.error.sel(scale=0.0)
    return np.log(error.isel(step=-1) / error.isel(step=0))


BILINEAR = Experiment(
    "bilinear", "a bilinear game, with and without extrapolation",
    sizes={"small": {**SMALL, "step_sizes": [0.02, 0.03]},
           "paper": {"n": 100, "dim": 2, "seeds": 5, "epochs": 1000, "step_sizes": [0.01, 0.015]},
           "large": {"n": 100, "dim": 2, "seeds": 64, "epochs": 1000, "step_sizes": [0.01, 0.015]}},
    run=run_bilinear,
    plot=kit.drawn(
        panel_descent,
        lambda panel, dataset: traces(panel, larger(dataset, 4.0), r"extragradient, $\gamma_2 = 4\gamma_1$"),
        panel_plane, ylabel=ERROR, theory="exact moments"),
    seconds={"small": 2.7},
    claims=(
        Claim("descent_ascent_diverges", "On bilinear games descent-ascent diverges.", SEEN,
              kit.estimated(growth, ">=", 0.0, quantity="log of the last |x - x*|^2 over the first")),
        Claim("extragradient_converges", "On the same games extragradient settles at its exact level.",
              HERE, levels(scale=4.0)),
        Claim("below_bilinear", "There too reshuffling settles below.", SEEN, below(scale=4.0)),
    ),
)  # fmt: skip

"""Constant steps on strongly monotone games and on bilinear ones, the theorem's and larger."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from . import race
from .race import BOTH, HERE, ORDERS, RATES, SEEN, SMALL, Setting


def theorems_step(game, multiple):
    return multiple * games.step_sizes.strongly_monotone(game)[0]


def promised(dataset):
    """The theorem's factor of an epoch, at its own steps; mu = 1."""

    def factor(step_size):
        return games.claims.seg_rr.contraction(step_size=step_size, n=int(dataset.components), mu=1.0)

    steps = dataset.step_size.sel(multiple=1)
    return steps.copy(data=np.vectorize(factor)(steps))


def contraction(dataset):
    return dataset.ms_contraction.sel(multiple=1, order=list(BOTH)).max("order")


def panel_theory_steps(panel, dataset):
    one = dataset.sel(multiple=1)
    race.traces(panel, one, rf"$\kappa = {one.game:g}$")
    path = one.error.isel(step=0).mean() * float(promised(dataset)) ** one.step
    figures.predicted(panel, one.step, path, linestyle="-.", label="theorem's rate")


MULTIPLES, KAPPAS = (1, 2, 4, 8), (1.0, 5.0, 10.0)
THEORY_STEPS = Experiment(
    "theory_steps", "strongly monotone games, the theorem's steps",
    sizes={"small": SMALL._replace(conditions=(1.0, 2.0), steps=MULTIPLES),
           "paper": Setting(100, 10, 5, 40_000, KAPPAS, MULTIPLES),
           "large": Setting(100, 100, 64, 40_000, KAPPAS, MULTIPLES)},
    run=race.run(race.quadratics, race.setup(scale=2.0), race.own_steps("multiple", theorems_step), orders=ORDERS),
    plot=race.plot(panel_theory_steps, per="game"), seconds={"small": 8.4, "paper": 351.0},
    claims=(
        Claim("rate", r"At the theorem's steps an epoch contracts $E|x - x^*|^2$ by $1 - \gamma_1n\mu/2$ or more.",
              RATES, kit.bounded(contraction, "<=", promised, rounding=1e-12,
                                 quantity="contraction of E|x - x*|^2 an epoch")),
        Claim("below_theory_steps", "At the theorem's steps every other order settles below independent sampling.",
              SEEN, race.below(ORDERS[1:])),
    ),
)  # fmt: skip


def fraction(game, divisor):
    return 1 / (divisor * games.step_sizes.constants(game).lipschitz_max)


def log_ratio(dataset):
    return kit.ratio("error_settled", "order", "reshuffle", "independent")(dataset).log()


CONSTANT_STEPS = Experiment(
    "constant_steps", "constant steps, large and small",
    sizes={"small": SMALL._replace(conditions=(1.0, 5.0), steps=(6, 10, 30, 100)),
           "paper": Setting(100, 100, 5, 10_000, KAPPAS, (6, 10, 100, 1000)),
           "large": Setting(100, 100, 64, 100_000, (*KAPPAS, 100.0), (6, 10, 100, 1000))},
    run=race.run(race.quadratics, race.setup(scale=4.0), race.own_steps("divisor", fraction)),
    plot=race.plot(lambda panel, one: race.settled(panel, one, rf"$\kappa = {one.game:g}$, $\gamma_2 = 4\gamma_1$"),
                   per="game", ylabel="settled " + race.ERROR),
    seconds={"small": 1.0, "paper": 2400.0},  # extrapolated from 120 of its epochs
    claims=(
        Claim("below_equal_step", "At every constant step reshuffling settles below independent sampling.",
              SEEN, race.below()),
        Claim("gap_grows", "The gap between them grows as the step shrinks.", SEEN,
              kit.ordered(log_ratio, "divisor", "falls", quantity="log(reshuffled over independent |x - x*|^2)")),
    ),
)  # fmt: skip


# bilinear games, where descent-ascent (scale 0) diverges


def plane(game, state):
    """One coordinate of either player, from the solution."""
    x = state.x - game.solution
    return x[:: x.size // 2]


def larger(dataset, scale):
    return dataset.isel(game=0, step_size=1).sel(scale=scale)


def panel_descent(panel, dataset):
    one = larger(dataset, 0.0)
    race.traces(panel, one, "descent-ascent", None)
    growth = one.ms_contraction.sel(order="independent")
    figures.predicted(panel, one.step, one.error.isel(step=0).mean() * growth**one.step)


def panel_ahead(panel, dataset):
    race.traces(panel, larger(dataset, 4.0), r"extragradient, $\gamma_2 = 4\gamma_1$")


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
    sizes={"small": SMALL._replace(steps=(0.02, 0.03)), "paper": Setting(100, 2, 5, 1000, steps=(0.01, 0.015)),
           "large": Setting(100, 2, 64, 1000, steps=(0.01, 0.015))},
    run=race.run(race.bilinears, race.setup(), lambda drawn, s: {"step_size": list(s.steps), "scale": [0.0, 4.0]},
                 also=lambda s: [tl.Record(tl.every(s.epochs // 40), plane=plane)]),
    plot=race.plot(panel_descent, panel_ahead, panel_plane, sharey=False), seconds={"small": 5.6, "paper": 9.4},
    claims=(
        Claim("descent_ascent_diverges", "On bilinear games descent-ascent diverges.", SEEN,
              kit.estimated(growth, ">=", 0.0, quantity="log of the last |x - x*|^2 over the first")),
        Claim("extragradient_converges", "On the same games extragradient settles at its exact level.",
              HERE, race.levels(scale=4.0)),
        Claim("below_bilinear", "There too reshuffling settles below.", SEEN, race.below(scale=4.0)),
    ),
)  # fmt: skip

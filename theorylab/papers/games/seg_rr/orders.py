"""The order of the stationary error in the step size: of true reshuffling, and of what the released code calls so."""

import numpy as np

import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment, Size

from . import race
from .race import BOTH, ERROR, HERE, RATES, SETTLED, SMALL, Setting

STEPS = np.geomspace(1e-5, 0.05, 8)[::-1]  # falling: the limit is at their end, and runs settle at the first alone
SIZES: dict[Size, Setting] = {
    "small": SMALL,
    "paper": Setting(10, 4, 128, 10_000),
    "large": Setting(12, 4, 1024, 40_000),
}
KINDS = ["own matrices", "equal matrices"]
POWER = "E|x - x*|^2 in the step size"


def at_solution(game):
    return game.solution


def draw(key, setting):
    """A game with matrices of its components' own, and one with equal ones."""
    return [games.quadratic_game(key, components=setting.n, dim=setting.dim, mu=1.0, lipschitz=3.0, heterogeneous=own)
            for own in (True, False)]  # fmt: skip


def run(orders, shown=KINDS):
    """Runs at the largest steps, exact errors at all: with a look-ahead of twice the step (scale 2), and without."""
    runs = race.run(draw, race.setup(start=at_solution, scale=2.0), lambda drawn, setting: {"step_size": STEPS[:4]},
                    orders=orders, theory=False)  # fmt: skip

    def both(setting, key):
        import jax
        import xarray

        drawn, fine = (
            draw(jax.random.split(key)[0], setting),
            xarray.DataArray(STEPS, {"exact_step": STEPS}, ("exact_step",)),
        )
        over = {"order": orders, "game": kit.cases(drawn), "scale": [2.0, 0.0], "step_size": fine}
        theory = kit.predict(games.stationary_error, race.setup(start=at_solution), over).drop_vars("step_size")
        return runs(setting, key).merge(theory).assign_coords(game=KINDS).sel(game=shown)

    return both


def power_of(relation, exponent, tail=3, **places):
    return kit.power(lambda dataset: dataset.mse.sel(places), "exact_step", relation, exponent, tail=tail,
                     rounding=0.05 if tail == 3 else 0.01, quantity=POWER)  # fmt: skip


def at_runs(**places):
    def theory(dataset):
        return dataset.mse.sel(**places, scale=2.0, exact_step=dataset.step_size).drop_vars("exact_step")

    return kit.agrees(lambda dataset: dataset.error_settled.sel(places), theory, quantity=SETTLED)


def one_step(dataset):
    """Of the released order, over n times that of independent sampling, at the smallest step."""
    one = dataset.mse.sel(scale=2.0).isel(exact_step=-1)
    return one.sel(order="repeat") / one.sel(order="independent") / dataset.components


def over_others(dataset):
    one = dataset.mse.sel(scale=2.0)
    return one.sel(order="repeat", drop=True) / one.sel(order=list(BOTH))


def panel_orders(panel, dataset):
    one = dataset.sel(scale=2.0)
    race.settled(panel, one, str(one.game.item()))
    for order, slope in zip(BOTH, (1, 2 + (one.game == "equal matrices").item()), strict=True):
        kit.guide(panel, one.mse.sel(order=order), slope)


ORDERS = Experiment(
    "orders", "the order of the stationary error in the step size", sizes=SIZES, run=run(BOTH),
    plot=race.plot(panel_orders, ylabel="stationary " + ERROR, per="game"),
    seconds={"small": 6.7, "paper": 113.0},
    claims=(
        Claim("order_independent", "Sampled independently, the mean-square error is of first order in the step size.",
              RATES, power_of("==", 1, order="independent")),
        Claim("order_reshuffled", "Reshuffled, it is of second order where the components have matrices of their own.",
              RATES, power_of("==", 2, order="reshuffle", game="own matrices")),
        Claim("order_reshuffled_equal", "Reshuffled, it is of third order where all matrices are equal.",
              HERE, power_of("==", 3, order="reshuffle", game="equal matrices")),
        Claim("exact_moments", "Runs settle at the exact stationary error.", HERE, at_runs()),
    ),
)  # fmt: skip
RELEASED = Experiment(
    "released", "what the released code calls reshuffling", sizes=SIZES,
    run=run((*BOTH, "repeat"), KINDS[:1]),
    plot=race.plot(lambda panel, dataset: race.settled(panel, dataset.sel(scale=2.0), "by what an epoch draws"),
                   ylabel="stationary " + ERROR, per="game"),
    seconds={"small": 3.5, "paper": 51.0},
    claims=(
        Claim("released_levels", "One random component $n$ times, which the released code calls reshuffling, settles at"
              " an exact stationary error of its own.", HERE, at_runs(order=["repeat"])),
        Claim("released_order", "That error is of first order in the step size.",
              HERE, power_of("==", 1, tail=2, order="repeat", scale=2.0)),
        Claim("released_ratio", "As the step shrinks it becomes $n$ times that of independent sampling.",
              HERE, kit.bounded(one_step, "==", 1.0, rounding=0.01,
                                quantity="E|x - x*|^2 over n times that of independent sampling")),
        Claim("released_above", "At every step it is above that of independent sampling and that of true reshuffling.",
              HERE, kit.bounded(over_others, ">=", 1.0,
                                quantity="exact E|x - x*|^2 as released, over that of another order")),
    ),
)  # fmt: skip

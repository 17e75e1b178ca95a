"""What the experiments share: index orders raced against each other on drawn games, their checks and panels."""

from typing import Any, NamedTuple

import theorylab.games as games
import theorylab.papers.kit as kit

ORDERS = ("independent", "reshuffle", "once", "cyclic")
BOTH = ORDERS[:2]
NAMES = {"independent": "independent", "reshuffle": "reshuffled", "once": "shuffled once", "cyclic": "cyclic",
         "repeat": "as released"}  # fmt: skip
ERROR = r"$E|x - x^\star|^2$"
SETTLED = "the settled |x - x*|^2"
RATES, SEEN, HERE = "theorem, reconstructed", "experiments", "derived here"


class Setting(NamedTuple):
    """Components, dimension of each player, seeds, epochs; condition numbers of the games; step sizes, by their rule"""

    n: int
    dim: int
    seeds: int
    epochs: int
    conditions: tuple[float, ...] = (1.0, 1.5)
    steps: tuple[float, ...] = ()


SMALL = Setting(6, 2, 8, 1200)  # one shape for several experiments, which then share compiled programs


def extragradient(order: Any, step_size: Any, scale: Any) -> Any:
    return games.Extragradient(step_size, scale * step_size, order)


def setup(method: Any = extragradient, start: Any = lambda game: game.solution + 1, **fixed: Any) -> Any:
    """The `build` of a race: a method of an order and further numbers, on a game; some of them may be fixed."""

    def build(key: Any, **numbers: Any) -> Any:
        numbers = {**fixed, **numbers}
        game = numbers.pop("game")
        return method(**numbers), game, start(game)

    return build


def run(
    draw: Any,
    build: Any,
    axes: Any = lambda drawn, setting: {},
    *,
    orders: Any = BOTH,
    theory: Any = True,
    also: Any = lambda setting: (),
) -> Any:
    """The `run` of an experiment: orders raced on games that `draw(key, setting)` makes, over further axes.

    The dataset has `error` and where it settles, and beside it the exact `mse` and `ms_contraction`, nan where there is
    no exact answer.
    """  # fmt: skip

    def race(setting: Setting, key: Any) -> Any:
        import jax

        key, run = jax.random.split(key)
        drawn = draw(key, setting)
        labels = setting.conditions if len(setting.conditions) == len(drawn) else None
        over = {"order": orders, "game": kit.cases(drawn, labels), **axes(drawn, setting)}
        record = {"error": lambda game, state: games.squared_distance(game, state.x)}
        runs = kit.race(build, over, seeds=setting.seeds, key=run, steps=setting.epochs, record=record,
                        also=also(setting), theory=games.stationary_error if theory else None)  # fmt: skip
        return runs.assign(components=setting.n)

    return race


def quadratics(key: Any, setting: Setting) -> Any:
    return [games.quadratic_game(key, components=setting.n, dim=setting.dim, mu=1.0, lipschitz=kappa)
            for kappa in setting.conditions]  # fmt: skip


def bilinears(key: Any, setting: Setting) -> Any:
    return [games.bilinear_game(key, components=setting.n, dim=setting.dim, mu=1.0, lipschitz=kappa)
            for kappa in setting.conditions]  # fmt: skip


def own_steps(dim: str, step_size: Any) -> Any:
    """Step sizes that each game has of its own, a function of the game and each of the setting's numbers, on `dim`."""

    def axes(drawn: Any, setting: Setting) -> Any:
        import xarray

        table = [[step_size(game, number) for number in setting.steps] for game in drawn]
        return {"step_size": xarray.DataArray(table, {dim: list(setting.steps)}, ("game", dim))}

    return axes


def below(others: Any = ("reshuffle",), **places: Any) -> Any:
    """Whether other orders settle below independent sampling."""
    ratio = kit.ratio(lambda dataset: dataset.error_settled.sel(places), "order", list(others), "independent")
    return kit.estimated(ratio, "<=", 1.0, quantity="settled |x - x*|^2 over that of independent sampling")


def levels(**places: Any) -> Any:
    """Whether runs settle at their exact stationary errors."""
    return kit.agrees(lambda dataset: dataset.error_settled.sel(places), lambda dataset: dataset.mse.sel(places),
                      quantity=SETTLED)  # fmt: skip


def traces(panel: Any, dataset: Any, title: str, theory: str | None = "mse") -> None:
    """Errors over epochs of every order, with their exact levels; markers tell curves that lie on each other."""
    kit.curves(panel, dataset, "error", by="order", theory=theory, labels=NAMES.__getitem__, markers="osD^",
               xlabel="epoch", title=title)  # fmt: skip


def settled(panel: Any, dataset: Any, title: str) -> None:
    """Settled errors over the step size, laid over exact ones."""
    kit.curves(panel, dataset, "error_settled", x="step_size", by="order", theory="mse", labels=NAMES.__getitem__,
               log="xy", xlabel=r"step size $\gamma_1$", title=title, marker="o", linewidth=0)  # fmt: skip


def plot(*panels: Any, **words: Any) -> Any:
    """A figure of errors over exact moments."""
    return kit.drawn(*panels, **{"ylabel": ERROR, "theory": "exact moments", "sharey": True, **words})

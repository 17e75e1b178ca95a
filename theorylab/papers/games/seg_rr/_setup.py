"""What the experiments share: orders raced against each other on games, their checks, and their panels."""

from typing import Any

import theorylab.games as games
import theorylab.papers.kit as kit

ORDERS = ("independent", "reshuffle", "once", "cyclic")
BOTH = ORDERS[:2]
NAMES = {"independent": "independent", "reshuffle": "reshuffled", "once": "shuffled once", "cyclic": "cyclic",
         "repeat": "as released"}  # fmt: skip
ERROR = r"$E|x - x^\star|^2$"
SETTLED = "the settled |x - x*|^2"
RATES, SEEN, HERE = "theorem, reconstructed", "experiments", "derived here"
SMALL = {"n": 6, "dim": 2, "seeds": 8, "epochs": 1200}
"""One shape for several experiments, which then share compiled programs."""


def extragradient(order: Any, step_size: Any, scale: Any) -> Any:
    return games.Extragradient(step_size, scale * step_size, order)


def setup(method: Any = extragradient, start: Any = lambda game: game.solution + 1, **fixed: Any) -> Any:
    """The `build` of a race: a method of an order and further numbers, on a game; some of them may be fixed."""

    def build(key: Any, **numbers: Any) -> Any:
        numbers = {**fixed, **numbers}
        game = numbers.pop("game")
        return method(**numbers), game, start(game)

    return build


def race(
    key: Any, build: Any, over: Any, *, seeds: int, epochs: int, theory: Any = games.stationary_error, **more: Any
) -> Any:
    """The race, with `error` and where it settles, beside `mse` and `ms_contraction`; nan where none is exact."""
    record = {"error": lambda game, state: games.squared_distance(game, state.x)}
    return kit.race(build, over, seeds=seeds, key=key, steps=epochs, record=record, theory=theory, **more)  # fmt: skip


def steps_of(drawn: Any, labels: Any, dim: str, values: Any, step_size: Any) -> Any:
    """Step sizes that each game has of its own, along `dim`."""
    import xarray

    table = [[step_size(game, value) for value in values] for game in drawn]
    return xarray.DataArray(table, {"game": list(labels), dim: list(values)}, ("game", dim))


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

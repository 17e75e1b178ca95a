"""Variants of a method by reshuffling and extrapolation, and what the experiments say of them."""

from typing import Any

import theorylab.games as games
import theorylab.papers.kit as kit

VARIANTS = {
    "SGDA": ("independent", (1,)),
    "RR1": ("reshuffle", (1,)),
    "RR2": ("independent", (1, 2)),
    "RR2+RR1": ("reshuffle", (1, 2)),
    "RR3+RR1": ("reshuffle", (1, 2, 4)),
}
"""RR1 is random reshuffling, RR2 Richardson-Romberg extrapolation from two step sizes, RR3 (ours) from three."""
FOUR = list(VARIANTS)[:4]
WORDS = {
    "SGDA": "SGDA: independent",
    "RR1": "RR1: reshuffled",
    "RR2": "RR2: extrapolated",
    "RR2+RR1": "RR2+RR1: both",
    "shared": "one permutation for both",
    "independent": "one for each",
    "oracle_step": "at the oracle, each step",
    "iterate": "at the iterate",
}
STATED, SEEN, HERE = "theorem, from a reading note", "experiments, from a reading note", "derived here"
ERROR = r"$E|x - x^\star|^2$"
SETTLED = "the settled |x - x*|^2"


def quadratic(key: Any, n: int, dim: int, kappa: float) -> Any:
    return games.quadratic_game(key, components=n, dim=dim, mu=1.0, lipschitz=kappa)


def variant_of(name: str, method: Any) -> Any:
    """A variant of `method`, a function of the order."""
    order, multipliers = VARIANTS[name]
    return games.Richardson(method(order), multipliers) if len(multipliers) > 1 else method(order)


def descent(name: str, step_size: Any) -> Any:
    return variant_of(name, lambda order: games.GradientDescentAscent(step_size, order))


def traces(panel: Any, dataset: Any, title: str) -> None:
    """Errors over epochs of every variant, with their exact levels; markers tell curves that lie on each other."""
    kit.curves(panel, dataset, "error", by="variant", theory="mse", labels=WORDS.__getitem__, markers="osD^",
               xlabel="epoch", title=title)  # fmt: skip

"""What a run is given in the wrong place, said before anything is traced."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..method import Method
from ..modules import is_nnx


def check_method(method: Any, problem: Any) -> None:
    """**Raises** `TypeError` for a method that is none, with the cure, and for a problem that is a method."""
    if isinstance(method, type) and issubclass(method, Method):
        raise TypeError(
            f"method is the class {method.__name__}: give an instance, {method.__name__}{_arguments(method)}"
        )
    if isinstance(problem, Method) and not isinstance(method, Method):
        raise TypeError(
            f"method is {_shown(method)} and problem is the method {type(problem).__name__}: swap them,"
            " solve(method, problem, x0)"
        )
    if not isinstance(method, Method):
        check_optimiser("method", method, "tl.Gradient(optax.adam, learning_rate=1e-3)")
        raise TypeError(f"method must be a tl.Method, such as tl.Gradient(optax.sgd, 0.1), got {_shown(method)}")
    if isinstance(problem, type):
        raise TypeError(
            f"problem is the class {problem.__name__}: give an instance, {problem.__name__}{_arguments(problem)}"
        )


def check_steps(steps: Any) -> None:
    """**Raises** `ValueError` for what is no number of steps."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps < 2**31 - 1:
        raise ValueError(
            f"steps must be an integer of at least 1 (and below 2**31), got {steps!r}; it counts outer steps"
        )


def check_optimiser(name: str, given: Any, cure: str) -> None:
    """**Raises** `TypeError` for an optimiser of Flax NNX, or of Optax where a method belongs."""
    if is_nnx(given, "Optimizer"):
        raise TypeError(
            f"{name} is an nnx.Optimizer, which keeps the parameters in itself: give {cure} and start from the"
            " parameters of `graph, params = nnx.split(model)`"
        )
    if is_transformation(given) and name == "method":
        raise TypeError(
            f"{name} is an Optax transformation: give {cure}, or tl.Gradient({name}), which takes the gradient too"
        )


def is_transformation(given: Any) -> bool:
    """Whether something is a built Optax optimiser; Optax is not imported to know it."""
    return isinstance(given, tuple) and hasattr(given, "init") and hasattr(given, "update")


def _arguments(kind: Callable) -> str:
    try:
        given = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return "(...)"
    return f"({', '.join(p.name for p in given if p.default is p.empty and p.kind is not p.VAR_KEYWORD)})"


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"

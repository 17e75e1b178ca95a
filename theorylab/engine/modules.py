"""Iterates that are modules: their floating arrays are what a method moves, the rest is kept and put back."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


class Rest(eqx.Module):
    """What of a pytree no method moves: its other arrays, its functions, its numbers."""

    arrays: PyTree
    code: PyTree = eqx.field(static=True)

    def __call__(self, x: PyTree) -> PyTree:
        """The whole pytree, with x in its place."""
        return eqx.combine(x, self.arrays, self.code)


class Whole(eqx.Module):
    """A problem whose loss is one of a whole pytree, as a problem of its floating arrays."""

    problem: Any
    rest: Rest

    def loss(self, x: PyTree, key: Any) -> Any:
        """The loss of the whole."""
        return self.problem.loss(self.rest(x), key)

    def whole(self, x: PyTree) -> PyTree:
        """x with the rest."""
        return self.rest(x)

    def __getattr__(self, name: str) -> Any:
        if name in ("problem", "rest"):
            raise AttributeError(name)
        return getattr(self.problem, name)


def placed(problem: Any, x0: PyTree) -> tuple[Any, PyTree]:
    """The problem and the starting point in floating arrays alone.

    **Raises** `TypeError` where the starting point holds more, and the problem has no loss to take it.
    """
    x0, rest = parted(x0)
    if rest is None or callable(getattr(problem, "whole", None)):
        return problem, x0
    if not hasattr(problem, "loss"):
        raise TypeError(
            f"x0 holds more than arrays, and {type(problem).__name__} takes arrays alone: give its own start=, as in"
            " games.min_max(f, n, start=(u, v)), or start from eqx.partition(x0, eqx.is_inexact_array)[0]"
        )
    return Whole(problem, rest), x0


def whole(problem: Any, x: PyTree) -> PyTree:
    """An iterate with what its problem keeps of the modules in it."""
    put_back = getattr(problem, "whole", None)
    return put_back(x) if callable(put_back) else x


def parted(x: PyTree, name: str = "x0") -> tuple[PyTree, Rest | None]:
    """The floating arrays of a pytree, with None in the place of all else, and the rest.

    A pytree of arrays and numbers that holds no Equinox module goes as it is, with None for the rest.

    **Raises** `TypeError` for a module of Flax NNX, whose arrays are its attributes, and where there is no array.
    """
    for one in jax.tree.leaves(x, is_leaf=lambda one: is_nnx(one, "Module")):
        if is_nnx(one, "Module"):
            raise TypeError(
                f"{name} holds the Flax NNX module {type(one).__name__}: split it, `graph, params = nnx.split(model)`,"
                " start from params, and call `nnx.merge(graph, params)` in the function"
            )
    holds_module = any(_is_module(one) for one in jax.tree.leaves(x, is_leaf=_is_module))
    if not holds_module and all(_is_number(leaf) for leaf in jax.tree.leaves(x)):
        return x, None
    moved, rest = eqx.partition(x, eqx.is_inexact_array)
    if not jax.tree.leaves(moved):
        raise TypeError(f"{name} is a {type(x).__name__}: it holds no floating array to start from")
    if not jax.tree.leaves(rest):
        return x, None
    return moved, Rest(*eqx.partition(rest, eqx.is_array))


def is_nnx(x: Any, name: str) -> bool:
    """Whether something is of the class `flax.nnx.<name>`; Flax is not imported to know it."""
    return any(one.__name__ == name and one.__module__.startswith("flax.nnx") for one in type(x).__mro__)


def _is_module(x: Any) -> bool:
    return isinstance(x, eqx.Module) and not isinstance(x, jax.tree_util.Partial)


def _is_number(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic | bool | int | float | complex)

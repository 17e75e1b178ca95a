"""Gradient steps by any Optax optimiser, whose hyper-parameters stay leaves that can be swept and differentiated."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..numerics.checked import Key
from .method import Method, start
from .modules import Rest


class GradientState(eqx.Module):
    """The iterate, the optimiser's state, and the loss (with its `aux`) at the point of the last gradient."""

    x: PyTree[Array]
    optimiser: PyTree[Array]
    loss: Array
    aux: PyTree[Array]


class Gradient(Method):
    """Steps of an Optax optimiser on `problem.loss(x, key)`.

    $x_{t+1} = x_t + u_t$, with $u_t$ the optimiser's update for $\\nabla_x\\,\\mathrm{loss}(x_t, k_t)$.

    **Arguments**: `factory`, an Optax factory such as `optax.adam`, then its own arguments: floats and arrays stay
    leaves (sweep or differentiate them), everything else is code. Or a built `optax.GradientTransformation`, whose
    numbers are fixed. The problem has `loss(x, key) -> scalar`, or `(scalar, aux)` where its `has_aux` is true.

    **Raises** `TypeError` for anything else, and for arguments that the factory does not take.

    **Source**: Optax; the step is tested equal to Optax's own loop.

        >>> import jax, jax.numpy as jnp, optax, theorylab as tl
        >>> method = tl.Gradient(optax.adam, learning_rate=1e-2, b1=0.8)
        >>> sorted(method.hyper)
        ['b1', 'learning_rate']
    """

    hyper: dict[str, Array]
    factory: Callable | optax.GradientTransformation = eqx.field(static=True)
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    def __init__(self, factory: Callable | optax.GradientTransformation, /, *args: Any, **keywords: Any):
        if isinstance(factory, optax.GradientTransformation):
            if args or keywords:
                raise TypeError(
                    "Gradient: the optimiser is built already; give its factory, such as optax.adam, to set arguments"
                )
            given = {}
        elif callable(factory):
            try:
                given = dict(inspect.signature(factory).bind(*args, **keywords).arguments)
            except TypeError as error:
                raise TypeError(f"Gradient: {getattr(factory, '__name__', factory)}: {error}") from error
            for name in ("kwargs", "keywords"):
                given |= given.pop(name, {}) if isinstance(given.get(name), dict) else {}
        else:
            raise TypeError(
                f"Gradient: give an Optax factory such as optax.adam, or a built optimiser, got {factory!r}"
            )
        for name, value in given.items():
            if isinstance(value, str) and "dtype" not in name:
                raise TypeError(f"Gradient: {name} = {value!r} is a string: give a number, or an Optax schedule")
        leaf = {n: isinstance(v, float | jax.Array | np.ndarray | np.floating) for n, v in given.items()}
        self.factory = factory
        self.hyper = {n: jnp.asarray(v) for n, v in given.items() if leaf[n]}
        self.options = tuple((n, v) for n, v in given.items() if not leaf[n])

    def requires(self):
        rate = self.hyper.get("learning_rate")
        if rate is None:
            return {}
        return {f"learning_rate must be finite and not negative, got {rate}": jnp.isfinite(rate) & (rate >= 0)}

    def scaled(self, factor: float | Array) -> "Gradient":
        """The same optimiser with its learning rate multiplied by a factor."""
        if "learning_rate" not in self.hyper:
            raise ValueError(
                "Gradient: no learning_rate to scale; give the factory and a number, as in Gradient(optax.sgd, "
                "learning_rate=0.1)"
            )
        return eqx.tree_at(lambda method: method.hyper["learning_rate"], self, self.hyper["learning_rate"] * factor)

    @property
    def optimiser(self) -> optax.GradientTransformationExtraArgs:
        """The Optax optimiser with the present hyper-parameters."""
        built = self.factory
        if not isinstance(built, optax.GradientTransformation):
            built = built(**self.hyper, **dict(self.options))
        return optax.with_extra_args_support(built)

    def init(self, problem: Any, key: Key, x0: PyTree | None = None) -> GradientState:
        x = start(problem, key, x0)
        for leaf in jax.tree.leaves(x):
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                raise TypeError(f"x0 holds {leaf.dtype}{list(leaf.shape)}: start from floating numbers, such as 3.0")
        shapes = jax.eval_shape(lambda x: self._loss(problem, x, key), x)
        loss, aux = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return GradientState(x, self.optimiser.init(x), loss, aux)

    def step(self, problem: Any, state: GradientState, key: Key) -> GradientState:
        (loss, aux), gradient = jax.value_and_grad(lambda x: self._loss(problem, x, key), has_aux=True)(state.x)
        update, optimiser = self.optimiser.update(
            gradient,
            state.optimiser,
            state.x,
            value=loss,
            grad=gradient,
            value_fn=lambda x: self._loss(problem, x, key)[0],
        )
        return GradientState(optax.apply_updates(state.x, update), optimiser, loss, aux)

    def _loss(self, problem: Any, x: PyTree, key: Key) -> tuple[Array, PyTree]:
        out = problem.loss(x, key)
        loss, aux = out if getattr(problem, "has_aux", False) else (out, None)
        if not isinstance(loss, jax.Array | np.ndarray | np.generic | float | int):
            raise TypeError(
                f"the loss returns a {type(loss).__name__}: return one number, or (loss, aux) with has_aux=True"
            )
        if jnp.shape(loss) or not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
            raise TypeError(
                f"the loss returns {jnp.result_type(loss)}{list(jnp.shape(loss))}: return one floating number, such as"
                " jnp.mean of it"
            )
        return jnp.asarray(loss), aux


class Objective(eqx.Module):
    """The problem of `minimise`: a function with its further arguments, and whether it draws."""

    fn: Callable
    args: tuple
    has_aux: bool = eqx.field(static=True, default=False)
    draws: bool = eqx.field(static=True, default=False)
    rest: Rest | None = None

    def whole(self, x: PyTree) -> PyTree:
        """x with what is not optimised."""
        return x if self.rest is None else self.rest(x)

    def loss(self, x: PyTree, key: PRNGKeyArray) -> Any:
        x = self.whole(x)
        return self.fn(x, *self.args, key=key) if self.draws else self.fn(x, *self.args)

    def watch(self, state: GradientState) -> Array:
        """The loss to record: at the iterate itself, or, where each value is a draw, the one of the last gradient."""
        if self.draws:
            return state.loss
        out = self.loss(state.x, jax.random.key(0))
        return out[0] if self.has_aux else out

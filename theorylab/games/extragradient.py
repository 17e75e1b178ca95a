"""Stochastic gradient descent-ascent and same-sample extragradient: one step is one epoch of n component updates."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..engine.method import Method, start
from . import orders


class EpochState(eqx.Module):
    """The iterate `x` at an epoch's end, and the permutation that the order `"once"` keeps (n,), else None."""

    x: PyTree[Array]
    kept: Int[Array, " n"] | None


def descend(x: PyTree[Array], step_size: float | Array, direction: PyTree[Array]) -> PyTree[Array]:
    r"""The move $x - \gamma\, g$ on any pytree.

    **Arguments**: `x`, a pytree of arrays; `step_size` (); `direction`, like x.

    **Returns** a pytree like x.

    **Source**: derived here.

        >>> import jax.numpy as jnp
        >>> from theorylab.games.extragradient import descend
        >>> float(descend(jnp.asarray(1.0), 0.5, jnp.asarray(4.0)))
        -1.0
    """
    return jax.tree.map(lambda leaf, g: leaf - step_size * g, x, direction)


def epoch(update: Callable, x: PyTree[Array], indices: Int[Array, " n"]) -> PyTree[Array]:
    """One pass: `x = update(x, i)` for each index of the table in turn.

    **Arguments**: `update`, a function `(x, i) -> x`; `x`, a pytree of arrays; `indices` (n,), int32.

    **Returns** a pytree like x.

    **Source**: derived here; checked against a Python loop.

        >>> import jax.numpy as jnp
        >>> from theorylab.games.extragradient import epoch
        >>> int(epoch(lambda x, i: 2 * x + i, jnp.asarray(0, jnp.int32), jnp.asarray([1, 0, 2], jnp.int32)))
        6
    """
    return lax.scan(lambda x, i: (update(x, i), None), x, indices)[0]


class _EpochMethod(Method):
    """What both methods share: an order, and an epoch of updates under it."""

    cites: ClassVar[tuple[str, ...]] = ("seg_rr",)

    @property
    @abc.abstractmethod
    def order(self) -> str:
        """One of `orders.ORDERS`; a property here, so that it is not the first argument to type checkers."""

    def init(self, problem: Any, key: PRNGKeyArray, x0: PyTree | None = None) -> EpochState:
        """The state before the first epoch; the order `"once"` draws its permutation here."""
        key_x, key_order = jax.random.split(key)
        x = start(problem, key_x, x0)
        _check_component(problem, x)
        return EpochState(x, orders.fixed(self.order, key_order, problem.n))

    def step(self, problem: Any, state: EpochState, key: PRNGKeyArray) -> EpochState:
        """One epoch of `problem.n` updates in the order that `key` draws."""
        indices = orders.table(self.order, key, problem.n, state.kept)
        return EpochState(epoch(lambda x, i: self.update(problem, x, i), state.x, indices), state.kept)

    @abc.abstractmethod
    def update(self, problem: Any, x: PyTree[Array], i: Int[Array, ""]) -> PyTree[Array]:
        """One update with component i."""


class GradientDescentAscent(_EpochMethod):
    r"""Stochastic gradient descent-ascent: $x^+ = x - \gamma_1 F_i(x)$.

    **Arguments**: `step_size` $\gamma_1 > 0$, (); `order`, one of `orders.ORDERS`. A problem has `n`, `component(i, x)`
    and, where no x0 is given, `initial(key)`; x is any pytree. One step is one epoch: n updates, under every order.

    **Raises** `ValueError` for a step size that is not positive and finite, and for an unknown order.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, the baseline with $\gamma_2 = 0$.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[0.0], [0.0]]))
        >>> method = tl.games.GradientDescentAscent(0.5)
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([8.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [2.0]
    """

    step_size: Float[Array, "*lanes"] = eqx.field(converter=lambda value: _hyperparameter(value))
    order: str = eqx.field(static=True, converter=orders.check, default="reshuffle")

    def update(self, problem: Any, x: PyTree[Array], i: Int[Array, ""]) -> PyTree[Array]:
        """x - step_size F_i(x)."""
        return descend(x, self.step_size, problem.component(i, x))

    def requires(self) -> Mapping[str, Array | bool]:
        """The step size is positive and finite."""
        return _positive("step_size", self.step_size)


class Extragradient(_EpochMethod):
    r"""Same-sample stochastic extragradient: $\bar x = x - \gamma_2 F_i(x)$, $x^+ = x - \gamma_1 F_i(\bar x)$.

    The look-ahead sees the very component that the update uses, so that on bilinear games, where descent-ascent
    diverges, it contracts once $\gamma_2$ is large enough beside $\gamma_1$. With $\gamma_2 = 0$ it is descent-ascent.

    **Arguments**: `step_size` $\gamma_1 > 0$, (); `extrapolation_step` $\gamma_2 \ge 0$, (); `order`, one of
    `orders.ORDERS`. A problem has `n`, `component(i, x)` and, where no x0 is given, `initial(key)`; x is any pytree.
    One step is one epoch: n updates (2n component calls), under every order.

    **Raises** `ValueError` for step sizes out of range or not finite, and for an unknown order.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, SEG-RR.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[0.0, 1.0], [-1.0, 0.0]]]), jnp.zeros((1, 2)))
        >>> method = tl.games.Extragradient(0.25, 1.0)
        >>> state = method.init(game, jax.random.key(0), jnp.asarray([4.0, 0.0]))
        >>> method.step(game, state, jax.random.key(1)).x.tolist()
        [3.0, 1.0]
    """

    step_size: Float[Array, "*lanes"] = eqx.field(converter=lambda value: _hyperparameter(value))
    extrapolation_step: Float[Array, "*lanes"] = eqx.field(converter=lambda value: _hyperparameter(value))
    order: str = eqx.field(static=True, converter=orders.check, default="reshuffle")

    def update(self, problem: Any, x: PyTree[Array], i: Int[Array, ""]) -> PyTree[Array]:
        """x - step_size F_i(x - extrapolation_step F_i(x))."""
        ahead = descend(x, self.extrapolation_step, problem.component(i, x))
        return descend(x, self.step_size, problem.component(i, ahead))

    def requires(self) -> Mapping[str, Array | bool]:
        """The step size is positive and finite, the extrapolation step not negative and finite."""
        step = self.extrapolation_step
        sentence = f"extrapolation_step = {step} must be finite and >= 0: 2 or 4 times step_size is usual"
        return {**_positive("step_size", self.step_size), sentence: jnp.isfinite(step) & (step >= 0)}


def _hyperparameter(value):
    # a Python number stays weakly typed, so that it takes the dtype of x
    return jnp.asarray(float(value) if isinstance(value, int) else value)


def _positive(name, value):
    sentence = f"{name} = {value} must be positive and finite: `games.step_sizes` has the rules of the theorems"
    return {sentence: jnp.isfinite(value) & (value > 0)}


def _check_component(problem, x):
    try:
        found = jax.eval_shape(problem.component, jax.ShapeDtypeStruct((), jnp.int32), x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"component(i, x0) of {type(problem).__name__} fails on x0 of the shapes {_shapes(x)}: {error}"
        ) from error
    if _shapes(found) != _shapes(x):
        raise ValueError(
            f"component(i, x0) of {type(problem).__name__} gives {_shapes(found)} for x0 of {_shapes(x)}: "
            "an operator's value has the structure and the shapes of its argument"
        )


def _shapes(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)

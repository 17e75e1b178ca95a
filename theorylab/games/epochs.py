"""Epochs: what stochastic methods on finite sums share. One step is one pass of updates over the components."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from ..engine.method import Method, hyperparameter, start
from ..numerics.checked import Key
from ..numerics.draws import normal
from ..numerics.lane_scan import lane_scan
from . import orders
from .schedules import requires, scaled

NOISE_SITES = ("none", "oracle_step", "oracle_epoch", "iterate")
"""Where smoothing noise enters: nowhere; each update's oracle value, drawn anew; each oracle value of an epoch, one
draw for all; or the iterate, at the epoch's end."""

Oracle = Callable[[PyTree[Array]], PyTree[Array]]


@runtime_checkable
class Game(Protocol):
    """A finite sum of n operators, each by its number."""

    @property
    def n(self) -> int: ...

    def component(self, i: Int[Array, ""], x: PyTree) -> PyTree: ...


class EpochState(eqx.Module):
    """The iterate and what an epoch hands to the next.

    **Arguments**: `x`, the iterate, a pytree; `memory`, what an update remembers beside it, or None; `kept` (n,), the
    permutation of the order `"once"`, or None; `updates`, their number so far, where a step size depends on it, or
    None; `sigma`, the noise level, where there is smoothing, or None.

    **Source**: derived here.

        >>> import jax.numpy as jnp
        >>> from theorylab.games.epochs import EpochState
        >>> EpochState(jnp.zeros(2)).kept is None
        True
    """

    x: PyTree[Array]
    memory: PyTree[Array] | None = None
    kept: Int[Array, " n"] | None = None
    updates: Int[Array, ""] | None = None
    sigma: Float[Array, ""] | None = None


def descend(x: PyTree[Array], step_size: float | Array, direction: PyTree[Array]) -> PyTree[Array]:
    r"""Move by $x - \gamma\, g$, on any pytree.

    **Arguments**: `x`, a pytree of arrays; `step_size` (); `direction`, like x.

    **Returns** a pytree like x.

    **Source**: derived here.

        >>> import jax.numpy as jnp
        >>> from theorylab.games.epochs import descend
        >>> float(descend(jnp.asarray(1.0), 0.5, jnp.asarray(4.0)))
        -1.0
    """
    return jax.tree.map(lambda leaf, g: leaf - step_size * g, x, direction)


def move(problem: Any, x: PyTree[Array], step_size: float | Array, direction: PyTree[Array]) -> PyTree[Array]:
    r"""Move by `descend`, then by the problem's proximal map, if any: $\operatorname{prox}_{\gamma}(x - \gamma g)$.

    **Arguments**: `problem`, with or without `prox(x, step)`; `x`, a pytree of arrays; `step_size` (); `direction`,
    like x.

    **Returns** a pytree like x.

    **Source**: derived here (the forward-backward step).

        >>> import jax.numpy as jnp, theorylab as tl
        >>> from theorylab.games.epochs import move
        >>> game = tl.games.FiniteSum(lambda i, x: x, 1)
        >>> float(move(game, jnp.asarray(1.0), 0.5, jnp.asarray(4.0)))
        -1.0
    """
    ahead = descend(x, step_size, direction)
    return problem.prox(ahead, step_size) if hasattr(problem, "prox") else ahead


def minibatch(problem: Any, indices: Int[Array, " b"], x: PyTree[Array]) -> PyTree[Array]:
    r"""Take the mean $\frac1b \sum_{i} F_i(x)$ of some components.

    **Arguments**: `problem`, with `component(i, x)`, and `minibatch(indices, x)` where it knows a faster way; `indices`
    (b,), int32; `x`, a pytree of arrays.

    **Returns** a pytree like x.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> from theorylab.games.epochs import minibatch
        >>> game = tl.games.FiniteSum(lambda i, x, c: c[i] * x, 4, data=jnp.arange(4.0))
        >>> float(minibatch(game, jnp.asarray([1, 3]), jnp.asarray(2.0)))
        4.0
    """
    if indices.shape[0] == 1:
        return problem.component(indices[0], x)
    if hasattr(problem, "minibatch"):
        return problem.minibatch(indices, x)
    values = jax.vmap(problem.component, (0, None))(indices, x)
    return jax.tree.map(lambda value: jnp.mean(value, axis=0), values)


def mean_operator(problem: Any, x: PyTree[Array]) -> PyTree[Array]:
    r"""Take the mean $F(x) = \frac1n \sum_i F_i(x)$, by the problem's `operator` where it has one.

    **Arguments**: `problem`, with `n` and `component(i, x)`; `x`, a pytree of arrays.

    **Returns** a pytree like x.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> from theorylab.games.epochs import mean_operator
        >>> game = tl.games.FiniteSum(lambda i, x, c: c[i] * x, 3, data=jnp.arange(3.0))
        >>> float(mean_operator(game, jnp.asarray(2.0)))
        2.0
    """
    if hasattr(problem, "operator"):
        return problem.operator(x)
    return minibatch(problem, jnp.arange(problem.n, dtype=jnp.int32), x)


def _optional(value: ArrayLike | None) -> Any:
    return None if value is None else hyperparameter(value)


class EpochMethod(Method):
    r"""A method whose step is one epoch: n updates under every order, 2n under `"flipflop"`.

    With minibatches an epoch still visits each component as often, in `ceil(n / batch_size)` updates, the last of them
    smaller where `batch_size` does not divide n. A subclass has its step sizes as fields, names them in `step_sizes`,
    and writes `update`. Smoothing adds $\gamma \sqrt n\, \sigma\, U$, U standard normal, to oracle values (which are
    multiplied by the step size afterwards) or to the iterate, at one of `NOISE_SITES`.

    **Source**: derived here; the noise: Emmanouilidis et al. (2026), "Shuffling the Data, Extrapolating the Step", its
    PreProcess.

        >>> import theorylab as tl
        >>> tl.games.Extragradient(0.1, 0.2, batch_size=4).order
        'reshuffle'
    """

    step_sizes: ClassVar[tuple[str, ...]] = ("step_size",)
    """The names of the fields that are step sizes."""
    samples: ClassVar[int] = 1
    """How many independent samples an update takes."""

    step_size: eqx.AbstractVar[Any]
    batch_size: int = eqx.field(static=True, kw_only=True, default=1, converter=lambda value: _batch_size(value))
    noise_site: str = eqx.field(static=True, kw_only=True, default="none", converter=lambda value: _noise_site(value))
    sigma: Float[Array, "*lanes"] | None = eqx.field(kw_only=True, default=None, converter=_optional)

    @property
    @abc.abstractmethod
    def order(self) -> orders.Order:
        """One of `orders.ORDERS`; a property here, so that it is not the second argument to type checkers."""

    @abc.abstractmethod
    def update(self, problem: Any, x: PyTree, memory: PyTree, oracles: tuple[Oracle, ...]) -> tuple[PyTree, PyTree]:
        """One update with one `x -> F_S(x)` for each of its samples S: the next iterate and memory."""

    def remember(self, problem: Any, x: PyTree[Array]) -> PyTree[Array] | None:
        """The memory before the first update."""
        del problem, x
        return None

    def scaled(self, factor: float | Array) -> "EpochMethod":
        """The same method with every step size multiplied by a factor."""
        return _with_step_sizes(self, {name: scaled(getattr(self, name), factor) for name in self.step_sizes})

    def at(self, updates: Int[Array, ""] | None, x: PyTree[Array]) -> "EpochMethod":
        """The method with the step sizes of one update, in the precision of x, where they follow a schedule."""
        dtype = jnp.result_type(*jax.tree.leaves(x))
        values = {
            name: jnp.asarray(step(jnp.asarray(updates, dtype)), dtype)
            for name in self.step_sizes
            if callable(step := getattr(self, name))
        }
        return _with_step_sizes(self, values)

    def init(self, problem: Any, key: Key, x0: PyTree | None = None) -> EpochState:
        """The state before the first epoch; the order `"once"` draws its permutation here."""
        key_x, key_order = jax.random.split(key)
        x = start(problem, key_x, x0)
        _check_component(problem, x)
        if self.batch_size > problem.n:
            raise ValueError(
                f"batch_size = {self.batch_size} exceeds the {problem.n} components of {type(problem).__name__}: pass "
                f"1 to {problem.n}"
            )
        follows = any(callable(getattr(self, name)) for name in self.step_sizes)
        return EpochState(
            x,
            self.remember(problem, x),
            orders.fixed(self.order, key_order, problem.n),
            jnp.zeros((), jnp.int32) if follows else None,
            noise_level(self, problem, x),
        )

    def step(self, problem: Any, state: EpochState, key: Key) -> EpochState:
        """One epoch, in the order that `key` draws."""
        blocks = orders.groups(self.order, key, problem.n, state.kept, batch_size=self.batch_size, samples=self.samples)
        # a key of its own, so that noise never shifts the order's draws
        key_noise = jax.random.fold_in(key, 1)
        epoch_noise = _normal(key_noise, state.x, ()) if self.noise_site in ("oracle_epoch", "iterate") else None
        carry = state.x, state.memory, state.updates
        for k, block in enumerate(blocks):
            noise = epoch_noise if self.noise_site == "oracle_epoch" else None
            if self.noise_site == "oracle_step":
                noise = _normal(jax.random.fold_in(key_noise, k), state.x, (len(block), self.samples))

            def one(carry, sample, noise=noise):
                x, memory, updates = carry
                indices, noise = (sample, noise) if self.noise_site != "oracle_step" else sample
                now = self.at(updates, x)
                x, memory = now.update(problem, x, memory, now.oracles(problem, indices, noise, state.sigma))
                return x, memory, None if updates is None else updates + 1

            carry = lane_scan(one, carry, (block, noise) if self.noise_site == "oracle_step" else block)
        x, memory, updates = carry
        if self.noise_site == "iterate":
            level = self.at(updates, x).level(problem, state.sigma)
            x = jax.tree.map(lambda leaf, unit: leaf + level * unit, x, epoch_noise)
        return EpochState(x, memory, state.kept, updates, state.sigma)

    def oracles(
        self, problem: Any, indices: Int[Array, " g"], noise: PyTree[Array] | None, sigma: Array | None
    ) -> tuple[Oracle, ...]:
        """What an update sees of the problem: for each of its samples the mean of its components, smoothed or not."""
        groups = indices.reshape(self.samples, -1)

        def oracle(s, x):
            value = minibatch(problem, groups[s], x)
            if noise is None:
                return value
            level = self.level(problem, sigma)
            own = noise if self.noise_site == "oracle_epoch" else jax.tree.map(lambda unit: unit[s], noise)
            return jax.tree.map(lambda leaf, unit: leaf + level * unit, value, own)

        return tuple(jax.tree_util.Partial(oracle, s) for s in range(self.samples))

    def level(self, problem: Any, sigma: Any) -> Array:
        r"""The standard deviation $\gamma \sqrt n\, \sigma$ of the smoothing noise."""
        return self.step_size * (float(np.sqrt(problem.n)) * sigma)

    def requires(self) -> Mapping[str, Array | bool]:
        """The step size is positive and finite, and schedules are what they themselves require."""
        found = {}
        for name in self.step_sizes:
            found |= requires(getattr(self, name))
        if not callable(step := self.step_size):
            sentence = (
                f"step_size = {step} must be positive and finite: `games.step_sizes` has the rules of the theorems"
            )
            found[sentence] = jnp.all(jnp.isfinite(step) & (step > 0))
        if (sigma := self.sigma) is not None:
            sentence = f"sigma = {sigma} must be finite and >= 0: it is the root of the mean of |F_i(x*)|^2"
            found[sentence] = jnp.all(jnp.isfinite(sigma) & (sigma >= 0))
        return found


def _with_step_sizes(method, values):
    return dataclasses.replace(method, **values) if values else method


def _batch_size(value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"batch_size = {value!r} must be an integer >= 1: how many components an update averages")
    return value


def _noise_site(value):
    if value not in NOISE_SITES:
        raise ValueError(f"noise_site = {value!r} is not one of {', '.join(map(repr, NOISE_SITES))}")
    return value


def noise_level(method: EpochMethod, problem: Any, x: PyTree[Array]) -> Float[Array, ""] | None:
    """sigma_*, given or the root of the mean of |F_i(x*)|^2, in the dtype of x."""
    if method.noise_site == "none":
        return None
    dtype = jnp.result_type(*jax.tree.leaves(x))
    if method.sigma is not None:
        return jnp.asarray(method.sigma, dtype)
    solution = getattr(problem, "solution", None)
    if solution is None:
        raise ValueError(
            f"noise_site = {method.noise_site!r} needs the noise level at the solution, which {type(problem).__name__} "
            "does not know: pass sigma=, the root of the mean of |F_i(x*)|^2"
        )
    values = jax.vmap(problem.component, (0, None))(jnp.arange(problem.n, dtype=jnp.int32), solution)
    squares = [jnp.sum(leaf**2) / problem.n for leaf in jax.tree.leaves(values)]
    return jnp.asarray(jnp.sqrt(sum(squares[1:], squares[0])), dtype)


def _normal(key, x, shape):
    leaves, structure = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    draws = [normal(k, (*shape, *leaf.shape), leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


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

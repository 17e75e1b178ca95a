"""Constraints and proximal terms: maps that a method applies after every move."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int, PyTree, ScalarLike

from ..engine.method import as_structure
from ..numerics.checked import Key
from .epochs import Game, descend, mean_operator


def box(lower: PyTree[ArrayLike], upper: PyTree[ArrayLike]) -> Callable:
    r"""Project onto $\{x : l \le x \le u\}$, entry by entry.

    **Arguments**: `lower` and `upper`, numbers, arrays like the leaves of x, or pytrees of them that are prefixes of x;
    an infinite bound is none.

    **Returns** a map `(x, step) -> x` on any pytree.

    **Raises** `ValueError` for a NaN among the bounds and for lower > upper.

    **Source**: derived here; on `optax.projections`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.games.constraints.box(-1.0, 1.0)(jnp.asarray([-3.0, 0.5, 2.0]), 1.0).tolist()
        [-1.0, 0.5, 1.0]
    """
    lower, upper = _floats(lower), _floats(upper)
    if jax.tree.structure(lower) == jax.tree.structure(upper):
        ordered = jax.tree.map(lambda low, high: low <= high, lower, upper)
        if not all(isinstance(leaf, Tracer) or leaf.all() for leaf in jax.tree.leaves(ordered)):
            raise ValueError(f"lower = {lower} must be at most upper = {upper}, entry by entry, and neither NaN")
    return jax.tree_util.Partial(_box, lower, upper)


def nonnegative() -> Callable:
    r"""Project onto $\{x : x \ge 0\}$.

    **Returns** a map `(x, step) -> x` on any pytree.

    **Source**: derived here; on `optax.projections`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.games.constraints.nonnegative()(jnp.asarray([-3.0, 0.5]), 1.0).tolist()
        [0.0, 0.5]
    """
    return jax.tree_util.Partial(_nonnegative)


def ball(radius: ScalarLike, centre: PyTree[ArrayLike] | None = None) -> Callable:
    r"""Project onto the Euclidean ball $\{x : |x - c| \le r\}$ of all that x holds.

    **Arguments**: `radius` r > 0, (); `centre` c, like x, or None for the origin.

    **Returns** a map `(x, step) -> x` on any pytree.

    **Raises** `ValueError` for a radius that is not positive and finite.

    **Source**: derived here; on `optax.projections`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.games.constraints.ball(10.0)(jnp.asarray([24.0, 32.0]), 1.0).tolist()
        [6.0, 8.0]
    """
    return jax.tree_util.Partial(_ball, _positive("radius", radius), None if centre is None else _floats(centre))


def simplex(scale: ArrayLike = 1.0) -> Callable:
    r"""Project onto the simplex $\{x \ge 0 : \sum_k x_k = s\}$ of all the entries that x holds.

    $x \mapsto \max(x - \tau, 0)$, with $\tau$ from the entries in decreasing order $x_{(1)} \ge x_{(2)} \ge \dots$: the
    largest of $\tau_k = (\sum_{j \le k} x_{(j)} - s) / k$. Differentiable where no entry is at the edge.

    **Arguments**: `scale` s > 0, ().

    **Returns** a map `(x, step) -> x` on any pytree of one dtype.

    **Raises** `ValueError` for a scale that is not positive and finite.

    **Source**: Held, Wolfe, Crowder (1974); checked against a search by bisection. Ours and not Optax's, which mixes
    precisions (optax 0.2.8).

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.games.constraints.simplex()(jnp.asarray([1.0, 0.5, -2.0]), 1.0).tolist()
        [0.75, 0.25, 0.0]
    """
    return jax.tree_util.Partial(_simplex, _positive("scale", scale))


def l1(weight: ScalarLike) -> Callable:
    r"""Take the proximal map of $\text{weight} \cdot |x|_1$, the soft threshold.

    $x \mapsto \operatorname{sign}(x) \max(|x| - \text{step} \cdot \text{weight}, 0)$.

    **Arguments**: `weight` > 0, ().

    **Returns** a map `(x, step) -> x` on any pytree.

    **Raises** `ValueError` for a weight that is not positive and finite.

    **Source**: the proximal map in closed form; checked against the subdifferential.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.games.constraints.l1(4.0)(jnp.asarray([-3.0, 0.5, 2.0]), 0.25).tolist()
        [-2.0, 0.0, 1.0]
    """
    return jax.tree_util.Partial(_l1, _positive("weight", weight))


class Constrained(eqx.Module):
    r"""A game with constraints or proximal terms: find x* with $0 \in F(x^\star) + \partial g(x^\star)$.

    For the projection onto a convex set $C$ this is the variational inequality $\langle F(x^\star), x - x^\star\rangle
    \ge 0$ for all $x \in C$. Methods apply `prox` after every move, with that move's step.

    **Arguments**: `game`, any problem; `constraint`, a map `(x, step) -> x` such as those of `games.constraints`, or a
    pytree of maps that is a prefix of x, such as `(simplex(), box(-1.0, 1.0))` for x = (u, v) or `{"u": simplex(),
    "v": None}`, with None where x is free (a projection takes no notice of the step); `solution`, x* of the constrained
    game where it is known: that of `game` is not taken over.

    **Raises** `ValueError` for a constraint that is no function, and, at the first use, for one that is no prefix of x
    or does not give what it was given.

    **Source**: derived here; checked on matrix games against a linear programme.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> bilinear = tl.games.min_max(lambda u, v, i: u @ v, 1, start=(jnp.asarray([3.0, 1.0]), jnp.ones(2)))
        >>> game = tl.games.Constrained(bilinear, (tl.games.constraints.simplex(), None))
        >>> [leaf.tolist() for leaf in game.initial(jax.random.key(0))]
        [[1.0, 0.0], [1.0, 1.0]]
    """

    game: Any
    constraint: PyTree[Callable | None]
    solution: PyTree[Array] | None

    def __init__(self, game: Game, constraint: PyTree, *, solution: PyTree[ArrayLike] | None = None):
        for leaf in jax.tree.leaves(constraint, is_leaf=_is_map):
            if not _is_map(leaf):
                raise ValueError(
                    f"constraint holds {leaf!r}, which is no function (x, step) -> x: give one, such as "
                    "constraints.box(0.0, 1.0), or None where x is free"
                )
        self.game = game
        self.constraint = jax.tree.map(
            lambda leaf: None if leaf is None else as_structure(leaf), constraint, is_leaf=_is_map
        )
        self.solution = jax.tree.map(jnp.asarray, solution)

    @property
    def n(self) -> int:
        """The number of components."""
        return self.game.n

    def component(self, i: int | Int[Array, ""], x: PyTree[Array]) -> PyTree[Array]:
        """F_i(x), a pytree like x."""
        return self.game.component(i, x)

    def operator(self, x: PyTree[Array]) -> PyTree[Array]:
        """The mean F(x), a pytree like x."""
        return mean_operator(self.game, x)

    @property
    def minibatch(self) -> Callable:
        """The game's own `(indices, x) -> mean of those components`; no attribute where the game has none."""
        return self.game.minibatch

    @property
    def whole(self) -> Callable:
        """The game's own `x -> x with what no method moves`; no attribute where the game has none."""
        return self.game.whole

    def initial(self, key: Key) -> PyTree[Array]:
        """The game's own, projected; a proximal term is left out of it (its step is 0)."""
        return self.prox(self.game.initial(key), 0.0)

    def prox(self, x: PyTree[Array], step: float | Float[Array, ""]) -> PyTree[Array]:
        """Each part of x under its map, a pytree like x."""
        try:
            found = jax.tree.map(
                lambda move, part: part if move is None else move(part, step), self.constraint, x, is_leaf=_is_map
            )
        except ValueError as error:
            raise ValueError(f"constraint does not fit x, {_shapes(x)}: {error}") from error
        if _shapes(found) != _shapes(x):
            raise ValueError(
                f"constraint gives {_shapes(found)} for x of {_shapes(x)}: a map gives what it was given, moved"
            )
        return found


def natural_residual(problem: Game, x: PyTree[ArrayLike], step: float | Float[Array, ""] = 1.0) -> Float[Array, ""]:
    r"""Measure how far x is from a solution: $|x - \operatorname{prox}(x - \gamma F(x), \gamma)| / \gamma$.

    It is zero exactly at the solutions, whatever $\gamma$ is, and |F(x)| where there is no constraint. For a stop:
    `until=tl.below(lambda problem, state: tl.games.natural_residual(problem, state.x), 1e-8)`.

    **Arguments**: `problem`, with `n`, `component(i, x)` and, where it is constrained, `prox(x, step)`; `x`, a pytree
    of arrays; `step` $\gamma > 0$, ().

    **Returns** (), in the dtype of x.

    **Source**: the natural map of Facchinei and Pang (2003), chapter 1; zero at solutions, positive elsewhere: tested.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.FiniteSum(lambda i, x: x - 3.0, 1)
        >>> boxed = tl.games.Constrained(game, tl.games.constraints.box(0.0, 1.0))
        >>> float(tl.games.natural_residual(boxed, jnp.asarray(1.0))), float(tl.games.natural_residual(game, 1.0))
        (0.0, 2.0)
    """
    x = jax.tree.map(jnp.asarray, x)
    moved = descend(x, step, mean_operator(problem, x))
    prox = getattr(problem, "prox", None)
    if prox is not None:
        moved = prox(moved, step)
    gap = jax.tree.map(jnp.subtract, x, moved)
    return optax.tree.norm(gap) / step


def _box(lower, upper, x, step):
    del step
    lower, upper = jax.tree.broadcast(lower, x), jax.tree.broadcast(upper, x)
    lower, upper = (jax.tree.map(_cast, bound, x) for bound in (lower, upper))
    return optax.projections.projection_box(x, lower, upper)


def _nonnegative(x, step):
    del step
    return optax.projections.projection_non_negative(x)


def _ball(radius, centre, x, step):
    del step
    radius = _cast(radius, jax.tree.leaves(x)[0])
    if centre is None:
        return optax.projections.projection_l2_ball(x, radius)
    centre = jax.tree.map(_cast, centre, x)
    return jax.tree.map(
        jnp.add, centre, optax.projections.projection_l2_ball(jax.tree.map(jnp.subtract, x, centre), radius)
    )


def _simplex(scale, x, step):
    del step
    values, unravel = ravel_pytree(x)
    # from the largest entry down, so that sums of large entries do not hide the scale
    values = values - jnp.max(values)
    count = jnp.arange(1, len(values) + 1).astype(values.dtype)
    thresholds = (jnp.cumsum(jnp.sort(values, descending=True)) - _cast(scale, values)) / count
    return unravel(jax.nn.relu(values - jnp.max(thresholds)))


def _l1(weight, x, step):
    return jax.tree.map(lambda leaf: jnp.sign(leaf) * jax.nn.relu(jnp.abs(leaf) - step * _cast(weight, leaf)), x)


def _cast(value, like):
    return value.astype(like.dtype)


def _floats(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float, leaf)), tree)


def _positive(name, value):
    if not isinstance(value, Tracer) and not 0 < float(value) < float("inf"):
        raise ValueError(f"{name} = {value} must be positive and finite")
    return _floats(value)


def _is_map(leaf):
    return leaf is None or callable(leaf)


def _shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), tree)

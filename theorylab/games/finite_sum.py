"""A game as its user writes it: n component operators on any pytree, or one scalar function of two players."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from ..engine.method import as_structure
from ..engine.modules import Rest, parted
from ..numerics.checked import Key, takes
from ..numerics.draws import normal


class FiniteSum(eqx.Module):
    r"""A variational inequality $F(x^\star) = 0$ with $F = \frac1n \sum_i F_i$, from its component operators.

    For a game $\min_u \max_v f(u, v)$ with $f = \frac1n \sum_i f_i$ the components are
    $F_i = (\nabla_u f_i, -\nabla_v f_i)$, which `min_max` makes from f.

    **Arguments**: `component`, a function `(i, x) -> F_i(x)`, with i an int32 scalar and F_i(x) like x in structure,
    shapes and dtypes (it is traced: no branch on i or x); `n >= 1`, the number of components; `data`, arrays that
    the components read: when given, the function is called `component(i, x, data)`, and the data are leaves instead of
    constants; `solution`, x* where it is known; `start`, where methods begin. Of Equinox modules in `start` the methods
    move the floating arrays (F_i(x) has None for the rest), and the components receive them whole.

    **Raises** `ValueError` for n < 1 and for a component that takes its arguments in another order, `TypeError` for one
    that takes others.

    **Source**: derived here (a container); its methods' tests run it against `AffineGame`.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> targets = jnp.asarray([1.0, 2.0, 6.0])
        >>> game = tl.games.FiniteSum(lambda i, x, c: x - c[i], 3, data=targets, solution=jnp.asarray(3.0))
        >>> float(game.operator(jnp.asarray(3.0)))
        0.0
    """

    function: Callable = eqx.field(converter=as_structure)
    n: int = eqx.field(static=True)
    data: PyTree[Array] | None
    solution: PyTree[Array] | None
    start: PyTree[Array] | None
    rest: Rest | None

    def __init__(
        self,
        component: Callable,
        n: int,
        *,
        data: PyTree[ArrayLike] | None = None,
        solution: PyTree[ArrayLike] | None = None,
        start: PyTree | None = None,
    ):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n = {n!r} must be an integer >= 1: pass the number of components")
        called = ("i", "x") if data is None else ("i", "x", "data")
        _check_order("component", component, called, "a payoff (u, v, i) of two players goes to min_max")
        self.function = component
        self.n = n
        start, self.rest = parted(start, "start")
        self.data, self.solution, self.start = (jax.tree.map(jnp.asarray, tree) for tree in (data, solution, start))

    def component(self, i: int | Int[Array, ""], x: PyTree[Array]) -> PyTree[Array]:
        """F_i(x), a pytree like x."""
        x = self.whole(x)
        return self.function(i, x) if self.data is None else self.function(i, x, self.data)

    def whole(self, x: PyTree) -> PyTree:
        """x with what no method moves of the modules that `start` holds."""
        return x if self.rest is None else self.rest(x)

    def operator(self, x: PyTree[Array]) -> PyTree[Array]:
        """The mean F(x), a pytree like x."""
        values = jax.vmap(self.component, (0, None))(jnp.arange(self.n, dtype=jnp.int32), x)
        return jax.tree.map(lambda value: jnp.mean(value, axis=0), values)

    def initial(self, key: Key) -> PyTree[Array]:
        """Where a method begins: `start`, or else the solution plus a standard normal draw in each entry.

        **Raises** `ValueError` when the game has neither.
        """
        if self.start is not None:
            return self.start
        if self.solution is None:
            raise ValueError(
                "x0 is None and this FiniteSum has neither start nor solution: pass x0, or start= to FiniteSum"
            )
        leaves, structure = jax.tree.flatten(self.solution)
        keys = jax.random.split(key, len(leaves))
        draws = [leaf + normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, draws)


class descent_ascent(eqx.Module):
    r"""The operator of $\min_u \max_v f(u, v)$ by automatic differentiation.

    It takes $x = (u, v)$ to $F(x) = (\nabla_u f, -\nabla_v f)$, against which both players go.

    **Arguments**: `f`, a function `(u, v, *args) -> scalar`; u and v are any pytrees, Equinox modules among them, whose
    floating-point arrays are the variables (everything else in them gets None). The operator is called
    `operator((u, v), *args)`.

    **Raises** `ValueError`, when called and before anything is compiled, for an x that is no pair and an f that gives
    no scalar.

    **Source**: derived here; checked against hand-written operators.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> operator = tl.games.descent_ascent(lambda u, v, c: c * u * v)
        >>> [float(value) for value in operator((jnp.asarray(2.0), jnp.asarray(5.0)), 3.0)]
        [15.0, -6.0]
    """

    f: Callable = eqx.field(converter=as_structure)

    def __call__(self, x: Any, *args: Any) -> tuple[PyTree, PyTree]:
        """(grad_u f, -grad_v f), like x."""
        if not (isinstance(x, tuple) and len(x) == 2):
            raise ValueError(f"x is a {type(x).__name__}: pass the pair (u, v) of the two players' variables")
        descent, ascent = eqx.filter_grad(self._value)(x, args)
        return descent, jax.tree.map(jnp.negative, ascent)

    def _value(self, x, args):
        value = self.f(*x, *args)
        if jnp.shape(value) != ():
            raise ValueError(f"f(u, v, ...) has the shape {jnp.shape(value)}: return a scalar, such as a mean")
        return value


def min_max(
    f: Callable,
    n: int,
    *,
    data: PyTree[ArrayLike] | None = None,
    solution: tuple[PyTree[ArrayLike], PyTree[ArrayLike]] | None = None,
    start: tuple[PyTree, PyTree] | None = None,
) -> FiniteSum:
    r"""Make the game $\min_u \max_v \frac1n \sum_i f_i(u, v)$ of a scalar function, by automatic differentiation.

    Its components are $F_i(x) = (\nabla_u f_i, -\nabla_v f_i)$ at $x = (u, v)$, u and v any pytrees.

    **Arguments**: `f`, a function `(u, v, i) -> f_i(u, v)`, a scalar, with i an int32 scalar (it is traced: no branch
    on any of them); `n >= 1`, the number of components; `data`, arrays that f reads: when given, f is called
    `f(u, v, i, data)`, and the data are leaves instead of constants; `solution`, the pair x* where it is known;
    `start`, the pair where methods begin, of networks for instance: `solution.value` is a pair of such again.

    **Returns** a `FiniteSum` on pairs (u, v).

    **Raises** `ValueError` for n < 1, for an f that takes its arguments in another order, and at the first use, before
    anything is compiled, for an f that gives no scalar; `TypeError` for an f that takes others.

    **Source**: derived here; checked against `AffineGame` and against hand-written operators.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.min_max(lambda u, v, i, c: u * v - c[i] * v, 2, data=jnp.asarray([1.0, 3.0]))
        >>> [float(leaf) for leaf in game.operator((jnp.asarray(5.0), jnp.asarray(7.0)))]
        [7.0, -3.0]
    """
    game = FiniteSum(_Component(descent_ascent(f)), n, data=data, solution=solution, start=start)
    called = ("u", "v", "i") if data is None else ("u", "v", "i", "data")
    _check_order("f", f, called, "a component (i, x) of an operator goes to FiniteSum")
    return game


def squared_distance(problem: Any, x: PyTree[Array]) -> Float[Array, ""]:
    r"""Take $|x - x^\star|^2$ over all that x holds, for records and stops.

    **Arguments**: `problem`, with a `solution`; `x`, like it.

    **Returns** (), in the dtype of x.

    **Raises** `ValueError` where the solution is not known.

    **Source**: the definition.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.FiniteSum(lambda i, x: x, 1, solution=(jnp.asarray(1.0), jnp.zeros(2)))
        >>> float(tl.games.squared_distance(game, (jnp.asarray(3.0), jnp.asarray([0.0, 1.0]))))
        5.0
    """
    if (solution := getattr(problem, "solution", None)) is None:
        raise ValueError(
            f"problem is a {type(problem).__name__} and has no solution: give it one, or measure"
            " `games.natural_residual`, which needs none"
        )
    squares = [jnp.sum((leaf - end) ** 2) for leaf, end in zip(*map(jax.tree.leaves, (x, solution)), strict=True)]
    return sum(squares[1:], squares[0])


def _check_order(name, function, called, cure):
    """An error for a function of another number of arguments, or that has its index in another place."""
    takes(name, function, *called, cure=cure)
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return
    place = names.index("i") if "i" in names else called.index("i")
    if place != called.index("i"):
        raise ValueError(
            f"{name} is a function of ({', '.join(names)}), and is called with ({', '.join(called)}): put the index i"
            f" into its place; {cure}"
        )


class _Component(eqx.Module):
    """An operator of x and i as a component of i and x."""

    operator: descent_ascent

    def __call__(self, i, x, *data):
        return self.operator(x, i, *data)

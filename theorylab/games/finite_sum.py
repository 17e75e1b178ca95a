"""A game as its user writes it: n component operators on any pytree."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, PRNGKeyArray, PyTree


def _leaves_stay(component: Any) -> Any:
    # a plain function is no array: as a Partial it is part of the structure, and the game passes through jit as it is
    return component if isinstance(component, eqx.Module | jax.tree_util.Partial) else jax.tree_util.Partial(component)


class FiniteSum(eqx.Module):
    r"""A variational inequality $F(x^\star) = 0$ with $F = \frac1n \sum_i F_i$, from its component operators.

    For a game $\min_u \max_v f(u, v)$ with $f = \frac1n \sum_i f_i$ the components are
    $F_i = (\nabla_u f_i, -\nabla_v f_i)$.

    **Arguments**: `component`, a function `(i, x) -> F_i(x)`, with i an int32 scalar and F_i(x) like x in structure,
    shapes and dtypes (it is traced: no branch on i or x); `n >= 1`, the number of components; `data`, arrays that
    the components read: when given, the function is called `component(i, x, data)`, and the data are leaves instead of
    constants; `solution`, x* where it is known; `start`, where methods begin.

    **Raises** `ValueError` for n < 1.

    **Source**: derived here (a container); its methods' tests run it against `AffineGame`.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> targets = jnp.asarray([1.0, 2.0, 6.0])
        >>> game = tl.games.FiniteSum(lambda i, x, c: x - c[i], 3, data=targets, solution=jnp.asarray(3.0))
        >>> float(game.operator(jnp.asarray(3.0)))
        0.0
    """

    function: Callable = eqx.field(converter=_leaves_stay)
    n: int = eqx.field(static=True)
    data: PyTree[Array] | None
    solution: PyTree[Array] | None
    start: PyTree[Array] | None

    def __init__(
        self,
        component: Callable,
        n: int,
        *,
        data: PyTree[ArrayLike] | None = None,
        solution: PyTree[ArrayLike] | None = None,
        start: PyTree[ArrayLike] | None = None,
    ):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n = {n!r} must be an integer >= 1: pass the number of components")
        self.function = component
        self.n = n
        self.data, self.solution, self.start = (jax.tree.map(jnp.asarray, tree) for tree in (data, solution, start))

    def component(self, i: int | Int[Array, ""], x: PyTree[Array]) -> PyTree[Array]:
        """F_i(x), a pytree like x."""
        return self.function(i, x) if self.data is None else self.function(i, x, self.data)

    def operator(self, x: PyTree[Array]) -> PyTree[Array]:
        """The mean F(x), a pytree like x."""
        values = jax.vmap(self.component, (0, None))(jnp.arange(self.n, dtype=jnp.int32), x)
        return jax.tree.map(lambda value: jnp.mean(value, axis=0), values)

    def initial(self, key: PRNGKeyArray) -> PyTree[Array]:
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
        draws = [leaf + jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, draws)

"""Affine games F_i(x) = A_i x + b_i: the ones whose runs can be predicted exactly."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int

from ..numerics.arrays import floating
from ..numerics.checked import Key
from ..numerics.linalg import matvec


class AffineGame(eqx.Module):
    r"""The finite sum of affine operators $F_i(x) = A_i x + b_i$, with its solution $\bar A x^\star = -\bar b$.

    **Arguments**: `matrices` (n, d, d) and `offsets` (n, d), of one floating dtype; `solution` (d,), only where the
    mean matrix is singular or x* is known better than a linear solve gives it. Under a JAX transformation the shapes
    are checked and the values are not.

    **Raises** `ValueError` on wrong shapes, no components, dtypes that differ, entries that are not finite, a singular
    mean matrix without a `solution`, and a `solution` that does not solve the mean system to rounding.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, the affine class.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[3.0]]]), jnp.asarray([[2.0], [-6.0]]))
        >>> game.n, game.d, game.solution.tolist()
        (2, 1, [1.0])
    """

    matrices: Float[Array, "*lanes n d d"]
    offsets: Float[Array, "*lanes n d"]
    solution: Float[Array, "*lanes d"]

    def __init__(
        self,
        matrices: ArrayLike | Sequence,
        offsets: ArrayLike | Sequence,
        solution: ArrayLike | Sequence | None = None,
    ):
        matrices, offsets = floating(matrices), floating(offsets)
        _check_shapes(matrices, offsets)
        given = None if solution is None else jnp.asarray(solution, matrices.dtype)
        if given is not None and given.shape != offsets.shape[1:]:
            raise ValueError(f"solution has the shape {given.shape}: pass one of shape {offsets.shape[1:]}")
        if any(isinstance(leaf, Tracer) for leaf in (matrices, offsets, given)):
            found = jnp.linalg.solve(jnp.mean(matrices, axis=0), -jnp.mean(offsets, axis=0)) if given is None else given
        else:
            found = jnp.asarray(_checked_solution(matrices, offsets, given), matrices.dtype)
        self.matrices, self.offsets, self.solution = matrices, offsets, found

    @property
    def n(self) -> int:
        """The number of components."""
        return self.offsets.shape[-2]

    @property
    def d(self) -> int:
        """The dimension of x."""
        return self.offsets.shape[-1]

    def component(self, i: int | Int[Array, ""], x: Float[Array, " d"]) -> Float[Array, " d"]:
        """F_i(x) = A_i x + b_i, (d,); lanes of x that share i become one matrix product."""
        matrix = lax.dynamic_index_in_dim(self.matrices, i, keepdims=False)
        return matvec(matrix, x) + lax.dynamic_index_in_dim(self.offsets, i, keepdims=False)

    def minibatch(self, indices: Int[Array, " b"], x: Float[Array, " d"]) -> Float[Array, " d"]:
        """The mean of some components, (d,): their matrices are averaged first, so that lanes multiply one matrix."""
        return matvec(jnp.mean(self.matrices[indices], axis=0), x) + jnp.mean(self.offsets[indices], axis=0)

    def operator(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """The mean F(x), (d,)."""
        return matvec(jnp.mean(self.matrices, axis=0), x) + jnp.mean(self.offsets, axis=0)

    def initial(self, key: Key) -> Float[Array, " d"]:
        """The solution plus a standard normal draw, (d,)."""
        return self.solution + jax.random.normal(key, self.solution.shape, self.solution.dtype)


def _check_shapes(matrices, offsets):
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise ValueError(f"matrices has the shape {matrices.shape}: pass (n, d, d) with n >= 1 components and d >= 1")
    if offsets.shape != matrices.shape[:2]:
        raise ValueError(
            f"offsets has the shape {offsets.shape}: pass {matrices.shape[:2]} = (n, d), one for each of the matrices"
        )
    if matrices.dtype != offsets.dtype:
        raise ValueError(f"offsets is {offsets.dtype} and matrices {matrices.dtype}: give both one dtype")


def _checked_solution(matrices, offsets, solution):
    for name, values in (("matrices", matrices), ("offsets", offsets), ("solution", solution)):
        if values is not None and not np.all(np.isfinite(values)):
            where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
            raise ValueError(f"{name}{list(where)} = {values[where]} is not finite: remove or repair that entry")
    eps = float(jnp.finfo(matrices.dtype).eps)
    mean, offset = np.mean(np.asarray(matrices, float), axis=0), np.mean(np.asarray(offsets, float), axis=0)
    if solution is None:
        values = np.linalg.svd(mean, compute_uv=False)
        if values[-1] <= len(mean) * eps * values[0]:
            raise ValueError(
                f"matrices have a singular mean (singular values from {values[-1]:.1e} to {values[0]:.1e}), so the "
                "solution is not unique: pass solution=, a point with F(solution) = 0, or add curvature"
            )
        return np.linalg.solve(mean, -offset)
    exact = np.asarray(solution, float)
    residual = np.linalg.norm(mean @ exact + offset)
    # a thousand roundings: what a careful solve in the game's own precision leaves
    scale = np.linalg.norm(mean) * np.linalg.norm(exact) + np.abs(np.asarray(offsets, float)).max()
    if residual > 1e3 * eps * scale:
        raise ValueError(
            f"solution has the residual |F(solution)| = {residual:.1e}, above rounding ({1e3 * eps * scale:.1e}): pass "
            "a point that solves the mean system, or leave it out"
        )
    return exact

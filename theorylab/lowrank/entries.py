"""Measurements that are entries of the matrix: some of them, as in completion, or all."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..numerics.checked import Key, Numbers
from .sensing import Link, Sensing, build, count, pair


class EntrySampling(Sensing):
    """Single entries of the matrix, as in matrix completion: drawn without replacement, or given.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `measurements` m <= n1 n2. Given places go to
    `EntrySampling.from_indices(rows, columns, shape)`, integers (m,) each; the same entry may be there twice.

    **Raises** `ValueError` for a shape that is not two positive integers, m out of range, and indices that differ in
    number or lie outside the matrix.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> operator = tl.lowrank.EntrySampling.from_indices([0, 1], [1, 0], (2, 2))
        >>> operator.apply(jnp.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [2.0, 3.0]
    """

    rows: Int[Array, "*lanes m"]
    columns: Int[Array, "*lanes m"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, key: Key, shape: tuple[int, int], measurements: int):
        n1, n2 = pair(shape)
        if count(measurements) > n1 * n2:
            raise ValueError(
                f"measurements = {measurements} exceeds the {n1 * n2} entries of an {n1} x {n2} matrix: pass no more"
            )
        places = jax.random.choice(key, n1 * n2, (measurements,), replace=False).astype(jnp.int32)
        self.rows, self.columns, self.shape = places // n2, places % n2, (n1, n2)

    @classmethod
    def from_indices(cls, rows: Numbers, columns: Numbers, shape: tuple[int, int]) -> "EntrySampling":
        """Build the operator that reads the entries (rows[k], columns[k])."""
        n1, n2 = pair(shape)
        for name, index in (("rows", rows), ("columns", columns)):
            if not jnp.issubdtype(jnp.asarray(index).dtype, jnp.integer):
                raise TypeError(f"{name} must be integers, the indices of entries, got {jnp.asarray(index).dtype}")
        rows, columns = jnp.asarray(rows, jnp.int32), jnp.asarray(columns, jnp.int32)
        if rows.ndim != 1 or rows.shape != columns.shape or rows.size == 0:
            raise ValueError(
                f"rows has the shape {rows.shape} and columns {columns.shape}: pass two vectors of one length >= 1"
            )
        for name, index, n in (("rows", rows, n1), ("columns", columns, n2)):
            if not isinstance(index, Tracer) and not (int(jnp.min(index)) >= 0 and int(jnp.max(index)) < n):
                raise ValueError(
                    f"{name} goes from {jnp.min(index)} to {jnp.max(index)}: pass indices from 0 to {n - 1}"
                )
        return build(cls, rows=rows, columns=columns, shape=(n1, n2))

    @property
    def measurements(self) -> int:
        """m."""
        return self.rows.shape[-1]

    def gain(self) -> Float[Array, ""]:
        """1 / (n1 n2), ()."""
        return jnp.asarray(1 / (self.shape[0] * self.shape[1]))

    def apply(self, X: Float[Array, "n1 n2"]) -> Float[Array, " m"]:
        """Read the entries of X, (m,)."""
        return X[self.rows, self.columns]

    def adjoint(self, y: Float[Array, " m"]) -> Float[Array, "n1 n2"]:
        """Put the y_k at their places, zero elsewhere."""
        return jnp.zeros(self.shape, y.dtype).at[self.rows, self.columns].add(y)

    def apply_factors(self, L: Float[Array, "n1 rank"], R: Float[Array, "n2 rank"]) -> Float[Array, " m"]:
        """Multiply rows of L and R, (m,)."""
        return jnp.sum(L[self.rows] * R[self.columns], axis=1)

    def factor_gradients(
        self, L: Float[Array, "n1 rank"], R: Float[Array, "n2 rank"], observations: Float[Array, " m"], link: Link
    ) -> tuple[Float[Array, " m"], Float[Array, "n1 rank"], Float[Array, "n2 rank"]]:
        """Compute the residual and (S R, S' L) through the sampled rows of L and R alone."""
        of_left, of_right = L[self.rows], R[self.columns]
        residual = jnp.sum(of_left * of_right, axis=1) - observations
        weights = link(residual)[:, None]
        of_rows = jnp.zeros_like(L).at[self.rows].add(weights * of_right)
        return residual, of_rows, jnp.zeros_like(R).at[self.columns].add(weights * of_left)


class IdentitySensing(Sensing):
    """All entries, as in robust principal component analysis: m = n1 n2, in row order.

    **Arguments**: `shape` (n1, n2).

    **Raises** `ValueError` for a shape that is not two positive integers.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> operator = tl.lowrank.IdentitySensing((2, 2))
        >>> operator.adjoint(jnp.asarray([1.0, 2.0, 3.0, 4.0])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """

    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int]):
        self.shape = pair(shape)

    @property
    def measurements(self) -> int:
        """n1 n2."""
        return self.shape[0] * self.shape[1]

    def gain(self) -> Float[Array, ""]:
        """1 / (n1 n2), ()."""
        return jnp.asarray(1 / self.measurements)

    def apply(self, X: Float[Array, "n1 n2"]) -> Float[Array, " m"]:
        """Read the entries of X in row order, (m,)."""
        return X.reshape(-1)

    def adjoint(self, y: Float[Array, " m"]) -> Float[Array, "n1 n2"]:
        """Return the same numbers as a matrix."""
        return y.reshape(self.shape)

"""Linear measurements of a matrix, y_k = <A_k, X>: what all of them share, dense, rank-one, and any linear map."""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float

from ..engine.method import as_structure
from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers
from ..numerics.linalg import matvec, vecmat

Link = Callable[[Array], Array]


class Sensing(eqx.Module):
    r"""m linear measurements $\mathcal A(X)_k = \langle A_k, X\rangle$ of an (n1, n2) matrix.

    One's own: write `shape`, `measurements`, `apply` and `adjoint`; the rest follows, and is worth writing where the
    factors of X = L R' save work. Entries of A_k have variance one by custom, and losses carry the 1/m.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> operator = tl.lowrank.IdentitySensing((2, 3))
        >>> isinstance(operator, tl.lowrank.Sensing), operator.measurements
        (True, 6)
    """

    shape: eqx.AbstractVar[tuple[int, int]]
    measurements: eqx.AbstractVar[int]

    @abc.abstractmethod
    def apply(self, X: Float[Array, "n1 n2"]) -> Float[Array, " m"]:
        """Measure <A_k, X>, (m,)."""

    @abc.abstractmethod
    def adjoint(self, y: Float[Array, " m"]) -> Float[Array, "n1 n2"]:
        """Sum y_k A_k, (n1, n2): the exact transpose of `apply`."""

    def gain(self) -> Float[Array, ""]:
        r"""Estimate the mean square entry of the $A_k$, ().

        About one for Gaussian ones, and $\mathcal A^* \mathcal A$ is about m times it. Here it comes from the adjoint
        of eight random sign vectors: the mean of $|\mathcal A^* \epsilon|^2$ is the sum of squares of all entries.
        """
        signs = jax.random.rademacher(jax.random.key(0), (8, self.measurements), jnp.result_type(float))
        squares = lax.map(lambda sign: jnp.mean(self.adjoint(sign) ** 2), signs)
        return jnp.mean(squares) / self.measurements

    def apply_factors(self, L: Float[Array, "n1 rank"], R: Float[Array, "n2 rank"]) -> Float[Array, " m"]:
        """Measure L R', (m,)."""
        return self.apply(L @ R.T)

    def factor_gradients(
        self, L: Float[Array, "n1 rank"], R: Float[Array, "n2 rank"], observations: Float[Array, " m"], link: Link
    ) -> tuple[Float[Array, " m"], Float[Array, "n1 rank"], Float[Array, "n2 rank"]]:
        """Compute the residual z = apply(L R') - observations, and (S R, S' L) with S = adjoint(link(z))."""
        residual = self.apply_factors(L, R) - observations
        S = self.adjoint(link(residual))
        return residual, S @ R, S.T @ L


class GaussianSensing(Sensing):
    r"""Dense measurements with independent $N(0, 1)$ entries, or with any given matrices.

    Row k is drawn from `fold_in(key, k)`, on the device and in place, so that the only copy in memory is the operator
    itself, and more measurements of one key begin with the same ones. An operator sharded by rows stays so.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `measurements` m. Given matrices (m, n1, n2) of a floating
    dtype go to `GaussianSensing.from_matrices(A)`.

    **Raises** `ValueError` for a shape that is not two positive integers, m < 1, and matrices that are not (m, n1, n2)
    or not finite.

    **Source**: derived here; the ensemble of Giampouras, Cai, Vidal (2025), arXiv 2410.16826, whose entries carry a
    further 1/m that here stands in the loss.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> tl.lowrank.GaussianSensing(jax.random.key(0), (3, 2), 5).matrices.shape
        (5, 3, 2)
        >>> operator = tl.lowrank.GaussianSensing.from_matrices(jnp.ones((1, 2, 2)))
        >>> operator.apply(jnp.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [10.0]
    """

    rows: Float[Array, "*lanes m entries"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, key: Key, shape: tuple[int, int], measurements: int):
        self.shape = pair(shape)
        self.rows = _normal_rows(key, self.shape[0] * self.shape[1], count(measurements))

    @classmethod
    def from_matrices(cls, A: Numbers) -> "GaussianSensing":
        """Build the operator with the given matrices (m, n1, n2)."""
        A = finite("A", A, "(m, n1, n2)", 3)
        return build(cls, rows=A.reshape(len(A), -1), shape=A.shape[1:])

    @property
    def matrices(self) -> Float[Array, "*lanes m n1 n2"]:
        """The A_k, (m, n1, n2); outside of a compiled program a second copy of them."""
        return self.rows.reshape(*self.rows.shape[:-1], *self.shape)

    @property
    def measurements(self) -> int:
        """m."""
        return self.rows.shape[-2]

    def gain(self) -> Float[Array, ""]:
        """Compute the mean square entry, ()."""
        return _mean_square(self.rows)

    def apply(self, X: Float[Array, "n1 n2"]) -> Float[Array, " m"]:
        """Measure <A_k, X>, (m,); lanes of X become one matrix product."""
        return matvec(self.rows, X.reshape(-1))

    def adjoint(self, y: Float[Array, " m"]) -> Float[Array, "n1 n2"]:
        """Sum y_k A_k; lanes of y become one matrix product."""
        return vecmat(y, self.rows).reshape(self.shape)


class RankOneSensing(Sensing):
    r"""Measurements $\langle a_k b_k^T, X\rangle = a_k^T X b_k$ with standard normal vectors, or with given ones.

    Matrices are never formed: a step on factors costs 8 m n rank operations and reads m (n1 + n2) numbers, where dense
    measurements cost 4 m n1 n2 and read m n1 n2.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `measurements` m. Given vectors (m, n1) and (m, n2) go to
    `RankOneSensing.from_vectors(a, b)`.

    **Raises** `ValueError` for a shape that is not two positive integers, m < 1, and vectors that are not finite or
    differ in number or dtype.

    **Source**: derived here; checked against `GaussianSensing` with the matrices formed.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> a, b = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[0.0, 3.0]])
        >>> tl.lowrank.RankOneSensing.from_vectors(a, b).apply(jnp.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [30.0]
    """

    left: Float[Array, "*lanes n1 m"]
    right: Float[Array, "*lanes n2 m"]

    def __init__(self, key: Key, shape: tuple[int, int], measurements: int):
        n1, n2 = pair(shape)
        key_left, key_right = jax.random.split(key)
        # vectors as columns: projections then come with the measurements in the fast axis, at twice the speed
        self.left = _normal_rows(key_left, n1, count(measurements)).T
        self.right = _normal_rows(key_right, n2, measurements).T

    @classmethod
    def from_vectors(cls, a: Numbers, b: Numbers) -> "RankOneSensing":
        """Build the operator with the given vectors a_k (m, n1) and b_k (m, n2), one a row."""
        left, right = finite("a", a, "(m, n1)", 2), finite("b", b, "(m, n2)", 2)
        if len(left) != len(right) or left.dtype != right.dtype:
            raise ValueError(
                f"a is {left.dtype} {left.shape} and b {right.dtype} {right.shape}: pass as many of both, of one dtype"
            )
        return build(cls, left=left.T, right=right.T)

    @property
    def shape(self) -> tuple[int, int]:
        """(n1, n2)."""
        return self.left.shape[-2], self.right.shape[-2]

    @property
    def measurements(self) -> int:
        """m."""
        return self.left.shape[-1]

    def gain(self) -> Float[Array, ""]:
        """Compute the mean of |a_k|^2 |b_k|^2 over n1 n2, ()."""
        return jnp.mean(jnp.mean(self.left**2, axis=0) * jnp.mean(self.right**2, axis=0))

    def apply(self, X: Float[Array, "n1 n2"]) -> Float[Array, " m"]:
        """Measure a_k' X b_k, (m,)."""
        return jnp.sum((X.T @ self.left) * self.right, axis=0)

    def adjoint(self, y: Float[Array, " m"]) -> Float[Array, "n1 n2"]:
        """Sum y_k a_k b_k'."""
        return (self.left * y[None]) @ self.right.T

    def apply_factors(self, L: Float[Array, "n1 rank"], R: Float[Array, "n2 rank"]) -> Float[Array, " m"]:
        """Measure L R' as (L' a_k)'(R' b_k), (m,)."""
        return jnp.sum((L.T @ self.left) * (R.T @ self.right), axis=0)

    def factor_gradients(
        self, L: Float[Array, "n1 rank"], R: Float[Array, "n2 rank"], observations: Float[Array, " m"], link: Link
    ) -> tuple[Float[Array, " m"], Float[Array, "n1 rank"], Float[Array, "n2 rank"]]:
        """Compute the residual and (S R, S' L) through the projections L' a_k and R' b_k alone."""
        of_left, of_right = L.T @ self.left, R.T @ self.right
        residual = jnp.sum(of_left * of_right, axis=0) - observations
        weights = link(residual)[None]
        return residual, ((weights * of_right) @ self.left.T).T, ((weights * of_left) @ self.right.T).T


class LinearSensing(Sensing):
    """Any linear map of the matrix to a vector, given as a function; its adjoint comes from `jax.linear_transpose`.

    **Arguments**: `function`, X (n1, n2) -> (m,), linear, in JAX; a `Partial` or an Equinox module keeps its arrays as
    leaves; `shape` (n1, n2).

    **Raises** `ValueError` for a function that is not linear or does not return a vector, and for a shape that is not
    two positive integers.

    **Source**: derived here; checked as an exact transpose.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> operator = tl.lowrank.LinearSensing(lambda X: jnp.sum(X, axis=1), (2, 3))
        >>> operator.measurements, operator.adjoint(jnp.asarray([1.0, 2.0])).tolist()
        (2, [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    """

    function: Callable
    shape: tuple[int, int] = eqx.field(static=True)
    measurements: int = eqx.field(static=True)

    def __init__(self, function: Callable, shape: tuple[int, int]):
        self.function = as_structure(function)
        self.shape = pair(shape)
        zero = jnp.zeros(self.shape)
        found = jax.eval_shape(function, zero)
        if not isinstance(found, jax.ShapeDtypeStruct) or found.ndim != 1:
            raise ValueError(f"function returns {found}: return a vector (m,), one number for each measurement")
        self.measurements = found.shape[0]
        try:
            jax.eval_shape(self.adjoint, found)
            affine = function(zero)
        except Exception as error:  # what JAX raises depends on the primitive
            raise ValueError(f"function cannot be transposed, so it is not linear in X: {error}") from error
        if not isinstance(affine, Tracer) and bool(jnp.any(affine != 0)):
            raise ValueError(
                f"function(0) = {affine} is not zero: a linear map has no constant, subtract it from the data"
            )

    def apply(self, X: Float[Array, "n1 n2"]) -> Float[Array, " m"]:
        """Evaluate function(X), (m,)."""
        return self.function(X)

    def adjoint(self, y: Float[Array, " m"]) -> Float[Array, "n1 n2"]:
        """Evaluate the transposed function at y."""
        (X,) = jax.linear_transpose(self.function, jax.ShapeDtypeStruct(self.shape, y.dtype))(y)
        return X


@partial(jax.jit, static_argnums=(1, 2))
def _normal_rows(key, entries, rows):
    # row by row, in place: a draw of all at once holds a second copy in random bits
    return lax.map(lambda k: jax.random.normal(jax.random.fold_in(key, k), (entries,)), jnp.arange(rows))


@jax.jit
def _mean_square(rows):
    # compiled, for the squares are no array then; by rows, for one long sum in single precision forgets its end
    return jnp.mean(jnp.mean(rows**2, axis=1))


def build(cls: type, **fields: Any) -> Any:
    """An instance from its fields, past a constructor that takes a key."""
    self = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(self, name, value)
    return self


def pair(shape: Any) -> tuple[int, int]:
    """(n1, n2), or an error."""
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(_positive_integer(n) for n in shape)):
        raise ValueError(f"shape = {shape!r} must be two positive integers (n1, n2)")
    return int(shape[0]), int(shape[1])


def count(measurements: Any) -> int:
    """m, or an error."""
    if not _positive_integer(measurements):
        raise ValueError(f"measurements = {measurements!r} must be an integer >= 1: the number of rows of the operator")
    return int(measurements)


def _positive_integer(n):
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1


def finite(name: str, values: Any, form: str, dimensions: int) -> Array:
    """An array of a floating dtype with so many dimensions and neither NaN nor infinity, or an error."""
    values = floating(values)
    if values.ndim != dimensions or 0 in values.shape:
        raise ValueError(f"{name} has the shape {values.shape}: pass {form}, none of them zero")
    if not isinstance(values, Tracer) and not bool(jnp.all(jnp.isfinite(values))):
        raise ValueError(f"{name} holds a NaN or an infinity: remove or repair that measurement")
    return values

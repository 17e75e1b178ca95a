"""Products with a matrix that keep their speed under `vmap`."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float


def _shared(columns, rows, vector):
    """A product with a matrix that, under `vmap`, many vectors share.

    `columns` and `rows` compute it for many vectors at once, the first on CPUs; `vector` is the vector's position among
    the two arguments.
    """
    alone = [at == vector for at in range(2)]

    def each(product, in_batched, arguments):
        return jax.vmap(product, tuple(0 if batched else None for batched in in_batched))(*arguments), True

    @custom_vmap
    def one(*arguments):
        return jnp.matmul(*arguments)

    @one.def_vmap
    def _(axis_size, in_batched, *arguments):
        del axis_size
        return (many(*arguments), True) if in_batched == alone else each(jnp.matmul, in_batched, arguments)

    @custom_vmap
    def many(*arguments):
        return lax.platform_dependent(*arguments, cpu=columns, default=rows)

    @many.def_vmap
    def _(axis_size, in_batched, *arguments):
        del axis_size
        if in_batched != alone:
            return each(rows, in_batched, arguments)
        # lanes of lanes are lanes
        lanes = arguments[vector]
        flat = [
            lanes.reshape(-1, lanes.shape[-1]) if at == vector else argument for at, argument in enumerate(arguments)
        ]
        return many(*flat).reshape(*lanes.shape[:-1], -1), True

    return one


def _terms(*pairs):
    # a matrix that nobody differentiates in must not cost a second product with zeros
    terms = [a @ b for a, b in pairs if not isinstance(a, SymbolicZero) and not isinstance(b, SymbolicZero)]
    return sum(terms[1:], terms[0])


@jax.custom_jvp
def matvec(matrix: Float[Array, "m d"], x: Float[Array, " d"]) -> Float[Array, " m"]:
    """Multiply $Ax$, which becomes one matrix product when `vmap` gives many `x` and one `matrix`.

    `vmap(A @ x)` leaves the lanes in rows, and XLA's CPU backend then multiplies by a transposed `A`, at 0.75-0.85 of
    the speed that it has with the lanes in columns. Here the lanes go to columns for the product alone.
    Differentiable in both arguments, forward and reverse.

    **Arguments**: `matrix` (m, d) and `x` (d,), of one dtype.

    **Returns** the product (m,).

    **Source**: derived here; checked against `A @ x`, plain, under vmap, jvp and vjp; speed by
    `python benchmarks/run.py games`.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> A, X = jnp.arange(6.0).reshape(2, 3), jnp.eye(3)
        >>> bool(jnp.all(jax.vmap(tl.numerics.matvec, (None, 0))(A, X) == A.T))
        True
    """
    return _matvec(matrix, x)


def _matvec_jvp(primals, tangents):
    (matrix, x), (dmatrix, dx) = primals, tangents
    return matvec(matrix, x), _terms((dmatrix, x), (matrix, dx))


matvec.defjvp(_matvec_jvp, symbolic_zeros=True)


def _matvec_columns(matrix, xs):
    count, together = len(xs), 64 // xs.dtype.itemsize
    missing = -count % together
    if matrix.size >= 1 << 16 and count > together // 2 and missing:
        # lanes that do not fill vector registers were measured at 0.55 to 0.7 of the speed of a few more that do
        xs = jnp.pad(xs, ((0, missing), (0, 0)))
    # the barrier keeps XLA from turning the product around, lanes in rows
    return lax.optimization_barrier(lax.dot_general(matrix, xs, (((1,), (1,)), ((), ())))).T[:count]


_matvec = _shared(_matvec_columns, lambda matrix, xs: xs @ matrix.mT, vector=1)


@jax.custom_jvp
def vecmat(y: Float[Array, " m"], matrix: Float[Array, "m d"]) -> Float[Array, " d"]:
    """Multiply $y^T A$, which becomes one matrix product when `vmap` gives many `y` and one `matrix`.

    The sister of `matvec`: in single precision XLA's CPU backend multiplies a thin batch of rows by a large matrix at
    0.65 to 0.85 of the speed that it has when the batch comes as the columns of its left factor, so there the lanes go
    to columns for the product. In double precision it is the other way, by a factor of 1.3 to 2.5, and they stay rows.
    Differentiable in both arguments, forward and reverse.

    **Arguments**: `y` (m,) and `matrix` (m, d), of one dtype.

    **Returns** the product (d,).

    **Source**: derived here; checked against `y @ A`, plain, under vmap, jvp and vjp.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.numerics.vecmat(jnp.asarray([1.0, 2.0]), jnp.asarray([[1.0, 0.0], [3.0, 1.0]])).tolist()
        [7.0, 2.0]
    """
    return _vecmat(y, matrix)


def _vecmat_jvp(primals, tangents):
    (y, matrix), (dy, dmatrix) = primals, tangents
    return vecmat(y, matrix), _terms((dy, matrix), (y, dmatrix))


vecmat.defjvp(_vecmat_jvp, symbolic_zeros=True)


def _vecmat_columns(ys, matrix):
    if ys.dtype.itemsize > 4:
        return ys @ matrix
    # the barrier keeps XLA from undoing the transposition, which is what makes the product fast
    return lax.optimization_barrier(ys.T).T @ matrix


_vecmat = _shared(_vecmat_columns, jnp.matmul, vector=0)

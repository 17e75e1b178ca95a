"""Random arrays drawn along one axis: the numbers are JAX's own, and compiling takes a fraction.

On CPU XLA (jaxlib 0.10.2) takes 3.8 CPU seconds to compile `jax.random.normal(key, (100, 18, 6))` in float64, and half
a second for as many numbers in one axis.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .checked import Key


def normal(key: Key, shape: tuple[int, ...] = (), dtype: Any = float) -> Float[Array, "..."]:
    """`jax.random.normal`, quicker to compile where the shape has several axes.

    **Arguments**: `key`, a key or a seed; `shape`; `dtype`, of floats.

    **Returns** the same numbers as `jax.random.normal(key, shape, dtype)`, to the rounding of two programs.

    **Source**: derived here; tested to be equal.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> key = jax.random.key(0)
        >>> bool(jnp.allclose(tl.numerics.normal(key, (2, 3)), jax.random.normal(key, (2, 3))))
        True
    """
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def uniform(key: Key, shape: tuple[int, ...] = (), dtype: Any = float) -> Float[Array, "..."]:
    """`jax.random.uniform` on [0, 1), quicker to compile where the shape has several axes.

    **Arguments**: `key`, a key or a seed; `shape`; `dtype`, of floats.

    **Returns** the same numbers as `jax.random.uniform(key, shape, dtype)`, to the rounding of two programs.

    **Source**: derived here; tested to be equal.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> key = jax.random.key(0)
        >>> bool(jnp.allclose(tl.numerics.uniform(key, (2, 3)), jax.random.uniform(key, (2, 3))))
        True
    """
    return jax.random.uniform(key, (math.prod(shape),), dtype).reshape(shape)


def orthogonal(key: Key, n: int, shape: tuple[int, ...] = (), *, m: int | None = None) -> Float[Array, "*shape n m"]:
    """`jax.random.orthogonal`, quicker to compile.

    **Arguments**: `key`, a key or a seed; `n`, the rows; `shape`, that of the batch; `m`, the columns, at most n, or
    None for n.

    **Returns** the matrices of `jax.random.orthogonal(key, n, shape, m=m)`, to rounding: (*shape, n, m), Q'Q = I, Haar.

    **Source**: Mezzadri (2007), arXiv math-ph/0609050; tested to be equal to rounding.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> key = jax.random.key(0)
        >>> bool(jnp.allclose(tl.numerics.orthogonal(key, 3, (2,)), jax.random.orthogonal(key, 3, (2,))))
        True
    """
    Q, R = jnp.linalg.qr(normal(key, (*shape, n, n if m is None else m)))
    return Q * jnp.sign(jnp.diagonal(R, axis1=-2, axis2=-1))[..., None, :]

"""Arrays as computations want them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .checked import Numbers, checked


@checked
def floating(values: Numbers) -> Float[Array, "..."]:
    """An array of a floating dtype: its own where it has one, JAX's default where it holds integers or truths.

    **Arguments**: `values`, what `jnp.asarray` takes.

    **Returns** an array of the same shape.

    **Source**: derived here.

        >>> import numpy as np, theorylab as tl
        >>> tl.numerics.floating(np.ones(2, np.float16)).dtype.name, tl.numerics.floating([1, 2]).tolist()
        ('float16', [1.0, 2.0])
    """
    values = jnp.asarray(values)
    return values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(float)

"""Arrays as computations want them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .checked import Numbers


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


def check_kept(name: str, before: PyTree, after: PyTree) -> None:
    """An error where a step of a loop changes the structure, a shape or a dtype of what the loop carries.

    **Arguments**: `name` of the step; `before` and `after`, pytrees of arrays, of tracers or of shapes.

    **Raises** `TypeError` that names the first leaf that drifts.

    **Source**: derived here.

        >>> import jax.numpy as jnp
        >>> from theorylab.numerics.arrays import check_kept
        >>> check_kept("step", {"x": jnp.zeros(2, int)}, {"x": jnp.zeros(2, bool)})
        Traceback (most recent call last):
        TypeError: step changes the leaf ['x'] from int...[2] to bool[2]. Give x0, the problem and the ...
    """
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise TypeError(
            f"{name} changes the structure of its state:\n  before: {jax.tree.structure(before)}\n"
            f"  after:  {jax.tree.structure(after)}\nReturn a state of the structure that it was given."
        )
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"{name} changes the leaf {jax.tree_util.keystr(path) or 'x'} from"
                f" {old.dtype}{list(old.shape)} to {new.dtype}{list(new.shape)}. Give x0, the problem and the"
                " hyper-parameters one dtype, for instance step_size=jnp.asarray(0.1, x0.dtype) or a Python number."
            )

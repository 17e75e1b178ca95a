"""Newton's method for the minimum of a convex function, on the host."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


def newton(
    derivatives: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], start: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Where a convex function's gradient vanishes, to rounding.

    The step is halved until the gradient shrinks, until rounding lets it shrink no more.

    **Arguments**: `derivatives`, a function `x -> (gradient, Hessian)`, (k,) and (k, k); `start` (k,). On the host, in
    float64.

    **Returns** (k,).

    **Source**: Newton's method.

        >>> import numpy as np, theorylab as tl
        >>> tl.numerics.newton(lambda x: (np.exp(x) - 2, np.diag(np.exp(x))), np.zeros(1)).round(12).tolist()
        [0.69314718056]
    """
    x, share = start, 1.0
    gradient, hessian = derivatives(x)
    while share > 1e-6:
        trial = x - share * np.linalg.solve(hessian, gradient)
        found = derivatives(trial)
        if np.linalg.norm(found[0]) < np.linalg.norm(gradient):
            x, share, (gradient, hessian) = trial, 1.0, found
        else:
            share /= 2
    return x

"""Games on samples of a data set: dealing the samples to components, and Newton's method for their solutions."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def check_positive(**numbers: float) -> None:
    """That each number is positive and finite.

    **Arguments**: `numbers`, by name.

    **Raises** `ValueError` for one that is not.

    **Source**: derived here.

        >>> from theorylab.games.samples import check_positive
        >>> check_positive(ridge=-1.0)
        Traceback (most recent call last):
        ValueError: ridge = -1.0 must be positive and finite, or the game has no unique solution
    """
    for name, value in numbers.items():
        if not 0 < float(value) < float("inf"):
            raise ValueError(f"{name} = {value} must be positive and finite, or the game has no unique solution")


def deal(samples: int, components: int) -> dict[str, Array]:
    """Sample j goes to component j mod n; where n does not divide the samples, some groups have one less.

    **Arguments**: `samples`, their number N; `components` n, from 1 to N.

    **Returns** `index` (n, ceil(N/n)), int32, the samples of each component (filled up with 0), and `scale` of the same
    shape, n/N for a sample and 0 for a filling, so that the mean over components is the mean over samples.

    **Raises** `ValueError` for components out of range.

    **Source**: derived here.

        >>> from theorylab.games.samples import deal
        >>> groups = deal(3, 2)
        >>> groups["index"].tolist(), [[round(3 * s) for s in row] for row in groups["scale"].tolist()]
        ([[0, 2], [1, 0]], [[2, 2], [2, 0]])
    """
    if not 1 <= components <= samples:
        raise ValueError(f"components = {components} must be from 1 to {samples}, the number of samples")
    size = -(-samples // components)
    index = np.arange(size * components).reshape(size, components).T
    inside = index < samples
    return {
        "index": jnp.asarray(np.where(inside, index, 0), jnp.int32),
        "scale": jnp.asarray(inside * (components / samples), float),
    }


def standardised(features: Float[np.ndarray, "samples features"]) -> Float[np.ndarray, "samples features+1"]:
    """Features with mean 0 and variance 1, and an intercept behind them.

    **Arguments**: `features` (N, k).

    **Returns** (N, k + 1).

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.samples import standardised
        >>> standardised(np.asarray([[1.0], [3.0]])).tolist()
        [[-1.0, 1.0], [1.0, 1.0]]
    """
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.column_stack([features, np.ones(len(features))])


def newton(
    derivatives: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], start: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Where a convex function's gradient vanishes, to rounding.

    The step is halved until the gradient shrinks, until rounding lets it shrink no more.

    **Arguments**: `derivatives`, a function `x -> (gradient, Hessian)`, (k,) and (k, k); `start` (k,). On the host, in
    float64.

    **Returns** (k,).

    **Source**: Newton's method.

        >>> import numpy as np
        >>> from theorylab.games.samples import newton
        >>> newton(lambda x: (np.exp(x) - 2, np.diag(np.exp(x))), np.zeros(1)).round(12).tolist()
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

"""Games on samples of a data set: features as they enter, and the samples dealt to components."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .finite_sum import FiniteSum


def check_positive(**numbers: float) -> None:
    """Check that each number is positive and finite.

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
    """Deal sample j to component j mod n; where n does not divide the samples, some groups have one less.

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


def dealt_game(
    component: Callable,
    components: int,
    *,
    samples: dict[str, np.ndarray],
    numbers: dict[str, Any],
    solution: dict[str, Any],
) -> FiniteSum:
    """Make the game of a data set whose samples are dealt to components, beginning at zero, in JAX's default precision.

    **Arguments**: `component`, the operator `(i, x, data) -> F_i(x)`; `components` n; `samples`, arrays with a first
    axis of samples, which `data` holds by component, beside the `index` and `scale` of `deal`; `numbers`, which `data`
    holds as they are; `solution`, by the names of x.

    **Returns** a `FiniteSum`.

    **Raises** `ValueError` for components out of range.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.samples import dealt_game
        >>> mean = lambda i, x, data: {"x": data["scale"][i] @ (x["x"] - data["a"][i])}
        >>> a = np.asarray([1.0, 2.0, 6.0])
        >>> game = dealt_game(mean, 3, samples={"a": a}, numbers={}, solution={"x": a.mean()})
        >>> float(game.operator(game.solution)["x"])
        0.0
    """
    groups = deal(len(next(iter(samples.values()))), components)
    dealt = {name: jnp.asarray(values, float)[groups["index"]] for name, values in samples.items()}
    fixed = {name: jnp.asarray(value, float) for name, value in numbers.items()}
    known = {name: jnp.asarray(value, float) for name, value in solution.items()}
    start = jax.tree.map(jnp.zeros_like, known)
    return FiniteSum(component, components, data=groups | dealt | fixed, solution=known, start=start)


def standardised(features: Float[np.ndarray, "samples features"]) -> Float[np.ndarray, "samples features+1"]:
    """Scale features to mean 0 and variance 1, and an intercept behind them.

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

"""Robust least squares on real data, as component operators on a pytree."""

import math

import numpy as np
from jaxtyping import Array

from .finite_sum import FiniteSum
from .samples import dealt_game, standardised


def robust_least_squares_game(*, components: int = 34, penalty: float = 2.0) -> FiniteSum:
    r"""Pose robust least squares on scikit-learn's diabetes set: min over weights, max over the targets.

    With N = 442 samples $a_j$ (10 standardised features and an intercept) and targets $y_j$ (in units of their standard
    deviation), the game is $\min_w \max_q \frac1N \sum_j (\langle a_j, w\rangle - q_j)^2 - \rho (q_j - y_j)^2$: an
    adversary moves the targets and pays for it. x holds the moves in the scale of a mean, $s_j = (q_j - y_j) / \sqrt
    N$: with $A$ the matrix of the samples the game is $\frac1N |Aw - y|^2 - \frac{2}{\sqrt N} \langle s, Aw - y\rangle
    - (\rho - 1)|s|^2$, whose curvature in s is $2(\rho - 1)$, where in q it would be that over N. It is affine: the
    symmetric part of its Jacobian is $\operatorname{diag}(2 A^T A / N,\; 2(\rho - 1))$, so that F is strongly monotone.

    Component i holds the samples j with j mod n = i, weighted by n/N so that the mean of the components is the whole
    game, and $(\rho - 1)|s|^2$ in full: each component is monotone by itself.

    **Arguments**: `components` n, from 1 to 442; `penalty` $\rho > 1$.

    **Returns** a `FiniteSum` on `{"weights": (11,), "shift": (442,)}`, with its `solution` in closed form: w of plain
    least squares, and $q = (\rho y - Aw) / (\rho - 1)$ (float64, on the host); and zero as its `start`. In JAX's
    default precision.

    **Raises** `ValueError` for components or penalty out of range.

    **Source**: the game is derived here, after El Ghaoui and Lebret (1997); its operator is checked against automatic
    differentiation of the objective, its solution by F(x*) = 0. Data: Efron, Hastie, Johnstone, Tibshirani (2004), as
    scikit-learn ships them.

        >>> import jax, theorylab as tl
        >>> game = tl.games.robust_least_squares_game()
        >>> residual = game.operator(game.solution)
        >>> bool(max(abs(leaf).max() for leaf in jax.tree.leaves(residual)) < 1e-5)
        True
    """
    from sklearn.datasets import load_diabetes

    if not 1 < float(penalty) < float("inf"):
        raise ValueError(f"penalty = {penalty} must be above 1 and finite, or the adversary gains without bound")
    features, target = map(np.asarray, load_diabetes(return_X_y=True, scaled=False))
    features, target = standardised(features), target / target.std()
    weights = np.linalg.lstsq(features, target)[0]
    shift = (target - features @ weights) / ((penalty - 1) * np.sqrt(len(target)))
    return dealt_game(
        _component,
        components,
        samples={"features": features, "target": target},
        numbers={"excess": penalty - 1},
        solution={"weights": weights, "shift": shift},
    )


def _component(i, x: dict[str, Array], data: dict[str, Array]) -> dict[str, Array]:
    features, scale, index = data["features"][i], 2 * data["scale"][i], data["index"][i]
    root = math.sqrt(x["shift"].size)
    gap = features @ x["weights"] - data["target"][i]
    return {
        "weights": (scale * (gap - root * x["shift"][index])) @ features,
        "shift": (2 * data["excess"] * x["shift"]).at[index].add(scale * root * gap),
    }

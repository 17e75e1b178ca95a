"""Distributionally robust logistic regression on real data, as component operators on a pytree."""

import math

import jax
import numpy as np
from jaxtyping import Array, Float

from ..numerics.roots import newton
from .finite_sum import FiniteSum
from .samples import check_positive, dealt_game, standardised


def robust_logistic_game(*, components: int = 57, ridge: float = 0.1, penalty: float = 1.0) -> FiniteSum:
    r"""Pose robust logistic regression on scikit-learn's breast-cancer set: min over weights, max over sample weights.

    With the N = 569 losses $\ell_j(w) = \log(1 + e^{-y_j \langle w, a_j\rangle})$ (30 standardised features and an
    intercept, labels $\pm1$) and the sample weights $q_j = 1 + \sqrt N s_j$ the game is $\min_w \max_s \frac1N \sum_j
    q_j \ell_j(w) - \frac\rho2 |s|^2 + \frac\lambda2 |w|^2$. The adversary pays for $|s|^2 = \frac1N\sum_j (q_j -
    1)^2$, the chi-square distance to the uniform weights. Its weights are not constrained, to a sum or to a sign: it
    may weigh every sample up, and at the solution it does, $q_j = 1 + \ell_j/\rho \ge 1$. Where all q_j >= 0 the
    symmetric part of F's Jacobian is at least $\min(\lambda, \rho)$, so that F is strongly monotone about the
    solution; it is smooth everywhere. Component i holds the samples j with j mod n = i, weighted by n/N so that the
    mean of the components is the whole game (the groups differ by one sample where n does not divide N), and both
    penalties in full. The ridge holds the intercept too.

    **Arguments**: `components` n, from 1 to 569; `ridge` $\lambda > 0$; `penalty` $\rho > 0$.

    **Returns** a `FiniteSum` on `{"weights": (31,), "shift": (569,)}`, with its `solution` from Newton's method on
    $\frac1N\sum_j (\ell_j + \ell_j^2/2\rho) + \frac\lambda2|w|^2$, the game after the inner maximum (float64, on the
    host, to rounding), and zero as its `start`. In JAX's default precision.

    **Raises** `ValueError` for components, ridge or penalty out of range.

    **Source**: the game is derived here, after the chi-square balls of Namkoong and Duchi (2017), arXiv 1610.02581; its
    operator is checked against automatic differentiation of the objective, its solution by F(x*) = 0. Data: Wolberg et
    al., Breast Cancer Wisconsin (Diagnostic), as scikit-learn ships it.

        >>> import jax, theorylab as tl
        >>> game = tl.games.robust_logistic_game()
        >>> residual = game.operator(game.solution)
        >>> bool(max(abs(leaf).max() for leaf in jax.tree.leaves(residual)) < 1e-6)
        True
    """
    signed = signed_features()
    check_positive(ridge=ridge, penalty=penalty)
    weights, shift = _solve(signed, float(ridge), float(penalty))
    return dealt_game(
        _component,
        components,
        samples={"features": signed},
        numbers={"ridge": ridge, "penalty": penalty},
        solution={"weights": weights, "shift": shift},
    )


def signed_features() -> Float[np.ndarray, "samples features"]:
    r"""Load the rows $y_j a_j$ of the breast-cancer set: 30 standardised features and an intercept, times the label.

    **Returns** (569, 31), float64.

    **Source**: Wolberg et al., Breast Cancer Wisconsin (Diagnostic), as scikit-learn ships it.

        >>> from theorylab.games.logistic import signed_features
        >>> signed_features().shape, sorted(set(signed_features()[:, -1].tolist()))
        ((569, 31), [-1.0, 1.0])
    """
    from sklearn.datasets import load_breast_cancer

    features, target = map(np.asarray, load_breast_cancer(return_X_y=True))
    return (2.0 * target - 1)[:, None] * standardised(features)


def _component(i, x: dict[str, Array], data: dict[str, Array]) -> dict[str, Array]:
    features, scale, index = data["features"][i], data["scale"][i], data["index"][i]
    root = math.sqrt(x["shift"].size)
    margin = features @ x["weights"]
    pull = scale * (1 + root * x["shift"][index]) * jax.nn.sigmoid(-margin)
    gain = scale * root * jax.nn.softplus(-margin)
    return {
        "weights": data["ridge"] * x["weights"] - pull @ features,
        "shift": (data["penalty"] * x["shift"]).at[index].add(-gain),
    }


def _solve(signed, ridge, penalty):
    """The weights by Newton's method from zero, and the adversary's best reply."""
    samples, dim = signed.shape

    def derivatives(weights):
        margin = signed @ weights
        loss, slope = np.logaddexp(0.0, -margin), -np.exp(-np.logaddexp(0.0, margin))
        gradient = signed.T @ ((1 + loss / penalty) * slope) / samples + ridge * weights
        curvature = slope**2 / penalty - (1 + loss / penalty) * slope * (1 + slope)
        return gradient, signed.T * curvature @ signed / samples + ridge * np.eye(dim)

    weights = newton(derivatives, np.zeros(dim))
    return weights, np.logaddexp(0.0, -signed @ weights) / (penalty * np.sqrt(samples))

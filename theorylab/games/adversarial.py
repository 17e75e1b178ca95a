"""Adversarial training of a logistic regression on real data: an adversary moves every sample."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..numerics.roots import newton
from .finite_sum import FiniteSum
from .logistic import signed_features
from .samples import check_positive, dealt_game


def adversarial_logistic_game(*, components: int = 57, ridge: float = 0.1, penalty: float = 1.0) -> FiniteSum:
    r"""Pose adversarial logistic regression on scikit-learn's breast-cancer set: max over moved samples.

    With N = 569 samples $a_j$ (30 standardised features and an intercept), labels $y_j = \pm 1$ and weights $w = (v,
    c)$, c the intercept's, the game is $\min_w \max_\delta \frac1N \sum_j \big[\log(1 + e^{-y_j(\langle w, a_j\rangle +
    \langle v, \delta_j\rangle)}) - \frac\rho2 |\delta_j|^2\big] + \frac\lambda2 |w|^2$: the adversary moves the
    features, not the intercept. x holds the moves towards each sample's label and in the scale of a mean, $s_j = y_j
    \delta_j / \sqrt N$: the penalty is then $\frac\rho2 |s|^2$, with curvature $\rho$ in every entry of s, where in
    $\delta$ it would be $\rho / N$ against a ridge of $\lambda$.

    The best reply is $\delta_j = -y_j \tau_j v$, with $\rho \tau_j = \sigma(\tau_j |v|^2 - m_j)$ and the margin $m_j =
    y_j \langle w, a_j\rangle$. It is unique, and the game concave in the adversary, while $|v|^2 < 4\rho$; so it is at
    the solution, where $|v|^2 < 0.52 \cdot 4\rho$ for every pair of penalties tried. There $\langle F(x), x -
    x^\star\rangle \ge \lambda |w - w^\star|^2 + (\rho - \frac18(|v|^2 + |v^\star|^2))\, |s - s^\star|^2$, from the
    curvature of the payoff in each player on its own.

    Component i holds the samples j with j mod n = i, weighted by n/N so that the mean of the components is the whole
    game, and both penalties in full. The ridge holds the intercept too.

    **Arguments**: `components` n, from 1 to 569; `ridge` $\lambda > 0$; `penalty` $\rho > 0$.

    **Returns** a `FiniteSum` on `{"weights": (31,), "shift": (569, 30)}`, with its `solution` from Newton's method on
    the game after the inner maximum (float64, on the host, to rounding), and zero as its `start`. In JAX's default
    precision.

    **Raises** `ValueError` for components, ridge or penalty out of range.

    **Source**: the game is derived here, after the Lagrangian form of Sinha, Namkoong, Duchi (2018), arXiv 1710.10571;
    its operator is checked against automatic differentiation of the objective, its solution by F(x*) = 0, the
    inequality at random points. Data: Wolberg et al., Breast Cancer Wisconsin (Diagnostic), as scikit-learn ships it.

        >>> import jax, theorylab as tl
        >>> game = tl.games.adversarial_logistic_game()
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


def _component(i, x: dict[str, Array], data: dict[str, Array]) -> dict[str, Array]:
    features, scale, index = data["features"][i], data["scale"][i], data["index"][i]
    weights, root = x["weights"], math.sqrt(len(x["shift"]))
    moved = features.at[:, :-1].add(root * x["shift"][index])
    pull = scale * jax.nn.sigmoid(-(moved @ weights))
    return {
        "weights": data["ridge"] * weights - pull @ moved,
        "shift": (data["penalty"] * x["shift"]).at[index].add(root * jnp.outer(pull, weights[:-1])),
    }


def _solve(signed, ridge, penalty):
    """The weights by Newton's method from zero, and the adversary's best reply."""
    samples, dim = signed.shape

    def derivatives(weights):
        slopes, reply, stiffness = _reply(signed @ weights, weights[:-1] @ weights[:-1], penalty)
        moved = signed.copy()
        moved[:, :-1] -= reply[:, None] * weights[:-1]
        gradient = ridge * weights - slopes @ moved / samples
        bent = 2 * moved - signed  # the derivative of the moved margin by the weights
        hessian = (bent.T * stiffness @ bent) / samples + ridge * np.eye(dim)
        hessian[:-1, :-1] += np.mean(penalty * reply**2) * np.eye(dim - 1)
        return gradient, hessian

    weights = newton(derivatives, np.zeros(dim))
    _, reply, _ = _reply(signed @ weights, weights[:-1] @ weights[:-1], penalty)
    return weights, -reply[:, None] * weights[:-1] / np.sqrt(samples)


def _reply(margin, length, penalty) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """For each sample the loss's slope, the reply tau, and the curvature of the loss after the reply in the margin."""

    def sigmoid(tau):
        return np.exp(-np.logaddexp(0.0, margin - tau * length))

    low, high = np.zeros_like(margin), np.full_like(margin, 1 / penalty)
    for _ in range(40):
        middle = (low + high) / 2
        above = penalty * middle > sigmoid(middle)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    tau = (low + high) / 2
    for _ in range(2):  # Newton's steps, from where they converge on
        slope = sigmoid(tau)
        tau = tau - (penalty * tau - slope) / (penalty - slope * (1 - slope) * length)
    slope = sigmoid(tau)
    bend = slope * (1 - slope)
    return slope, tau, penalty * bend / (penalty - bend * length)

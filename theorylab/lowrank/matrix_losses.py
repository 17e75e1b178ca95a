"""Losses of a matrix W that descent meets through its factors, W = W1 W2', with the constants that theory asks for."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..engine.method import as_structure
from ..numerics.checked import Key
from ..numerics.roots import newton
from .problems import SensingProblem
from .sensing import finite

FactorPair = tuple[Float[Array, "n h"], Float[Array, "m h"]]


def factor_pair(x: Any) -> FactorPair:
    """Give the two factors: x itself, or (X, X) where one matrix is the factor of X X'."""
    return x if isinstance(x, tuple) else (x, x)


class MatrixLoss(eqx.Module):
    r"""A loss $\ell(W)$ of an (n, m) matrix, which descent on its factors meets as $L(W_1, W_2) = \ell(W_1 W_2^T)$.

    **Arguments**: `function`, W (n, m) -> (), in JAX; a `Partial` or an Equinox module keeps its arrays as leaves;
    `mu`, (), with $\frac12|\nabla\ell|^2 \ge \mu(\ell - \min\ell)$, as strong convexity gives; `lipschitz` K, (), of
    the gradient; `minimum`, (), $\min \ell$ or a lower bound; `solution` (n, m), a minimiser. Leave out what is not
    known: constant steps need none of them.

    **Raises** `ValueError` for constants that are not finite or not positive, and for `mu` above `lipschitz`.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, Problems 1 and 2.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> loss = tl.lowrank.MatrixLoss(lambda W: jnp.sum(jnp.cosh(W) - 1), mu=1.0)
        >>> float(loss.loss((jnp.ones((1, 2)), jnp.zeros((3, 2)))))
        0.0
    """

    function: Callable
    mu: Float[Array, "*lanes"] | None
    lipschitz: Float[Array, "*lanes"] | None
    minimum: Float[Array, "*lanes"]
    solution: Float[Array, "*lanes n m"] | None

    def __init__(
        self,
        function: Callable,
        *,
        mu: ArrayLike | None = None,
        lipschitz: ArrayLike | None = None,
        minimum: ArrayLike = 0.0,
        solution: ArrayLike | None = None,
    ):
        check_constants(mu, lipschitz)
        self.function = as_structure(function)
        self.mu, self.lipschitz, self.solution = (
            None if value is None else jnp.asarray(value) for value in (mu, lipschitz, solution)
        )
        self.minimum = jnp.asarray(minimum)

    def value_and_gradient(self, W: Float[Array, "n m"]) -> tuple[Float[Array, ""], Float[Array, "n m"]]:
        """Evaluate the loss of the matrix, (), and its gradient, (n, m)."""
        if hasattr(self.function, "value_and_gradient"):
            return self.function.value_and_gradient(W)
        return jax.value_and_grad(self.function)(W)

    def loss(self, x: FactorPair | Float[Array, "n rank"], key: Key | None = None) -> Float[Array, ""]:
        """Evaluate the loss at the factors (W1, W2), or at one matrix X as the factor of X X', ()."""
        del key
        W1, W2 = factor_pair(x)
        return self.function(W1 @ W2.T)


class _SquaredLoss(eqx.Module):
    target: Float[Array, "*lanes N m"]
    design: Float[Array, "*lanes N n"] | None

    def __call__(self, W):
        return self.value_and_gradient(W)[0]

    def value_and_gradient(self, W):
        residual = (W if self.design is None else self.design @ W) - self.target
        return jnp.sum(residual**2) / 2, residual if self.design is None else self.design.T @ residual


def squared_loss(target: ArrayLike | Sequence, design: ArrayLike | Sequence | None = None) -> MatrixLoss:
    r"""Build linear regression, $\ell(W) = \frac12|Y - XW|^2$; without a design the distance $\frac12|Y - W|^2$.

    The distance to a matrix is the population loss of sensing with isotropic measurements.

    **Arguments**: `target` Y (N, m); `design` X (N, n), or None for the identity.

    **Returns** a `MatrixLoss` with its solution of least norm, its minimum, and $\mu$ and K, the smallest positive and
    the largest eigenvalue of X'X (float64, on the host).

    **Raises** `ValueError` for arrays that are not matrices with as many rows, or not finite, and a design of zeros.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, experiments; checked by its gradient at the
    solution.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> loss = tl.lowrank.squared_loss(jnp.asarray([[2.0], [3.0]]), jnp.asarray([[1.0, 0.0], [0.0, 3.0]]))
        >>> loss.solution.round(6).tolist(), round(float(loss.lipschitz), 6)
        ([[2.0], [1.0]], 9.0)
    """
    Y = finite("target", target, "(N, m) or (n, m)", 2)
    if design is None:
        one = jnp.ones((), Y.dtype)
        return MatrixLoss(_SquaredLoss(Y, None), mu=one, lipschitz=one, solution=Y)
    X = finite("design", design, "(N, n)", 2)
    if len(X) != len(Y) or X.dtype != Y.dtype:
        raise ValueError(f"design is {X.dtype} {X.shape} and target {Y.dtype} {Y.shape}: pass as many rows, one dtype")
    X64, Y64 = np.asarray(X, float), np.asarray(Y, float)
    eigenvalues = np.linalg.svd(X64, compute_uv=False) ** 2
    positive = eigenvalues[eigenvalues > (max(X.shape) * np.finfo(float).eps) ** 2 * eigenvalues[0]]
    if not positive.size:
        raise ValueError("design is zero everywhere: no matrix changes the loss; pass data")
    solution = np.linalg.lstsq(X64, Y64)[0]
    minimum = np.sum((Y64 - X64 @ solution) ** 2) / 2
    numbers = {"mu": positive[-1], "lipschitz": positive[0], "minimum": minimum, "solution": solution}
    _check_size(X, positive[0])
    return MatrixLoss(_SquaredLoss(Y, X), **{name: jnp.asarray(value, X.dtype) for name, value in numbers.items()})


class _RidgeLogistic(eqx.Module):
    labels: Float[Array, "*lanes N m"]
    design: Float[Array, "*lanes N n"]
    ridge: Float[Array, "*lanes"]

    def __call__(self, W):
        margins = self.labels * (self.design @ W)
        return jnp.sum(jax.nn.softplus(-margins)) / len(margins) + self.ridge * jnp.sum(W**2) / 2


def ridge_logistic_loss(labels: ArrayLike | Sequence, design: ArrayLike | Sequence, ridge: float) -> MatrixLoss:
    r"""Build logistic regressions side by side, $\frac1N\sum_{ij} \log(1 + e^{-y_{ij}(XW)_{ij}}) + \frac\lambda2|W|^2$.

    **Arguments**: `labels` y (N, m), each 1 or -1; `design` X (N, n); `ridge` $\lambda > 0$.

    **Returns** a `MatrixLoss` with $\mu = \lambda$, $K = \lambda_{\max}(X^TX)/4N + \lambda$, and its solution and
    minimum by Newton's method (float64, on the host).

    **Raises** `ValueError` for labels of other values, shapes that do not match and a ridge that is not positive.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, examples of the assumptions; the solution is
    checked by its gradient.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> loss = tl.lowrank.ridge_logistic_loss([[1.0], [-1.0]], [[1.0], [-2.0]], ridge=0.5)
        >>> bool(abs(loss.value_and_gradient(loss.solution)[1]).max() < 1e-6)
        True
    """
    y, X = finite("labels", labels, "(N, m)", 2), finite("design", design, "(N, n)", 2)
    if len(X) != len(y) or X.dtype != y.dtype:
        raise ValueError(f"design is {X.dtype} {X.shape} and labels {y.dtype} {y.shape}: pass as many rows, one dtype")
    if not np.all(np.abs(y) == 1):
        raise ValueError("labels must be 1 or -1: map the two classes to them")
    if not 0 < ridge < np.inf:
        raise ValueError(f"ridge = {ridge} must be positive and finite: it is the loss's strong convexity")
    y64, X64, N = np.asarray(y, float), np.asarray(X, float), len(X)
    solution = np.stack([_ridge_logistic_weights(X64 * column[:, None], ridge) for column in y64.T], axis=1)
    minimum = np.sum(np.logaddexp(0, -y64 * (X64 @ solution))) / N + ridge * np.sum(solution**2) / 2
    lipschitz = np.linalg.norm(X64, 2) ** 2 / (4 * N) + ridge
    _check_size(X, lipschitz)
    numbers = {"mu": ridge, "lipschitz": lipschitz, "minimum": minimum, "solution": solution}
    return MatrixLoss(
        _RidgeLogistic(y, X, jnp.asarray(ridge, X.dtype)),
        **{name: jnp.asarray(value, X.dtype) for name, value in numbers.items()},
    )


def _check_size(design, lipschitz):
    if not lipschitz < np.finfo(design.dtype).max:
        raise ValueError(f"design gives lipschitz = {lipschitz:.1e}, too much for {design.dtype}: scale it down")


def _ridge_logistic_weights(signed, ridge):
    """The weights of one regression on the rows y_i x_i."""

    def derivatives(w):
        sigmoid = np.exp(-np.logaddexp(0, signed @ w))
        curvature = sigmoid * (1 - sigmoid) / len(signed)
        gradient = ridge * w - signed.T @ sigmoid / len(signed)
        return gradient, signed.T * curvature @ signed + ridge * np.eye(len(w))

    return newton(derivatives, np.zeros(signed.shape[1]))


class _SensingLoss(eqx.Module):
    problem: SensingProblem

    def __call__(self, W):
        return jnp.mean((self.problem.operator.apply(W) - self.problem.observations) ** 2) / 2

    def value_and_gradient(self, W):
        residual = self.problem.operator.apply(W) - self.problem.observations
        return jnp.mean(residual**2) / 2, self.problem.operator.adjoint(residual) / residual.shape[0]


def sensing_loss(
    problem: SensingProblem, *, mu: ArrayLike | None = None, lipschitz: ArrayLike | None = None
) -> MatrixLoss:
    r"""Build the squared loss of measurements, $\ell(W) = \frac1{2m}|\mathcal A(W) - y|^2$.

    Its gradient is $\frac1m\mathcal A^*(\mathcal A(W) - y)$; descent on X X' follows one half of it, so that its own
    loss is the quarter mean square.

    **Arguments**: `problem`, a `SensingProblem`; `mu` and `lipschitz`, (), where they are known: with fewer
    measurements than entries the loss has no positive curvature off the low-rank matrices.

    **Returns** a `MatrixLoss` with the problem's solution.

    **Raises** `ValueError` for constants out of range.

    **Source**: Xiong, Ding, Du (2024), arXiv 2310.01769, (reconstructed); the gradient is checked against automatic
    differentiation.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.sensing_problem(jax.random.key(0), shape=(4, 3), true_rank=1, measurements=20)
        >>> float(tl.lowrank.sensing_loss(problem).function(problem.solution))
        0.0
    """
    return MatrixLoss(_SensingLoss(problem), mu=mu, lipschitz=lipschitz, solution=problem.solution)


def check_constants(mu: Any, lipschitz: Any) -> None:
    """Refuse constants that are not positive and finite, or in the wrong order; traced ones pass."""
    known = {name: value for name, value in (("mu", mu), ("lipschitz", lipschitz))
             if value is not None and not isinstance(value, Tracer)}  # fmt: skip
    for name, value in known.items():
        if not np.all(np.isfinite(value) & (np.asarray(value) > 0)):
            raise ValueError(f"{name} = {value} must be positive and finite: the loss's curvature bounds")
    if len(known) == 2 and np.any(np.asarray(known["mu"]) > np.asarray(known["lipschitz"]) * (1 + 1e-6)):
        raise ValueError(f"mu = {mu} exceeds lipschitz = {lipschitz}: the lower curvature is at most the upper one")

"""Gradient descent on the factors of a matrix: W1 W2', or X X' with one factor, on any loss of the product."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from ..engine.method import Method, hyperparameter, start
from ..numerics.checked import Key
from ..numerics.draws import normal
from .matrix_losses import FactorPair, MatrixLoss, factor_pair
from .problems import check_rank
from .two_layer import local_terms

StepRule = Literal["constant", "local", "paper"]


def factor_directions(
    x: FactorPair | Float[Array, "n rank"], gradient: Float[Array, "n m"]
) -> FactorPair | Float[Array, "n rank"]:
    r"""Compute what descent subtracts from the factors: $(GW_2, G^TW_1)$, or $\frac12(G + G^T)X$ for X X'.

    **Arguments**: `x`, the pair of W1 (n, h) and W2 (m, h), or X (n, rank); `gradient` G (n, m) in the product.

    **Returns** like x.

    **Source**: Xiong, Ding, Du (2024), arXiv 2310.01769, (reconstructed): the symmetric step is half the gradient of
    $\ell(XX^T)$, so that it is the step of the pair (X, X).

        >>> import jax.numpy as jnp
        >>> from theorylab.lowrank.factorised_descent import factor_directions
        >>> factor_directions(jnp.asarray([[3.0]]), jnp.asarray([[2.0]])).tolist()
        [[6.0]]
    """
    if isinstance(x, tuple):
        return gradient @ x[1], gradient.T @ x[0]
    return (gradient + gradient.T) @ x / 2


class DescentState(eqx.Module):
    """The factors `x`, and how far a growing `bound` on the next step size has come, None where there is none."""

    x: FactorPair | Float[Array, "n rank"]
    bound: Float[Array, ""] | None = None


class FactorisedDescent(Method):
    r"""Gradient descent on the factors of a matrix, both at once, by constant or by certified steps.

    $W_1^+ = W_1 - \eta GW_2$ and $W_2^+ = W_2 - \eta G^TW_1$, with G the gradient of the loss at $W_1W_2^T$. With one
    matrix X as x0 both factors are X: $X^+ = X - \frac\eta2(G + G^T)X$. The step size is a constant, or it solves
    $\eta_t K_t(\eta_t) = 1$ with one of the smoothness bounds of `local_constants`, so that every step is certified;
    given a first step size $\eta_0$, too, it is $\min\{(1 + \eta_0^d)^{t/2}\eta_0,\ 1/K_t\}$, as the paper's theorem on
    global rates asks.

    **Arguments**: `step_size` $\eta$ or $\eta_0 > 0$, (), which the rules other than `"constant"` may leave out;
    `rule`, `"constant"`, `"local"` or `"paper"`; `exponent` d > 1, (). The problem is a `MatrixLoss`, with `lipschitz`
    where the rule is not `"constant"`; x0 is the pair (W1, W2), (n, h) and (m, h), or X (n, rank).

    **Raises** `ValueError` for a value out of range, a constant rule without its step size, a problem
    without the constant that a rule needs, and factors on which the loss gives no scalar.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, eq. 15 and 19; `"local"` is derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> loss = tl.lowrank.squared_loss(jnp.diag(jnp.asarray([3.0, 1.0])))
        >>> x0 = jax.random.normal(jax.random.key(0), (2, 3)), jax.random.normal(jax.random.key(1), (2, 3))
        >>> solution = tl.solve(tl.lowrank.FactorisedDescent(rule="local"), loss, x0, key=0, steps=200)
        >>> bool(loss.loss(solution.value) < 1e-9)
        True
    """

    cites: ClassVar[tuple[str, ...]] = ("two_layer_linear_gd",)

    step_size: Float[Array, "*lanes"] | None
    rule: StepRule = eqx.field(static=True)
    exponent: Float[Array, "*lanes"]

    def __init__(self, step_size: ArrayLike | None = None, rule: StepRule = "constant", *, exponent: ArrayLike = 2.0):
        if step_size is None and rule == "constant":
            raise ValueError("step_size = None, but rule = 'constant' needs it: pass a number, or rule='local'")
        self.step_size = None if step_size is None else hyperparameter(step_size)
        self.rule, self.exponent = rule, hyperparameter(exponent)

    @property
    def lanes(self) -> Literal["vmap", "map"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Together by constant steps; one by one where a step takes eigenvalues.

        On CPUs large batches of eigenvalue problems, several at once, can leave XLA's threads waiting for each other.
        """
        return "vmap" if self.rule == "constant" else "map"

    def requires(self) -> Mapping[str, Array | bool]:
        """Ask for a step size that is positive and finite, and an exponent above one."""
        size, exponent = self.step_size, self.exponent
        sentence = f"exponent = {exponent} must be finite and > 1, or the bound on the steps grows too fast"
        found = {sentence: jnp.all(jnp.isfinite(exponent) & (exponent > 1))}
        if size is not None:
            found[f"step_size = {size} must be positive and finite"] = jnp.all(jnp.isfinite(size) & (size > 0))
        return found

    def init(self, problem: Any, key: Key, x0: Any = None) -> DescentState:
        """Make the state at the factors x0."""
        x = start(problem, key, tuple(x0) if isinstance(x0, list) else x0)
        _check_start(problem, x)
        if self.rule != "constant" and problem.lipschitz is None:
            raise ValueError(
                f"lipschitz is None and rule = {self.rule!r} needs it: pass lipschitz= to the MatrixLoss, or a "
                "constant step size"
            )
        if self.rule == "constant" or self.step_size is None:
            return DescentState(x)
        return DescentState(x, jnp.asarray(self.step_size, factor_pair(x)[0].dtype))

    def step(self, problem: MatrixLoss, state: DescentState, key: Key) -> DescentState:
        """Step both factors."""
        del key
        W1, W2 = factor_pair(state.x)
        value, gradient = problem.value_and_gradient(W1 @ W2.T)
        eta = self._size(problem, state, value, gradient)
        x = jax.tree.map(lambda W, along: W - eta * along, state.x, factor_directions(state.x, gradient))
        if state.bound is None:
            return DescentState(x)
        first, exponent = jnp.asarray(self.step_size, W1.dtype), jnp.asarray(self.exponent, W1.dtype)
        return DescentState(x, state.bound * jnp.sqrt(1 + first**exponent))

    def next_step_size(self, problem: MatrixLoss, state: DescentState) -> Float[Array, ""]:
        """Compute the size of the step that a state is about to take, ()."""
        W1, W2 = factor_pair(state.x)
        return self._size(problem, state, *problem.value_and_gradient(W1 @ W2.T))

    def _size(self, problem, state, value, gradient):
        W1, W2 = factor_pair(state.x)
        if self.rule == "constant":
            return jnp.asarray(self.step_size, W1.dtype)
        excess = value - jnp.asarray(problem.minimum, W1.dtype)
        lipschitz = jnp.asarray(problem.lipschitz, W1.dtype)
        eta = local_terms(W1, W2, excess, gradient, lipschitz, self.rule).step_size
        return eta if state.bound is None else jnp.minimum(eta, state.bound)


def small_factors(
    key: Key, shape: tuple[int, int], rank: int, entry_std: ScalarLike, ratio: ArrayLike = 1 / 3
) -> FactorPair:
    r"""Draw a small imbalanced start: standard normal entries times $\alpha$ for F, and times $\rho\alpha$ for G.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `rank`, from 1 to min(n1, n2); `entry_std` $\alpha \ge 0$,
    (); `ratio` $\rho \ge 0$, (). One key gives the same draws whatever the two numbers.

    **Returns** the pair (F0, G0), (n1, rank) and (n2, rank), in JAX's default precision.

    **Raises** `ValueError` for a rank or a number out of range.

    **Source**: Xiong, Ding, Du (2024), arXiv 2310.01769, (reconstructed; the pair $\alpha$, $\alpha/3$ is confirmed by
    its referees).

        >>> import jax, theorylab as tl
        >>> F, G = tl.lowrank.small_factors(jax.random.key(0), (5, 4), 2, 0.1)
        >>> F.shape, G.shape
        ((5, 2), (4, 2))
    """
    check_rank("rank", rank, shape)
    for name, value in (("entry_std", entry_std), ("ratio", ratio)):
        if not isinstance(value, Tracer) and not 0 <= np.asarray(value) < np.inf:
            raise ValueError(f"{name} = {value} must be finite and >= 0")
    keys = jax.random.split(key)
    F, G = (normal(k, (n, rank)) for k, n in zip(keys, shape, strict=True))
    scale = jnp.asarray(entry_std, F.dtype)
    return scale * F, scale * jnp.asarray(ratio, G.dtype) * G


def rescaled_factors(F: Float[Array, "n1 rank"], G: Float[Array, "n2 rank"], scale: ScalarLike) -> FactorPair:
    r"""Take the one step that mends slow descent: to the same product with $F^TF = \beta^2 I$.

    With the thin singular value decomposition $F = A\Sigma B$ the new pair is $\beta A$ and $\beta^{-1}GB^T\Sigma$.
    Every direction of G, the surplus ones too, then contracts by about $1 - \eta\beta^2$ a step, whatever the start's
    scale. Take it once the signal is learnt, and go on.

    **Arguments**: `F` (n1, rank), with rank <= n1, and `G` (n2, rank); `scale` $\beta > 0$, (), of the order of the
    root of the largest singular value.

    **Returns** the new pair, like (F, G).

    **Raises** `ValueError` for a scale that is not positive and for a rank above n1.

    **Source**: Xiong, Ding, Du (2024), arXiv 2310.01769, eq. 5.1 (reconstructed); checked to keep the product.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> F, G = tl.lowrank.rescaled_factors(jnp.asarray([[4.0], [3.0]]), jnp.asarray([[2.0]]), 2.0)
        >>> jnp.abs(F.T @ F).round(5).tolist(), jnp.abs(G).round(5).tolist()
        ([[4.0]], [[5.0]])
    """
    if F.ndim != 2 or F.shape[0] < F.shape[1]:
        raise ValueError(f"F has the shape {F.shape}: pass (n1, rank) with rank <= n1, which can be orthonormal")
    if not isinstance(scale, Tracer) and not 0 < np.asarray(scale) < np.inf:
        raise ValueError(f"scale = {scale} must be positive and finite: the root of the largest singular value")
    A, sigma, B = jnp.linalg.svd(F, full_matrices=False)
    beta = jnp.asarray(scale, F.dtype)
    return beta * A, (G @ B.T) * sigma[None] / beta


def _check_start(problem, x):
    shapes = jax.tree.map(jnp.shape, x)
    try:
        W1, W2 = factor_pair(x)
        fits = W1.ndim == W2.ndim == 2 and W1.shape[1] == W2.shape[1]
    except (TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise ValueError(
            f"x0 has the shapes {shapes}: pass the factors (W1, W2), (n, h) and (m, h), or one X (n, rank)"
        )
    try:
        found = jax.eval_shape(problem.loss, x).shape
    except (TypeError, ValueError) as error:
        raise ValueError(f"the loss fails on x0 of the shapes {shapes}: {error}") from error
    if found != ():
        raise ValueError(f"the loss has the shape {found} on x0 of the shapes {shapes}: it must be a scalar")

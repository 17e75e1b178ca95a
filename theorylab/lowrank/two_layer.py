"""Two-layer linear networks: how steep and how curved the loss of W1 W2' is at a point, and for how long."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..numerics.checked import finite
from .matrix_losses import check_constants

RULES = ("local", "paper")


class LocalConstants(NamedTuple):
    """What `local_constants` returns."""

    pl: Float[Array, ""]
    smoothness: Float[Array, ""]
    step_size: Float[Array, ""]


def local_constants(
    W1: ArrayLike,
    W2: ArrayLike,
    loss: Callable,
    *,
    mu: ArrayLike,
    lipschitz: ArrayLike,
    rule: str = "local",
    minimum: ArrayLike = 0.0,
) -> LocalConstants:
    r"""Compute the Polyak-Lojasiewicz constant, the smoothness and the step size of $\ell(W_1W_2^T)$ at a point.

    Let $L(W_1, W_2) = \ell(W_1W_2^T)$, $a = \sigma_n^2(W_1) + \sigma_m^2(W_2)$ and $s = \sigma_1^2(W_1) +
    \sigma_1^2(W_2)$. Then $\frac12|\nabla L|^2 \ge \mu a\,(L - \min L)$.
    A step of any size $\eta$ along $-\nabla L$ gives $L^+ \le L - (\eta - \frac12 K(\eta)\eta^2)|\nabla L|^2$ with

    $$K(\eta) = |G|_2 + K\big(\sqrt s + \tfrac\eta2|\nabla L|\big)^2 \quad\text{(local)},$$
    $$K(\eta) = Ks + \sqrt{2KL} + 6K^2\sigma_1(W)L\eta^2 + 3Ks\sqrt{2KL}\,\eta \quad\text{(paper)},$$

    $G = \nabla\ell(W)$, $W = W_1W_2^T$ and L the excess over its minimum. The step size solves $\eta K(\eta) = 1$: L
    then falls to $(1 - \mathrm{pl}/K(\eta)) L$ or below. Under jit, vmap and grad, too.

    **Arguments**: `W1` (n, h) and `W2` (m, h), of one floating dtype, h >= min(n, m); `loss`, a function
    W (n, m) -> (), twice differentiable; `mu` and `lipschitz` K, (), of the loss: its Hessian lies between them;
    `rule`, which K($\eta$); `minimum`, (), of the loss or a lower bound, which only `"paper"` reads.

    **Returns** `pl` $\mu a$, `smoothness` K($\eta$) and `step_size` $\eta$, its reciprocal, each (), in the dtype of
    W1, true up to its rounding. The step is inf where both factors and the gradient are zero.

    **Raises** `ValueError` for shapes that do not match, h < min(n, m), constants out of range, an unknown rule, and
    values that are not finite; with the rule `"paper"` also where $|G|^2 > 2K(\ell - \mathrm{minimum})$, which no
    minimum allows. Values are not checked under a JAX transformation.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, Theorem 3.1; the local K is derived here: on
    the segment of the step the largest singular values of the two factors grow by at most $\eta|\nabla L|$ together,
    and $\nabla^2 L[V, V] \le K|V_1W_2^T + W_1V_2^T|^2 + 2\langle G, V_1V_2^T\rangle$. Both are fuzzed.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> W1, W2 = jnp.asarray([[2.0]]), jnp.asarray([[1.0]])
        >>> found = tl.lowrank.local_constants(W1, W2, lambda W: jnp.sum((W - 2) ** 2) / 2, mu=1.0, lipschitz=1.0)
        >>> [float(value) for value in found]
        [5.0, 5.0, 0.2]
    """
    if rule not in RULES:
        raise ValueError(f"rule = {rule!r} is not one of {', '.join(map(repr, RULES))}")
    W1, W2 = jnp.asarray(W1), jnp.asarray(W2)
    check_factors(W1, W2)
    (n, h), m = W1.shape, len(W2)
    if h < min(n, m):
        raise ValueError(
            f"W1 and W2 have the width h = {h} < min(n, m) = {min(n, m)}: the network cannot represent every matrix, "
            "and its loss has another minimum; pass wider factors"
        )
    check_constants(mu, lipschitz)
    dtype = W1.dtype
    mu, lipschitz, minimum = (jnp.asarray(value, dtype) for value in (mu, lipschitz, minimum))
    W = W1 @ W2.T
    if (shape := jnp.shape(jax.eval_shape(loss, W))) != ():
        raise ValueError(f"loss returns the shape {shape} for W1 W2' of {W.shape}: return a scalar")
    value, G = jax.value_and_grad(loss)(W)
    if not isinstance(value, Tracer) and not bool(jnp.isfinite(value) & jnp.all(jnp.isfinite(G))):
        raise ValueError(f"loss = {value} or its gradient is not finite at W1 W2': check the loss and its data")
    excess = value - minimum
    if rule == "paper" and not any(isinstance(one, Tracer) for one in (excess, lipschitz)):
        # what rounding of the loss itself may add
        slack = 100 * jnp.finfo(dtype).eps * (jnp.abs(value) + jnp.abs(minimum))
        if jnp.sum(G**2) > 2 * lipschitz * (excess + slack):
            raise ValueError(
                f"minimum = {minimum} and lipschitz = {lipschitz} contradict the loss {value} with the squared "
                f"gradient {jnp.sum(G**2)}: pass a lower bound of the loss, or a larger lipschitz"
            )
    terms = local_terms(W1, W2, excess, G, lipschitz, rule)
    return LocalConstants(mu * terms.a, smoothness(terms.k, terms.step_size), terms.step_size)


class LocalTerms(NamedTuple):
    r"""What local constants are made of: `half` of $|\nabla L|^2$, the extreme curvatures `a` and `s`, the coefficients
    `k` of K($\eta$), and the `step_size` with $\eta K(\eta) = 1$."""

    half: Float[Array, ""]
    a: Float[Array, ""]
    s: Float[Array, ""]
    k: Float[Array, "3"]
    step_size: Float[Array, ""]


def local_terms(
    W1: Float[Array, "n h"],
    W2: Float[Array, "m h"],
    excess: Float[Array, ""],
    gradient: Float[Array, "n m"],
    lipschitz: Float[Array, ""],
    rule: str,
) -> LocalTerms:
    """Compute what local constants are made of, from the loss's excess over its minimum and its gradient in W1 W2'."""
    a, s = extreme_curvatures(W1, W2)
    squared = jnp.sum((gradient @ W2) ** 2) + jnp.sum((gradient.T @ W1) ** 2)
    if rule == "local":
        length = _root(squared)
        k = _largest(gradient) + lipschitz * s, lipschitz * _root(s) * length, lipschitz * length**2 / 4
    else:
        excess = jnp.maximum(excess, 0)
        slope = _root(2 * lipschitz * excess)
        k = lipschitz * s + slope, 3 * lipschitz * s * slope, 6 * lipschitz**2 * _largest(W1 @ W2.T) * excess
    k = jnp.stack(k)
    return LocalTerms(squared / 2, a, s, k, reciprocal_step(k))


def extreme_curvatures(W1: Float[Array | np.ndarray, "n h"], W2: Float[Array | np.ndarray, "m h"]) -> tuple[Any, Any]:
    r"""Compute the extreme squared singular values of the map $G \mapsto (GW_2, G^TW_1)$ of $\nabla\ell$ to $\nabla L$.

    They are $a = \sigma_n^2(W_1) + \sigma_m^2(W_2)$ and $s = \sigma_1^2(W_1) + \sigma_1^2(W_2)$, a singular value that
    a narrow matrix does not have being zero. Of NumPy's arrays they are NumPy's.
    """
    (low1, high1), (low2, high2) = _extreme_squares(W1), _extreme_squares(W2)
    return low1 + low2, high1 + high2


def smoothness(coefficients: Float[Array, "3"], step_size: Float[Array, ""]) -> Float[Array, ""]:
    """Evaluate K at a step size."""
    k0, k1, k2 = coefficients
    return k0 + (k1 + k2 * step_size) * step_size


def reciprocal_step(coefficients: Float[Array, "3"]) -> Float[Array, ""]:
    r"""Solve $\eta K(\eta) = 1$ for its one positive root, by Newton's method; inf where all coefficients are zero.

    The start $1/(k_0 + k_1^{1/2} + k_2^{1/3})$ makes the three terms $p, (p')^2, (p'')^3$ with $p + p' + p'' = 1$, so
    it lies below the root and above a third of it; the cubic is convex and increases, and seven steps reach rounding.
    Differentiable.
    """
    k0, k1, k2 = coefficients
    eta = lax.stop_gradient(1 / (k0 + jnp.sqrt(k1) + jnp.cbrt(k2)))
    for _ in range(7):
        eta = eta + (1 - eta * smoothness(coefficients, eta)) / (k0 + (2 * k1 + 3 * k2 * eta) * eta)
    return jnp.where(jnp.any(coefficients > 0), eta, jnp.inf)


def check_factors(W1: Any, W2: Any, names: tuple[str, str] = ("W1", "W2")) -> None:
    """Refuse two arrays that are no factors of one product, in one precision, or not finite."""
    one, two = names
    if W1.ndim != 2 or W2.ndim != 2 or W1.shape[1] != W2.shape[1] or 0 in W1.shape + W2.shape:
        raise ValueError(f"{one} has the shape {W1.shape} and {two} {W2.shape}: pass (n, h) and (m, h), of one width h")
    if W1.dtype != W2.dtype or not jnp.issubdtype(W1.dtype, jnp.floating):
        raise ValueError(f"{one} is {W1.dtype} and {two} {W2.dtype}: pass both in one floating dtype")
    finite(**{one: W1, two: W2})


def _extreme_squares(W):
    """The squares of sigma_n and sigma_1 of an (n, h) matrix, from the smaller of its Gram matrices."""
    wide, xp = W.shape[0] <= W.shape[1], W.__array_namespace__()
    eigenvalues = xp.maximum(xp.linalg.eigvalsh(W @ W.T if wide else W.T @ W), 0)
    return eigenvalues[0] if wide else xp.zeros((), W.dtype), eigenvalues[-1]


def _largest(W):
    return _root(_extreme_squares(W)[1])


def _root(x):
    """The square root, whose derivative at zero is taken as zero."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)

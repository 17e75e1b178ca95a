"""The imbalance of two factors, and what it certifies of their singular values for a whole run."""

from collections.abc import Sequence
from typing import Any, SupportsFloat

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from ..numerics.checked import finite
from .matrix_losses import check_constants
from .two_layer import check_factors


def imbalance(W1: Real[ArrayLike, "n h"], W2: Real[ArrayLike, "m h"]) -> Float[Array, "h h"]:
    r"""Compute the imbalance $D = W_1^TW_1 - W_2^TW_2$, which gradient flow keeps.

    **Arguments**: `W1` (n, h) and `W2` (m, h).

    **Returns** (h, h), symmetric.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.lowrank.imbalance(jnp.asarray([[3.0]]), jnp.asarray([[2.0]])).tolist()
        [[5.0]]
    """
    W1, W2 = jnp.asarray(W1), jnp.asarray(W2)
    return W1.T @ W1 - W2.T @ W2


def imbalance_drift(
    W1: Real[ArrayLike, "n h"], W2: Real[ArrayLike, "m h"], gradient: Real[ArrayLike, "n m"], step_size: ArrayLike
) -> Float[Array, "h h"]:
    r"""Compute what one step of gradient descent adds to the imbalance, exactly.

    $D^+ - D = \eta^2\big((GW_2)^TGW_2 - (G^TW_1)^TG^TW_1\big)$, of nuclear norm at most $\eta^2|\nabla L|^2$. Steps
    $\eta_t K_t \le 1$ therefore move D by at most $\sum_t\eta_t^2|\nabla L_t|^2 \le 2\max_t\eta_t\,(L_0 - \min L)$ in
    all: a `drift` for `imbalance_certificate`.

    **Arguments**: `W1` (n, h) and `W2` (m, h); `gradient` G (n, m) of the loss at W1 W2'; `step_size` $\eta$, ().

    **Returns** (h, h), symmetric.

    **Source**: derived here; checked along runs, to rounding.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> W1, W2 = jnp.asarray([[3.0]]), jnp.asarray([[2.0]])
        >>> tl.lowrank.imbalance_drift(W1, W2, jnp.asarray([[1.0]]), 0.5).tolist()
        [[-1.25]]
    """
    W1, W2, gradient = (jnp.asarray(values) for values in (W1, W2, gradient))
    along1, along2 = gradient @ W2, gradient.T @ W1
    return jnp.asarray(step_size, W1.dtype) ** 2 * (along1.T @ along1 - along2.T @ along2)


def imbalance_certificate(
    W1: ArrayLike,
    W2: ArrayLike,
    *,
    margin: Sequence | None = None,
    drift: SupportsFloat = 0.0,
) -> tuple[float, float]:
    r"""Bound $\alpha \le a$ and $s \le \beta$ by the imbalance and the singular values of the product alone.

    With $\lambda_\pm = \lambda_1(\pm D)_+$, $\underline\lambda_+ = \lambda_n(D)_+$, $\underline\lambda_- =
    \lambda_m(-D)_+$ (zero where D is smaller) and $\sigma_j = \sigma_j(W_1W_2^T)$, zero for $j > \min(n, m)$,

    $$\alpha = \tfrac12\Big[\underline\lambda_- - \lambda_- + \sqrt{(\lambda_- + \underline\lambda_+)^2 +
    4\sigma_n^2}\Big] + \tfrac12\Big[\underline\lambda_+ - \lambda_+ + \sqrt{(\lambda_+ + \underline\lambda_-)^2 +
    4\sigma_m^2}\Big],$$
    $$\beta = \tfrac12\Big[\lambda_+ + \sqrt{\lambda_+^2 + 4\sigma_1^2}\Big] +
    \tfrac12\Big[\lambda_- + \sqrt{\lambda_-^2 + 4\sigma_1^2}\Big].$$

    All of these survive along gradient flow, which keeps D, and along descent, where D drifts: with a `margin` and a
    `drift` the bounds hold at every factor pair whose product keeps the margin and whose D has moved by at most the
    drift in the spectral norm.

    **Arguments**: `W1` (n, h) and `W2` (m, h); `margin`, a lower bound of the smallest of the min(n, m) singular
    values of the product and an upper bound of the largest, as from `spectral_margin`, or None for those of W1 W2';
    `drift` >= 0.

    **Returns** $(\alpha, \beta)$, float64; no certificate where $\alpha$ is 0.

    **Raises** `ValueError` for shapes that do not match, values that are not finite, a margin that is not 0 <= low <=
    high, and a negative drift.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, with one correction: the paper has the
    smallest singular value in both roots of $\alpha$, which is false for n != m
    (`claims.two_layer_linear_gd.certificate`); this form is derived here and fuzzed in all shapes. The drift enters by
    Weyl's inequality, as $\alpha$ grows in $\underline\lambda_\pm$ and falls in $\lambda_\pm$.

        >>> import numpy as np, theorylab as tl
        >>> tl.lowrank.imbalance_certificate(np.diag([3.0, 2.0]), np.zeros((2, 2)))
        (4.0, 9.0)
    """
    (n, m), (top, bottom), (low, high) = spectra(W1, W2, margin)
    drift = float(drift)
    if not 0 <= drift < np.inf:
        raise ValueError(f"drift = {drift} must be finite and >= 0: how far D has moved, in the spectral norm")
    plus, minus = top[0] + drift, bottom[0] + drift
    low_plus, low_minus = (max(0.0, values[j - 1] - drift) for values, j in ((top, n), (bottom, m)))
    of_n, of_m = (low if j <= min(n, m) else 0.0 for j in (n, m))
    alpha = low_minus - minus + np.hypot(minus + low_plus, 2 * of_n)
    alpha += low_plus - plus + np.hypot(plus + low_minus, 2 * of_m)
    beta = plus + np.hypot(plus, 2 * high) + minus + np.hypot(minus, 2 * high)
    return float(max(0.0, alpha / 2)), float(beta / 2)


def spectral_margin(
    W: ArrayLike, solution: ArrayLike, *, mu: SupportsFloat, lipschitz: SupportsFloat
) -> tuple[float, float]:
    r"""Bound the singular values of every matrix whose loss is at most that of W: a margin for certificates.

    Such a W' has $|W' - W^\star| \le \sqrt{K/\mu}\,|W - W^\star| =: \rho$, hence $\sigma_{\min}(W^\star) - \rho \le
    \sigma_j(W') \le \sigma_{\max}(W^\star) + \rho$, the lower bound taken as 0 where it is negative.

    **Arguments**: `W` and `solution` W*, (n, m); `mu` and `lipschitz`, of a strongly convex loss.

    **Returns** $(\beta_1, \beta_2)$, float64.

    **Raises** `ValueError` for shapes that differ and constants out of range.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, beta_1 and beta_2.

        >>> import numpy as np, theorylab as tl
        >>> tl.lowrank.spectral_margin(np.diag([3.0, 2.0]), np.diag([3.0, 3.0]), mu=1.0, lipschitz=4.0)
        (1.0, 5.0)
    """
    W, solution = np.asarray(W, float), np.asarray(solution, float)
    if W.ndim != 2 or W.shape != solution.shape:
        raise ValueError(f"W has the shape {W.shape} and solution {solution.shape}: pass two matrices of one shape")
    finite(W=W, solution=solution)
    mu, lipschitz = float(mu), float(lipschitz)
    check_constants(mu, lipschitz)
    values = np.linalg.svd(solution, compute_uv=False)
    radius = np.sqrt(lipschitz / mu) * np.linalg.norm(W - solution)
    return float(max(0.0, values[-1] - radius)), float(values[0] + radius)


def spectra(
    W1: Any, W2: Any, margin: Sequence | None
) -> tuple[tuple[int, int], tuple[np.ndarray, np.ndarray], tuple[float, float]]:
    """Find what certificates are made of: n and m; the positive eigenvalues of D and of -D, largest first, each list
    filled up with zeros to n and to m at least; the margin, or the extreme singular values of the product."""
    W1, W2 = np.asarray(W1, float), np.asarray(W2, float)
    check_factors(W1, W2)
    n, m = len(W1), len(W2)
    if margin is None:
        values = np.linalg.svd(W1 @ W2.T, compute_uv=False)
        low, high = values[-1], values[0]
    else:
        low, high = (float(value) for value in margin)
        if not 0 <= low <= high < np.inf:
            raise ValueError(f"margin = {margin} must be 0 <= low <= high: bounds on the product's singular values")
    # D = Q (R J R') Q' with the QR decomposition of (W1; W2)': no larger than n + m
    R = np.asarray(np.linalg.qr(np.concatenate([W1, W2]).T, mode="r"))
    signed = R * np.repeat([1.0, -1.0], [n, m])
    eigenvalues = np.linalg.eigvalsh(signed @ R.T)
    fill = np.zeros(n + m)
    top, bottom = (np.sort(np.concatenate([np.maximum(e, 0), fill]))[::-1] for e in (eigenvalues, -eigenvalues))
    return (n, m), (top, bottom), (low, high)

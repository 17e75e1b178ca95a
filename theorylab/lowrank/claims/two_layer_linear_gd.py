"""What the paper states of descent in two-layer linear networks, as printed: bounds from the start alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ...numerics.checked import Numbers, finite
from ..certificates import imbalance_certificate, spectra, spectral_margin
from ..matrix_losses import MatrixLoss


def certificate(W1: ArrayLike, W2: ArrayLike, margin: Sequence | None = None) -> tuple[float, float]:
    r"""State the bounds $\alpha_1$ and $\alpha_2$: those of `imbalance_certificate`, with one margin in both roots.

    **Arguments**: `W1` (n, h) and `W2` (m, h); `margin` $(\beta_1, \beta_2)$, or None for those of W1 W2'.

    **Returns** $(\alpha_1, \alpha_2)$, float64. For n != m the first is no lower bound.

    **Raises** `ValueError` as `imbalance_certificate` does.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, the table of initialisation quantities.

        >>> import numpy as np, theorylab as tl
        >>> W1, W2 = np.asarray([[2.0], [0.0]]), np.asarray([[1.0]])
        >>> claimed, a = tl.lowrank.claims.two_layer_linear_gd.certificate(W1, W2)[0], 1.0
        >>> claimed > a >= tl.lowrank.imbalance_certificate(W1, W2)[0]
        True
    """
    (n, m), (top, bottom), (low, high) = spectra(W1, W2, margin)
    plus, minus, low_plus, low_minus = top[0], bottom[0], top[n - 1], bottom[m - 1]
    alpha = (
        low_minus - minus + low_plus - plus + np.hypot(plus + low_minus, 2 * low) + np.hypot(minus + low_plus, 2 * low)
    )
    return float(alpha / 2), imbalance_certificate(W1, W2, margin=(low, high))[1]


class Descent(NamedTuple):
    r"""Theorem 3.2 (and E.1): a linear rate for descent from a start with $\alpha_1 > 0$, by numbers of the start.

    It is for steps $\eta_0 \le \eta_t \le \min\{(1 + \eta_0^d)^{t/2}\eta_0, 1/K_t\}$ with $\eta_0$ below
    `largest_step_size`; then $L_{t+1} \le \bar\rho\, L_t$. Made by `descent`.

    **Arguments**: `mu` and `lipschitz` K of the loss; `excess` $L_0$; `alpha1`, `alpha2` and `beta2` of the start; `c`
    and `d`, the exponents.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, Theorems 3.2 and E.1.

        >>> import theorylab as tl
        >>> claimed = tl.lowrank.claims.two_layer_linear_gd.Descent(1.0, 1.0, 0.0, 4.0, 8.0, 2.0)
        >>> bool(0 < claimed.contraction(0.9 * claimed.largest_step_size()) < 1)
        True
    """

    mu: float
    lipschitz: float
    excess: float
    alpha1: float
    alpha2: float
    beta2: float
    c: float = 0.5
    d: float = 2.0

    def pl(self, step_size: Numbers) -> Float[np.ndarray, "*eta"]:
        r"""$\bar\mu = \mu(\alpha_1 + 2\alpha_2(1 - e^{\eta_0^c}))$, below every $\mu_t$."""
        return np.asarray(self.mu * (self.alpha1 - 2 * self.alpha2 * np.expm1(np.asarray(step_size, float) ** self.c)))

    def smoothness(self, step_size: Numbers, t: Numbers = 0) -> Float[np.ndarray, "*eta"]:
        r"""$\bar K_t$, above every $K_t$, for steps t; it falls to $Ke^{\eta_0^c}\alpha_2$."""
        eta, t, K = np.asarray(step_size, float), np.asarray(t, float), self.lipschitz
        rho = self.contraction(eta) if np.any(t > 0) else 1.0
        growth = (1 + eta**self.d) * rho
        late = 1 + 3 * eta * np.sqrt(2 * K * self.excess * growth**t)
        early = np.sqrt(2 * K * self.excess * rho**t) + 6 * K**2 * self.beta2 * self.excess * eta**2 * growth**t
        return np.asarray(early + K * np.exp(eta**self.c) * self.alpha2 * late)

    def contraction(self, step_size: Numbers) -> Float[np.ndarray, "*eta"]:
        r"""$\bar\rho(\eta_0, 0) = 1 - 2\bar\mu\eta_0 + \bar\mu\bar K_0\eta_0^2$."""
        eta, pl = np.asarray(step_size, float), self.pl(step_size)
        return np.asarray(1 - 2 * pl * eta + pl * self.smoothness(eta) * eta**2)

    def window(self, step_size: float) -> tuple[float, float]:
        r"""Lemma 3.1: $\alpha_1 + 2\alpha_2(1 - e^{\eta_0^c}) \le a_t$ and $s_t \le \alpha_2e^{\eta_0^c}$, always."""
        return float(self.pl(step_size)) / self.mu, float(self.alpha2 * np.exp(step_size**self.c))

    def largest_step_size(self) -> float:
        r"""$\eta_{\max}$: the least of the root of $\eta\bar K_0(\eta) = 1$, the smallest root of $4KL_0\eta^2 = (1 -
        e^{-\eta^c})(1 - (1 + \eta^d)\bar\rho(\eta, 0))$ and $\ln(1 + \alpha_1/2\alpha_2)^{1/c}$."""
        first = _root(lambda eta: eta * self.smoothness(eta) - 1, 0.0, 1 / (self.lipschitz * self.alpha2))
        last = min(first, float(np.log1p(self.alpha1 / (2 * self.alpha2)) ** (1 / self.c)))

        def second(eta):
            gain = -np.expm1(-(eta**self.c)) * (1 - (1 + eta**self.d) * self.contraction(eta))
            return 4 * self.lipschitz * self.excess * eta**2 - gain

        # on a grid, since the smallest root need not be the only one
        grid = last * np.geomspace(1e-8, 1, 2000)
        above = np.flatnonzero(second(grid) > 0)
        if not above.size or above[0] == 0:
            return last if not above.size else 0.0
        return _root(second, float(grid[above[0] - 1]), float(grid[above[0]]))


def descent(
    W1: Real[ArrayLike, "n h"],
    W2: Real[ArrayLike, "m h"],
    loss: MatrixLoss,
    *,
    exponents: tuple[float, float] = (0.5, 2.0),
) -> Descent:
    r"""State the numbers of the paper's global theorem at a start.

    **Arguments**: `W1` (n, h) and `W2` (m, h); `loss`, with `mu`, `lipschitz`, `minimum` and `solution`; `exponents`
    (c, d), c in (0, 1) and d > 1: (0.5, 2) in Theorem 3.2, (0.5, 1.01) in the experiments.

    **Returns** a `Descent`.

    **Raises** `ValueError` where the loss lacks one of those or is of another shape, for exponents out of range, and
    where $\alpha_1$ is not positive: the theorem then says nothing.

    **Source**: Xu, Min, Tarmoun, Mallada, Vidal (2025), arXiv 2505.11664, Theorems 3.2 and E.1.

        >>> import numpy as np, theorylab as tl
        >>> loss = tl.lowrank.squared_loss(np.eye(2))
        >>> tl.lowrank.claims.two_layer_linear_gd.descent(2 * np.eye(2), np.zeros((2, 2)), loss).alpha1
        4.0
    """
    c, d = exponents
    if not (0 < c < 1 < d):
        raise ValueError(f"exponents = {exponents} must be (c, d) with 0 < c < 1 < d")
    if loss.mu is None or loss.lipschitz is None or loss.solution is None:
        raise ValueError("loss lacks mu, lipschitz or solution: the theorem is made of them, pass them to MatrixLoss")
    mu, lipschitz = float(loss.mu), float(loss.lipschitz)
    W1, W2 = np.asarray(W1, float), np.asarray(W2, float)
    finite(W1=W1, W2=W2)
    W = W1 @ W2.T
    if W.shape != loss.solution.shape:
        raise ValueError(f"W1 and W2 have the product {W.shape} and the loss the solution {loss.solution.shape}")
    beta1, beta2 = spectral_margin(W, loss.solution, mu=mu, lipschitz=lipschitz)
    alpha1, alpha2 = certificate(W1, W2, (beta1, beta2))
    if alpha1 <= 0:
        raise ValueError(
            f"W1 and W2 give alpha_1 = {alpha1} <= 0, no certificate: start with a wider or more imbalanced network, "
            "or nearer to the solution"
        )
    excess = float(loss.function(W.astype(loss.solution.dtype))) - float(loss.minimum)
    return Descent(mu, lipschitz, excess, alpha1, alpha2, beta2, c, d)


def _root(function: Callable[[float], Any], low: float, high: float) -> float:
    """The point below which a function is negative, by bisection from low (negative) to high."""
    if function(high) <= 0:
        return high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return low

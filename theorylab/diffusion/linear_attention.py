"""Attention without scores, on tokens that share one mean: the best one, and how gradient descent finds it.

The companion model $F(X)_i = Sx_i + V\\bar x$, softmax attention with W = 0, on $x_i = \\sqrt{\\bar\\alpha}(\\mu +
\\rho\\xi_i) + c\\,\\varepsilon_i$. Only the second moment $M = E\\,\\mu\\mu^T$ of the mean matters, whatever its law.
Risks are summed over the d entries of a token, and are means over the tokens.
"""

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..numerics.checked import Numbers
from ..numerics.estimate import Estimate
from .denoisers import Mixture
from .multi_token import check_tokens

Pair = tuple[Float[Array, "d d"], Float[Array, "d d"]]


class LinearOptimum(NamedTuple):
    r"""A model $Sx_i + V\bar x$ and its `risk` (), summed over the d entries of a token; `S` and `V` are (d, d)."""

    S: Float[Array, "d d"]
    V: Float[Array, "d d"]
    risk: Float[Array, ""]


class SharedMean(Mixture):
    """The law of tokens that are one random mean plus normal noise of standard deviation `noise`.

    A subclass says what the mean's second moment is, and what the Bayes risk.

    **Source**: derived here; see `SharedMeanMixture` and `RandomMeanMixture`.

        >>> import theorylab as tl
        >>> issubclass(tl.diffusion.SharedMeanMixture, tl.diffusion.SharedMean)
        True
    """

    noise: Float[Array, "*lanes"]

    @abc.abstractmethod
    def second_moment(self) -> Float[Array, "d d"]:
        r"""Compute $M = E\,\mu\mu^T$, (d, d), about zero, since the model has no offset."""

    @abc.abstractmethod
    def bayes_risk(self, tokens: int, alpha_bar: Numbers) -> Estimate:
        """Compute the least risk of any denoiser, summed over d."""

    def variance(self, alpha_bar: ArrayLike) -> Float[Array, "*levels"]:
        r"""Compute an entry's variance given the mean, $s^2 = 1 - \bar\alpha + \rho^2\bar\alpha$, like alpha_bar."""
        alpha_bar = jnp.asarray(alpha_bar, self.noise.dtype)
        return 1 - alpha_bar + self.noise**2 * alpha_bar

    def oracle_risk(self, alpha_bar: ArrayLike) -> Float[Array, "*levels"]:
        r"""Compute the risk $d\bar\alpha\rho^2/s^2$ of one who knows the mean, like alpha_bar."""
        alpha_bar = self._level(alpha_bar)
        return len(self.second_moment()) * alpha_bar * self.noise**2 / self.variance(alpha_bar)

    def linear_attention_risk(
        self, S: Float[Array, "d d"], V: Float[Array, "d d"], tokens: Any, alpha_bar: ArrayLike
    ) -> Float[Array, ""]:
        r"""Compute the risk of $Sx_i + V\bar x$, ()."""
        A, B, c, L = self._moments(tokens, alpha_bar)
        fit = jnp.sum((S @ A + 2 * V @ B) * S) + jnp.sum((V @ B) * V)
        return fit - 2 * c * (jnp.trace(S) + jnp.trace(V) / L) + len(A)

    def linear_attention_optimum(self, tokens: Any, alpha_bar: ArrayLike) -> LinearOptimum:
        r"""Find the best (S, V, risk), exactly.

        $S = \frac c{s^2}I$ and $V = -\frac c{s^2}\bar\alpha LM(\bar\alpha LM + s^2I)^{-1}$. The risk is the oracle's
        plus $\sum_i\frac{c^2}{s^2}\frac{\bar\alpha m_i}{\bar\alpha m_iL + s^2}$, with $m_i$ the eigenvalues of M. For
        one token S and V are not unique; this is one of the best.
        """
        alpha_bar = self._level(alpha_bar)
        m, U = jnp.linalg.eigh(self.second_moment())
        m, s2, c, L = jnp.maximum(m, 0), self.variance(alpha_bar), jnp.sqrt(1 - alpha_bar), _count(tokens, m)
        ridge = alpha_bar * m * L + s2
        S = c / s2 * jnp.eye(len(m), dtype=m.dtype)
        V = -c / s2 * (U * (alpha_bar * m * L / ridge)[None]) @ U.T
        return LinearOptimum(S, V, self.oracle_risk(alpha_bar) + jnp.sum(c**2 / s2 * alpha_bar * m / ridge))

    def largest_stable_step(self, tokens: Any, alpha_bar: ArrayLike) -> Float[Array, ""]:
        """Compute the step size below which gradient descent on (S, V) converges: 2 over the largest curvature, ()."""
        return 2 / jnp.max(self._curvatures(tokens, alpha_bar))

    def population_gd(
        self,
        S: Numbers,
        V: Numbers,
        *,
        tokens: Any,
        alpha_bar: ArrayLike,
        step_size: ArrayLike,
        steps: int,
    ) -> tuple[Pair, Float[Array, " points"]]:
        """Descend along the gradient of the risk itself.

        It gives (S, V) at the end, and the risks before the first and after each step, (steps + 1,).

        **Raises** `ValueError` for a step size that is not positive or at which it does not converge.
        """
        A, B, c, L = self._moments(tokens, alpha_bar)
        S, V, step = (jnp.asarray(values, A.dtype) for values in (S, V, step_size))
        _check_step(step, self.largest_stable_step(tokens, alpha_bar))
        target = c * jnp.eye(len(A), dtype=A.dtype)

        def descend(pair, _):
            S, V = pair
            at_V = S @ B + V @ B - target / L
            at_S = S @ A + V @ B - target
            risk = self.linear_attention_risk(S, V, tokens, alpha_bar)
            return (S - 2 * step * at_S, V - 2 * step * at_V), risk

        (S, V), risks = lax.scan(descend, (S, V), length=steps)
        last = self.linear_attention_risk(S, V, tokens, alpha_bar)
        return (S, V), jnp.concatenate([risks, last[None]])

    def predicted_excess(
        self,
        S: Numbers,
        V: Numbers,
        *,
        tokens: int,
        alpha_bar: ArrayLike,
        step_size: ArrayLike,
        steps: Any,
    ) -> Float[np.ndarray, "*steps"]:
        r"""Predict what `population_gd` leaves above the best risk after some numbers of steps, exactly, like `steps`.

        Along each eigenvector of M, row by row, the pair $\theta$ of entries of S and V follows $\theta - \theta^*
        \mapsto (I - \eta H)(\theta - \theta^*)$, with H a matrix of two by two. On the host, in float64.
        """
        factors, shares = self._modes(S, V, tokens, alpha_bar, step_size)
        return np.asarray(np.sum(shares * factors ** (2 * np.asarray(steps)[..., None]), axis=-1))

    def iterations_required(
        self,
        S: Numbers,
        V: Numbers,
        *,
        tokens: int,
        alpha_bar: ArrayLike,
        step_size: ArrayLike,
        excess: float | int,
    ) -> int:
        """Count the fewest steps of `population_gd` that leave no more than an excess above the best risk.

        **Raises** `ValueError` for an excess that is not positive, and as `population_gd` does.
        """
        _check_excess(excess)
        factors, shares = self._modes(S, V, tokens, alpha_bar, step_size)
        _check_step(np.asarray(step_size), np.asarray(self.largest_stable_step(tokens, alpha_bar)))

        def enough(steps):
            return np.sum(shares * factors ** (2 * steps)) <= excess

        return _fewest(enough, -1)

    def tokens_required(self, excess: float | int, alpha_bar: ArrayLike) -> int:
        r"""Count the fewest tokens for which the best linear attention has no more than an excess over the oracle.

        At most $r(1 - \bar\alpha)/(s^2\,\text{excess})$, rounded up, with r the rank of M.

        **Raises** `ValueError` for an excess that is not positive.
        """
        _check_excess(excess)
        alpha_bar = float(self._level(alpha_bar))
        m = np.maximum(np.linalg.eigvalsh(np.asarray(self.second_moment(), float)), 0)
        s2 = 1 - alpha_bar + float(self.noise) ** 2 * alpha_bar

        def enough(tokens):
            return (1 - alpha_bar) / s2 * np.sum(alpha_bar * m / (alpha_bar * m * tokens + s2)) <= excess * (1 + 1e-12)

        return _fewest(enough, 0)

    def _level(self, alpha_bar):
        """alpha-bar in the mixture's precision, or an error."""
        check_alpha_bar(alpha_bar)
        return jnp.asarray(alpha_bar, self.noise.dtype)

    def _moments(self, tokens, alpha_bar):
        """E x x', E xbar x' = E xbar xbar', c and L."""
        alpha_bar = self._level(alpha_bar)
        M, s2 = self.second_moment(), self.variance(alpha_bar)
        eye, L = jnp.eye(len(M), dtype=M.dtype), _count(tokens, M)
        return alpha_bar * M + s2 * eye, alpha_bar * M + s2 / L * eye, jnp.sqrt(1 - alpha_bar), L

    def _curvatures(self, tokens, alpha_bar):
        """The larger eigenvalue of H along each eigenvector of M, (d,)."""
        alpha_bar = self._level(alpha_bar)
        m = jnp.linalg.eigvalsh(self.second_moment())
        s2 = self.variance(alpha_bar)
        a, b = alpha_bar * m + s2, alpha_bar * m + s2 / _count(tokens, m)
        return a + b + jnp.sqrt((a - b) ** 2 + 4 * b**2)

    def _modes(self, S, V, tokens, alpha_bar, step_size):
        """The factor of each mode of the error, and the share of the excess that it starts with."""
        best, alpha_bar, step_size = (
            self.linear_attention_optimum(tokens, alpha_bar),
            float(alpha_bar),
            float(step_size),
        )
        m, U = np.linalg.eigh(np.asarray(self.second_moment(), float))
        s2 = 1 - alpha_bar + float(self.noise) ** 2 * alpha_bar
        a, b = alpha_bar * m + s2, alpha_bar * m + s2 / tokens
        H = 2 * np.stack([np.stack([a, b], -1), np.stack([b, b], -1)], -1)
        curvature, modes = np.linalg.eigh(H)
        error = np.stack([np.asarray(one, float) @ U for one in (S - best.S, V - best.V)], -1)
        along = np.einsum("ijk,jkl->ijl", error, modes)
        return (1 - step_size * curvature).ravel(), (curvature / 2 * np.sum(along**2, axis=0)).ravel()


def check_alpha_bar(alpha_bar: Any) -> None:
    """An error for a level with nothing of the signal or nothing of the noise."""
    if isinstance(alpha_bar, Tracer):
        return
    values = np.atleast_1d(np.asarray(alpha_bar))
    bad = values[~((values > 0) & (values < 1))]
    if bad.size:
        raise ValueError(f"alpha_bar = {float(bad[0])!r} lies outside (0, 1): a level has both signal and noise")


def _count(tokens, like):
    return jnp.asarray(check_tokens(tokens), like.dtype)


def _check_excess(excess):
    if not 0 < excess < np.inf:
        raise ValueError(f"excess = {excess!r} must be positive and finite")


def _check_step(step, largest):
    if isinstance(step, Tracer) or isinstance(largest, Tracer):
        return
    if not 0 < float(step) < float(largest):
        raise ValueError(
            f"step_size = {float(step):g} must lie between 0 and {float(largest):g}, where gradient descent stops "
            "converging (largest_stable_step)"
        )


def _fewest(enough, low):
    """The least integer above `low` that is enough, for what stays enough."""
    step = 1
    while not enough(low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high

"""Data points of many tokens, each near one of the patterns that are active in its data point."""

from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int32, Integer

from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers
from ..numerics.draws import normal, orthogonal, uniform
from .denoisers import Mixture
from .pattern_posterior import PatternPosterior, pattern_posterior, shared_posterior

SUBSETS = 200_000
"""Up to so many active subsets all are enumerated; beyond, so many are drawn, once and for all."""

POSTERIOR_SUBSETS = 5000
"""The most active subsets over which a posterior is summed."""


class MultiTokenMixture(Mixture):
    r"""The law of data points whose tokens are noisy copies of K of M patterns.

    Of M patterns a uniformly random subset Z of size K is active; given Z, every token draws one of them, independently
    of the others, with the probabilities $\pi_k(Z) = Z_k\pi_k / \sum_j Z_j\pi_j$, and is that pattern plus normal
    noise: $x_p = \mu_{Y_p} + \rho\,\xi_p$. With K = 1 all tokens share one pattern, each as often as the others
    whatever the weights; with K = M tokens are independent.

    **Arguments**: `patterns` $\mu$ (M, d), floating, any; `weights` $\pi$ (M,), positive, of sum one; `active` K, from
    1 to M, static; `noise` $\rho \ge 0$, (), the standard deviation of an entry. Weights and noise take the patterns'
    dtype, and are not checked where they are traced.

    **Raises** `ValueError` for patterns that are no finite matrix, weights with zeros or another sum, K outside of
    1..M, and noise < 0.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, who take orthogonal patterns of norm $\sqrt d$
    (`orthogonal_patterns`), which nothing here needs.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.1, 0.2, 0.3, 0.4], active=2, noise=0.5)
        >>> x0, labels = mixture.sample(jax.random.key(0), tokens=6, batch=3)
        >>> x0.shape, labels.shape, mixture.pattern_frequencies().round(3).tolist()
        ((3, 6, 4), (3, 6), [0.131, 0.233, 0.296, 0.34])
    """

    patterns: Float[Array, "*lanes M d"]
    weights: Float[Array, "*lanes M"]
    noise: Float[Array, "*lanes"]
    active: int = eqx.field(static=True)

    def __init__(self, patterns: Numbers, weights: Numbers, *, active: int, noise: Numbers):
        patterns = floating(patterns)
        weights, noise = (jnp.asarray(values, patterns.dtype) for values in (weights, noise))
        check_points("patterns", patterns)
        check_weights(weights, patterns)
        check_noise(noise)
        count = len(patterns)
        if isinstance(active, bool) or not isinstance(active, int | np.integer) or not 1 <= active <= count:
            raise ValueError(f"active = {active!r} must be an integer from 1 to {count}, the number of patterns")
        self.patterns, self.weights, self.noise, self.active = patterns, weights, noise, int(active)

    def sample(
        self, key: Key, *, tokens: int, batch: int
    ) -> tuple[Float[Array, "batch tokens d"], Int32[Array, "batch tokens"]]:
        """Draw data points x0 (batch, tokens, d), and the pattern of each token, int32 (batch, tokens)."""
        check_tokens(tokens)
        keys = jax.random.split(key, 3)
        count, d = self.patterns.shape
        lots = uniform(keys[0], (batch, count))
        drawn = jnp.argsort(jnp.argsort(lots, axis=1), axis=1) < self.active
        logits = jnp.where(drawn, jnp.log(self.weights)[None], -jnp.inf)
        labels = jax.random.categorical(keys[1], logits[:, None], axis=-1, shape=(batch, tokens)).astype(jnp.int32)
        xi = normal(keys[2], (batch, tokens, d), self.patterns.dtype)
        return self.patterns[labels] + self.noise * xi, labels

    def posterior(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> PatternPosterior:
        """Compute the density of a noised data point, and the probability of each pattern for each of its tokens.

        **Raises** `ValueError` for more than 5000 active subsets, over which it sums, unless K = 1.
        """
        points, variance = jnp.sqrt(alpha_bar) * self.patterns, self.variance(alpha_bar)
        if self.active == 1:
            return shared_posterior(x, points, variance)
        total = comb(len(points), self.active)
        if total > POSTERIOR_SUBSETS:
            raise ValueError(
                f"active = {self.active} of {len(points)} patterns makes {total} subsets, more than the "
                f"{POSTERIOR_SUBSETS} over which a posterior is summed: take fewer patterns, or K near 1 or M"
            )
        return pattern_posterior(x, points, variance, self.proportions())

    def variance(self, alpha_bar: ArrayLike) -> Float[Array, "*levels"]:
        r"""Compute an entry's variance given its pattern, $s^2 = 1 - \bar\alpha + \rho^2\bar\alpha$, like alpha_bar."""
        alpha_bar = jnp.asarray(alpha_bar, self.noise.dtype)
        return 1 - alpha_bar + self.noise**2 * alpha_bar

    def log_density(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        """Compute the log-density of a noised data point, ()."""
        return self.posterior(x, alpha_bar).log_density

    def expected_noise(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, "tokens d"]:
        r"""Predict the noise as well as can be, $E[\varepsilon \mid x]$, (tokens, d)."""
        means = self.posterior(x, alpha_bar).shares @ self.patterns
        return self._residual(x, alpha_bar, means)

    def oracle_noise(
        self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike, labels: Integer[Array, " tokens"]
    ) -> Float[Array, "tokens d"]:
        r"""Predict the noise where the patterns are known, $E[\varepsilon \mid x, Y]$, (tokens, d)."""
        return self._residual(x, alpha_bar, self.patterns[labels])

    def noise_variance(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        r"""Compute the posterior variance of the noise, the mean over its entries, ()."""
        shares, s2 = self.posterior(x, alpha_bar).shares, self.variance(alpha_bar)
        unsure = jnp.mean(jnp.sum((shares @ squared_distances(self.patterns)) * shares, axis=1)) / 2
        oracle = self.noise**2 * alpha_bar / s2
        return oracle + (1 - alpha_bar) * alpha_bar / s2**2 * unsure / self.patterns.shape[1]

    def _residual(self, x, alpha_bar, means):
        return jnp.sqrt(1 - alpha_bar) / self.variance(alpha_bar) * (x - jnp.sqrt(alpha_bar) * means)

    def proportions(self) -> Float[Array, "subsets M"]:
        r"""Compute the probabilities $\pi(Z)$ of the patterns, one row for each active subset Z, all equally likely."""
        chosen = jnp.asarray(subsets(len(self.patterns), self.active), self.weights.dtype) * self.weights[None]
        return chosen / jnp.sum(chosen, axis=1, keepdims=True)

    def pattern_frequencies(self) -> Float[Array, " M"]:
        r"""Compute how often a token shows each pattern, $\nu_u = E\,\pi_u(Z)$, (M,).

        Exact up to 200 000 subsets (M = 20 for any K); beyond, an average over as many, drawn by a fixed seed, with a
        standard error below $1/900$.
        """
        return jnp.mean(self.proportions(), axis=0)

    def distinct_patterns(self, tokens: int | Integer[Array, ""]) -> Float[Array, ""]:
        """Count the patterns that the tokens of a data point show, in the mean, (): K for many tokens, 1 for one."""
        tokens = jnp.asarray(check_tokens(tokens), self.weights.dtype)
        return jnp.mean(jnp.sum(1 - (1 - self.proportions()) ** tokens, axis=1))

    def pattern_covariances(self) -> Float[Array, "subsets d d"]:
        r"""Compute a token pattern's covariance $C_Z = \sum_k\pi_k(Z)(\mu_k - m_Z)(\mu_k - m_Z)^T$ for each subset."""
        share = self.proportions()
        gaps = self.patterns[None] - (share @ self.patterns)[:, None]
        return jnp.einsum("sk,ski,skj->sij", share, gaps, gaps)

    def spread(self) -> Float[Array, ""]:
        r"""Compute the variance per entry of a token's pattern within its data point, $E\operatorname{tr}C_Z/d$, ().

        $1 - E\sum_k\pi_k(Z)^2$ for orthogonal patterns of norm $\sqrt d$.
        """
        share, d = self.proportions(), self.patterns.shape[1]
        # by the gaps between patterns, which a common offset does not round away
        return jnp.mean(jnp.sum((share @ squared_distances(self.patterns)) * share, axis=1)) / (2 * d)


def orthogonal_patterns(key: Key, count: int, dim: int) -> Float[Array, "count dim"]:
    r"""Draw orthogonal patterns of norm $\sqrt d$: the first rows of a Haar matrix, scaled.

    **Arguments**: `key`, a key or a seed; `count` M, at most `dim`; `dim` d.

    **Returns** (M, d), in JAX's default precision.

    **Raises** `ValueError` for more patterns than dimensions.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074; the text prints $\mu_i^T\mu_i = \sqrt d$, its proofs and
    figures use d.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> patterns = tl.diffusion.orthogonal_patterns(jax.random.key(0), 2, 5)
        >>> bool(jnp.allclose(patterns @ patterns.T, 5 * jnp.eye(2), atol=1e-5))
        True
    """
    if not 1 <= count <= dim:
        raise ValueError(f"count = {count} must lie between 1 and dim = {dim}: no more vectors are orthogonal there")
    return jnp.sqrt(float(dim)) * orthogonal(key, dim)[:count]


@lru_cache(maxsize=16)
def subsets(count: int, size: int) -> np.ndarray:
    """The subsets of `size` out of `count` as rows of truths: all of them, or `SUBSETS` drawn by a fixed seed."""
    total = comb(count, size)
    if total > SUBSETS:
        lots = np.random.default_rng(0).random((SUBSETS, count))
        return lots <= np.partition(lots, size - 1, axis=1)[:, size - 1 : size]
    rows = np.zeros((total, count), bool)
    chosen = np.array(list(combinations(range(count), size)))
    rows[np.arange(total)[:, None], chosen] = True
    return rows


def squared_distances(points: Float[Array, "M d"]) -> Float[Array, "M M"]:
    """The squared distances between points, to rounding for near ones too."""
    return jnp.sum((points[:, None] - points[None]) ** 2, axis=-1)


def check_points(name: str, points: Array) -> None:
    """An error for what is no finite matrix with a row for each point."""
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(f"{name} has the shape {points.shape}: pass a matrix with one row for each")
    # NumPy: under a transformation even constants would be traced by jnp
    if not isinstance(points, Tracer) and not np.all(np.isfinite(points)):
        where = [int(k) for k in np.argwhere(~np.isfinite(points))[0]]
        raise ValueError(f"{name}{where} is not finite: repair or remove that row")


def check_weights(weights: Array, points: Array) -> None:
    """An error for what is no distribution with positive entries, one for each point."""
    if weights.shape != points.shape[:1]:
        raise ValueError(f"weights has the shape {weights.shape}: pass {points.shape[:1]}, one for each row of points")
    if isinstance(weights, Tracer):
        return
    values = np.asarray(weights)
    if not np.all(values > 0):
        k = int(np.flatnonzero(~(values > 0))[0])
        raise ValueError(f"weights[{k}] = {float(values[k])!r} must be positive: leave out what never occurs")
    total = float(values.sum())
    if not abs(total - 1) <= max(1e-6, 10 * float(jnp.finfo(weights.dtype).eps)):
        raise ValueError(f"weights sum to {total!r}, not to one: divide them by their sum")


def check_noise(noise: Array) -> None:
    """An error for what is no standard deviation."""
    if noise.shape != ():
        raise ValueError(f"noise has the shape {noise.shape}: pass one number, the standard deviation of an entry")
    if not isinstance(noise, Tracer) and not 0 <= float(noise) < np.inf:
        raise ValueError(f"noise = {float(noise)!r} must be >= 0 and finite: it is a standard deviation")


def check_tokens(tokens: Any) -> Any:
    """The number of tokens, or an error for what is none."""
    if isinstance(tokens, bool) or (not isinstance(tokens, Tracer) and (tokens < 1 or tokens != int(tokens))):
        raise ValueError(f"tokens = {tokens!r} must be an integer from 1 on: the tokens of a data point")
    return tokens

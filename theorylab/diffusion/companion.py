"""Companion models, beside the paper: tokens that share one mean, out of K or normal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int32, Integer

from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers
from ..numerics.draws import normal
from ..numerics.estimate import Estimate
from .gaussian_mixture import GaussianMixture, check_symmetric, check_variances
from .linear_attention import SharedMean, check_alpha_bar
from .mean_posterior import posterior_variance
from .multi_token import check_noise, check_points, check_tokens, check_weights


class SharedMeanMixture(SharedMean):
    r"""Data points whose tokens all share one of K means, $x_l = \mu_z + \rho\,\xi_l$ with one $z \sim \pi$.

    It is the exactly solvable neighbour of the multi-token mixture: with equal weights the latter's case K = 1. Risks
    here are summed over the d entries of a token and are means over the tokens. A tokens' own z each (iid) is
    `GaussianMixture`, and a normal mean `RandomMeanMixture`.

    **Arguments**: `means` $\mu$ (K, d), floating, any, their mean not zero either; `weights` $\pi$ (K,), positive, of
    sum one; `noise` $\rho \ge 0$, (), the standard deviation of an entry. Weights and noise take the means' dtype, and
    are not checked where they are traced.

    **Raises** `ValueError` for means that are no finite matrix, weights with zeros or another sum, and noise < 0.

    **Source**: derived here; checked by automatic differentiation, simulation, and limits.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.SharedMeanMixture([[1.0], [-1.0]], [0.5, 0.5], 1.0)
        >>> S, V, risk = mixture.linear_attention_optimum(4, 0.5)
        >>> [round(float(value), 4) for value in (S[0, 0], V[0, 0], risk, mixture.oracle_risk(0.5))]
        [0.7071, -0.4714, 0.5833, 0.5]
        >>> round(float(mixture.bayes_risk(4, 0.5).value), 4)
        0.5578
    """

    means: Float[Array, "*lanes K d"]
    weights: Float[Array, "*lanes K"]

    def __init__(self, means: Numbers, weights: Numbers, noise: Numbers):
        self.means = means = floating(means)
        self.weights, self.noise = (jnp.asarray(values, means.dtype) for values in (weights, noise))
        check_points("means", means)
        check_weights(self.weights, means)
        check_noise(self.noise)

    @property
    def tokens_law(self) -> GaussianMixture:
        """This law as a Gaussian mixture with a shared latent."""
        return GaussianMixture(self.means, self.noise**2, self.weights, latent="shared")

    def second_moment(self) -> Float[Array, "d d"]:
        r"""Compute $M = \sum_k\pi_k\mu_k\mu_k^T$, (d, d), about zero."""
        return (self.means * self.weights[:, None]).T @ self.means

    def sample(
        self, key: Key, *, tokens: int, batch: int
    ) -> tuple[Float[Array, "batch tokens d"], Int32[Array, "batch tokens"]]:
        """Draw data points x0 (batch, tokens, d), and the mean of each token, int32 (batch, tokens), equal in a row."""
        return self.tokens_law.sample(key, tokens=tokens, batch=batch)

    def log_density(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        """Compute the log-density of a noised data point, ()."""
        return self.tokens_law.log_density(x, alpha_bar)

    def expected_noise(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, "tokens d"]:
        r"""Predict the noise as well as can be, $E[\varepsilon \mid x]$, (tokens, d)."""
        return self.tokens_law.expected_noise(x, alpha_bar)

    def noise_variance(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        r"""Compute the posterior variance of the noise, the mean over its entries, ()."""
        return self.tokens_law.noise_variance(x, alpha_bar)

    def oracle_noise(
        self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike, labels: Integer[Array, " tokens"]
    ) -> Float[Array, "tokens d"]:
        r"""Predict the noise where the mean is known, $E[\varepsilon \mid x, z]$, (tokens, d)."""
        return self.tokens_law.oracle_noise(x, alpha_bar, labels)

    def bayes_risk(self, tokens: int, alpha_bar: Numbers) -> Estimate:
        r"""Compute the least risk of any denoiser, like alpha_bar, on the host in float64.

        The oracle's plus $\frac{c^2\bar\alpha}{s^4}E\operatorname{tr}\operatorname{Cov}(\mu_z \mid \bar x)$, with the
        token mean $\bar x \sim N(\sqrt{\bar\alpha}\mu_z, s^2/L)$: by quadrature, with an error of 0, where the means
        differ in three dimensions at most (K <= 4, or d <= 3), else by randomised quadrature.
        """
        check_alpha_bar(alpha_bar)
        check_tokens(tokens)
        levels, noise, d = np.asarray(alpha_bar, float), float(self.noise), self.means.shape[1]
        value, error = np.zeros(levels.shape), np.zeros(levels.shape)
        for at, a in np.ndenumerate(levels):
            s2 = 1 - a + noise**2 * a
            unsure = posterior_variance(self.means, self.weights, np.sqrt(s2 / (a * tokens)))
            value[at], error[at] = d * a * noise**2 / s2 + (1 - a) * a / s2**2 * unsure
        return Estimate(value, error)


class RandomMeanMixture(SharedMean):
    r"""Data points whose tokens share one normal mean, $x_l = \mu + \rho\,\xi_l$ with $\mu \sim N(0, M)$.

    All is jointly normal, so that the best linear attention is the Bayes denoiser, and W = 0 a stationary point of
    softmax attention that nothing beats. Risks here are summed over the d entries of a token.

    **Arguments**: `moment` M (d, d), floating, symmetric, with eigenvalues >= 0; `noise` $\rho \ge 0$, (), the standard
    deviation of an entry.

    **Raises** `ValueError` for a moment that is no such matrix, and noise < 0.

    **Source**: derived here; checked by automatic differentiation of the density, and simulation.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.RandomMeanMixture([[1.0]], 1.0)
        >>> round(float(mixture.bayes_risk(4, 0.5).value), 4)
        0.5833
    """

    moment: Float[Array, "*lanes d d"]

    def __init__(self, moment: Numbers, noise: Numbers):
        self.moment = moment = floating(moment)
        self.noise = jnp.asarray(noise, moment.dtype)
        check_points("moment", moment)
        if moment.shape[0] != moment.shape[1]:
            raise ValueError(f"moment has the shape {moment.shape}: pass a square matrix, the covariance of the mean")
        check_symmetric("moment", moment)
        check_variances("moment", jnp.linalg.eigvalsh(moment), rounding=10 * len(moment))
        check_noise(self.noise)

    def second_moment(self) -> Float[Array, "d d"]:
        """Give M, (d, d)."""
        return self.moment

    def sample(
        self, key: Key, *, tokens: int, batch: int
    ) -> tuple[Float[Array, "batch tokens d"], Float[Array, "batch d"]]:
        """Draw data points x0 (batch, tokens, d), and their means (batch, d)."""
        keys, d = jax.random.split(key), len(self.moment)
        m, U = jnp.linalg.eigh(self.moment)
        means = (normal(keys[0], (batch, d), m.dtype) * jnp.sqrt(jnp.maximum(m, 0))[None]) @ U.T
        xi = normal(keys[1], (batch, check_tokens(tokens), d), m.dtype)
        return means[:, None] + self.noise * xi, means

    def log_density(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        """Compute the log-density of a noised data point, ()."""
        m, U = jnp.linalg.eigh(self.moment)
        s2, mean = self.variance(alpha_bar), jnp.mean(x, axis=0)
        wide = alpha_bar * len(x) * m + s2
        within = jnp.sum((x - mean[None]) ** 2) / s2 + (len(x) - 1) * len(m) * jnp.log(2 * jnp.pi * s2)
        return -(within + jnp.sum(len(x) * (mean @ U) ** 2 / wide + jnp.log(2 * jnp.pi * wide))) / 2

    def expected_noise(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, "tokens d"]:
        r"""Predict the noise, $E[\varepsilon \mid x] = Sx_l + V\bar x$ with the best (S, V), (tokens, d)."""
        m, U = jnp.linalg.eigh(self.moment)
        s2, L = self.variance(alpha_bar), len(x)
        pulled = ((jnp.mean(x, axis=0) @ U) * (alpha_bar * L * m / (alpha_bar * L * m + s2))) @ U.T
        return jnp.sqrt(1 - alpha_bar) / s2 * (x - pulled[None])

    def noise_variance(self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        r"""Compute the posterior variance of the noise, the mean over its entries, (), the same for every x."""
        return self.linear_attention_optimum(len(x), alpha_bar).risk / x.shape[1]

    def oracle_noise(
        self, x: Float[Array, "tokens d"], alpha_bar: ArrayLike, labels: Float[Array, " d"]
    ) -> Float[Array, "tokens d"]:
        r"""Predict the noise where the mean (d,) is known, $E[\varepsilon \mid x, \mu]$, (tokens, d)."""
        return jnp.sqrt(1 - alpha_bar) / self.variance(alpha_bar) * (x - jnp.sqrt(alpha_bar) * labels[None])

    def bayes_risk(self, tokens: Any, alpha_bar: ArrayLike) -> Estimate:
        """Compute the least risk of any denoiser: that of the best linear attention, (), exactly."""
        risk = self.linear_attention_optimum(tokens, alpha_bar).risk
        return Estimate(risk, jnp.zeros_like(risk))

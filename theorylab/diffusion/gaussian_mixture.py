"""Gaussian mixtures with any covariances, exact at every level of noise."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int32, Integer

from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers
from ..numerics.draws import normal
from .denoisers import Mixture
from .multi_token import check_points, check_tokens, check_weights

LATENTS = ("iid", "shared")
KINDS = {"full": "full", "diagonal": "diag", "isotropic": "spherical"}
"""What the kinds of covariance are called in scikit-learn."""


class GaussianMixture(Mixture):
    r"""Points from K normal components, $x_0 \sim \sum_k\pi_k N(\mu_k, \Sigma_k)$, and tokens of such points.

    A data point is (d,), or (tokens, d): then each token has a component of its own (latent `"iid"`), or all share one
    (`"shared"`), which makes their sum, and with unequal variances the sum of their squares, all that matters.

    **Arguments**: `means` $\mu$ (K, d), floating; `covariances` $\Sigma$: one variance for all (), one for each
    component (K,), those of each coordinate (K, d), or matrices (K, d, d), symmetric, with eigenvalues >= 0;
    `weights` $\pi$ (K,), positive, of sum one; `latent`, static. Both take the means' dtype, and are not checked where
    they are traced. Matrices are kept as `variances`, their eigenvalues (K, d), and `axes`, their eigenvectors.

    **Raises** `ValueError` for shapes that do not go together, for weights that are no distribution, for covariances
    that are negative or not symmetric, and for an unknown latent.

    **Source**: derived here; checked against automatic differentiation of the density, and simulation.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.GaussianMixture([[2.0, 0.0], [0.0, 2.0]], [0.5, 1.0], [0.5, 0.5])
        >>> mixture.expected_clean(jnp.asarray([1.0, 1.0]), 0.5).round(3).tolist()
        [1.281, 1.061]
    """

    means: Float[Array, "*lanes K d"]
    variances: Float[Array, "*lanes rows columns"]
    axes: Float[Array, "*lanes K d d"] | None
    weights: Float[Array, "*lanes K"]
    latent: Literal["iid", "shared"] = eqx.field(static=True)

    def __init__(self, means: Numbers, covariances: Numbers, weights: Numbers, *, latent: str = "iid"):
        self.means = means = floating(means)
        self.weights = weights = jnp.asarray(weights, means.dtype)
        check_points("means", means)
        check_weights(weights, means)
        if latent not in LATENTS:
            raise ValueError(f"latent = {latent!r} is not one of {', '.join(map(repr, LATENTS))}")
        self.latent = latent
        covariances = jnp.asarray(covariances, means.dtype)
        (K, d), shape = means.shape, covariances.shape
        if shape not in ((), (K,), (K, d), (K, d, d)):
            raise ValueError(
                f"covariances has the shape {shape}: pass one variance (), one for each component {(K,)}, those of "
                f"each coordinate {(K, d)}, or matrices {(K, d, d)}"
            )
        self.axes = None
        if len(shape) == 3:
            check_symmetric("covariances", covariances)
            self.variances, self.axes = jnp.linalg.eigh(covariances)
        else:
            self.variances = covariances.reshape((1, 1) if shape == () else (K, -1))
        check_variances("covariances", self.variances, rounding=0 if self.axes is None else 10 * d)

    @classmethod
    def fit(
        cls, points: Numbers, components: int, *, covariance: str = "full", seed: int = 0, **options: Any
    ) -> "GaussianMixture":
        """Fit a mixture to points (n, d) by scikit-learn's EM.

        `covariance` is full, diagonal or isotropic; `seed` an integer; other keywords, such as n_init, go to
        `sklearn.mixture.GaussianMixture`.

        **Raises** `ValueError` for an unknown kind, and as scikit-learn does.
        """
        from sklearn import mixture

        if covariance not in KINDS:
            raise ValueError(f"covariance = {covariance!r} is not one of {', '.join(map(repr, KINDS))}")
        points = floating(points)
        found = mixture.GaussianMixture(components, covariance_type=KINDS[covariance], random_state=seed, **options)
        found.fit(np.asarray(points, float))
        weights = np.asarray(found.weights_)
        return cls(jnp.asarray(found.means_, points.dtype), np.asarray(found.covariances_), weights / weights.sum())

    @property
    def covariances(self) -> Float[Array, "K d d"]:
        """The covariances as matrices, (K, d, d)."""
        K, d = self.means.shape
        variances = jnp.broadcast_to(self.variances, (K, d))
        if self.axes is None:
            return variances[:, :, None] * jnp.eye(d, dtype=variances.dtype)[None]
        return jnp.einsum("kde,ke,kfe->kdf", self.axes, variances, self.axes)

    def sample(
        self, key: Key, *, batch: int, tokens: int | None = None
    ) -> tuple[Float[Array, "*point d"], Int32[Array, "*point"]]:
        """Draw data points x0 (batch, tokens, d), or (batch, d) without `tokens`, and their components' indices."""
        K, d = self.means.shape
        lead = (batch,) if tokens is None else (batch, check_tokens(tokens))
        keys = jax.random.split(key)
        drawn = (batch,) if self.latent == "shared" else lead
        labels = jax.random.categorical(keys[0], jnp.log(self.weights), shape=drawn).astype(jnp.int32)
        labels = jnp.broadcast_to(labels.reshape(drawn + (1,) * (len(lead) - len(drawn))), lead)
        xi = normal(keys[1], (*lead, d), self.means.dtype)
        xi = jnp.sqrt(jnp.maximum(jnp.broadcast_to(self.variances, (K, self.variances.shape[1]))[labels], 0)) * xi
        if self.axes is not None:
            xi = jnp.einsum("...de,...e->...d", self.axes[labels], xi)
        return self.means[labels] + xi, labels

    def log_density(self, x: Float[Array, "*tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        """Compute the log-density of a noised data point, (d,) or (tokens, d), ()."""
        common, own = self._log_likelihoods(x.reshape(-1, x.shape[-1]), alpha_bar)
        return jnp.sum(common) + jnp.sum(jax.nn.logsumexp(own + jnp.log(self.weights)[None], axis=1))

    def posterior(self, x: Float[Array, "*tokens d"], alpha_bar: ArrayLike) -> Float[Array, "rows K"]:
        """Compute the probability of each component, (tokens, K); (1, K) for a single point and a shared component."""
        own = self._log_likelihoods(x.reshape(-1, x.shape[-1]), alpha_bar)[1]
        return jax.nn.softmax(own + jnp.log(self.weights)[None], axis=1)

    def expected_noise(self, x: Float[Array, "*tokens d"], alpha_bar: ArrayLike) -> Float[Array, "*tokens d"]:
        r"""Predict the noise as well as can be, $E[\varepsilon \mid x]$, like x."""
        w, c = self.posterior(x, alpha_bar), jnp.sqrt(1 - alpha_bar)
        rows = x.reshape(-1, x.shape[-1])
        y, m, inverse = self._centred(rows, alpha_bar)
        if self.axes is None:
            # one pass over the tokens, of one product and one difference: all else is done on the means' few rows
            inverse = c * inverse
            scale = inverse if len(inverse) == 1 else w @ inverse
            centre = jnp.sqrt(alpha_bar) * jnp.mean(self.means, axis=0, keepdims=True)
            found = scale * rows - (w @ (m * inverse) + scale * centre)
        else:
            weighted = w[:, :, None] * inverse[None] * self._turned(y, m)
            found = c * jnp.einsum("pke,kde->pd", weighted, self.axes)
        return found.reshape(x.shape)

    def noise_variance(self, x: Float[Array, "*tokens d"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        r"""Compute the posterior variance of the noise, the mean over its entries, ()."""
        w, predictions = self.posterior(x, alpha_bar), self._predictions(x, alpha_bar)
        own = jnp.mean(1 - (1 - alpha_bar) / self._noised(alpha_bar), axis=1)
        gaps = predictions - jnp.sum(w[..., None] * predictions, axis=1, keepdims=True)
        return jnp.mean(jnp.sum(w * (own[None] + jnp.mean(gaps**2, axis=2)), axis=1))

    def oracle_noise(
        self, x: Float[Array, "*tokens d"], alpha_bar: ArrayLike, labels: Integer[Array, "*tokens"]
    ) -> Float[Array, "*tokens d"]:
        r"""Predict the noise where the component k of each token is known, $E[\varepsilon \mid x, k]$, like x."""
        predictions = self._predictions(x, alpha_bar)
        chosen = jnp.broadcast_to(labels.reshape(-1), (len(predictions),))
        return predictions[jnp.arange(len(predictions)), chosen].reshape(x.shape)

    def _noised(self, alpha_bar):
        """The variances at a level, (rows, columns), along the axes."""
        return alpha_bar * self.variances + (1 - alpha_bar)

    def _centred(self, x, alpha_bar):
        """Tokens and means from the mean of means, lest a common offset cost digits, and inverse variances."""
        root, centre = jnp.sqrt(alpha_bar), jnp.mean(self.means, axis=0)
        return x - root * centre[None], root * (self.means - centre[None]), 1 / self._noised(alpha_bar)

    def _turned(self, y, m):
        """Tokens from each mean, along the axes of its covariance, (tokens, K, d)."""
        return jnp.einsum("pd,kde->pke", y, self.axes) - jnp.einsum("kd,kde->ke", m, self.axes)[None]

    def _predictions(self, x, alpha_bar):
        """The noise that each component alone would predict, (tokens, K, d)."""
        y, m, inverse = self._centred(x.reshape(-1, x.shape[-1]), alpha_bar)
        if self.axes is None:
            found = inverse[None] * (y[:, None] - m[None])
        else:
            found = jnp.einsum("pke,kde->pkd", inverse[None] * self._turned(y, m), self.axes)
        return jnp.sqrt(1 - alpha_bar) * found

    def _log_likelihoods(self, x, alpha_bar):
        """Per row of the posterior: what all components share (rows, 1), and each one's own rest (rows, K)."""
        y, m, inverse = self._centred(x, alpha_bar)
        shared, d = self.latent == "shared", x.shape[1]
        n = len(x) if shared else 1
        logs = jnp.log(2 * jnp.pi * self._noised(alpha_bar))
        constants = -n / 2 * (jnp.sum(logs, axis=1) if logs.shape[1] > 1 else d * logs[:, 0])[None]
        if self.axes is not None:
            squares = jnp.sum(inverse[None] * self._turned(y, m) ** 2, axis=2)
            squares = jnp.sum(squares, axis=0, keepdims=True) if shared else squares
            return jnp.zeros((1, 1), x.dtype), constants - squares / 2
        # the tokens' sum and the sum of their squares, in few columns, before any product with the means
        first, second = (y, y**2) if not shared else (jnp.sum(y, 0, keepdims=True), jnp.sum(y**2, 0, keepdims=True))
        second = second if inverse.shape[1] > 1 else jnp.sum(second, axis=1, keepdims=True)
        squares = second @ inverse.T
        rest = first @ (m * inverse).T - n / 2 * jnp.sum(m**2 * inverse, axis=1)[None]
        if len(inverse) == 1:
            return constants - squares / 2, rest
        return jnp.zeros((1, 1), x.dtype), constants - squares / 2 + rest


def check_symmetric(name: str, matrices: Array) -> None:
    """An error for matrices that are not symmetric beyond rounding."""
    if isinstance(matrices, Tracer):
        return
    values = np.asarray(matrices)
    gap, largest = np.abs(values - np.swapaxes(values, -1, -2)).max(), np.abs(values).max()
    if not gap <= 100 * np.finfo(values.dtype).eps * largest:
        raise ValueError(f"{name} is not symmetric, by {gap:.3g}: pass (C + C') / 2, if that is what is meant")


def check_variances(name: str, variances: Array, rounding: int) -> None:
    """An error for variances that are negative beyond so many roundings of the largest, or not finite."""
    if isinstance(variances, Tracer):
        return
    values = np.asarray(variances)
    least, largest = float(values.min()), float(values.max())
    if not (least >= -rounding * np.finfo(values.dtype).eps * abs(largest) and largest < np.inf):
        raise ValueError(f"{name} has the variance {least if least < 0 else largest!r}: pass finite ones >= 0")

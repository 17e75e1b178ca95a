"""Softmax attention over infinitely many independent tokens of a mixture: a linear map and a softmax gate."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, ScalarLike

from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers
from .counter import counter_normal
from .linear_attention import LinearOptimum, check_alpha_bar
from .multi_token import check_noise, check_points, check_weights


def attention_population_limit(
    W: Numbers, query: Numbers, *, means: Numbers, weights: Numbers, variance: ScalarLike
) -> Float[Array, " d"]:
    r"""Compute what a query q attends to among infinitely many keys: $\sum_k\alpha_k(q)\,m_k + s^2Wq$.

    Keys are independent, $x \sim \sum_k\pi_kN(m_k, s^2I)$, with scores $x^TWq$; tilting a normal law by an exponential
    moves its mean, so that $\alpha = \operatorname{softmax}_k(\log\pi_k + m_k^TWq)$. With $W = I/s^2$ and means of
    equal norm $\alpha$ is the posterior of the query's own component, and $(q - \text{attended} + q)\,c/s^2$ the Bayes
    denoiser; with unequal norms the gate lacks the offsets $-|m_k|^2/2s^2$.

    **Arguments**: `W` (d, d), the scores' matrix (a model that divides scores by d has W/d here); `query` q (d,);
    `means` m (K, d), those of the noised tokens, $\sqrt{\bar\alpha}\mu$; `weights` $\pi$ (K,); `variance` $s^2$, ().

    **Returns** (d,). Differentiable, and maps over queries by `vmap`.

    **Raises** `ValueError` for shapes that do not fit, and for weights below 0, or all of them 0.

    **Source**: derived here; checked against integration over the mixture's density, and attention over many tokens.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> limit = tl.diffusion.attention_population_limit
        >>> limit(jnp.eye(1), [0.0], means=[[1.0], [-2.0]], weights=[0.75, 0.25], variance=0.1).round(6).tolist()
        [0.25]
    """
    W = floating(W)
    query, means, weights, variance = (jnp.asarray(values, W.dtype) for values in (query, means, weights, variance))
    _check_components(means, weights)
    d = means.shape[1]
    if W.shape != (d, d) or query.shape != (d,):
        raise ValueError(f"W and query have the shapes {W.shape} and {query.shape}: pass {(d, d)} and {(d,)}, as means")
    # NumPy: under a transformation even constants would be traced by jnp
    if not isinstance(weights, Tracer) and not (np.all(np.asarray(weights) >= 0) and np.any(np.asarray(weights) > 0)):
        raise ValueError(f"weights = {weights} must be shares of the components: at least 0, and not all of them 0")
    turned = W @ query
    gate = jax.nn.softmax(jnp.log(weights) + means @ turned)
    return gate @ means + variance * turned


def limit_first_gradient(
    *, means: Numbers, weights: Numbers, variance: ScalarLike, a: ScalarLike, v: ScalarLike
) -> Float[Array, "d d"]:
    r"""Compute the gradient in W, at W = 0, of the risk of $a(x_i - v\sum_jA_{ij}x_j)$ for infinitely many tokens.

    $-2va^2(s^2I + C)(M - v\,\bar m\bar m^T)$, with $\bar m$, M and C mean, second moment and covariance of the means:
    with one skip a held at $c/s^2$. The first step grows along each pattern with its probability, rare ones last.

    **Arguments**: `means` m (K, d), those of the noised tokens, $\sqrt{\bar\alpha}\mu$; `weights` $\pi$ (K,);
    `variance` $s^2$, (); `a` $= c/s^2$, (); `v`, ().

    **Returns** (d, d); scores are not divided by d, and the risk is summed over d.

    **Raises** `ValueError` for shapes that do not fit.

    **Source**: derived here; checked by automatic differentiation through `attention_population_limit`.

        >>> import theorylab as tl
        >>> arguments = dict(means=[[1.0], [-1.0]], weights=[0.5, 0.5], variance=1.0, a=0.5, v=1.0)
        >>> tl.diffusion.limit_first_gradient(**arguments).tolist()
        [[-1.0]]
    """
    means = floating(means)
    weights, variance, a, v = (jnp.asarray(values, means.dtype) for values in (weights, variance, a, v))
    _check_components(means, weights)
    mean = weights @ means
    M, gaps = (means * weights[:, None]).T @ means, means - mean[None]
    C = (gaps * weights[:, None]).T @ gaps
    eye = jnp.eye(len(mean), dtype=means.dtype)
    return -2 * v * a**2 * (variance * eye + C) @ (M - v * jnp.outer(mean, mean))


class AttentionLimit(eqx.Module):
    r"""The denoising of infinitely many independent tokens by softmax attention: a problem for `tl.solve`, `tl.sweep`.

    The iterate is the triple (W, S, V), as `oracle_start` makes it, of $F(x) = Sx + V\,T(x)$ with T the
    `attention_population_limit`; a step sees fresh tokens of one level. Risks are summed over the d entries.

    **Arguments**: `means` $\mu$ (K, d), floating, any; `weights` $\pi$ (K,), positive, of sum one; `noise` $\rho \ge
    0$, (); `alpha_bar` in (0, 1), (); `batch`, the tokens of a step, static; `skip`, (), whether S is trained (1) or
    held (0), or by which share of its gradient. They are not checked where they are traced.

    **Raises** `ValueError` for means, weights, noise or a level that are not such.

    **Source**: derived here; checked against the Bayes risk of the mixture, and the exact risk without attention.

        >>> import jax.numpy as jnp, optax, theorylab as tl
        >>> problem = tl.diffusion.AttentionLimit(3 * jnp.eye(2), [0.5, 0.5], 0.5, alpha_bar=0.6, batch=64)
        >>> S, V, risk = problem.without_attention()
        >>> start = 0.3 * jnp.eye(2), S, V
        >>> run = tl.solve(tl.Gradient(optax.sgd, learning_rate=0.02), problem, start, key=0, steps=300)
        >>> bool(problem.loss(run.value, 1) < risk)
        True
    """

    means: Float[Array, "*lanes K d"]
    weights: Float[Array, "*lanes K"]
    noise: Float[Array, "*lanes"]
    alpha_bar: Float[Array, "*lanes"]
    skip: Float[Array, "*lanes"]
    batch: int = eqx.field(static=True)

    def __init__(
        self,
        means: Numbers,
        weights: Numbers,
        noise: Numbers,
        *,
        alpha_bar: Numbers,
        batch: int,
        skip: ScalarLike = 1.0,
    ):
        self.means = means = floating(means)
        rest = (jnp.asarray(values, means.dtype) for values in (weights, noise, alpha_bar, skip))
        self.weights, self.noise, self.alpha_bar, self.skip = rest
        self.batch = batch
        check_points("means", means)
        check_weights(self.weights, means)
        check_noise(self.noise)
        check_alpha_bar(self.alpha_bar)

    @property
    def variance(self) -> Float[Array, ""]:
        r"""The variance of an entry given its component, $s^2 = 1 - \bar\alpha + \rho^2\bar\alpha$."""
        return 1 - self.alpha_bar + self.noise**2 * self.alpha_bar

    def loss(self, x: tuple[Array, Array, Array], key: Key) -> Float[Array, ""]:
        """Compute the squared error of (W, S, V), summed over d, on fresh tokens."""
        W, S, V = x
        S = self.skip * S + (1 - self.skip) * lax.stop_gradient(S)
        drawn = counter_normal(key, (self.batch, 2 * len(W) + 1), dtype=self.means.dtype)
        clean, noise, lots = drawn[:, : len(W)], drawn[:, len(W) : -1], jax.scipy.special.ndtr(drawn[:, -1:])
        labels = jnp.sum(lots > jnp.cumsum(self.weights)[None, :-1], axis=1)
        means = jnp.sqrt(self.alpha_bar) * self.means
        tokens = means[labels] + jnp.sqrt(self.alpha_bar) * self.noise * clean + jnp.sqrt(1 - self.alpha_bar) * noise

        def attended(query):
            return attention_population_limit(W, query, means=means, weights=self.weights, variance=self.variance)

        error = tokens @ S.T + jax.vmap(attended)(tokens) @ V.T - noise
        return jnp.mean(jnp.sum(error**2, axis=1))

    def without_attention(self) -> LinearOptimum:
        r"""Find the best (S, V) at W = 0, and their risk, exactly.

        $S = -V = c\,(\bar\alpha C + s^2I)^{-1}$ with C the covariance of the means, and the risk is $d -
        c^2\operatorname{tr}(\bar\alpha C + s^2I)^{-1}$.
        """
        gaps = self.means - (self.weights @ self.means)[None]
        eye = jnp.eye(self.means.shape[1], dtype=self.means.dtype)
        covariance = self.alpha_bar * (gaps * self.weights[:, None]).T @ gaps + self.variance * eye
        inverse, c = jnp.linalg.inv(covariance), jnp.sqrt(1 - self.alpha_bar)
        return LinearOptimum(c * inverse, -c * inverse, len(eye) - c**2 * jnp.trace(inverse))


def _check_components(means, weights):
    if means.ndim != 2 or weights.shape != means.shape[:1] or means.size == 0:
        shapes = f"{means.shape} and {weights.shape}"
        raise ValueError(f"means and weights have the shapes {shapes}: pass (K, d) and (K,), one row for each weight")

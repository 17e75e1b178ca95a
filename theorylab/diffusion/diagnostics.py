"""Does attention take the mean of a token's own pattern? What trained weights and attention say."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int, ScalarLike

from ..numerics.arrays import floating
from ..numerics.checked import Numbers
from .attention import MeanDenoisingAttention
from .multi_token import MultiTokenMixture
from .process import diffuse
from .schedules import Schedule


class AttentionErrors(NamedTuple):
    """What attention does on each data point, (batch,) each, as `attention_errors` says."""

    risk: Float[Array, " batch"]
    excess: Float[Array, " batch"]
    mean_error: Float[Array, " batch"]
    mass: Float[Array, " batch"]


def attention_errors(
    model: MeanDenoisingAttention,
    mixture: MultiTokenMixture,
    schedule: Schedule,
    x0: Float[Array, "batch tokens d"],
    labels: Int[Array, "batch tokens"],
    *,
    t: Int[Array, " batch"],
    noise: Float[Array, "batch tokens d"],
) -> AttentionErrors:
    r"""Measure how far attention is from the oracle on data points whose patterns are known, one by one.

    **Arguments**: `model`; `mixture`, of which the patterns and the noise count; `schedule`; `x0`, clean points, and
    `labels`, the pattern of each token, as `mixture.sample` draws them; `t`, a level for each point; `noise`, like x0.

    **Returns** a NamedTuple of vectors (batch,), means over the entries or the tokens of a point: `risk`, the squared
    error of the noise; `excess`, the squared distance from `oracle_denoiser`, whose mean is the risk's excess over the
    oracle's; `mean_error`, that of what attention makes of a token from its mean $\sqrt{\bar\alpha}\mu_Y$; `mass`, the
    `same_pattern_mass`.

    **Raises** `ValueError` for levels out of range, and for shapes that do not fit.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Proposition 1 and Figure 2; checked against the exact risks.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.25] * 4, active=1, noise=0.5)
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5])
        >>> x0, labels = mixture.sample(0, tokens=100, batch=2)
        >>> model = tl.diffusion.MeanDenoisingAttention(jnp.zeros((4, 4)), tl.diffusion.ideal_scales(mixture, schedule))
        >>> drawn = {"t": jnp.zeros(2, int), "noise": jax.random.normal(jax.random.key(1), x0.shape)}
        >>> errors = tl.diffusion.attention_errors(model, mixture, schedule, x0, labels, **drawn)
        >>> errors.mass.tolist(), bool(jnp.all(errors.excess < 0.03))  # one pattern: uniform attention is ideal
        ([1.0, 1.0], True)
    """
    alpha_bar = schedule.alpha_bar.astype(x0.dtype)[t]

    def one(point):
        x, alpha_bar, t, labels, noise = point
        A = model.attention(x)
        attended = A @ x
        found = (model.v[t] if model.v.ndim else model.v).astype(x.dtype) * (x - attended)
        return AttentionErrors(
            jnp.mean((found - noise) ** 2),
            jnp.mean((found - mixture.oracle_noise(x, alpha_bar, labels)) ** 2),
            jnp.mean((attended - jnp.sqrt(alpha_bar) * mixture.patterns[labels]) ** 2),
            same_pattern_mass(A, labels),
        )

    rows = diffuse(x0, t, noise, schedule), alpha_bar, t, labels, noise
    together = max(1, 2**17 // (x0.shape[1] * max(x0.shape[1:])))  # whose arrays stay in the cache
    return jax.vmap(one)(rows) if together >= len(x0) else lax.map(one, rows, batch_size=together)


def same_pattern_mass(
    attention: Float[Array, "*batch tokens keys"], labels: Int[Array, "*batch tokens"]
) -> Float[Array, "*batch"]:
    r"""Measure the attention that tokens pay to their own pattern, $\frac1P\sum_p\sum_jA_{pj}[Y_j = Y_p]$.

    1 for a mean denoiser; for uniform attention the share of equal pairs, in the mean $\sum_k\pi_k^2 + (1 -
    \sum_k\pi_k^2)/P$ of independent tokens.

    **Arguments**: `attention` A (..., P, P), rows of sum one, a row for each query; `labels` Y (..., P), integers.

    **Returns** (...), in [0, 1].

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Figure 2.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> float(tl.diffusion.same_pattern_mass(jnp.full((4, 4), 0.25), jnp.asarray([0, 1, 1, 2])))
        0.375
    """
    _check_attention(attention, labels.shape)
    same = labels[..., :, None] == labels[..., None, :]
    return jnp.mean(jnp.sum(jnp.where(same, attention, 0), axis=-1), axis=-1)


def mean_denoising_gain(
    attended: Float[Array, "*batch tokens d"], means: Float[Array, "..."], variance: ScalarLike
) -> Float[Array, "*batch"]:
    r"""Measure the noise that attention leaves in its means, $\|\sum_jA_{pj}x_j - m_p\|^2/(ds^2)$, over the tokens.

    1 for a token itself, in the mean; 1/n for the mean of n tokens of one pattern; larger than 1 for a mean over other
    patterns.

    **Arguments**: `attended` $\sum_jA_{pj}x_j$ (..., P, d); `means` m (..., P, d), those of the noised tokens,
    $\sqrt{\bar\alpha}\mu_Y$; `variance` $s^2$ of an entry of a noised token, ().

    **Returns** (...).

    **Raises** `ValueError` for other shapes of the means, and for a variance that is not positive and finite.

    **Source**: derived here; checked against 1/P for uniform attention to one pattern.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> float(tl.diffusion.mean_denoising_gain(jnp.ones((3, 2)), jnp.zeros((3, 2)), 4.0))
        0.25
    """
    if attended.shape != means.shape:
        raise ValueError(f"means has the shape {means.shape}: pass {attended.shape}, one for each attended token")
    if not isinstance(variance, Tracer) and not 0 < np.asarray(variance) < np.inf:
        raise ValueError(f"variance = {variance} must be positive and finite: that of an entry of a noised token")
    return jnp.mean((attended - means) ** 2, axis=(-2, -1)) / jnp.asarray(variance, attended.dtype)


def pattern_scores(W: Numbers, patterns: Numbers) -> Float[Array, "M M"]:
    r"""Write W in pattern coordinates: the score $\mu_j^TW\mu_k/d$ of pattern j as a key for pattern k as a query.

    Of tokens at a level they carry a further factor alpha-bar. A mean denoiser has a large diagonal.

    **Arguments**: `W` (d, d); `patterns` $\mu$ (M, d), any.

    **Returns** (M, M), [key, query].

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Proposition 3.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.diffusion.pattern_scores(jnp.diag(jnp.asarray([1.0, 3.0])), jnp.eye(2)).tolist()
        [[0.5, 0.0], [0.0, 1.5]]
    """
    W = floating(W)
    patterns = jnp.asarray(patterns, W.dtype)
    if patterns.ndim != 2 or W.shape != (patterns.shape[1],) * 2:
        raise ValueError(f"W has the shape {W.shape}: pass a square matrix of the size d of patterns {patterns.shape}")
    return patterns @ W @ patterns.T / len(W)


def pattern_alignment(W: Numbers, patterns: Numbers) -> Float[Array, ""]:
    r"""Compute the cosine between W and the ideal scores, blind to what softmax is blind to.

    Attention sees its scores up to a constant for each query, and the ideal ones, equal for a pattern and itself and
    otherwise, are $J = I - \frac1M\mathbf{11}^T$ once each column is centred. So with S the `pattern_scores` this is
    $\langle JS, J\rangle/(\|JS\|\,\|J\|)$.

    **Arguments**: `W` (d, d); `patterns` $\mu$ (M, d), at least two, any.

    **Returns** (), in [-1, 1]: 1 where W singles out each pattern equally, 0 for W = 0.

    **Raises** `ValueError` for a single pattern.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> round(float(tl.diffusion.pattern_alignment(jnp.eye(3) + 5.0, jnp.eye(3))), 6)
        1.0
    """
    scores = pattern_scores(W, patterns)
    M = len(scores)
    if M < 2:
        raise ValueError("patterns holds one pattern: there is nothing to tell it from")
    centred = scores - jnp.mean(scores, axis=0, keepdims=True)
    size = jnp.sqrt(jnp.sum(centred**2))
    # <JS, J> = tr JS, and |J|^2 = M - 1
    return jnp.trace(centred) / jnp.where(size == 0, 1, size) / jnp.sqrt(float(M - 1))


def _check_attention(attention, shape):
    if attention.shape != (*shape, shape[-1]):
        raise ValueError(
            f"attention has the shape {attention.shape}: pass {(*shape, shape[-1])}, a row of weights for each query"
        )

"""Where the training of mean-denoising attention begins, and how its scales v end: gradients in closed form.

The model is $f(X)_p = v_t(x_p - \\sum_j A_{pj}x_j)$ with $A_p = \\operatorname{softmax}_j(x_j^TWx_p/d)$.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .multi_token import MultiTokenMixture, check_tokens
from .risks import Tokens, levels_of, scales_of
from .schedules import Schedule


def initial_scales(mixture: MultiTokenMixture, schedule: Schedule) -> Float[Array, " T"]:
    r"""Compute the best v while W = 0, at each level, for any number of tokens.

    It is $c/(s^2 + \bar\alpha\,E\operatorname{tr}C_Z/d)$.

    **Arguments**: `mixture`, with any patterns; `schedule`.

    **Returns** (T,).

    **Source**: derived here, the minimum of `initial_risk`.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0], [1.0, -1.0]], [0.5, 0.5], active=2, noise=1.0)
        >>> tl.diffusion.initial_scales(mixture, tl.diffusion.Schedule.from_alphas([0.75])).round(3).tolist()
        [0.364]
    """
    alpha_bar, c, s2 = levels_of(mixture, schedule)
    return c / (s2 + alpha_bar * mixture.spread())


def ideal_scales(mixture: MultiTokenMixture, schedule: Schedule) -> Float[Array, " T"]:
    r"""Compute the best v once attention takes the mean of each token's own pattern: $c/s^2$, at each level.

    **Arguments**: `mixture`, with any patterns; `schedule`.

    **Returns** (T,).

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Proposition 1, where v comes near it; exact for the ideal mean
    denoiser, see `ideal_risk`.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> tl.diffusion.ideal_scales(mixture, tl.diffusion.Schedule.from_alphas([0.75])).tolist()
        [0.5]
    """
    _, c, s2 = levels_of(mixture, schedule)
    return c / s2


def scale_contraction(
    mixture: MultiTokenMixture, schedule: Schedule, tokens: Tokens, step_size: ArrayLike
) -> Float[Array, " T"]:
    r"""Compute the factor of $v_t - c/s^2$ in a gradient step with attention ideal, at each level.

    It is $1 - \frac{2\eta}T(1 - E[\#]/P)s^2$: the loss is the mean over the levels, hence 1/T. Steps are stable where
    its size is below one.

    **Arguments**: `mixture`, with any patterns; `schedule`; `tokens` P >= 1, (); `step_size` $\eta$, ().

    **Returns** (T,), of either sign.

    **Source**: derived here; checked against automatic differentiation of the ideal denoiser's risk.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> tl.diffusion.scale_contraction(mixture, tl.diffusion.Schedule.from_alphas([0.75]), 2, 0.5).tolist()
        [0.5]
    """
    alpha_bar, _, s2 = levels_of(mixture, schedule)
    step = jnp.asarray(step_size, s2.dtype)
    return 1 - 2 * step / len(alpha_bar) * (1 - mixture.distinct_patterns(tokens) / jnp.asarray(tokens, s2.dtype)) * s2


def first_gradient(
    mixture: MultiTokenMixture, schedule: Schedule, v: ArrayLike, tokens: Tokens | None = None
) -> Float[Array, "d d"]:
    r"""Compute the gradient of the risk in W at W = 0, exactly, for any number of tokens.

    For a level and given active patterns let $\Sigma = s^2I + \bar\alpha C_Z$ be a noised token's covariance and
    $\hat C$ that of the P tokens. The gradient is $-\frac{2v}{d^2}E_Z\big[v\,E\hat C^2 - c(1 + \tfrac{d + 1}P)(1 -
    \tfrac1P)\Sigma\big]$, which tends to $-\frac{2v}{d^2}E_Z[\Sigma(v\Sigma - cI)]$ for many tokens. With the fourth
    moment $Q = E[|y|^2yy^T]$ of a centred token, $E\hat C^2 = (1 - \tfrac1P)\big[\tfrac1P(1 - \tfrac1P)Q + (1 -
    \tfrac2P + \tfrac2{P^2})\Sigma^2 + \tfrac1{P^2}\operatorname{tr}(\Sigma)\Sigma\big]$. With one active pattern it is
    a multiple of I, which vanishes at $v = c/s^2$ for infinitely many tokens but not for P of them.

    **Arguments**: `mixture`, with any patterns; `schedule`; `v`, () or (T,); `tokens` P >= 1, (), or None for the limit
    of many.

    **Returns** (d, d), of the risk per entry, averaged over the levels (twice that of the paper's loss).

    **Raises** `ValueError` for less than one token, and for a v of another shape.

    **Source**: derived here; checked against automatic differentiation of simulated risks.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0], [1.0, -1.0]], [0.5, 0.5], active=2, noise=0.0)
        >>> gradient = tl.diffusion.first_gradient(mixture, tl.diffusion.Schedule.from_alphas([0.75]), 1.0)
        >>> [round(float(gradient[k, k]), 4) for k in range(2)]
        [0.0312, -0.25]
    """
    alpha_bar, c, s2 = levels_of(mixture, schedule)
    v, d = scales_of(v, alpha_bar), mixture.patterns.shape[1]
    r = jnp.asarray(0.0 if tokens is None else 1 / check_tokens(tokens), s2.dtype)
    share = mixture.proportions()
    gaps = mixture.patterns[None] - (share @ mixture.patterns)[:, None]
    Cs = mixture.pattern_covariances()
    traces = jnp.trace(Cs, axis1=1, axis2=2)
    eye, C, C2 = jnp.eye(d, dtype=s2.dtype), jnp.mean(Cs, axis=0), jnp.mean(Cs @ Cs, axis=0)
    F = jnp.einsum("sk,ski,skj->ij", share * jnp.sum(gaps**2, axis=2), gaps, gaps) / len(share)
    trace, trace_C = jnp.mean(traces), jnp.mean(traces[:, None, None] * Cs, axis=0)

    def level(a, c, s2, v):
        covariance = s2 * eye + a * C
        square = s2**2 * eye + 2 * s2 * a * C + a**2 * C2
        traced = d * s2**2 * eye + a * s2 * (trace * eye + d * C) + a**2 * trace_C
        fourth = a**2 * F + (d + 4) * a * s2 * C + (a * s2 * trace + (d + 2) * s2**2) * eye
        seen = r * (1 - r) * fourth + (1 - 2 * r + 2 * r**2) * square + r**2 * traced
        return -2 * v / d**2 * (1 - r) * (v * seen - c * (1 + (d + 1) * r) * covariance)

    return jnp.mean(jax.vmap(level)(alpha_bar, c, s2, v), axis=0)

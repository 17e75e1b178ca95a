"""Which pattern each token shows, given the noised tokens: summed over all active subsets."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class PatternPosterior(NamedTuple):
    """What noised tokens say of their patterns: `log_density` () and `shares` (tokens, M), each row of sum one.

    `shares` is (1, M) where all tokens share one pattern.
    """

    log_density: Float[Array, ""]
    shares: Float[Array, "rows M"]


def pattern_posterior(
    x: Float[Array, "tokens d"],
    points: Float[Array, "M d"],
    variance: Float[Array, ""],
    proportions: Float[Array, "subsets M"],
) -> PatternPosterior:
    r"""The posterior of the patterns of normal tokens, exactly.

    A subset Z, all of them equally likely, has the likelihood $w_Z \propto \prod_p \sum_{k \in Z} \pi_k(Z)\,
    N(x_p; m_k, s^2)$, and within it token p shows pattern k with the probability that its own term has in the sum over
    k. The arrays of tokens x subsets x M terms are summed as they are made.

    **Arguments**: `x` (tokens, d); `points` m (M, d), the patterns at this level, $\sqrt{\bar\alpha}\mu$; `variance`
    $s^2$, (); `proportions` $\pi(Z)$ (subsets, M), zero outside of Z.

    **Returns** a `PatternPosterior`.

    **Source**: derived here; checked against enumeration over all labels, and by automatic differentiation.

        >>> import jax.numpy as jnp
        >>> from theorylab.diffusion.pattern_posterior import pattern_posterior
        >>> points, one = jnp.asarray([[1.0], [-1.0]]), jnp.ones(())
        >>> pattern_posterior(jnp.zeros((3, 1)), points, one, jnp.ones((1, 2)) / 2).shares[0].tolist()
        [0.5, 0.5]
    """
    y, m, constant = _centred(x, points, variance)
    logits = (y @ m.T - jnp.sum(m**2, axis=1)[None] / 2) / variance
    chosen = proportions > 0
    prior = jnp.where(chosen, jnp.log(jnp.where(chosen, proportions, 1)), -jnp.inf)
    terms = prior[None] + logits[:, None]
    inside = jax.nn.logsumexp(terms, axis=2)
    joint = jnp.sum(inside, axis=0) - math.log(len(proportions))
    # softmax, not exp(x - logsumexp(x)), whose sum is off one by the rounding of large x
    shares = jnp.sum(jax.nn.softmax(terms, axis=2) * jax.nn.softmax(joint)[None, :, None], axis=1)
    return PatternPosterior(constant + jax.nn.logsumexp(joint), shares)


def shared_posterior(
    x: Float[Array, "tokens d"], points: Float[Array, "M d"], variance: Float[Array, ""]
) -> PatternPosterior:
    r"""The posterior of the one pattern that all tokens share, each as likely as the others before.

    Tokens are summed first, so that it costs one product of their sum with the points: $\log w_k = (m_k^T\sum_p x_p -
    \frac P2|m_k|^2)/s^2$ up to a constant.

    **Arguments**: `x` (tokens, d); `points` m (M, d), the patterns at this level; `variance` $s^2$, ().

    **Returns** a `PatternPosterior` whose `shares` are (1, M).

    **Source**: derived here; checked against `pattern_posterior`.

        >>> import jax.numpy as jnp
        >>> from theorylab.diffusion.pattern_posterior import shared_posterior
        >>> shared_posterior(jnp.zeros((3, 1)), jnp.asarray([[1.0], [-1.0]]), jnp.ones(())).shares.tolist()
        [[0.5, 0.5]]
    """
    y, m, constant = _centred(x, points, variance)
    logits = (m @ jnp.sum(y, axis=0) - len(x) / 2 * jnp.sum(m**2, axis=1)) / variance
    density = constant + jax.nn.logsumexp(logits) - math.log(len(points))
    return PatternPosterior(density, jax.nn.softmax(logits)[None])


def _centred(x, points, variance):
    """Tokens and points from the points' centre, lest a common offset cost digits; the common part of log-densities."""
    centre = jnp.mean(points, axis=0)
    y = x - centre[None]
    return y, points - centre[None], -(jnp.sum(y**2) / variance + x.size * jnp.log(2 * jnp.pi * variance)) / 2

"""The risks of denoising a multi-token mixture, exactly: oracle, ideal mean denoising, no attention yet, and Bayes.

Every risk is a mean squared error per entry, without a factor 1/2: the mean over the levels, or level by level.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Integer

from ..numerics.checked import Key, Numbers
from ..numerics.draws import normal
from ..numerics.estimate import Estimate
from .denoisers import Mixture
from .multi_token import MultiTokenMixture, check_tokens
from .schedules import Schedule

Tokens = int | Integer[Array, ""]


def oracle_risk(mixture: MultiTokenMixture, schedule: Schedule, *, by_level: bool = False) -> Float[Array, "*levels"]:
    r"""Compute the risk $\bar\alpha\rho^2/s^2$ of one who knows each token's pattern: no estimator falls below it.

    **Arguments**: `mixture`, with any patterns; `schedule`; `by_level`, whether to give the risk of each level.

    **Returns** the mean over the levels (), or by level (T,), per entry.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, twice what they write; checked against simulation.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5, 0.5])
        >>> float(tl.diffusion.oracle_risk(mixture, schedule))
        0.375
        >>> tl.diffusion.oracle_risk(mixture, schedule, by_level=True).tolist()
        [0.5, 0.25]
    """
    alpha_bar, _, s2 = levels_of(mixture, schedule)
    return _over(alpha_bar * mixture.noise**2 / s2, by_level)


def ideal_risk(
    mixture: MultiTokenMixture, schedule: Schedule, tokens: Tokens, *, by_level: bool = False
) -> Float[Array, "*levels"]:
    r"""Compute the risk of $\frac c{s^2}(x_p - \bar x_p)$, with $\bar x_p$ the mean of the tokens of p's pattern.

    The oracle's plus $\frac{1 - \bar\alpha}{s^2}\,E[\#]/P$, with # the number of patterns that the P tokens show: a
    mean over n tokens, its own among them, is off by $s^2/n$ and correlated with the token. The scale $c/s^2$ is the
    best one for every n. It is the level that mean denoising aims at, not a lower bound over all attention.

    **Arguments**: `mixture`, with any patterns; `schedule`; `tokens` P >= 1, (); `by_level`, whether to give the risk
    of each level.

    **Returns** the mean over the levels (), or by level (T,), per entry.

    **Raises** `ValueError` for less than one token.

    **Source**: derived here; checked against simulation.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> round(float(tl.diffusion.ideal_risk(mixture, tl.diffusion.Schedule.from_alphas([0.5]), 5)), 3)
        0.6
    """
    alpha_bar, c, s2 = levels_of(mixture, schedule)
    shown = mixture.distinct_patterns(tokens) / jnp.asarray(tokens, s2.dtype)
    return _over(alpha_bar * mixture.noise**2 / s2 + c**2 / s2 * shown, by_level)


def initial_risk(
    mixture: MultiTokenMixture, schedule: Schedule, tokens: Tokens, v: ArrayLike, *, by_level: bool = False
) -> Float[Array, "*levels"]:
    r"""Compute the risk of $v(x_p - \bar x)$: mean-denoising attention with W = 0, where it starts.

    $1 + (1 - \frac1P)\big(v^2(s^2 + \bar\alpha\,E\operatorname{tr}C_Z/d) - 2vc\big)$, with $C_Z$ the covariance of a
    token's pattern given the active ones: $\operatorname{tr}C_Z/d = 1 - \sum_k\pi_k(Z)^2$ for orthogonal patterns of
    norm $\sqrt d$.

    **Arguments**: `mixture`, with any patterns; `schedule`; `tokens` P >= 1, (); `v`, () or (T,); `by_level`, whether
    to give the risk of each level.

    **Returns** the mean over the levels (), or by level (T,), per entry.

    **Raises** `ValueError` for less than one token, and for a v of another shape.

    **Source**: derived here; checked against simulation.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> float(tl.diffusion.initial_risk(mixture, tl.diffusion.Schedule.from_alphas([0.75]), 2, 1.0))
        1.0
    """
    alpha_bar, c, s2 = levels_of(mixture, schedule)
    v = scales_of(v, alpha_bar)
    shrunk = 1 - 1 / jnp.asarray(check_tokens(tokens), alpha_bar.dtype)
    return _over(1 + shrunk * (v**2 * (s2 + alpha_bar * mixture.spread()) - 2 * v * c), by_level)


def bayes_risk(
    mixture: Mixture, schedule: Schedule, tokens: int, *, key: Key, samples: int, by_level: bool = False
) -> Estimate:
    r"""Estimate the least risk that any denoiser has, with its standard error.

    The mean over drawn data points of the posterior variance of the noise, which is exact for each and varies far less
    than a squared error; so an estimate for a `MultiTokenMixture` never falls below its oracle risk. All levels see the
    same draws.

    **Arguments**: `mixture`, any `Mixture`; `schedule`; `tokens` P >= 1; `key`, a key or a seed; `samples` >= 2, the
    data points drawn; `by_level`, whether to give the risk of each level.

    **Returns** an `Estimate` of the mean over the levels (), or by level (T,), per entry.

    **Raises** `ValueError` for less than one token or two samples, and for more than 5000 active subsets.

    **Source**: derived here; checked against the squared error of the exact denoiser.

        >>> import jax, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5, 0.5])
        >>> value, error = tl.diffusion.bayes_risk(mixture, schedule, 5, key=jax.random.key(0), samples=2)
        >>> round(float(value), 3)
        0.375
    """
    values = _variances(mixture, schedule, tokens, key, samples)
    return Estimate.of(values if by_level else jnp.mean(values, axis=1))


def score_error(risks: Numbers, bayes: Numbers, schedule: Schedule) -> Float[Array, ""]:
    r"""Compute the error of the score $s = -f/c$ of a denoiser f from its risks.

    It is the mean of $(L_t - B_t)/(1 - \bar\alpha_t)$, for any f. Per entry that is $E\|s - \nabla\log p_t\|^2/(dP)$,
    since the posterior mean is orthogonal to what f misses.

    **Arguments**: `risks` L (T,) of f, and `bayes` B (T,), the least ones, per entry; `schedule`.

    **Returns** ().

    **Raises** `ValueError` for risks of other shapes.

    **Source**: derived here; checked against simulation.

        >>> import theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5, 0.5])
        >>> round(float(tl.diffusion.score_error([0.6, 0.4], [0.5, 0.25], schedule)), 6)
        0.2
    """
    alpha_bar = schedule.alpha_bar
    risks, bayes = (jnp.asarray(values, alpha_bar.dtype) for values in (risks, bayes))
    if not risks.shape == bayes.shape == alpha_bar.shape:
        raise ValueError(
            f"risks and bayes have the shapes {risks.shape} and {bayes.shape}: pass {alpha_bar.shape}, one per level"
        )
    return jnp.mean((risks - bayes) / (1 - alpha_bar))


def tokens_required(mixture: MultiTokenMixture, schedule: Schedule, excess: float | int) -> int:
    r"""Count the fewest tokens for which `ideal_risk` exceeds the oracle risk by no more than a given amount.

    At most $K\,\operatorname{mean}_t\frac{1 - \bar\alpha}{s^2}/\text{excess}$, rounded up, which is also what it comes
    to for a small excess.

    **Arguments**: `mixture`, with any patterns; `schedule`; `excess` > 0, per entry.

    **Returns** an integer.

    **Raises** `ValueError` for an excess that is not positive.

    **Source**: derived here, by bisection in `ideal_risk`.

        >>> import theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[1.0, 1.0]], [1.0], active=1, noise=1.0)
        >>> tl.diffusion.tokens_required(mixture, tl.diffusion.Schedule.from_alphas([0.5]), 0.125)
        4
    """
    if not 0 < excess < np.inf:
        raise ValueError(f"excess = {excess!r} must be positive and finite: tokens are infinitely many for none")
    _, c, s2 = (np.asarray(values, float) for values in levels_of(mixture, schedule))
    share, scale = np.asarray(mixture.proportions(), float), float(np.mean(c**2 / s2))

    def enough(tokens):
        distinct = np.mean(np.sum(1 - (1 - share) ** tokens, axis=1))
        return scale * distinct / tokens <= excess * (1 + 1e-12)

    low, high = 0, max(1, int(np.ceil(mixture.active * scale / excess)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def levels_of(mixture: MultiTokenMixture, schedule: Schedule) -> tuple[Float[Array, " T"], ...]:
    """alpha-bar, c and s2, (T,) each, in the mixture's precision."""
    alpha_bar = schedule.alpha_bar.astype(mixture.patterns.dtype)
    return alpha_bar, jnp.sqrt(1 - alpha_bar), mixture.variance(alpha_bar)


def scales_of(v: ArrayLike, alpha_bar: Float[Array, " T"]) -> Float[Array, " T"]:
    """v for each level, or an error for another shape."""
    v = jnp.asarray(v, alpha_bar.dtype)
    if v.shape not in ((), alpha_bar.shape):
        raise ValueError(f"v has the shape {v.shape}: pass one number, or {alpha_bar.shape}, one for each level")
    return jnp.broadcast_to(v, alpha_bar.shape)


def _variances(mixture, schedule, tokens, key, samples):
    """The posterior variance of the noise for each data point and level, (samples, T)."""
    check_tokens(tokens)
    if isinstance(samples, bool) or samples < 2:
        raise ValueError(f"samples = {samples!r} must be an integer from 2 on, to have an error bar")
    keys = jax.random.split(key)
    x0, _ = mixture.sample(keys[0], tokens=tokens, batch=samples)
    alpha_bar = schedule.alpha_bar.astype(x0.dtype)

    def one(point):
        clean, own = point
        noise = normal(own, clean.shape, clean.dtype)

        def level(at):
            return mixture.noise_variance(jnp.sqrt(at) * clean + jnp.sqrt(1 - at) * noise, at)

        return jax.vmap(level)(alpha_bar)

    # blocks whose arrays, all levels at once, stay in the cache
    together = max(1, min(samples, 2**17 // (len(alpha_bar) * x0[0].size)))
    return lax.map(one, (x0, jax.random.split(keys[1], samples)), batch_size=together)


def _over(risks, by_level):
    return risks if by_level else jnp.mean(risks)

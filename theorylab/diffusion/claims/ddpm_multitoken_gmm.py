"""What Li, Min, Vidal (2026) claim of multi-token mixtures, with every constant that they leave open set to one.

Their losses carry a factor 1/2: an excess `epsilon` here is half of one in `risks`.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..multi_token import MultiTokenMixture
from ..risks import Tokens
from ..schedules import Schedule


class Conditions(NamedTuple):
    r"""What Theorem 1 asks for, up to constants: how much of each, floats.

    **Arguments**: `dimension` $\epsilon^{-1}\log(1/\epsilon\nu_{\min})$; `levels` $\log d$; `tokens`
    $\frac K{\nu_{\min}M}(\rho^2 + 1)\epsilon^{-1}\log d$; `tokens_of_lemmas`, the same without K/M, as the paper's
    lemmas have it; `step_size` $1/(\max(\rho, 1) + \epsilon)$, at the most.
    """

    dimension: float
    levels: float
    tokens: float
    tokens_of_lemmas: float
    step_size: float


def conditions(mixture: MultiTokenMixture, epsilon: float | int) -> Conditions:
    r"""Compute what Theorem 1 asks for to leave an excess $\epsilon$ over the Bayes risk, as orders with constant one.

    **Arguments**: `mixture`, with orthogonal patterns of norm $\sqrt d$; `epsilon` $\epsilon > 0$, in the paper's unit.

    **Returns** `Conditions`.

    **Raises** `ValueError` for patterns that are not orthogonal of norm $\sqrt d$, and for an epsilon that is not
    positive.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Theorem 1.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.25] * 4, active=2, noise=1.0)
        >>> round(tl.diffusion.claims.ddpm_multitoken_gmm.conditions(mixture, 0.1).tokens, 2)
        55.45
    """
    d, rho, nu = _facts(mixture, epsilon)
    tokens = float((rho**2 + 1) * np.log(d) / (epsilon * nu))
    share = mixture.active / len(mixture.patterns)
    dimension = float(np.log(1 / (epsilon * nu)) / epsilon)
    return Conditions(dimension, float(np.log(d)), share * tokens, tokens, 1 / (max(rho, 1.0) + epsilon))


def iterations(mixture: MultiTokenMixture, schedule: Schedule, epsilon: float | int, step_size: float | int) -> float:
    r"""Count the iterations of gradient descent that Theorem 1 asks for, with constant one.

    $(\epsilon^{-1} + \nu_{\min}^{-3})/(\eta\,\nu_{\min}\mathrm{SNR}^3) + \log\frac{\rho^2 + 1}\epsilon$.
    By Corollary 1 the fewest for K = 1, where $\nu_{\min} = 1/M$, and the most for K = M, where it is the least weight;
    in truth K = 1 needs no attention at all, since W = 0 is the ideal denoiser there.

    **Arguments**: `mixture`, with orthogonal patterns of norm $\sqrt d$; `schedule`, with SNR the mean over its levels;
    `epsilon` $\epsilon > 0$, in the paper's unit; `step_size` $\eta > 0$.

    **Returns** a float.

    **Raises** `ValueError` for patterns that are not orthogonal of norm $\sqrt d$, and for an epsilon or a step size
    that is not positive.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Theorem 1 and Corollary 1.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.1, 0.2, 0.3, 0.4], active=1, noise=0.0)
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5])
        >>> round(tl.diffusion.claims.ddpm_multitoken_gmm.iterations(mixture, schedule, 0.1, 1.0), 2)
        298.3
    """
    _, rho, nu = _facts(mixture, epsilon)
    _positive("step_size", step_size)
    snr = float(np.mean(np.asarray(schedule.snr, float)))
    return float((1 / epsilon + nu**-3) / (step_size * nu * snr**3) + np.log((rho**2 + 1) / epsilon))


def mean_error(mixture: MultiTokenMixture, tokens: Tokens) -> float:
    r"""Bound how far attention's output is from the tokens' means, per entry: $(\rho^2 + 1)\log d/(P\nu_{\min})$.

    **Arguments**: `mixture`, with orthogonal patterns of norm $\sqrt d$; `tokens` P >= 1.

    **Returns** a float, an order with constant one.

    **Raises** `ValueError` for patterns that are not orthogonal of norm $\sqrt d$.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Proposition 1; the bound is on all tokens and holds with high
    probability, whence its logarithm; of the ideal mean denoiser the mean is $s^2E[\#]/P$.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.25] * 4, active=4, noise=0.0)
        >>> round(tl.diffusion.claims.ddpm_multitoken_gmm.mean_error(mixture, 16), 4)
        0.3466
    """
    d, rho, nu = _facts(mixture, 1.0)
    return float((rho**2 + 1) * np.log(d) / (int(tokens) * nu))


def same_pattern_score(mixture: MultiTokenMixture, epsilon: float | int) -> float:
    r"""Bound the score of a token and another of its pattern from below: $\frac12\log(K\delta/\epsilon)$.

    With $\delta$ the least weight over the largest; scores of other patterns stay below $\log d/\sqrt d$ of that.

    **Arguments**: `mixture`, with orthogonal patterns of norm $\sqrt d$; `epsilon` $\epsilon > 0$, in the paper's unit.

    **Returns** a float, with the constant inside the logarithm one.

    **Raises** `ValueError` for patterns that are not orthogonal of norm $\sqrt d$, and for an epsilon that is not
    positive.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Proposition 3.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.25] * 4, active=4, noise=0.0)
        >>> round(tl.diffusion.claims.ddpm_multitoken_gmm.same_pattern_score(mixture, 0.04), 4)
        2.3026
    """
    _facts(mixture, epsilon)
    weights = np.asarray(mixture.weights, float)
    return float(np.log(mixture.active * weights.min() / weights.max() / epsilon) / 2)


def same_pattern_mass(epsilon: float | int) -> float:
    r"""Bound the attention that a token pays to its own pattern from below: $1 - \sqrt\epsilon$.

    **Arguments**: `epsilon` $\epsilon > 0$, in the paper's unit.

    **Returns** a float, with constant one.

    **Raises** `ValueError` for an epsilon that is not positive.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Corollary 3.

        >>> import theorylab as tl
        >>> tl.diffusion.claims.ddpm_multitoken_gmm.same_pattern_mass(0.25)
        0.5
    """
    _positive("epsilon", epsilon)
    return 1 - float(np.sqrt(epsilon))


def score_error(excess: float | int, schedule: Schedule) -> float:
    r"""Bound the score's error at a given excess risk: that times SNR + 1, the mean of $1/(1 - \bar\alpha_t)$.

    It holds where the excess of every level is below that, and where it grows with the level, as in mean denoising;
    an excess that sits at the first levels breaks it, as the exact `score_error` shows.

    **Arguments**: `excess`, in the unit of the answer; `schedule`.

    **Returns** a float.

    **Raises** `ValueError` for an excess that is not positive.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074, Theorem 2.

        >>> import theorylab as tl
        >>> round(tl.diffusion.claims.ddpm_multitoken_gmm.score_error(0.5, tl.diffusion.Schedule.from_alphas([0.5])), 6)
        1.0
    """
    _positive("excess", excess)
    return excess * (float(np.mean(np.asarray(schedule.snr, float))) + 1)


def frequencies(mixture: MultiTokenMixture) -> Float[np.ndarray, " M"]:
    r"""Bound pattern frequencies from below, $\frac KM\pi_u/\big(\frac{K - 1}{M - 1}(1 - \pi_u) + \pi_u\big)$.

    **Arguments**: `mixture`, with any patterns.

    **Returns** (M,), float64; below `pattern_frequencies` by Jensen's inequality, and equal for K = 1 and K = M.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074; checked against enumeration.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture(2 * jnp.eye(4), [0.1, 0.2, 0.3, 0.4], active=2, noise=0.5)
        >>> tl.diffusion.claims.ddpm_multitoken_gmm.frequencies(mixture).round(3).tolist()
        [0.125, 0.214, 0.281, 0.333]
    """
    weights, K, M = np.asarray(mixture.weights, float), mixture.active, len(mixture.patterns)
    return K / M * weights / ((K - 1) / max(M - 1, 1) * (1 - weights) + weights)


def _facts(mixture, epsilon):
    """d, rho and the least pattern frequency."""
    _check_orthogonal(mixture)
    _positive("epsilon", epsilon)
    least = float(np.min(np.asarray(mixture.pattern_frequencies(), float)))
    return mixture.patterns.shape[1], float(mixture.noise), least


def _check_orthogonal(mixture: MultiTokenMixture) -> None:
    """An error for patterns that are not orthogonal, or not of norm sqrt(d)."""
    patterns = np.asarray(mixture.patterns, float)
    M, d = patterns.shape
    off = np.abs(patterns @ patterns.T / d - np.eye(M))
    tolerance = 100 * d * float(np.finfo(mixture.patterns.dtype).eps)
    if not off.max() <= tolerance:
        j, k = (int(at) for at in np.unravel_index(np.argmax(off), off.shape))
        raise ValueError(
            f"patterns {j} and {k} have the inner product {patterns[j] @ patterns[k]:.6g} instead of "
            f"{d if j == k else 0}: the theorem is about orthogonal patterns of norm sqrt(d) = {np.sqrt(d):.6g}, such "
            "as `orthogonal_patterns` makes"
        )


def _positive(name: str, value: Any) -> None:
    if not 0 < value < np.inf:
        raise ValueError(f"{name} = {value!r} must be positive and finite")

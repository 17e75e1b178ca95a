"""Noise schedules: how much of the signal is left at each level of the diffusion."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Integer

from ..numerics.arrays import floating
from ..numerics.checked import Numbers

COSINE_OFFSET, LARGEST_BETA = 0.008, 0.999


class Schedule(eqx.Module):
    r"""A variance-preserving noise schedule $\alpha_1, \dots, \alpha_T$ with its facts, one entry for each level.

    At level t, an index from 0 to T - 1, a noised point is $x_t = \sqrt{\bar\alpha_t}\, x_0 + c_t\, \varepsilon$, with
    $\bar\alpha_t = \prod_{i \le t} \alpha_i$ and $c_t = \sqrt{1 - \bar\alpha_t}$.

    **Arguments**: `alphas` (T,), floating, each in (0, 1): a leaf, to be swept or differentiated; a traced one is not
    checked.

    **Raises** `ValueError` for alphas that are no vector, are empty or outside (0, 1), and for levels whose alpha-bar
    rounds to 0 or 1 in the precision at hand.

    **Source**: Ho, Jain, Abbeel (2020), arXiv 2006.11239.

        >>> import theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5, 0.5])
        >>> schedule.levels, schedule.alpha_bar.tolist(), schedule.snr.round(3).tolist()
        (2, [0.5, 0.25], [1.0, 0.333])
    """

    alphas: Float[Array, "*lanes levels"]

    def __init__(self, alphas: Numbers):
        self.alphas = alphas = floating(alphas)
        if alphas.ndim != 1 or alphas.size < 1:
            raise ValueError(f"alphas has the shape {alphas.shape}: pass a vector (T,) with one entry for each level")
        if isinstance(alphas, Tracer):
            return
        for name, values in (("alphas", alphas), ("alpha_bar", self.alpha_bar)):
            bad = np.flatnonzero(~((np.asarray(values) > 0) & (np.asarray(values) < 1)))
            if bad.size:
                raise ValueError(
                    f"{name}[{bad[0]}] = {float(values[bad[0]])!r} lies outside (0, 1): each level must keep some of "
                    "the signal and add some noise; change the schedule, or its number of levels"
                )

    @classmethod
    def from_alphas(cls, alphas: Numbers) -> "Schedule":
        """Take these alphas (T,)."""
        return cls(alphas)

    @classmethod
    def linear_alpha(cls, first: ArrayLike, last: ArrayLike, levels: int) -> "Schedule":
        """Space `levels` alphas equally, from `first` to `last`."""
        return cls(jnp.linspace(first, last, _count(levels)))

    @classmethod
    def linear_beta(cls, first: ArrayLike, last: ArrayLike, levels: int) -> "Schedule":
        """Space betas 1 - alpha equally, from `first` to `last`: 1e-4, 0.02, 1000 in Ho, Jain, Abbeel (2020)."""
        return cls(1 - jnp.linspace(first, last, _count(levels)))

    @classmethod
    def cosine(cls, levels: int) -> "Schedule":
        r"""Let alpha-bar fall as the square of a cosine over `levels` levels.

        $\bar\alpha_t \propto \cos^2\big(\frac{t/T + s}{1 + s}\frac\pi2\big)$ with s = 0.008 and t = 1, ..., T, and no
        beta above 0.999, which acts on the last ones: Nichol and Dhariwal (2021), arXiv 2102.09672, equation 17.
        """
        angle = (jnp.arange(_count(levels) + 1) / levels + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (jnp.pi / 2)
        signal = jnp.cos(angle) ** 2
        return cls(jnp.maximum(signal[1:] / signal[:-1], 1 - LARGEST_BETA))

    @property
    def levels(self) -> int:
        """The number T of levels."""
        return self.alphas.shape[-1]

    @property
    def betas(self) -> Float[Array, " levels"]:
        """1 - alpha, the variance that each step adds, (T,)."""
        return 1 - self.alphas

    @property
    def alpha_bar(self) -> Float[Array, " levels"]:
        """The products of the alphas so far, (T,)."""
        return jnp.cumprod(self.alphas)

    @property
    def signal_root(self) -> Float[Array, " levels"]:
        """The factor of the clean point at each level, the root of alpha-bar, (T,)."""
        return jnp.sqrt(self.alpha_bar)

    @property
    def noise_root(self) -> Float[Array, " levels"]:
        """The factor c of the noise at each level, the root of 1 - alpha-bar, (T,)."""
        return jnp.sqrt(1 - self.alpha_bar)

    @property
    def snr(self) -> Float[Array, " levels"]:
        """The signal-to-noise ratio alpha-bar / (1 - alpha-bar), (T,)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def previous_alpha_bar(self) -> Float[Array, " levels"]:
        """Alpha-bar one level nearer to the data, (T,): 1 at level 0."""
        return jnp.concatenate([jnp.ones_like(self.alphas[:1]), self.alpha_bar[:-1]])

    @property
    def posterior_variance(self) -> Float[Array, " levels"]:
        r"""The variance of $x_{t-1}$ given $x_t$ and $x_0$, (T,).

        $\beta_t (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)$; what precedes level 0 is the data point: its entry is 0.
        """
        return self.betas * (1 - self.previous_alpha_bar) / (1 - self.alpha_bar)

    @property
    def posterior_coefficients(self) -> tuple[Float[Array, " levels"], Float[Array, " levels"]]:
        r"""The mean of $x_{t-1}$ given $x_t$ and $x_0$ is $a\, x_0 + b\, x_t$: the pair (a, b), (T,) each."""
        before = self.previous_alpha_bar
        rest = 1 - self.alpha_bar
        return jnp.sqrt(before) * self.betas / rest, jnp.sqrt(self.alphas) * (1 - before) / rest


def check_levels(t: Integer[Array, "..."], schedule: Schedule) -> None:
    """An error where known levels lie outside 0..T - 1."""
    if isinstance(t, Tracer) or t.size == 0:
        return
    bad = np.asarray(t)[(np.asarray(t) < 0) | (np.asarray(t) >= schedule.levels)]
    if bad.size:
        raise ValueError(
            f"t = {bad[0]} lies outside 0..{schedule.levels - 1}: t is the index of a level in `schedule.alpha_bar`"
        )


def _count(levels):
    if isinstance(levels, bool) or not isinstance(levels, int | np.integer) or levels < 1:
        raise ValueError(f"levels = {levels!r} must be an integer from 1 on: the number of levels")
    return int(levels)

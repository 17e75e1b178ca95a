"""Denoisers that are known exactly: of a mixture, with its labels known (oracle) and without (Bayes)."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ..numerics.checked import Key
from .schedules import Schedule, check_levels


class Mixture(eqx.Module):
    r"""A law of data points that is known exactly at every level of noise.

    A data point x is (tokens, d), noised: $x = \sqrt{\bar\alpha}\,x_0 + c\,\varepsilon$ with $c =
    \sqrt{1 - \bar\alpha}$. A subclass writes what is abstract here; score and clean data point follow.

    **Source**: Tweedie's formula; checked against automatic differentiation of the densities.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.GaussianMixture([[1.0], [-1.0]], 0.0, [0.5, 0.5])
        >>> isinstance(mixture, tl.diffusion.Mixture), round(float(mixture.log_density(jnp.zeros((1, 1)), 0.5)), 3)
        (True, -1.072)
    """

    @abc.abstractmethod
    def sample(self, key: Key, *, tokens: Any, batch: int) -> tuple[Array, Array]:
        """Draw clean data points (batch, tokens, d), and what the oracle knows of them."""

    @abc.abstractmethod
    def log_density(self, x: Float[Array, "*point"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        """Compute the log-density of a noised data point, ()."""

    @abc.abstractmethod
    def expected_noise(self, x: Float[Array, "*point"], alpha_bar: ArrayLike) -> Float[Array, "*point"]:
        r"""Predict the noise as well as can be, $E[\varepsilon \mid x]$, like x."""

    @abc.abstractmethod
    def noise_variance(self, x: Float[Array, "*point"], alpha_bar: ArrayLike) -> Float[Array, ""]:
        r"""Compute the mean over the entries of $\operatorname{Var}(\varepsilon | x)$, ()."""

    @abc.abstractmethod
    def oracle_noise(self, x: Float[Array, "*point"], alpha_bar: ArrayLike, labels: Array) -> Float[Array, "*point"]:
        r"""Predict the noise, $E[\varepsilon \mid x, \text{labels}]$, like x.

        Labels are as `sample` gives them for one data point.
        """

    def score(self, x: Float[Array, "*point"], alpha_bar: ArrayLike) -> Float[Array, "*point"]:
        r"""Compute the score $\nabla\log p(x) = -E[\varepsilon | x]/c$, like x."""
        return -self.expected_noise(x, alpha_bar) / jnp.sqrt(1 - alpha_bar)

    def expected_clean(self, x: Float[Array, "*point"], alpha_bar: ArrayLike) -> Float[Array, "*point"]:
        r"""Predict the clean data point, $E[x_0 \mid x]$, like x."""
        return (x - jnp.sqrt(1 - alpha_bar) * self.expected_noise(x, alpha_bar)) / jnp.sqrt(alpha_bar)


def oracle_denoiser(mixture: Mixture, schedule: Schedule) -> jax.tree_util.Partial:
    r"""Make the best denoiser of one who knows the labels, $\frac{c}{s^2}(x - \sqrt{\bar\alpha}\,\mu_Y)$.

    With $s^2 = 1 - \bar\alpha + \rho^2\bar\alpha$ for isotropic components, and with their covariances otherwise.

    **Arguments**: `mixture`, a `Mixture`; `schedule`, a `Schedule`.

    **Returns** a function `(x, t, labels)` of a data point x (tokens, d), its level t () and the labels of one data
    point as the mixture samples them; it is a pytree, and gives an array like x in x's dtype.

    **Raises** `ValueError` when it is called with a level outside of the schedule.

    **Source**: Li, Min, Vidal (2026), arXiv 2604.10074.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[2.0, 0.0], [0.0, 2.0]], [0.5, 0.5], active=2, noise=1.0)
        >>> denoise = tl.diffusion.oracle_denoiser(mixture, tl.diffusion.Schedule.from_alphas([0.25]))
        >>> denoise(jnp.ones((1, 2)), 0, jnp.zeros(1, int)).round(3).tolist()
        [[0.0, 0.866]]
    """
    return jax.tree_util.Partial(_oracle, mixture, schedule)


def bayes_denoiser(mixture: Mixture, schedule: Schedule) -> jax.tree_util.Partial:
    r"""Make the best denoiser of one who sees the data point alone, $E[\varepsilon \mid x]$, exactly.

    For a `MultiTokenMixture` the posterior over its active subsets is summed; see `pattern_posterior`.

    **Arguments**: `mixture`, a `Mixture`; `schedule`, a `Schedule`.

    **Returns** a model `(x, t)` of a data point x (tokens, d) and its level t (); it is a pytree, and gives an array
    like x in x's dtype.

    **Raises** `ValueError` when it is called with a level outside of the schedule.

    **Source**: derived here, with Tweedie's formula; checked against enumeration and automatic differentiation.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.MultiTokenMixture([[2.0, 0.0], [0.0, 2.0]], [0.5, 0.5], active=2, noise=1.0)
        >>> model = tl.diffusion.bayes_denoiser(mixture, tl.diffusion.Schedule.from_alphas([0.25]))
        >>> model(jnp.ones((1, 2)), 0).round(3).tolist()
        [[0.433, 0.433]]
    """
    return jax.tree_util.Partial(_bayes, mixture, schedule)


def _oracle(
    mixture: Mixture, schedule: Schedule, x: Float[Array, "*point"], t: int | Int[Array, ""], labels: Array
) -> Float[Array, "*point"]:
    law, alpha_bar = _level(mixture, schedule, x, t)
    return law.oracle_noise(x, alpha_bar, labels)


def _bayes(
    mixture: Mixture, schedule: Schedule, x: Float[Array, "*point"], t: int | Int[Array, ""]
) -> Float[Array, "*point"]:
    law, alpha_bar = _level(mixture, schedule, x, t)
    return law.expected_noise(x, alpha_bar)


def _level(mixture, schedule, x, t):
    """The mixture and alpha-bar of a level, in the precision of x."""
    check_levels(jnp.asarray(t), schedule)
    law, alpha_bar = jax.tree.map(lambda leaf: leaf.astype(x.dtype), (mixture, schedule.alpha_bar))
    return law, alpha_bar[t]

"""How measurements scale low-rank matrices: Lipschitz and sharpness constants, estimated and in the limit."""

from functools import partial
from statistics import NormalDist
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..numerics.checked import Key
from ..numerics.draws import normal
from ..numerics.estimate import Estimate
from .problems import check_rank
from .sensing import Sensing

Support = Literal["random", "worst"]


class RestrictedConstants(NamedTuple):
    """How an operator scales random matrices of low rank: estimates, and the extremes that were seen."""

    lipschitz: Estimate
    sharpness: Estimate
    chi: Estimate
    largest: float
    smallest: float

    @property
    def empirical_chi(self) -> float:
        """largest / smallest, a lower bound of the chi of all matrices; infinite where the smallest is not positive."""
        return self.largest / self.smallest if self.smallest > 0 else np.inf


def restricted_constants(
    operator: Sensing,
    rank: int,
    *,
    key: Key,
    outliers: float | int = 0.0,
    support: Support = "random",
    draws: int = 200,
) -> RestrictedConstants:
    r"""Estimate the mixed-norm isometry and the outlier bound of an operator over random matrices of a rank.

    For differences of two rank-d matrices take `rank` 2d. S is the set of corrupted measurements: `"random"`, each one
    with probability p and independently of everything, or `"worst"`, for each matrix the share p of measurements that
    see it largest, what an adversary would choose who knows operator and matrix.

    **Arguments**: `operator`, a `Sensing`; `rank`, from 1 to min(n1, n2); `key`, a key or a seed; `outliers` p in
    [0, 1); `support`, `"random"` or `"worst"`; `draws` >= 2, how many matrices, products of standard normal factors.

    **Returns** a tuple of three `Estimate`s and two numbers, which also knows `empirical_chi`, largest / smallest:

    - `lipschitz`, the mean of $\|\mathcal A(X)\|_1 / (m\|X\|_F)$, and `largest`, the largest seen;
    - `sharpness`, the mean of $(\|\mathcal A_{S^c}(X)\|_1 - \|\mathcal A_S(X)\|_1) / (m\|X\|_F)$, and `smallest`, the
      smallest seen;
    - `chi`, the quotient of the means.

    The extremes over all matrices lie outside of what was seen: `largest` is a lower bound of the upper constant,
    `smallest` an upper bound of the lower one.

    **Raises** `ValueError` for an argument out of range.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, mixed-norm RIP and S-outlier bound; the estimate is
    derived here and checked against `gaussian_constants`.

        >>> import jax, theorylab as tl
        >>> operator = tl.lowrank.GaussianSensing(jax.random.key(0), (5, 5), 400)
        >>> found = tl.lowrank.restricted_constants(operator, 2, key=jax.random.key(1), outliers=0.1)
        >>> 1.1 < found.chi.value < 1.4
        True
    """
    check_rank("rank", rank, operator.shape)
    check_fraction(outliers)
    if not draws >= 2:
        raise ValueError(f"draws = {draws} must be at least 2, to have an error bar")
    whole, signed = _ratios(operator, rank, draws, support, key, jnp.asarray(outliers, float))
    whole, signed = np.asarray(whole, float), np.asarray(signed, float)
    chi = Estimate.jackknife(lambda whole, signed: whole.mean() / signed.mean(), whole, signed)
    estimates = [
        Estimate(float(value), float(error)) for value, error in (Estimate.of(whole), Estimate.of(signed), chi)
    ]
    return RestrictedConstants(*estimates, largest=float(whole.max()), smallest=float(signed.min()))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _ratios(operator, rank, draws, support, key, outliers):
    n1, n2 = operator.shape
    m = operator.measurements

    def one(key):
        keys = jax.random.split(key, 3)
        L, R = (normal(k, (n, rank), operator_dtype) for k, n in zip(keys[:2], (n1, n2), strict=True))
        sizes = jnp.abs(operator.apply_factors(L, R)) / jnp.linalg.norm(L @ R.T)
        if support == "random":
            hit = jax.random.bernoulli(keys[2], outliers, (m,))
        else:
            sizes = jnp.sort(sizes)
            hit = jnp.arange(m - 1, -1, -1, dtype=outliers.dtype) < jnp.round(outliers * m)
        return jnp.mean(sizes), jnp.mean(jnp.where(hit, -sizes, sizes))

    leaves = [leaf for leaf in jax.tree.leaves(operator) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    operator_dtype = jnp.result_type(*leaves) if leaves else outliers.dtype
    return jax.vmap(one)(jax.random.split(key, draws))


class SharpnessConstants(NamedTuple):
    """The constants of a limit."""

    lipschitz: float
    sharpness: float

    @property
    def chi(self) -> float:
        """lipschitz / sharpness >= 1; infinite past breakdown."""
        return self.lipschitz / self.sharpness if self.sharpness > 0 else np.inf


def gaussian_constants(outliers: float | int = 0.0, support: Support = "random") -> SharpnessConstants:
    r"""Give the restricted constants of Gaussian measurements as their number goes to infinity.

    $\langle A_k, X\rangle/\|X\|_F$ is standard normal, so that with a random support $\delta = \sqrt{2/\pi}$,
    $\delta_3 = (1 - 2p)\sqrt{2/\pi}$ and $\chi = 1/(1 - 2p)$, with breakdown at p = 1/2. For the worst support, the
    share p where $|g| > t$, $\delta_3 = (1 - 2e^{-t^2/2})\sqrt{2/\pi}$: breakdown at p = 0.239.

    **Arguments**: `outliers` p in [0, 1); `support`, `"random"` or `"worst"`.

    **Returns** a tuple of `lipschitz` and `sharpness`, floats, which also knows their quotient `chi`.

    **Raises** `ValueError` for an argument out of range.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, for the random support; the worst one is derived here
    from $E[|g|; |g| > t] = \sqrt{2/\pi}\,e^{-t^2/2}$; both are checked against `restricted_constants`.

        >>> import theorylab as tl
        >>> round(tl.lowrank.gaussian_constants(0.25).chi, 12)
        2.0
        >>> tl.lowrank.gaussian_constants(0.24, "worst").chi
        inf
    """
    check_fraction(outliers)
    mean = np.sqrt(2 / np.pi)
    lost = outliers
    if support == "worst" and outliers > 0:
        lost = np.exp(-(NormalDist().inv_cdf(1 - outliers / 2) ** 2) / 2)
    return SharpnessConstants(float(mean), float(mean * (1 - 2 * lost)))


def check_fraction(outliers: float | int) -> None:
    """Refuse a fraction of outliers outside [0, 1)."""
    if not 0 <= outliers < 1:
        raise ValueError(f"outliers = {outliers} must lie in [0, 1): the fraction of measurements that are corrupted")

"""The truncated spectral start: the top singular vectors of the measurements that look trustworthy."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, ScalarLike

from .problems import Factors, SensingProblem, check_rank

WIDTH = 3.0 / 0.6745
"""Three standard deviations of a normal variable, in units of the median of its size."""


def truncated_spectral_init(
    problem: SensingProblem, rank: int, *, outliers: ScalarLike | None = None, imbalance: ScalarLike = 2.0
) -> Factors:
    r"""Make factors whose product is the best approximation of rank d to $Y = \frac{1}{gm} \sum_{k \in K} y_k A_k$.

    K leaves out the largest measurements: the share p of them where an outlier fraction is given, else those beyond
    three standard deviations, $|y_k| > 3\,\mathrm{med}|y| / 0.6745$. With the mean square entry g of the A_k, Y has the
    expectation X* for Gaussian measurements without truncation, and a shrunken one with it. For
    $Y \approx U\Sigma V^T$ the factors are $(c\, U\Sigma^{1/2}, V\Sigma^{1/2}/c)$, imbalanced on purpose: the product
    does not depend on c.

    **Arguments**: `problem`, a `SensingProblem`; `rank` d, from 1 to min(n1, n2); `outliers` p in [0, 1), (), the
    outlier fraction or a bound of it, or None where it is not known; `imbalance` c > 0, ().

    **Returns** the factors (L, R), (n1, d) and (n2, d).

    **Raises** `ValueError` for a rank, a fraction or an imbalance out of range, and for observations that are all zero.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, released code, for a given fraction; the rule without
    one is derived here, after the median truncation of Li, Chi, Zhang, Liang (2020), and checked by the error of the
    start against the number of measurements.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> operator = tl.lowrank.IdentitySensing((2, 2))
        >>> problem = tl.lowrank.SensingProblem(operator, [4.0, 0.0, 0.0, 1.0])
        >>> L, R = tl.lowrank.truncated_spectral_init(problem, 1, outliers=0.0)
        >>> (L @ R.T).round(5).tolist(), bool(jnp.allclose(jnp.linalg.norm(L), 4 * jnp.linalg.norm(R)))
        ([[4.0, 0.0], [0.0, 0.0]], True)
    """
    check_rank("rank", rank, problem.operator.shape)
    _check(problem, outliers, imbalance)
    y, operator = problem.observations, problem.operator
    gain = jnp.asarray(operator.gain(), y.dtype)
    Y = operator.adjoint(jnp.where(_kept(jnp.abs(y), outliers), y, 0)) / (gain * operator.measurements)
    if not isinstance(Y, Tracer) and not np.any(Y):
        raise ValueError("no measurement that is kept differs from zero: pass outliers=, the fraction to leave out")
    U, values, Vt = jnp.linalg.svd(Y, full_matrices=False)
    root = jnp.sqrt(values[:rank])
    c = jnp.asarray(imbalance, y.dtype)
    return c * U[:, :rank] * root[None], Vt[:rank].T * root[None] / c


def _kept(sizes: Float[Array, " m"], outliers: ScalarLike | None):
    if outliers is None:
        return sizes <= WIDTH * jnp.median(sizes)
    m = sizes.shape[0]
    count = jnp.ceil(m * (1 - jnp.asarray(outliers, sizes.dtype)))
    places = jnp.argsort(jnp.argsort(sizes))
    return places.astype(sizes.dtype) < count


def _check(problem, outliers, imbalance):
    if outliers is not None and not isinstance(outliers, Tracer) and not 0 <= outliers < 1:
        raise ValueError(f"outliers = {outliers} must lie in [0, 1): the fraction of wrong measurements, or None")
    if not isinstance(imbalance, Tracer) and not (np.isfinite(imbalance) and imbalance > 0):
        raise ValueError(f"imbalance = {imbalance} must be positive and finite: 1 for balanced factors")
    y = problem.observations
    if not isinstance(y, Tracer) and not np.any(y):
        raise ValueError(
            "observations are all zero, so that there is no direction to start from: pass data, or own factors"
        )

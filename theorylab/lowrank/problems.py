"""A low-rank matrix seen through corrupted measurements, with what is known of its truth."""

import warnings
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers, finite
from ..numerics.draws import orthogonal
from .entries import EntrySampling, IdentitySensing
from .sensing import GaussianSensing, Sensing

Factors = tuple[Float[Array, "n1 rank"], Float[Array, "n2 rank"]]
ErrorKind = Literal["uniform", "mirrored"]


class SensingProblem(eqx.Module):
    r"""Measurements $y = \mathcal A(X^\star) + s$ of a low-rank matrix, most of whose errors s are zero.

    **Arguments**: `operator`, a `Sensing`; `observations` y (m,), of one floating dtype with it; `minimum`, (), the
    loss at the truth (that of the method at hand: the mean of |s_k| for the absolute loss), which the Polyak step
    needs, 0 where exact fit is possible; `solution` X* (n1, n2), where it is known. From the solution follow `noise`
    s = y - A(X*) (m,), hence the `minimum` mean |s_k| where none is given, and `true_rank` (None under a JAX
    transformation).

    **Raises** `ValueError` for observations, minimum or solution that are not finite or of the wrong shape, and for a
    negative minimum.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> problem = tl.lowrank.SensingProblem(tl.lowrank.IdentitySensing((1, 2)), [3.0, 4.0], solution=[[3.0, 1.0]])
        >>> problem.noise.tolist(), problem.true_rank
        ([0.0, 3.0], 1)
    """

    operator: Sensing
    observations: Float[Array, "*lanes m"]
    given_minimum: Float[Array, "*lanes"] | None
    solution: Float[Array, "*lanes n1 n2"] | None
    noise: Float[Array, "*lanes m"] | None
    true_rank: int | None = eqx.field(static=True)

    def __init__(
        self,
        operator: Sensing,
        observations: Numbers,
        *,
        minimum: ArrayLike | None = None,
        solution: Numbers | None = None,
    ):
        y = floating(observations)
        _check("observations", y, (operator.measurements,), "(m,), one for each of the operator's measurements")
        self.operator, self.observations = operator, y
        self.given_minimum = None if minimum is None else jnp.asarray(minimum, y.dtype)
        self.solution = self.noise = self.true_rank = None
        if self.given_minimum is not None:
            _check("minimum", self.given_minimum, (), "(), the loss at the truth")
            if not isinstance(self.given_minimum, Tracer) and self.given_minimum < 0:
                raise ValueError(f"minimum = {minimum} is negative: losses are not; pass 0 for data that can be fitted")
        if solution is not None:
            self.solution = jnp.asarray(solution, y.dtype)
            _check("solution", self.solution, operator.shape, "the shape (n1, n2) of the operator")
            self.noise = y - operator.apply(self.solution)
            if not isinstance(self.solution, Tracer):
                self.true_rank = int(np.linalg.matrix_rank(np.asarray(self.solution)))

    @property
    def minimum(self) -> Float[Array, ""] | None:
        """The least loss: the one that was given, or the mean |s_k|; None where neither is known."""
        if self.given_minimum is not None or self.noise is None:
            return self.given_minimum
        return jnp.mean(jnp.abs(self.noise))

    def residual(self, x: Factors) -> Float[Array, " m"]:
        """Compute A(L R') - y, (m,)."""
        return self.operator.apply_factors(*x) - self.observations

    def loss(self, x: Factors, key: Key | None = None) -> Float[Array, ""]:
        """Evaluate the mean absolute residual at the factors, ()."""
        del key
        return jnp.mean(jnp.abs(self.residual(x)))

    def error(self, x: Factors) -> Float[Array, ""]:
        """Measure |L R' - X*| / |X*| in the Frobenius norm, ().

        **Raises** `ValueError` where the solution is not known.
        """
        if self.solution is None:
            raise ValueError("the problem has no solution to measure an error from: pass solution=, or record `loss`")
        L, R = x
        return jnp.linalg.norm(L @ R.T - self.solution) / jnp.linalg.norm(self.solution)


def low_rank_matrix(
    key: Key, shape: tuple[int, int], true_rank: int, condition: ScalarLike = 1.0
) -> Float[Array, "n1 n2"]:
    r"""Draw a matrix $U \Sigma V^T$ with independent Haar factors and singular values from `condition` down to 1.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `true_rank` r, from 1 to min(n1, n2); `condition` >= 1, ():
    the singular values are `linspace(condition, 1, true_rank)`.

    **Returns** (n1, n2), in JAX's default precision.

    **Raises** `ValueError` for a rank or a condition out of range.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, experiments; Haar factors, where the released code
    takes both from one sign matrix, so that its truth is symmetric.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> X = tl.lowrank.low_rank_matrix(jax.random.key(0), (6, 4), 2, condition=3.0)
        >>> jnp.linalg.svd(X)[1].round(3).tolist()
        [3.0, 1.0, 0.0, 0.0]
    """
    check_rank("true_rank", true_rank, shape)
    if not isinstance(condition, Tracer) and not 1 <= np.asarray(condition) < np.inf:
        raise ValueError(f"condition = {condition} must be finite and >= 1: the ratio of the extreme singular values")
    key_u, key_v = jax.random.split(key)
    U = orthogonal(key_u, shape[0], m=true_rank)
    # one after the other: batched decompositions at once were seen to wait for each other forever on CPU (jaxlib 0.10)
    data, U = lax.optimization_barrier((jax.random.key_data(key_v), U))
    V = orthogonal(jax.random.wrap_key_data(data, impl=jax.random.key_impl(key_v)), shape[1], m=true_rank)
    return (U * jnp.linspace(condition, 1.0, true_rank, dtype=U.dtype)[None]) @ V.T


def corrupted_problem(
    key: Key,
    operator: Sensing,
    solution: Float[Array, "n1 n2"],
    *,
    outliers: ScalarLike = 0.0,
    outlier_scale: ArrayLike = 10.0,
    kind: ErrorKind = "uniform",
) -> SensingProblem:
    r"""Measure a known matrix by an operator, with gross errors on a random set of measurements.

    Each measurement is hit independently with probability p. Kind `"uniform"` adds `outlier_scale` $\max_k |y_k|\,
    U(-1, 1)$; kind `"mirrored"` replaces $y_k$ by $-y_k$, what $-X^\star$ would show: errors that agree with one
    another, so that nothing can be recovered from p = 1/2 on (`outlier_scale` has no part in it).

    **Arguments**: `key`, a key or a seed; `operator`, a `Sensing`; `solution` X* (n1, n2); `outliers` p in [0, 1), ();
    `outlier_scale` >= 0, (); `kind`, one of the two.

    **Returns** a `SensingProblem`.

    **Raises** `ValueError` for a fraction outside [0, 1), a negative scale, and as `SensingProblem` does.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, released experiments; the mirrored kind is ours.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> operator = tl.lowrank.IdentitySensing((20, 20))
        >>> problem = tl.lowrank.corrupted_problem(jax.random.key(0), operator, jnp.ones((20, 20)), outliers=0.25)
        >>> 60 < int(jnp.sum(problem.noise != 0)) < 140
        True
    """
    for name, value, upper in (("outliers", outliers, 1.0), ("outlier_scale", outlier_scale, np.inf)):
        if not isinstance(value, Tracer) and not 0 <= np.asarray(value) < upper:
            raise ValueError(f"{name} = {value} must lie in [0, {upper:g}): {_MEANING[name]}")
    finite(solution=solution)
    y = operator.apply(solution)
    key_support, key_size = jax.random.split(key)
    hit = jax.random.bernoulli(key_support, jnp.asarray(outliers, y.dtype), y.shape)
    sizes = jnp.asarray(outlier_scale, y.dtype) * jnp.max(jnp.abs(y))
    errors = sizes * jax.random.uniform(key_size, y.shape, y.dtype, -1, 1) if kind == "uniform" else -2 * y
    return SensingProblem(operator, y + jnp.where(hit, errors, 0), solution=solution)


_MEANING = {
    "outliers": "the fraction of measurements that are corrupted",
    "outlier_scale": "the size of the errors over the largest measurement",
}


def sensing_problem(
    key: Key,
    *,
    shape: tuple[int, int],
    true_rank: int,
    measurements: int,
    condition: ScalarLike = 1.0,
    outliers: ScalarLike = 0.0,
    outlier_scale: ArrayLike = 10.0,
) -> SensingProblem:
    r"""Draw Gaussian measurements of a random low-rank matrix, some of them grossly wrong.

    The truth has independent Haar factors and the singular values `linspace(condition, 1, true_rank)`; errors are
    `outlier_scale` $\max_k|y_k|\, U(-1, 1)$ on a Bernoulli support. The operator, the truth and the errors have keys of
    their own, so that problems of one key and other conditions or fractions share all the draws.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `true_rank` r; `measurements` m; `condition` >= 1, ();
    `outliers` in [0, 1), the probability that a measurement is wrong, (); `outlier_scale` >= 0, ().

    **Returns** a `SensingProblem` with its solution, in JAX's default precision.

    **Raises** `ValueError` for an argument out of range.

    **Source**: Giampouras, Cai, Vidal (2025), arXiv 2410.16826, released experiments.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.sensing_problem(jax.random.key(0), shape=(6, 5), true_rank=2, measurements=40)
        >>> problem.operator.shape, problem.true_rank, float(abs(problem.noise).max())
        ((6, 5), 2, 0.0)
    """
    key_operator, key_solution, key_errors = jax.random.split(key, 3)
    solution = low_rank_matrix(key_solution, shape, true_rank, condition)
    operator = GaussianSensing(key_operator, shape, measurements)
    return corrupted_problem(key_errors, operator, solution, outliers=outliers, outlier_scale=outlier_scale)


def completion_problem(
    key: Key,
    *,
    shape: tuple[int, int],
    true_rank: int,
    measurements: int | None = None,
    condition: ScalarLike = 1.0,
    outliers: ScalarLike = 0.0,
    outlier_scale: ArrayLike = 10.0,
) -> SensingProblem:
    r"""Draw a problem of robust completion, or with all entries seen of robust principal component analysis.

    **Arguments**: `key`, a key or a seed; `shape` (n1, n2); `true_rank` r; `measurements` m, entries drawn without
    replacement, or None for all of them; `condition`, `outliers` and `outlier_scale` as in `sensing_problem`.

    **Returns** a `SensingProblem` with its solution, in JAX's default precision.

    **Raises** `ValueError` for an argument out of range.

    **Source**: derived here; the truth and the errors are those of `sensing_problem`.

        >>> import jax, theorylab as tl
        >>> problem = tl.lowrank.completion_problem(jax.random.key(0), shape=(6, 5), true_rank=2, outliers=0.1)
        >>> problem.observations.shape
        (30,)
    """
    key_operator, key_solution, key_errors = jax.random.split(key, 3)
    solution = low_rank_matrix(key_solution, shape, true_rank, condition)
    operator = IdentitySensing(shape) if measurements is None else EntrySampling(key_operator, shape, measurements)
    return corrupted_problem(key_errors, operator, solution, outliers=outliers, outlier_scale=outlier_scale)


def check_rank(name: str, rank: int, shape: tuple[int, int]) -> None:
    """Refuse a rank that is no integer from 1 to the smaller dimension."""
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or not 1 <= rank <= min(shape):
        raise ValueError(f"{name} = {rank!r} must be an integer from 1 to {min(shape)}, the smaller side of {shape}")


def warn_if_small(operator: Sensing, rank: int) -> None:
    """Warn where there are no more measurements than a matrix of this rank has numbers."""
    n1, n2 = operator.shape
    if (n1 + n2) * rank >= operator.measurements:
        warnings.warn(
            f"the sensing is too small for its rank: factors of rank {rank} of a {n1} x {n2} matrix hold "
            f"{(n1 + n2) * rank} numbers, and there are {operator.measurements} measurements, so that recovery is not "
            f"to be expected; measure more, or take a rank below {operator.measurements / (n1 + n2):.3g}",
            stacklevel=3,
        )


def _check(name, values, shape, form):
    if values.shape != tuple(shape):
        raise ValueError(f"{name} has the shape {values.shape}, not {tuple(shape)}: pass {form}")
    if not isinstance(values, Tracer) and not bool(jnp.all(jnp.isfinite(values))):
        where = [int(k) for k in np.argwhere(~np.isfinite(values))[0]]
        raise ValueError(f"{name}{where} is not finite: remove or repair it, and its measurement")

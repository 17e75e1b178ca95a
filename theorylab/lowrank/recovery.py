"""How fast robust recovery is and where it breaks down: rates, sample sizes, the distance that proofs use."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..numerics.checked import Numbers, finite
from ..numerics.estimate import Estimate
from .constants import check_fraction
from .problems import Factors, check_rank


def derived_contraction(share: ArrayLike) -> Any:
    r"""Derive the contraction of a scaled Polyak step near the truth, with infinitely many clean Gaussian measurements.

    Then the loss is $\sqrt{2/\pi}\,\|E\|_F$ with E = X - X*, to first order in the tangent space. With $\lambda = 0$
    at the true rank the step moves X against $P_U E + E P_V$, which counts $E_{uv} = P_U E P_V$ twice and the rest
    once. With a the share of $E_{uv}$ in $\|E\|^2$ the Polyak size is $1/(1 + a)$ in those units, and $\|E^+\|/\|E\| =
    \sqrt{a(1 - a)}/(1 + a) \le 1/\sqrt 8$, whatever the condition number: at a = 0 and a = 1 the step is exact.

    **Arguments**: `share` a in [0, 1], of any shape.

    **Returns** the ratio, float64 like `share`.

    **Raises** `ValueError` for a share outside [0, 1].

    **Source**: derived here; checked against a step with many measurements.

        >>> import theorylab as tl
        >>> round(float(tl.lowrank.derived_contraction(1 / 3)) ** 2, 12)
        0.125
    """
    share = np.asarray(share, float)
    if not np.all((share >= 0) & (share <= 1)):
        raise ValueError(f"share = {share} must lie in [0, 1]: the part of |E|^2 that both factors see")
    return np.sqrt(share * (1 - share)) / (1 + share)


def measured_contraction(errors: Numbers, steps: Numbers | None = None, *, floor: float | int = 0.0) -> Estimate:
    r"""Fit the factor by which errors shrink at each step, $\exp$ of the slope of $\log e_t$ in t, with an error bar.

    **Arguments**: `errors` (k,), positive, from where they fall linearly on; `steps` (k,), the step counts, or None for
    0, 1, 2, ...; `floor`, below which errors are rounding and do not count.

    **Returns** an `Estimate` of the factor (both nan with fewer than three errors above the floor). The error bar is
    that of the scatter about the line; neighbouring errors are not independent, so it is too small where the line is
    bent.

    **Raises** `ValueError` on lengths that differ.

    **Source**: derived here (least squares); exact on geometric sequences.

        >>> import theorylab as tl
        >>> round(tl.lowrank.measured_contraction([1.0, 0.5, 0.25, 0.125, 0.0]).value, 12)
        0.5
    """
    errors = np.asarray(errors, float)
    steps = np.arange(len(errors), dtype=float) if steps is None else np.asarray(steps, float)
    if errors.shape != steps.shape or errors.ndim != 1:
        raise ValueError(f"errors has the shape {errors.shape} and steps {steps.shape}: pass two vectors of one length")
    good = np.isfinite(errors) & (errors > floor)
    if good.sum() < 3:
        return Estimate(np.nan, np.nan)
    t, v = steps[good] - steps[good].mean(), np.log(errors[good])
    v = v - v.mean()
    slope = t @ v / (t @ t)
    error = np.sqrt(np.sum((v - slope * t) ** 2) / (len(t) - 2) / (t @ t))
    return Estimate(float(np.exp(slope)), float(np.exp(slope) * error))


class SampleSizes(NamedTuple):
    """Numbers of measurements."""

    necessary: int
    rule: int
    sufficient: float


def samples_needed(shape: tuple[int, int], rank: int, *, outliers: float | int = 0.0) -> SampleSizes:
    r"""Count the Gaussian measurements that recovery with factors of a rank takes.

    - `necessary`: $d(n_1 + n_2 - d)$, the dimension of the matrices of rank d, below which no method is safe.
    - `rule`: $d(n_1 + n_2)$, the numbers in the factors: at m equal to it recovery was seen to fail.
    - `sufficient`: where the outlier bound is positive in expectation for all differences X of two matrices of rank d:
      by symmetrisation and contraction the smallest value is at least $(1 - 2p)\sqrt{2/\pi} - 2 w/\sqrt m$, with
      $w \le \sqrt{2d}\,(\sqrt{n_1} + \sqrt{n_2})$ the Gaussian width, so $m = 2\pi w^2/(1 - 2p)^2$.

    **Arguments**: `shape` (n1, n2); `rank` d, the width of the factors; `outliers` p in [0, 1), a random support.

    **Returns** the tuple of the three; the last is infinite from p = 1/2 on.

    **Raises** `ValueError` for an argument out of range.

    **Source**: derived here; the middle one as observed on runs of Giampouras, Cai, Vidal (2025), arXiv 2410.16826. The
    sufficient one is safe and far above what runs need.

        >>> import theorylab as tl
        >>> found = tl.lowrank.samples_needed((40, 40), 12)
        >>> found.necessary, found.rule
        (816, 960)
    """
    check_rank("rank", rank, shape)
    check_fraction(outliers)
    n1, n2 = shape
    sufficient = 2 * np.pi * _width(shape, rank) ** 2 / (1 - 2 * outliers) ** 2 if outliers < 0.5 else np.inf
    return SampleSizes(rank * (n1 + n2 - rank), rank * (n1 + n2), float(sufficient))


def breakdown(shape: tuple[int, int], rank: int, measurements: int) -> float:
    r"""Certify the fraction of outliers on a random support up to which the truth is the sharp minimum.

    It is where the outlier bound of `samples_needed` vanishes, $p = \frac12 - \sqrt{\pi/2}\, w/\sqrt m$: 1/2 in the
    limit of many measurements, and 0 where it certifies nothing. Runs stand more.

    **Arguments**: `shape` (n1, n2); `rank` d, the width of the factors; `measurements` m >= 1.

    **Returns** a float in [0, 1/2).

    **Raises** `ValueError` for a rank or a number of measurements out of range.

    **Source**: derived here; the inverse of `samples_needed`.

        >>> import theorylab as tl
        >>> m = int(tl.lowrank.samples_needed((40, 40), 6, outliers=0.25).sufficient)
        >>> round(tl.lowrank.breakdown((40, 40), 6, m), 3)
        0.25
    """
    check_rank("rank", rank, shape)
    if not measurements >= 1:
        raise ValueError(f"measurements = {measurements} must be at least 1")
    return float(max(0.0, 0.5 - np.sqrt(np.pi / 2) * _width(shape, rank) / np.sqrt(measurements)))


def _width(shape, rank):
    return np.sqrt(min(2 * rank, *shape)) * (np.sqrt(shape[0]) + np.sqrt(shape[1]))


def aligned_distance(x: Factors, solution: Float[Array, "n1 n2"], damping: float | int = 0.0) -> float:
    r"""Measure the distance of factors from those of the truth in the best basis, weighted by its spectrum.

    $\mathrm{dist}^2 = \inf_Q \|(LQ - L_\star)(\Sigma_\star + \lambda I)^{1/2}\|_F^2 + \|(RQ^{-T} -
    R_\star)(\Sigma_\star + \lambda I)^{1/2}\|_F^2$, with the balanced factors of X*, zero columns where the rank is
    above its own. A local minimisation over Q from the best rotation: an upper bound, for diagnosis.

    **Arguments**: `x`, the factors (L, R), (n1, rank) and (n2, rank); `solution` X* (n1, n2); `damping`
    $\lambda \ge 0$.

    **Returns** a float, in the unit of the singular values to the power one.

    **Raises** `ValueError` for a negative damping.

    **Source**: reconstructed from the case of damping 0 at the true rank, Tong, Ma, Chi (2021), arXiv 2005.08898;
    checked to vanish on rotated factors of the truth.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> L, R = jnp.asarray([[2.0], [0.0]]), jnp.asarray([[0.5], [0.0]])
        >>> tl.lowrank.aligned_distance((L, R), jnp.asarray([[1.0, 0.0], [0.0, 0.0]])) < 1e-6
        True
    """
    from scipy.optimize import minimize

    if not damping >= 0:
        raise ValueError(f"damping = {damping} must be >= 0")
    L, R = (np.asarray(factor, float) for factor in x)
    finite(L=L, R=R, solution=solution)
    d = L.shape[1]
    U, values, Vt = np.linalg.svd(np.asarray(solution, float), full_matrices=False)
    U, values, V = U[:, :d], values[:d], Vt[:d].T
    values = np.where(values > values[0] * max(len(L), len(R)) * np.finfo(float).eps, values, 0.0)
    exact_L, exact_R, weight = U * np.sqrt(values), V * np.sqrt(values), values + damping

    def objective(flat):
        Q = flat.reshape(d, d)
        inverse = np.linalg.inv(Q).T
        of_L, of_R = L @ Q - exact_L, R @ inverse - exact_R
        gradient = L.T @ (of_L * weight) - inverse @ ((of_R * weight).T @ R) @ inverse
        return np.sum(of_L**2 * weight) + np.sum(of_R**2 * weight), 2 * gradient.ravel()

    # the rotation of the balanced pair: (L, R) at the scale at which both weigh alike
    ratio = np.sqrt(np.linalg.norm(R) / np.linalg.norm(L))
    left, _, right = np.linalg.svd(ratio * L.T @ exact_L + R.T @ exact_R / ratio)
    found = minimize(objective, (ratio * left @ right).ravel(), jac=True, method="BFGS", options={"gtol": 1e-12})
    return float(np.sqrt(found.fun))

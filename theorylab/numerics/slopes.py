"""Orders of convergence: the slope of log|y| against log x, with an error bar and the right to refuse."""

import numpy as np
from jaxtyping import Float

from .checked import Numbers
from .estimate import Estimate

RESOLVED = 3.0
"""A value counts as signal when it exceeds this many of its standard errors."""


def loglog_slope(x: Numbers, y: Numbers | Estimate) -> Estimate:
    r"""Fit the exponent $p$ in $|y| \approx C x^p$, by least squares on $\log|y| = \log C + p \log x$.

    With standard errors $s_k$ of $y_k$ each point has the weight $(y_k/s_k)^2$, the inverse variance of $\log|y_k|$,
    and the error bar of $p$ is the propagated one; without them the error bar comes from the scatter about the line
    (nan for two points). It refuses when some $|y_k| \le 3 s_k$, or when some $y_k$ is zero or not finite: a slope
    through noise is a number without a meaning.

    **Arguments**: `x` (k,) positive, at least two of them different; `y` (k,), or an `Estimate` of k numbers with
    positive errors; k >= 2.

    **Returns** an `Estimate`, whose value is nan for a refusal.

    **Raises** `ValueError` on shapes that differ, on fewer than two points, on x that is not positive or all equal, and
    on a standard error that is not positive.

    **Source**: derived here (weighted least squares); checked on powers, which it returns to rounding, and against the
    scatter of fits to simulated noise.

        >>> import theorylab as tl
        >>> slope, error = tl.numerics.loglog_slope([0.1, 0.2, 0.4], [0.03, 0.12, 0.48])
        >>> round(slope, 12)
        2.0
        >>> tl.numerics.loglog_slope([0.1, 0.2], tl.numerics.Estimate([0.1, 0.3], [0.05, 0.05])).value
        nan
    """
    y, standard_errors = y if isinstance(y, Estimate) else (y, None)
    x, y = _points(x, y)
    if standard_errors is None:
        relative = np.ones_like(y)
        resolved = bool(np.all(np.isfinite(y) & (y != 0)))
    else:
        errors = np.asarray(standard_errors, float)
        if errors.shape != y.shape or not np.all(errors > 0):
            raise ValueError(
                f"y must have {y.shape} positive standard errors, one for each value, got {errors}: "
                "give the values alone when they are exact"
            )
        resolved = bool(np.all(np.isfinite(y) & (np.abs(y) > RESOLVED * errors)))
        relative = errors / np.abs(y) if resolved else errors
    if not resolved:
        return Estimate(np.nan, np.nan)
    weights = relative**-2 / np.sum(relative**-2)
    u, v = np.log(x), np.log(np.abs(y))
    u, v = u - weights @ u, v - weights @ v
    spread = weights @ u**2
    slope = weights @ (u * v) / spread
    if standard_errors is not None:
        error = (spread * np.sum(relative**-2)) ** -0.5
    elif len(x) > 2:
        error = np.sqrt(np.mean((v - slope * u) ** 2) / (len(x) - 2) / spread)
    else:
        error = np.nan
    return Estimate(float(slope), float(error))


def local_slopes(x: Numbers, y: Numbers) -> Float[np.ndarray, " m"]:
    r"""The slopes $\log|y_{k+1}/y_k| / \log(x_{k+1}/x_k)$ between neighbours: how an order settles as x shrinks.

    **Arguments**: `x` (k,) positive, neighbours different; `y` (k,). k >= 2.

    **Returns** (k-1,), float64; not finite beside a y that is zero or not finite.

    **Raises** `ValueError` on shapes that differ, on fewer than two points, on x that is not positive or all equal.

    **Source**: derived here; exact on powers.

        >>> import theorylab as tl
        >>> tl.numerics.local_slopes([1.0, 2.0, 4.0], [3.0, 12.0, 24.0]).round(12)
        array([2., 1.])
    """
    x, y = _points(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diff(np.log(np.abs(y))) / np.diff(np.log(x))


def _points(x, y):
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"x and y must be two vectors of one length >= 2, got the shapes {x.shape} and {y.shape}")
    if not (np.all(np.isfinite(x)) and np.all(x > 0)) or np.all(x == x[0]):
        raise ValueError(f"x must be positive and finite with at least two different values, got {x}")
    return x, y

"""Slopes are exact on powers, carry honest error bars, and refuse noise."""

import numpy as np
import pytest

from theorylab.numerics import Estimate, local_slopes, loglog_slope

X = np.geomspace(1e-3, 1e-1, 5)


@pytest.mark.parametrize("order", [-0.5, 0.0, 1.0, 3.0])
def test_powers(order):
    y = -2.5 * X**order
    for fit in (loglog_slope(X, y), loglog_slope(X, Estimate(y, 1e-3 * abs(y))), loglog_slope(X[:2], y[:2])):
        assert abs(fit.value - order) < 1e-13  # rounding of the logarithms
    assert np.allclose(local_slopes(X, y), order, rtol=0, atol=1e-13)
    assert loglog_slope(X, y).standard_error < 1e-13
    assert np.isnan(loglog_slope(X[:2], y[:2]).standard_error)


def test_weights_are_inverse_variances():
    # a point with a huge error bar does not count: the slope is that of the others
    y = np.array([1.0, 2.0, 4.0, 8.0, 100.0])
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    errors = np.array([1e-6, 2e-6, 4e-6, 8e-6, 30.0])
    assert abs(loglog_slope(x, Estimate(y, errors)).value - 1) < 1e-6


def test_error_bars_cover():
    """The scatter of 4000 fits is the error bar that each reports, to the 1.1 % of such an estimate, at 4 s.d."""
    rng = np.random.default_rng(0)
    y = 3 * X**2
    errors = np.array([0.01, 0.02, 0.01, 0.03, 0.01]) * y
    fits = [loglog_slope(X, Estimate(y + errors * rng.standard_normal(5), errors)) for _ in range(4000)]
    z = np.array([(fit.value - 2) / fit.standard_error for fit in fits])
    assert abs(z.std() - 1) < 4 * (2 * 4000) ** -0.5 + 0.02  # log is not linear: second order in the 3 % noise
    unknown = [loglog_slope(X, y * np.exp(0.01 * rng.standard_normal(5))) for _ in range(4000)]
    mean_variance = np.mean([fit.standard_error**2 for fit in unknown])
    # the estimate has 3 degrees of freedom: relative s.d. sqrt(2/3/4000) = 1.3 %, and 2.2 % of the scatter itself
    assert abs(mean_variance / np.var([fit.value for fit in unknown]) - 1) < 4 * 0.026


def test_refuses_noise():
    y = X**2
    errors = np.full(5, y[0] / 2.9)
    for fit in (
        loglog_slope(X, Estimate(y, errors)),
        loglog_slope(X, 0 * y),
        loglog_slope(X, np.where(X > 0.05, np.inf, y)),
    ):
        assert np.isnan(fit.value) and np.isnan(fit.standard_error)
    assert np.isfinite(loglog_slope(X, Estimate(y, errors * 2.9 / 3.1)).value)


@pytest.mark.parametrize(
    ("x", "y", "errors", "word"),
    [
        ([1.0], [1.0], None, "length >= 2"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], None, "shapes"),
        ([0.0, 1.0], [1.0, 2.0], None, "positive"),
        ([2.0, 2.0], [1.0, 2.0], None, "different"),
        ([1.0, 2.0], [1.0, 2.0], [0.1, 0.0], "standard errors"),
        ([1.0, 2.0], [1.0, 2.0], [0.1], "standard errors"),
    ],
)
def test_bad_input(x, y, errors, word):
    with pytest.raises(ValueError, match=word):
        loglog_slope(x, y if errors is None else Estimate(y, errors))

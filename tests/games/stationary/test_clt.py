"""The limit of averages over time: AR(1), lags summed one by one, and runs."""

import jax
import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary.chains import epoch_averages

KEY = jax.random.key(8)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.2])
def test_independent_scalars_are_an_autoregression(gamma):
    """x+ = rho x + noise of variance sigma^2: sigma^2 / (1 - rho)^2. One component's noise is +-gamma b."""
    a, b = 1.3, 0.7
    game = games.AffineGame([[[a]], [[a]]], [[b], [-b]])
    rho = 1 - gamma * a
    found = games.clt_covariance(game, games.GradientDescentAscent(gamma, "independent"))
    # two updates an epoch: rho^2, and the noise of both
    expected = (gamma * b) ** 2 * (1 + rho**2) / (1 - rho**2) ** 2
    assert found[0, 0] == pytest.approx(expected, rel=1e-12)


def test_orders_without_a_limit_or_without_noise(make_affine):
    game = make_affine(0, 3, 2)
    assert not games.clt_covariance(game, games.GradientDescentAscent(0.1, "cyclic")).any()
    with pytest.raises(ValueError, match="order = 'once'"):
        games.clt_covariance(game, games.GradientDescentAscent(0.1, "once"))
    with pytest.raises(ValueError, match=r"n = 40.*beyond exact computation"):
        games.clt_covariance(make_affine(0, 40, 2), games.GradientDescentAscent(0.1))
    assert np.isnan(games.clt_covariance(game, games.GradientDescentAscent(10.0))).all()


def test_independent_chains_add_up(make_affine):
    game, base = make_affine(1, 3, 2), games.Extragradient(0.05, 0.1)
    found = games.clt_covariance(game, games.Richardson(base, coupling="independent"))
    single, double = games.clt_covariance(game, base), games.clt_covariance(game, base.scaled(2.0))
    assert np.allclose(found, 4 * single + double, rtol=0, atol=1e-15)


METHODS = [
    games.GradientDescentAscent(0.1, "reshuffle"),
    games.OptimisticGradient(0.1, "flipflop", noise_site="oracle_step"),
    games.Richardson(games.GradientDescentAscent(0.08, "independent")),
    games.Extragradient(0.1, 0.2, "cyclic", noise_site="iterate"),
]


@pytest.mark.parametrize("method", METHODS, ids=["reshuffle", "optimistic", "richardson", "cyclic"])
def test_averages_over_time(make_affine, method):
    """T Var(average) over 2000 chains; the standard error of a variance is sqrt(2/2000) of it, and its bias is the
    start's share of T, 1 / (T (1 - contraction))."""
    game, chains, epochs = make_affine(2, 3, 2), 2000, 800
    found = games.clt_covariance(game, method)
    means, _ = epoch_averages(game, method, KEY, chains, 60, epochs)
    measured = epochs * np.cov(means.T)
    scale = np.sqrt(np.multiply.outer(np.diag(found), np.diag(found)))
    contraction = games.stationary_moments(game, method).contraction
    tolerance = 5 * np.sqrt(2 / chains) + 1 / (epochs * (1 - contraction))
    assert np.all(np.abs(measured - found) < tolerance * scale)

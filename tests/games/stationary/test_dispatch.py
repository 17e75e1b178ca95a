"""Exact laws of every method, batch and noise site: closed forms, enumeration, the methods' own runs."""

from itertools import product

import jax
import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary import dispatch, laws
from theorylab.games.stationary.chains import epoch_averages
from theorylab.games.stationary.commuting import shared_law
from theorylab.games.stationary.updates import affine_epoch
from theorylab.numerics import local_slopes

KEY = jax.random.key(6)
A, GAMMA = 1.5, 0.2


@pytest.fixture
def scalar():
    """Two equal components with F_i(x*) = +-1, so that sigma = 1: without noise x stays near x* = 0."""
    return games.AffineGame([[[A]], [[A]]], [[1.0], [-1.0]])


@pytest.mark.parametrize("order", ["cyclic", "reshuffle", "independent", "flipflop", "once"])
def test_noise_of_scalars(scalar, order):
    """Each site adds a variance of its own, by geometric series in rho = 1 - gamma a; s = gamma sqrt(2) sigma."""
    rho, s = 1 - GAMMA * A, GAMMA * np.sqrt(2)
    visits = 4 if order == "flipflop" else 2
    epoch = rho**visits
    expected = {
        "oracle_step": (GAMMA * s) ** 2 / (1 - rho**2),
        "oracle_epoch": (GAMMA * s * (1 - epoch) / (1 - rho)) ** 2 / (1 - epoch**2),
        "iterate": s**2 / (1 - epoch**2),
    }
    quiet = games.stationary_moments(scalar, games.GradientDescentAscent(GAMMA, order))
    for site, variance in expected.items():
        found = games.stationary_moments(scalar, games.GradientDescentAscent(GAMMA, order, noise_site=site))
        assert found.covariance[0, 0] - quiet.covariance[0, 0] == pytest.approx(variance, rel=1e-12)
        assert found.mean[0] == pytest.approx(quiet.mean[0], abs=1e-15)
        assert found.contraction == quiet.contraction


@pytest.mark.parametrize("batch_size", [2, 3])
def test_batches_of_independent_draws(make_affine, batch_size):
    """All n^n sequences of draws, cut into groups, the last one smaller."""
    game = make_affine(0, 4, 2) if batch_size == 2 else make_affine(0, 4, 1)
    epoch = affine_epoch(game, games.Extragradient(0.1, 0.2, "independent", batch_size=batch_size))
    every = np.asarray(list(product(range(4), repeat=4)))
    expected = laws.uniform_law(*laws.products(epoch.updates, every))
    law, repeats = dispatch.law_of(epoch)
    # where the batch divides the epoch, one update is enough
    assert repeats == (2 if batch_size == 2 else 1)
    law, z = laws.composed(law, repeats), np.eye(game.d + 1) + 1
    assert np.allclose(law.mean, expected.mean, rtol=0, atol=1e-14)
    assert np.allclose(law.transport(z), expected.transport(z), rtol=0, atol=1e-13)


def test_whole_batches_are_deterministic(make_affine):
    """With batch_size = n every update sees the mean operator, under every order that visits all."""
    game = make_affine(1, 4, 2)
    for order in ("reshuffle", "once", "cyclic", "flipflop"):
        found = games.stationary_moments(game, games.GradientDescentAscent(0.1, order, batch_size=4))
        assert np.allclose(found.mean, game.solution, rtol=0, atol=1e-14) and found.mse < 1e-28


def test_larger_batches_have_smaller_errors(make_affine):
    game = make_affine(2, 6, 2)
    for order in ("reshuffle", "independent", "flipflop"):
        one, two, three = (
            games.stationary_moments(game, games.GradientDescentAscent(0.05, order, batch_size=b)).mse
            for b in (1, 2, 3)
        )
        assert three < two < one


def test_flipflop_by_its_three_ways(make_affine, monkeypatch):
    """The recursion, the enumeration of orders and the form for equal matrices."""
    monkeypatch.setattr(dispatch, "is_shared", lambda updates: False)
    game = make_affine(3, 4, 2, shared=True)
    epoch = affine_epoch(game, games.GradientDescentAscent(0.1, "flipflop", noise_site="oracle_step"))
    law = shared_law(epoch.updates, there_and_back=True)
    by_subsets, _ = dispatch.law_of(epoch)
    monkeypatch.setattr(dispatch, "terms", lambda updates: 1e5)
    by_orders, _ = dispatch.law_of(epoch)
    z = np.ones((3, 3)) + np.eye(3)
    for other in (by_subsets, by_orders):
        assert np.allclose(law.mean, other.mean, rtol=0, atol=1e-14)
        assert np.allclose(law.transport(z), other.transport(z), rtol=0, atol=1e-14)


METHODS = [
    games.OptimisticGradient(0.1, batch_size=2, noise_site="oracle_step"),
    games.OptimisticGradient(0.1, "once", noise_site="oracle_epoch"),
    games.IndependentExtragradient(0.1, 0.2, batch_size=2, noise_site="oracle_epoch"),
    games.IndependentExtragradient(0.1, 0.2, "independent"),
    games.HamiltonianGradient(0.1, "flipflop"),
    games.HamiltonianGradient(0.1, noise_site="iterate"),
    games.Extragradient(0.1, 0.2, "cyclic", noise_site="oracle_step"),
    games.GradientDescentAscent(0.1, "independent", batch_size=2, noise_site="oracle_epoch"),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{type(method).__name__}-{method.order}")
def test_chains_agree(make_affine, method):
    """Burnt-in chains of the methods themselves, within five standard errors of 64 chains."""
    game = make_affine(10, 3, 2)
    found = games.stationary_moments(game, method)
    burn_in = int(np.ceil(25 / -np.log(found.contraction)))
    means, seconds = epoch_averages(game, method, KEY, 64, burn_in, 150)
    squares = np.trace(seconds, axis1=1, axis2=2)
    assert found.standard_error == 0 and abs(squares.mean() - found.mse) < 5 * squares.std(ddof=1) / 8
    errors = means.std(axis=0, ddof=1) / 8
    assert np.all(np.abs(means.mean(axis=0) - (found.mean - np.asarray(game.solution))) < 5 * errors)


def test_kept_permutations_settle_where_the_runs_do(make_affine):
    """The permutations of three components, each run to its end; the groups of the second method, two of w0, w1 and w2,
    w0 and then w1 and w2, do not tell w1 from w2."""
    game = make_affine(5, 3, 2)
    hamiltonian = games.HamiltonianGradient(0.1, "once", batch_size=2)
    for method, points in ((games.OptimisticGradient(0.1, "once"), 6), (hamiltonian, 3)):
        found = games.stationary_moments(game, method)
        means, _ = epoch_averages(game, method, KEY, 96, 800, 1)
        different = np.unique(means.round(10), axis=0)
        x = different - (found.mean - np.asarray(game.solution))
        assert len(different) == points
        assert np.allclose(x.mean(axis=0), 0, rtol=0, atol=1e-9)
        assert np.allclose(x.T @ x / points, found.covariance, rtol=0, atol=1e-9)


def test_smoothing_of_the_oracle_is_harmless_and_of_the_iterate_is_not(make_affine):
    game = make_affine(6, 4, 2)
    found = games.step_sizes.constants(game)
    n, mu, top = found.n, found.mu, found.lipschitz_max
    cap = min(1 / (3 * n * top), (np.sqrt(1 + 6 * mu**2 * top**2) - 1) / (12 * n * top**2))

    def mse(step_size, site):
        return games.stationary_moments(game, games.GradientDescentAscent(step_size, noise_site=site)).mse

    steps = [cap / 2**k for k in range(8)]
    none, step, iterate = ([mse(s, site) for s in steps] for site in ("none", "oracle_step", "iterate"))
    ratios = np.asarray(step) / none
    assert 1 < ratios[0] < 3 and np.all(np.diff(ratios) < 0) and ratios[-1] > 1
    # local slopes tend to the order with an error that halves with the step
    assert abs(local_slopes(steps, step)[-1] - 2) < 0.1
    assert abs(local_slopes(steps, iterate)[-1] - 1) < 0.1


def test_commuting_components_of_any_number():
    """n = 60 scalars: no key is asked for, and chains agree."""
    rng = np.random.default_rng(0)
    game = games.AffineGame(rng.uniform(0.5, 1.5, (60, 1, 1)), rng.standard_normal((60, 1)))
    method = games.Extragradient(0.02, 0.04, noise_site="oracle_epoch")
    found = games.stationary_moments(game, method)
    _, seconds = epoch_averages(game, method, KEY, 64, 40, 60)
    squares = seconds[:, 0, 0]
    assert found.standard_error == 0 and abs(squares.mean() - found.mse) < 5 * squares.std(ddof=1) / 8


def test_bad_input(make_affine):
    game = make_affine(7, 2, 2)
    with pytest.raises(ValueError, match="schedule"):
        games.stationary_moments(game, games.GradientDescentAscent(games.Power(0.1)))
    box = games.Constrained(game, games.constraints.box(-1.0, 1.0))
    with pytest.raises(ValueError, match="game is a Constrained"):
        games.stationary_moments(box, games.GradientDescentAscent(0.1))

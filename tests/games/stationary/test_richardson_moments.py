"""Stationary moments of Richardson extrapolation: the joint law, orders in the step size, both couplings, averages."""

from itertools import permutations, product

import jax
import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary import dispatch
from theorylab.games.stationary.chains import epoch_averages
from theorylab.numerics import local_slopes, richardson_weights

KEY = jax.random.key(5)
STEPS = [4e-3 / 2**k for k in range(5)]


def about_solution(game, found):
    return found.mean - np.asarray(game.solution)


def joint_brute_force(game, step_size, multipliers, coupling):
    """Mean and second moment of the combination from all (tuples of) permutations, stacked, by Kronecker products."""
    a = np.asarray(game.matrices)
    b = a @ np.asarray(game.solution) + np.asarray(game.offsets)
    d, p = game.d, len(multipliers)
    every = list(permutations(range(game.n)))
    chosen = [(one,) * p for one in every] if coupling == "shared" else list(product(every, repeat=p))
    size = p * d
    m, c = np.zeros((len(chosen), size, size)), np.zeros((len(chosen), size))
    for k, orders in enumerate(chosen):
        for j, order in enumerate(orders):
            matrix, offset, gamma = np.eye(d), np.zeros(d), step_size * multipliers[j]
            for i in order:
                matrix, offset = matrix - gamma * a[i] @ matrix, offset - gamma * (a[i] @ offset + b[i])
            m[k, j * d : (j + 1) * d, j * d : (j + 1) * d], c[k, j * d : (j + 1) * d] = matrix, offset
    mean = np.linalg.solve(np.eye(size) - m.mean(axis=0), c.mean(axis=0))
    forcing = np.mean([np.outer(y + x, y + x) - np.outer(x, x) for x, y in zip(m @ mean, c, strict=True)], axis=0)
    kron = np.mean([np.kron(one, one) for one in m], axis=0)
    second = np.linalg.solve(np.eye(size**2) - kron, forcing.ravel()).reshape(size, size)
    readout = np.concatenate([w * np.eye(d) for w in richardson_weights(multipliers)], axis=1)
    return readout @ mean, readout @ second @ readout.T


@pytest.mark.parametrize("coupling", ["shared", "independent"])
@pytest.mark.parametrize(("multipliers", "n"), [((1, 2), 4), ((1, 2, 4), 3), ((1, 3), 1)])
def test_joint_law_is_the_enumeration(make_affine, multipliers, n, coupling):
    game = make_affine(n, n, 2)
    method = games.Richardson(games.GradientDescentAscent(0.05), multipliers, coupling)
    found = games.stationary_moments(game, method)
    mean, second = joint_brute_force(game, 0.05, multipliers, coupling)
    assert np.allclose(about_solution(game, found), mean, rtol=0, atol=1e-13)
    assert np.allclose(found.covariance, second - np.outer(mean, mean), rtol=0, atol=1e-13)
    assert found.mse == pytest.approx(np.trace(second), rel=1e-10, abs=1e-25)
    each = games.stationary_moments(game, games.GradientDescentAscent(0.05 * multipliers[-1]))
    assert found.contraction >= each.contraction - 1e-14 and found.mean_square_stable


@pytest.mark.parametrize("order", ["flipflop", "cyclic", "once"])
def test_other_orders_are_the_combination_of_their_means(make_affine, order):
    """The mean of a weighted sum, and Cauchy-Schwarz for its spread."""
    game = make_affine(1, 4, 2)
    base = games.Extragradient(0.04, 0.08, order)
    found = games.stationary_moments(game, games.Richardson(base))
    single, double = (games.stationary_moments(game, base.scaled(m)) for m in (1.0, 2.0))
    assert np.allclose(found.mean, 2 * single.mean - double.mean, rtol=0, atol=1e-13)
    most = 2 * np.sqrt(np.trace(single.covariance)) + np.sqrt(np.trace(double.covariance))
    assert np.trace(found.covariance) <= most**2 + 1e-16


def slopes(game, order, multipliers=None, coupling="shared"):
    """The last local slopes of bias and mean-square error, and the largest bias."""
    found = []
    for step_size in STEPS:
        method = games.GradientDescentAscent(step_size, order)
        method = method if multipliers is None else games.Richardson(method, multipliers, coupling)
        moments = games.stationary_moments(game, method)
        found.append((np.linalg.norm(about_solution(game, moments)), moments.mse))
    bias, mse = np.transpose(found)
    return (local_slopes(STEPS, bias)[-1] if bias.min() > 0 else None), local_slopes(STEPS, mse)[-1], bias.max()


# the error of a local slope halves with the step: below 0.02 at the last one
@pytest.mark.parametrize(
    ("order", "multipliers", "bias_slope", "mse_slope"),
    [
        ("reshuffle", None, 1, 2),
        ("reshuffle", (1, 2), 2, 3),
        ("reshuffle", (1, 2, 4), 3, 3),
        ("flipflop", None, 1, 2),
        ("flipflop", (1, 2, 4), 3, 5),
        ("once", (1, 2), 2, 4),
    ],
)
def test_orders_in_the_step_size(make_affine, order, multipliers, bias_slope, mse_slope):
    """Generic games: the two-point bias is of second order, not third; its mean-square error of third."""
    bias, mse, _ = slopes(make_affine(5, 4, 2), order, multipliers)
    assert abs(bias - bias_slope) < 0.05 and abs(mse - mse_slope) < 0.05


@pytest.mark.parametrize("multipliers", [None, (1, 2)])
def test_independent_draws_have_no_bias(make_affine, multipliers):
    _, mse, bias = slopes(make_affine(5, 4, 2), "independent", multipliers)
    assert bias < 1e-14 and abs(mse - 1) < 0.05


def test_two_scalars():
    """2 m(g) - m(2g) = g^2 beta (a1-a2) p / ((s - g p)(s - 2 g p)), s = a1 + a2, p = a1 a2."""
    a1, a2, beta, gamma = 3.0, 1.0, 1.0, 0.1
    game = games.AffineGame([[[a1]], [[a2]]], [[beta], [-beta]])
    s, p = a1 + a2, a1 * a2
    single = games.stationary_moments(game, games.GradientDescentAscent(gamma))
    assert single.mean[0] == pytest.approx(-gamma * beta * (a1 - a2) / (2 * (s - gamma * p)), rel=1e-13)
    found = games.stationary_moments(game, games.Richardson(games.GradientDescentAscent(gamma)))
    expected = gamma**2 * beta * (a1 - a2) * p / ((s - gamma * p) * (s - 2 * gamma * p))
    assert found.mean[0] == pytest.approx(expected, rel=1e-12)


def test_equal_matrices_have_no_bias_and_shared_draws_less_variance(make_affine):
    equal = make_affine(2, 6, 3, shared=True)
    for game, bias in ((equal, 1e-14), (make_affine(2, 4, 2), np.inf)):
        shared, independent = (
            games.stationary_moments(game, games.Richardson(games.GradientDescentAscent(0.02), coupling=coupling))
            for coupling in ("shared", "independent")
        )
        assert np.abs(about_solution(game, shared)).max() < bias
        assert np.allclose(shared.mean, independent.mean, rtol=0, atol=1e-14)
        assert shared.mse < independent.mse / 2


@pytest.mark.parametrize("coupling", ["shared", "independent"])
def test_running_averages_keep_the_mean_alone(make_affine, coupling):
    game = make_affine(3, 3, 2)
    for order in ("reshuffle", "once"):
        base = games.GradientDescentAscent(0.05, order, noise_site="oracle_step")
        last, average = (
            games.stationary_moments(game, games.Richardson(base, coupling=coupling, average=average))
            for average in (False, True)
        )
        quiet = games.GradientDescentAscent(0.05, order)
        fixed = games.stationary_moments(game, games.Richardson(quiet, coupling=coupling))
        assert np.allclose(average.mean, last.mean, rtol=0, atol=1e-14)
        # of a kept permutation the average forgets the noise, not the permutation
        expected = fixed.covariance if order == "once" else np.zeros((2, 2))
        assert np.allclose(average.covariance, expected, rtol=0, atol=1e-15)
        bias = about_solution(game, average)
        assert average.mse == pytest.approx(bias @ bias + np.trace(expected), rel=1e-10)
        assert last.mse > average.mse


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(("order", "coupling"), [("reshuffle", "shared"), ("once", "shared"), ("once", "independent")])
def test_monte_carlo_covers_the_exact_answer(make_affine, monkeypatch, order, coupling, average):
    game = make_affine(11, 4, 2)
    method = games.Richardson(games.GradientDescentAscent(0.1, order), coupling=coupling, average=average)
    wide = games.stationary_moments(game, method)
    monkeypatch.setattr(dispatch, "EXACT_FLOPS", 0)
    found = games.stationary_moments(game, method, key=KEY, samples=48)
    assert found.standard_error > 0 and abs(found.mse - wide.mse) < 5 * found.standard_error
    assert np.all(np.abs(found.mean - wide.mean) < 5 * found.mean_standard_error)


def test_chains_agree(make_affine):
    """The method itself, within five standard errors of 64 chains."""
    game = make_affine(4, 3, 2)
    method = games.Richardson(games.GradientDescentAscent(0.06, batch_size=2), coupling="independent")
    found = games.stationary_moments(game, method)
    means, seconds = epoch_averages(game, method, KEY, 64, 100, 300)
    squares = np.trace(seconds, axis1=1, axis2=2)
    assert abs(squares.mean() - found.mse) < 5 * squares.std(ddof=1) / 8
    assert np.all(np.abs(means.mean(axis=0) - about_solution(game, found)) < 5 * means.std(axis=0, ddof=1) / 8)

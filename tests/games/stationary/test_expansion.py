"""Powers of the step size: closed forms, the limits of exact stationary means, and the orders of errors."""

from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.games import orders
from theorylab.numerics import local_slopes

WEIGHTS = {1: (1.0,), 2: (2.0, -1.0), 3: (8 / 3, -2.0, 1 / 3)}  # of step sizes g, 2g, 4g
RANDOM = ["reshuffle", "once", "cyclic", "flipflop", "repeat"]


def at_solution(game):
    a, b = np.asarray(game.matrices), np.asarray(game.offsets)
    return a, b + a @ np.asarray(game.solution)


def exact_bias(game, step_size, order):
    """The stationary mean about x*, from a list of all epochs."""
    a, b = at_solution(game)
    n, d = b.shape
    table = np.array([range(n)] if order == "cyclic" else list(permutations(range(n))))
    if order == "flipflop":
        table = np.hstack([table, table[:, ::-1]])
    if order == "repeat":
        table = np.tile(np.arange(n)[:, None], n)
    m, c = np.broadcast_to(np.eye(d), (len(table), d, d)), np.zeros((len(table), d))
    for visit in table.T:
        one = np.eye(d) - step_size * a[visit]
        m, c = one @ m, np.einsum("kij,kj->ki", one, c) - step_size * b[visit]
    if order != "once":
        m, c = m.mean(axis=0, keepdims=True), c.mean(axis=0, keepdims=True)
    return np.linalg.solve(np.eye(d) - m, c[..., None])[..., 0].mean(axis=0)


@pytest.mark.parametrize("order", RANDOM)
@pytest.mark.parametrize(("n", "d"), [(2, 2), (3, 1), (5, 3)])
def test_limits_of_exact_means(make_affine, order, n, d):
    """What is left after each term falls with the next power: m / g - c1 and then m / g^2 - c1 / g - c2 linearly."""
    game = make_affine(n, n, d)
    first, second = games.bias_expansion(game, order)
    steps = 4e-3 / n / 2.0 ** np.arange(4)
    means = np.array([exact_bias(game, step, order) for step in steps])
    left = means / steps[:, None] - first
    assert np.abs(local_slopes(steps, np.linalg.norm(left, axis=1)) - 1).max() < 0.05
    over = left / steps[:, None] - second
    # a random game's third coefficient is no smaller than the second by chance alone
    assert np.linalg.norm(over[-1]) < 0.05 * np.linalg.norm(second)
    # halved each time up to the next order, and to the rounding of m, 1e-16 / (1 - |M|) over g^2
    assert np.abs(local_slopes(steps[:3], np.linalg.norm(over[:3], axis=1)) - 1).max() < 0.05


@pytest.mark.parametrize("order", ["reshuffle", "once", "cyclic", "repeat"])
def test_limits_of_stationary_moments(make_affine, order):
    """The library's own moments: the extrapolated bias 2 m(g) - m(2g) is -2 c2 g^2 up to the next order."""
    game = make_affine(3, 4, 2)
    first, second = games.bias_expansion(game, order)
    quotients, slopes = [], []
    for step in (1e-3, 5e-4):
        m, m2 = (
            games.stationary_moments(game, games.GradientDescentAscent(s, order)).mean - np.asarray(game.solution)
            for s in (step, 2 * step)
        )
        quotients.append((2 * m - m2) / (-2 * step**2))
        slopes.append(m / step)
    # one more extrapolation leaves terms of second order: (n g L)^2 is about 1e-4
    assert np.allclose(2 * quotients[1] - quotients[0], second, rtol=0, atol=1e-3 * np.linalg.norm(second))
    assert np.allclose(2 * slopes[1] - slopes[0], first, rtol=0, atol=1e-3 * np.linalg.norm(first))


def test_reshuffled_formulas(make_affine):
    """c1 = -(1/2n) Abar^-1 S1, and c2 with its two brackets."""
    game = make_affine(0, 6, 3)
    n, (a, b) = 6, at_solution(game)
    mean, s1, q = a.mean(axis=0), np.einsum("nij,nj->i", a, b), np.sum(a @ a, axis=0)
    first, second = games.bias_expansion(game)
    assert np.allclose(first, -np.linalg.solve(mean, s1) / (2 * n), rtol=1e-12, atol=0)
    bracket = n * mean @ s1 + n * np.einsum("nij,jk,nk->i", a, mean, b) - 2 * np.einsum("nij,njk,nk->i", a, a, b)
    other = (n**2 * mean @ mean - q) @ np.linalg.solve(mean, s1) / (4 * n)
    assert np.allclose(second, np.linalg.solve(mean, bracket / 6 - other) / n, rtol=1e-11, atol=0)


@pytest.mark.parametrize(("a1", "a2", "beta"), [(3.0, 1.0, 1.0), (0.4, 2.0, -0.7)])
def test_two_scalars(a1, a2, beta):
    """m = -g beta (a1 - a2) / (2 (s - g p)), s = a1 + a2 and p = a1 a2: c1 = -beta (a1 - a2) / (2 s), c2 = c1 p / s.

    Shuffled once, both orders' fixed points have the denominator s - g p, so that the mean is the same.
    """
    game = games.AffineGame([[[a1]], [[a2]]], [[beta], [-beta]])
    s, p = a1 + a2, a1 * a2
    expected = -beta * (a1 - a2) / (2 * s)
    for order in ("reshuffle", "once"):
        first, second = games.bias_expansion(game, order)
        assert first[0] == pytest.approx(expected, rel=1e-14)
        assert second[0] == pytest.approx(expected * p / s, rel=1e-13)


def test_equal_matrices_have_no_shuffled_bias(make_affine):
    game = make_affine(1, 5, 3, shared=True)
    for order in ("independent", "reshuffle", "once", "flipflop", "repeat"):
        for coefficient in games.bias_expansion(game, order):
            assert np.abs(coefficient).max() < 1e-14  # rounding of sums of numbers of size one
    assert np.abs(games.bias_expansion(game, "cyclic")[0]).max() > 0.01  # one order alone is another matter


def test_independent_draws_have_none(make_affine):
    assert not np.any(games.bias_expansion(make_affine(2, 3, 2), "independent"))


@pytest.mark.parametrize("order", ["reshuffle", "once", "flipflop", "repeat"])
def test_names_of_components_do_not_matter(make_affine, order):
    game = make_affine(4, 5, 2)
    turned = games.AffineGame(game.matrices[::-1], game.offsets[::-1], game.solution)
    for one, other in zip(games.bias_expansion(game, order), games.bias_expansion(turned, order), strict=True):
        assert np.allclose(one, other, rtol=1e-12, atol=0)
    cyclic, turned = games.bias_expansion(game, "cyclic")[0], games.bias_expansion(turned, "cyclic")[0]
    # backwards every pair is met the other way round: the two first coefficients average to the reshuffled one
    assert np.allclose((cyclic + turned) / 2, games.bias_expansion(game)[0], rtol=1e-12, atol=0)
    assert np.linalg.norm(cyclic - turned) > 0.01


@pytest.mark.parametrize("order", RANDOM)
def test_coefficients_scale(make_affine, order):
    """F scaled by s scales c1 by s and c2 by s^2 (gamma n L is what counts); x scaled by s scales both by s."""
    game = make_affine(5, 4, 2)
    first, second = games.bias_expansion(game, order)
    faster = games.bias_expansion(games.AffineGame(3 * game.matrices, 3 * game.offsets), order)
    assert np.allclose(faster[0], 3 * first, rtol=1e-12, atol=0)
    assert np.allclose(faster[1], 9 * second, rtol=1e-12, atol=0)
    larger = games.bias_expansion(games.AffineGame(game.matrices, 3 * game.offsets), order)
    assert np.allclose(larger[0], 3 * first, rtol=1e-12, atol=0) and np.allclose(larger[1], 3 * second, rtol=1e-11)


def test_second_coefficient_is_generic():
    """On drawn games c2 is no accident of rounding: |c2| g / |c1| is about g n mu / 6 and more."""
    for seed in range(5):
        game = games.quadratic_game(jax.random.key(seed), components=6, dim=2, mu=1.0, lipschitz=3.0)
        first, second = (np.linalg.norm(c) for c in games.bias_expansion(game))
        assert second > 6 * 1.0 / 12 * first > 0.01


def test_extragradient_bias_is_exact(make_affine):
    game = make_affine(6, 4, 3)
    for step_size, extrapolation_step in ((0.01, 0.05), (0.1, 0.02), (0.05, 0.0)):
        method = games.Extragradient(step_size, extrapolation_step, "independent")
        mean = games.stationary_moments(game, method).mean - np.asarray(game.solution)
        found = games.extragradient_bias(game, extrapolation_step)
        assert np.allclose(found, mean, rtol=1e-10, atol=1e-15)


def test_single_precision_games_have_double_precision_theory(make_affine, cast):
    game = make_affine(7, 4, 2)
    for order in orders.ORDERS:
        for narrow, wide in zip(
            games.bias_expansion(cast(game, "float32"), order), games.bias_expansion(game, order), strict=True
        ):
            assert narrow.dtype == np.float64 and np.allclose(narrow, wide, rtol=1e-4, atol=1e-6)  # the game is rounded


def extrapolated(game, step_size, order, points):
    """|E x - x*| and E|x - x*|^2 of the combination, by a list of all epochs of the chains side by side."""
    n, d = game.n, game.d
    a = np.asarray(game.matrices)
    b = np.asarray(game.offsets) + a @ np.asarray(game.solution)
    steps = step_size * 2.0 ** np.arange(points)
    if order == "independent":
        table = np.array(list(product(range(n), repeat=n)))
    else:
        table = np.array([range(n)] if order == "cyclic" else list(permutations(range(n))))
    if order == "flipflop":
        table = np.hstack([table, table[:, ::-1]])
    if order == "repeat":
        table = np.tile(np.arange(n)[:, None], n)
    matrix = np.eye(points * d) - np.stack([np.kron(np.diag(steps), one) for one in a])
    offset = -np.stack([np.kron(steps, one) for one in b])
    m, c = np.broadcast_to(np.eye(points * d), (len(table), points * d, points * d)), np.zeros((len(table), points * d))
    for visit in table.T:
        m, c = matrix[visit] @ m, np.einsum("kij,kj->ki", matrix[visit], c) + offset[visit]
    read = np.kron(WEIGHTS[points], np.eye(d))
    eye = np.eye(points * d)
    if order == "once":
        x = np.linalg.solve(eye - m, c[..., None])[..., 0] @ read.T
        return np.linalg.norm(x.mean(axis=0)), np.mean(np.sum(x**2, axis=1))
    mean = np.linalg.solve(eye - m.mean(axis=0), c.mean(axis=0))
    bias = read @ mean
    # the covariance by itself, from deviations of one epoch from its mean: nothing of first order to cancel
    moved = np.einsum("kij,j->ki", m - eye, mean) + c
    moved = moved - moved.mean(axis=0)
    lift = np.mean([np.kron(one, one) for one in m], axis=0)
    spread = np.linalg.solve(np.eye(len(lift)) - lift, (moved.T @ moved / len(moved)).ravel()).reshape(eye.shape)
    return np.linalg.norm(bias), bias @ bias + np.trace(read @ spread @ read.T)


@pytest.mark.parametrize("order", games.orders.ORDERS)
@pytest.mark.parametrize("points", [1, 2, 3])
def test_orders_of_affine_games(make_affine, order, points):
    """Local slopes tend to the orders with errors that halve with the step, so that one extrapolation removes them."""
    game = make_affine(12, 3, 2)
    # there and back, squared bias g^4 is above variance g^5 at small steps alone
    steps = (4e-4 if order == "flipflop" else 0.01) / 2.0 ** np.arange(4)
    bias, mse = np.transpose([extrapolated(game, step, order, points) for step in steps])
    expected = games.convergence_orders(order, points)
    slopes = local_slopes(steps, mse)
    assert abs(2 * slopes[-1] - slopes[-2] - expected.mse) < 0.05
    if expected.bias == np.inf:
        assert bias.max() < 1e-14  # identically zero: rounding
    else:
        slopes = local_slopes(steps, bias)
        assert abs(2 * slopes[-1] - slopes[-2] - expected.bias) < 0.05


def test_orders_of_smooth_games_lose_the_affine_zero():
    assert games.convergence_orders("independent", 2).bias == np.inf
    assert games.convergence_orders("independent", 2, affine=False) == (2, 1)


def test_bad_input(make_affine):
    game = make_affine(8, 2, 2)
    finite = games.FiniteSum(lambda i, x: x, 2)
    with pytest.raises(ValueError, match=r"game is a FiniteSum.*AffineGame alone"):
        games.bias_expansion(finite)
    with pytest.raises(ValueError, match="game is a FiniteSum"):
        games.extragradient_bias(finite, 0.1)
    with pytest.raises(TypeError, match=r"order must be 'independent' or .*, got 'reshufle'"):
        games.bias_expansion(game, "reshufle")
    for bad in (-0.1, jnp.inf):
        with pytest.raises(ValueError, match="extrapolation_step = "):
            games.extragradient_bias(game, float(bad))
    with pytest.raises(TypeError, match=r"order must be 'independent' or .*, got 'reshufle'"):
        games.convergence_orders("reshufle")
    with pytest.raises(ValueError, match=r"points = 0 must be at least 1"):
        games.convergence_orders("reshuffle", 0)

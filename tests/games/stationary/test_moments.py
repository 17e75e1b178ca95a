"""Stationary moments of the plain methods: closed forms, enumeration, orders, stability, Monte Carlo, simulation."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from theorylab import games
from theorylab.games import orders
from theorylab.games.stationary import dispatch, equations, laws
from theorylab.games.stationary.updates import affine_epoch
from theorylab.numerics import local_slopes, spectral_radius

KEY = jax.random.key(11)
STEPS = [2e-3 / 2**k for k in range(5)]


def brute_force(game, step_size, extrapolation_step, order):
    """Stationary mean and second moment about x* from a list of all epochs, by Kronecker products."""
    updates = affine_epoch(game, games.Extragradient(step_size, extrapolation_step)).updates
    n, d = game.n, game.d
    if order == "independent":
        table = np.stack(np.meshgrid(*[np.arange(n)] * n), axis=-1).reshape(-1, n)
    else:
        table = np.array(list(permutations(range(n))))
    epochs, _ = laws.products(updates, table)
    m, c = epochs[:, :-1, :-1], epochs[:, :-1, -1]
    kron = np.mean([np.kron(one, one) for one in m], axis=0)
    radii = spectral_radius(m.mean(axis=0)), spectral_radius(kron)
    if order == "once":
        x = np.linalg.solve(np.eye(d) - m, c[..., None])[..., 0]
        return x.mean(axis=0), x.T @ x / len(x), *radii
    mean = np.linalg.solve(np.eye(d) - m.mean(axis=0), c.mean(axis=0))
    moved = (m @ mean)[:, :, None] * c[:, None, :]
    forcing = np.mean(c[:, :, None] * c[:, None, :] + moved + moved.mT, axis=0)
    return mean, np.linalg.solve(np.eye(d * d) - kron, forcing.ravel()).reshape(d, d), *radii


@pytest.mark.parametrize("order", ["independent", "reshuffle", "once"])
@pytest.mark.parametrize(("n", "d", "gamma"), [(3, 2, 0.15), (4, 3, 0.0), (5, 1, 0.1)])
def test_brute_force(make_affine, order, n, d, gamma):
    game = make_affine(n, n, d)
    method = games.Extragradient(0.1, gamma, order)
    found = games.stationary_moments(game, method)
    mean, second, contraction, ms_contraction = brute_force(game, 0.1, gamma, order)
    assert np.allclose(found.mean - np.asarray(game.solution), mean, rtol=0, atol=1e-12)
    assert np.allclose(found.covariance, second - np.outer(mean, mean), rtol=0, atol=1e-12)
    assert found.mse == pytest.approx(np.trace(second), rel=1e-10)
    assert found.contraction == pytest.approx(contraction, rel=1e-12)
    assert found.ms_contraction == pytest.approx(ms_contraction, rel=1e-12)
    assert found.standard_error == 0 and not found.mean_standard_error.any() and found.mean_square_stable
    if gamma == 0:
        same = games.stationary_moments(game, games.GradientDescentAscent(0.1, order))
        assert same.mse == pytest.approx(found.mse, rel=1e-12)
        assert np.allclose(same.covariance, found.covariance, rtol=1e-12, atol=1e-14)


def test_cyclic_is_the_limit_of_its_run(make_affine):
    game = make_affine(0, 4, 3)
    method = games.Extragradient(0.2, 0.3, "cyclic")
    found = games.stationary_moments(game, method)
    x = jnp.zeros(3)
    step = jax.jit(lambda x: method.step(game, method.init(game, KEY, x), KEY).x)
    for _ in range(200):
        x = step(x)
    assert np.allclose(found.mean, x, rtol=0, atol=1e-13)
    assert not found.covariance.any() and found.ms_contraction == found.contraction**2
    assert found.mse == pytest.approx(float(jnp.sum((x - game.solution) ** 2)), rel=1e-11)


def test_two_scalars():
    """n = 2, F_1 = a1 x + beta, F_2 = a2 x - beta: mean -gamma beta (a1-a2) / (2 (a1+a2-gamma a1 a2))."""
    for a1, a2, beta, gamma in ((3.0, 1.0, 1.0, 0.1), (0.4, 2.0, -0.7, 0.3)):
        game = games.AffineGame([[[a1]], [[a2]]], [[beta], [-beta]])
        expected = -gamma * beta * (a1 - a2) / (2 * (a1 + a2 - gamma * a1 * a2))
        for order in ("reshuffle", "once"):
            found = games.stationary_moments(game, games.GradientDescentAscent(gamma, order))
            # once: the mean of the two fixed points is another number with the same first order
            if order == "reshuffle":
                assert found.mean[0] == pytest.approx(expected, rel=1e-13)
            assert abs(found.contraction - (1 - gamma * a1) * (1 - gamma * a2)) < 1e-15


def test_mean_of_independent_extragradient(make_affine):
    """m = g2 (Abar - g2 mean A_i^2)^{-1} mean(A_i b_i) in coordinates where x* = 0, for every step size."""
    game = make_affine(3, 6, 4)
    a = np.asarray(game.matrices)
    b = a @ np.asarray(game.solution) + np.asarray(game.offsets)
    squares, products = np.mean(a @ a, axis=0), np.einsum("nij,nj->i", a, b) / 6
    for g1, g2 in ((0.01, 0.05), (0.1, 0.02)):
        expected = g2 * np.linalg.solve(a.mean(axis=0) - g2 * squares, products)
        found = games.stationary_moments(game, games.Extragradient(g1, g2, "independent"))
        assert np.allclose(found.mean - np.asarray(game.solution), expected, rtol=1e-11, atol=0)


def slopes(game, factor, order):
    """Local slopes of the mean-square error, and |E x - x*| at the steps."""
    found = [games.stationary_moments(game, games.Extragradient(s, factor * s, order)) for s in STEPS]
    bias = [float(np.linalg.norm(one.mean - np.asarray(game.solution))) for one in found]
    return local_slopes(STEPS, [one.mse for one in found]), np.asarray(bias)


@pytest.mark.parametrize("factor", [0.0, 2.0])
@pytest.mark.parametrize(
    ("shared", "order", "slope"),
    [
        (False, "independent", 1),
        (False, "reshuffle", 2),
        (False, "once", 2),
        (False, "cyclic", 2),
        (True, "independent", 1),
        (True, "reshuffle", 3),
        (True, "once", 2),
        (True, "cyclic", 2),
    ],
)
def test_orders_of_the_mean_square_error(make_affine, factor, shared, order, slope):
    """Strongly monotone games, both methods. Local slopes tend to the order with an error that halves with the step."""
    found, bias = slopes(make_affine(5, 5, 3, shared=shared), factor, order)
    assert abs(found[-1] - slope) < 0.05
    assert abs(2 * found[-1] - found[-2] - slope) < 0.01
    if shared and order != "cyclic":
        assert bias.max() < 1e-14  # no bias at all: rounding
    elif not (order == "independent" and factor == 0):
        assert abs(local_slopes(STEPS, bias)[-1] - 1) < 0.05
    else:
        assert bias.max() < 1e-13


@pytest.mark.parametrize(("order", "slope"), [("independent", 0), ("reshuffle", 2), ("once", 2)])
@pytest.mark.parametrize("heterogeneous", [True, False])
def test_bilinear_games_lose_an_order(order, slope, heterogeneous):
    """Their curvature is the extrapolation's own, of second order in the step: the noise of independent draws never
    fades, and reshuffling has slope 2 even where all matrices are equal."""
    game = games.bilinear_game(KEY, components=5, dim=1, mu=1.0, lipschitz=2.0, heterogeneous=heterogeneous)
    found, _ = slopes(game, 4.0, order)
    assert abs(found[-1] - slope) < 0.01


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_leading_constant_where_all_matrices_are_equal(make_affine, factor):
    """MSE = gamma^3 n(n+1)/12 tr S + O(gamma^4) with A S + S A^T = A C A^T, C = mean b b^T about x*; derived by the
    variance of sums without replacement, sum_j (j - (n-1)/2)^2 n/(n-1) C = n^2 (n+1)/12 C."""
    game = make_affine(6, 7, 3, shared=True)
    a = np.asarray(game.matrices)[0]
    b = np.asarray(game.offsets) + a @ np.asarray(game.solution)
    limit = 7 * 8 / 12 * np.trace(solve_continuous_lyapunov(a, a @ (b.T @ b / 7) @ a.T))
    ratios = []
    for gamma in (4e-4, 2e-4):
        method = games.Extragradient(gamma, factor * gamma)
        ratios.append(games.stationary_moments(game, method).mse / gamma**3 / limit)
    assert abs(2 * ratios[1] - ratios[0] - 1) < 1e-3  # one extrapolation in gamma; the next order is gamma^2


def test_noiseless_and_equal_components_settle_at_the_solution(make_affine):
    matrices = make_affine(7, 4, 2).matrices
    quiet = games.AffineGame(matrices, jnp.zeros((4, 2)))
    equal = make_affine(7, 1, 2)
    for game in (quiet, equal):
        for order in orders.ORDERS:
            found = games.stationary_moments(game, games.Extragradient(0.1, 0.2, order))
            assert found.mse < 1e-28 and np.allclose(found.mean, game.solution, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("order", "updates"), [(order, 6 if order == "flipflop" else 3) for order in orders.ORDERS])
def test_divergence_has_no_finite_moments(order, updates):
    """Descent-ascent on u v: |x| grows by sqrt(1 + g^2) each update. Mean, too, has no limit."""
    game = games.bilinear_game(KEY, components=3, dim=1, mu=1.0, lipschitz=1.0, heterogeneous=False)
    found = games.stationary_moments(game, games.GradientDescentAscent(0.1, order))
    assert np.isnan(found.mean).all() and found.mse == np.inf and np.isnan(found.covariance).all()
    assert not found.mean_square_stable
    assert found.contraction == pytest.approx(1.01 ** (updates / 2), rel=1e-12)
    assert found.ms_contraction == pytest.approx(1.01**updates, rel=1e-12)


def test_mean_stable_but_not_mean_square_stable():
    """Scalars with multipliers 0.1 and 1.5: E M = 0.8 < 1 < E M^2 = 1.13."""
    game = games.AffineGame([[[9.0]], [[-5.0]]], [[1.0], [2.0]])
    found = games.stationary_moments(game, games.GradientDescentAscent(0.1, "independent"))
    assert found.contraction == pytest.approx(0.8**2) and found.ms_contraction == pytest.approx(1.13**2)
    assert found.mean[0] == pytest.approx(-0.75, rel=1e-12) and found.mse == np.inf and np.isnan(found.covariance).all()
    reshuffled = games.stationary_moments(game, games.GradientDescentAscent(0.1, "reshuffle"))
    assert reshuffled.mean_square_stable and reshuffled.ms_contraction == pytest.approx(0.15**2)


def test_certificate_against_simulation(make_affine):
    """Noiseless second moments after t updates are T^t(x0 x0^T), growing or decaying with the certificate."""
    scalars = games.AffineGame([[[9.0]], [[-5.0]]], [[0.0], [0.0]])
    game = make_affine(8, 3, 2)
    quiet = games.AffineGame(game.matrices, jnp.zeros((3, 2)))
    chains, epochs = 20000, 3
    for problem, method in (
        (scalars, games.GradientDescentAscent(0.1, "independent")),
        (quiet, games.Extragradient(0.3, 0.1, "reshuffle")),
    ):
        x0 = jnp.ones(problem.d)

        def last(key, method=method, problem=problem, x0=x0):
            state = method.init(problem, key, x0)
            return jax.lax.scan(lambda s, k: (method.step(problem, s, k), None), state, jax.random.split(key, epochs))[
                0
            ].x

        squares = np.sum(np.asarray(jax.jit(jax.vmap(last))(jax.random.split(KEY, chains))) ** 2, axis=1)
        law, repeats = dispatch.law_of(affine_epoch(problem, method))
        z = np.outer(np.append(x0, 1.0), np.append(x0, 1.0))
        for _ in range(epochs * repeats):
            z = law.transport(z)
        expected = np.trace(z) - 1
        assert abs(squares.mean() - expected) < 5 * squares.std() / np.sqrt(chains)


@pytest.mark.parametrize("order", ["reshuffle", "once"])
def test_monte_carlo_covers_the_exact_answer(make_affine, monkeypatch, order):
    game = make_affine(11, 5, 2)
    method = games.Extragradient(0.1, 0.2, order)
    wide = games.stationary_moments(game, method)
    monkeypatch.setattr(dispatch, "EXACT_FLOPS", 0)
    found = games.stationary_moments(game, method, key=KEY, samples=48)
    assert found.standard_error > 0 and abs(found.mse - wide.mse) < 5 * found.standard_error
    assert np.all(np.abs(found.mean - wide.mean) < 5 * found.mean_standard_error)
    # the spread of epoch matrices is of second order in the step: estimates from 48 permutations are close
    assert found.contraction == pytest.approx(wide.contraction, rel=0.02)
    assert found.ms_contraction == pytest.approx(wide.ms_contraction, rel=0.04)
    again = games.stationary_moments(game, method, key=KEY, samples=48)
    assert again.mse == found.mse


def test_large_games(make_affine):
    """Beyond the exact sizes a key is asked for; where all matrices are equal n = 100 is exact."""
    game = make_affine(12, 40, 2)
    for order in ("reshuffle", "once"):
        with pytest.raises(ValueError, match=r"key is None.*n = 40.*pass key="):
            games.stationary_moments(game, games.Extragradient(0.01, 0.02, order))
    found = games.stationary_moments(game, games.Extragradient(0.01, 0.02, "once"), key=KEY, samples=8)
    assert found.standard_error > 0 and found.mean_square_stable
    wgan = games.wgan_mean_game(KEY, components=100)
    reshuffled, independent = (
        games.stationary_moments(wgan, games.Extragradient(0.01, 0.04, order)) for order in ("reshuffle", "independent")
    )
    assert reshuffled.mse < independent.mse / 10 and reshuffled.standard_error == 0


def test_single_precision_games_have_double_precision_theory(make_affine, cast):
    game = make_affine(13, 4, 2)
    method = games.Extragradient(0.125, 0.25)
    narrow = games.stationary_moments(cast(game, "float32"), method)
    wide = games.stationary_moments(game, method)
    assert narrow.covariance.dtype == np.float64
    assert narrow.mse == pytest.approx(wide.mse, rel=1e-5)  # the game itself is rounded


def test_bad_input(make_affine):
    game = make_affine(14, 2, 2)
    method = games.Extragradient(0.1, 0.1)
    with pytest.raises(ValueError, match="game is a FiniteSum"):
        games.stationary_moments(games.FiniteSum(lambda i, x: x, 2), method)
    with pytest.raises(ValueError, match="method is a str"):
        games.stationary_moments(game, "extragradient")
    with pytest.raises(ValueError, match="samples = 1"):
        games.stationary_moments(game, method, key=KEY, samples=1)


def test_errors_beside_runs_are_the_moments_or_nan(make_affine, monkeypatch):
    """nan, and no error, where a table has a place without an exact answer: too large, or too close to critical."""
    game, method = make_affine(0, 4, 2), games.Extragradient(0.1, 0.2)
    moments = games.stationary_moments(game, method)
    assert games.stationary_error(game, method) == (moments.mse, moments.ms_contraction)
    large = make_affine(1, 40, 2)
    assert np.isnan(games.stationary_error(large, method)).all()
    with pytest.raises(ValueError, match="FiniteSum"):
        games.stationary_error(games.FiniteSum(lambda i, x: x, 2), method)

    # GMRES that never gets there, on a system that is large enough to be left to it
    monkeypatch.setattr(equations, "DENSE", 1)
    monkeypatch.setattr(equations.sparse, "gmres", lambda a, b, *args, **kwargs: (np.zeros_like(b), 1))
    with pytest.raises(equations.NotConverged, match="too close to critical"):
        games.stationary_moments(game, games.Extragradient(0.1, 0.2, "independent"))
    assert np.isnan(games.stationary_error(game, games.Extragradient(0.1, 0.2, "independent"))).all()

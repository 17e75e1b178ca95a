"""Extrapolation in the step size: exact cancellation, chains that are plain runs, coupling, averages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from theorylab import engine, games
from theorylab.engine import solve
from theorylab.numerics import richardson_weights

KEY = jax.random.key(2)
EPS = float(np.finfo(float).eps)


@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 2, 3), (1, 2, 4), (0.5, 1, 3, 7)])
def test_weights_solve_their_equations(multipliers):
    weights = richardson_weights(multipliers)
    powers = np.vander(multipliers, increasing=True).T
    assert np.allclose(
        powers @ weights, np.eye(len(weights))[0], rtol=0, atol=EPS * np.abs(powers @ np.diag(weights)).sum()
    )
    # a polynomial in the step without its constant term goes, up to degree p - 1
    values = [3.0 + sum(q * m**q for q in range(1, len(multipliers))) for m in multipliers]
    assert weights @ values == pytest.approx(3.0, rel=1e-13)


def test_known_weights():
    assert richardson_weights([1, 2]).tolist() == [2, -1]
    assert np.allclose(richardson_weights([1, 2, 4]), np.asarray([8, -6, 1]) / 3, rtol=EPS)
    assert richardson_weights([1, 2, 3]).tolist() == [3, -3, 1]


@pytest.mark.parametrize("multipliers", [(), (1, 1), (0, 1), (1, float("nan")), (-1, 2)])
def test_bad_multipliers(multipliers):
    with pytest.raises(ValueError, match="multipliers"):
        games.Richardson(games.GradientDescentAscent(0.1), multipliers)


@pytest.fixture(scope="module")
def game():
    return games.quadratic_game(jax.random.key(0), components=5, dim=2, mu=1.0, lipschitz=2.0)


def test_shared_chains_are_plain_runs_and_nothing_feeds_back(game):
    """Each chain is the method at its own step under the same draws; what is emitted is their combination alone."""
    method = games.Richardson(games.Extragradient(0.02, 0.04), (1, 2, 4))
    x0 = jnp.ones(4)
    keys = jax.random.split(KEY, 4)
    state = method.init(game, KEY, x0)
    assert np.array_equal(state.x, x0)
    plain = []
    for m in method.multipliers:
        one = games.Extragradient(0.02 * m, 0.04 * m)
        own = one.init(game, KEY, x0)
        for key in keys:
            own = one.step(game, own, key)
        plain.append(np.asarray(own.x))
    for key in keys:
        state = method.step(game, state, key)
    assert np.allclose(state.chains.x, plain, rtol=0, atol=100 * EPS)
    assert np.allclose(state.x, richardson_weights(method.multipliers) @ np.asarray(plain), rtol=0, atol=500 * EPS)


@pytest.mark.parametrize("coupling", ["shared", "independent"])
def test_coupling_is_in_the_draws(game, coupling):
    """With multipliers that hardly differ, chains that share their draws stay together; independent ones part."""
    method = games.Richardson(games.GradientDescentAscent(0.05, "reshuffle"), (1, 1 + 1e-9), coupling)
    state = method.step(game, method.init(game, KEY, jnp.ones(4)), KEY)
    apart = float(jnp.abs(state.chains.x[0] - state.chains.x[1]).max())
    assert (apart < 1e-8) == (coupling == "shared")
    once = games.Richardson(games.GradientDescentAscent(0.05, "once"), (1, 2), coupling).init(game, KEY, jnp.ones(4))
    assert bool(jnp.all(once.chains.kept[0] == once.chains.kept[1])) == (coupling == "shared")


def test_averages_are_those_of_the_steps_so_far(game):
    method = games.Richardson(games.GradientDescentAscent(0.05), average=True)
    state = method.init(game, KEY, jnp.ones(4))
    seen = []
    for key in jax.random.split(KEY, 5):
        state = method.step(game, state, key)
        seen.append(np.asarray(state.chains.x))
        assert np.allclose(state.x, np.asarray([2, -1]) @ np.mean(seen, axis=0).reshape(2, -1), rtol=0, atol=200 * EPS)


def test_the_first_order_goes(game):
    """Cyclic order is deterministic: the fixed point moves by c1 g + c2 g^2, and the combination by O(g^2), O(g^3)."""
    errors = []
    for multipliers in ((1,), (1, 2), (1, 2, 4)):
        for step in (4e-3, 2e-3):
            method = games.Richardson(games.GradientDescentAscent(step, "cyclic"), multipliers)
            end = solve(method, game, key=KEY, steps=6000).value
            errors.append(float(jnp.linalg.norm(end - game.solution)))
    slopes = np.log2(np.asarray(errors[::2]) / np.asarray(errors[1::2]))
    # the next power of g n L = 0.04 in each
    assert np.allclose(slopes, [1, 2, 3], rtol=0, atol=0.1)


def test_affine_equivariance(game):
    """Shifting the start and the solution shifts the run: the weights sum to one."""
    shift = jnp.asarray([3.0, -1.0, 0.5, 2.0])
    moved = games.AffineGame(game.matrices, game.offsets - game.matrices @ shift)
    method = games.Richardson(games.GradientDescentAscent(0.05))
    a = solve(method, game, jnp.ones(4), key=KEY, steps=20).value
    b = solve(method, moved, jnp.ones(4) + shift, key=KEY, steps=20).value
    assert np.allclose(a + shift, b, rtol=0, atol=1e4 * EPS)


def test_over_any_method_with_a_step(standard_promotion):
    """Gradient descent by Optax on a smooth loss: two steps of a deterministic chain, combined."""

    class Bowl:
        def loss(self, x, key):
            return jnp.sum(x**2) / 2

    method = games.Richardson(engine.Gradient(optax.sgd, learning_rate=0.25))
    end = solve(method, Bowl(), jnp.ones(1), key=KEY, steps=2).value
    assert np.allclose(end, 2 * 0.75**2 - 0.5**2, rtol=EPS)
    with pytest.raises(ValueError, match="scaled"):

        class Still(engine.Method):
            def init(self, problem, key, x0=None):
                return engine.State(x0)

            def step(self, problem, state, key):
                return state

        games.Richardson(Still())
    with pytest.raises(TypeError, match="coupling"):
        games.Richardson(games.GradientDescentAscent(0.1), coupling="own")
    with pytest.raises(ValueError, match="no learning_rate"):
        engine.Gradient(optax.sgd(0.1)).scaled(2.0)

"""The order that repeats one component, a released code's reshuffling: exact moments by its epochs, and a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games

N, STEP, AHEAD = 3, 0.1, 0.2
METHOD = games.Extragradient(STEP, AHEAD, "repeat")


@pytest.fixture(scope="module")
def game():
    return games.quadratic_game(jax.random.key(1), components=N, dim=1, mu=1.0, lipschitz=2.0)


def epoch(game, i, x):
    """n updates of component i, by hand."""
    a, b = np.asarray(game.matrices[i]), np.asarray(game.offsets[i])
    for _ in range(N):
        x = x - STEP * (a @ (x - AHEAD * (a @ x + b)) + b)
    return x


def test_the_exact_error_is_that_of_all_epochs(game):
    solution, eye = np.asarray(game.solution), np.eye(2)
    c = np.asarray([epoch(game, i, solution) - solution for i in range(N)])
    m = np.asarray([[epoch(game, i, solution + e) - solution - c[i] for e in eye] for i in range(N)]).mT
    mean = np.linalg.solve(eye - m.mean(0), c.mean(0))
    kron = np.mean([np.kron(one, one) for one in m], axis=0)
    crossed = [np.outer(one @ mean, add) for one, add in zip(m, c, strict=True)]
    forcing = np.mean([np.outer(add, add) + one + one.T for add, one in zip(c, crossed, strict=True)], axis=0)
    second = np.linalg.solve(np.eye(4) - kron, forcing.ravel()).reshape(2, 2)
    assert games.stationary_moments(game, METHOD).mse == pytest.approx(np.trace(second), rel=1e-11)


def test_an_epoch_takes_one_component(game):
    x0 = jnp.asarray([1.0, -2.0])
    state = METHOD.init(game, jax.random.key(0), x0)
    step = jax.jit(lambda key: METHOD.step(game, state, key).x)
    ends = np.asarray([step(key) for key in jax.random.split(jax.random.key(2), 40)])
    each = np.asarray([epoch(game, i, np.asarray(x0)) for i in range(N)])
    gaps = np.abs(ends[:, None] - each).max(-1)
    assert gaps.min(1).max() < 1e-13  # a dozen roundings of numbers of order one
    assert set(gaps.argmin(1)) == set(range(N))  # each of three is missed in forty draws with the odds (2/3)^40

"""The robust least-squares game is the game that its docstring writes, solved in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from theorylab import games

PENALTY = 1.7
N = 442


@pytest.fixture(scope="module")
def game():
    return games.robust_least_squares_game(penalty=PENALTY)


def samples():
    features, target = load_diabetes(return_X_y=True, scaled=False)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.column_stack([features, np.ones(N)]), target / target.std()


def point(seed):
    key_w, key_s = jax.random.split(jax.random.key(seed))
    return {"weights": jax.random.normal(key_w, (11,)), "shift": jax.random.normal(key_s, (N,))}


def flat(x):
    return np.concatenate([x["weights"], x["shift"]])


def test_the_operator_is_the_gradient_of_the_objective(game):
    features, target = map(jnp.asarray, samples())

    def objective(weights, moved):
        return jnp.mean((features @ weights - moved) ** 2 - PENALTY * (moved - target) ** 2)

    x = point(0)
    root = np.sqrt(N)
    descent, ascent = jax.grad(objective, (0, 1))(x["weights"], target + root * x["shift"])
    value = game.operator(x)
    assert jnp.allclose(value["weights"], descent, rtol=0, atol=1e-12)
    assert jnp.allclose(value["shift"], -root * ascent, rtol=0, atol=1e-12)  # the chain rule of q = y + sqrt(N) s


@pytest.mark.parametrize("penalty", [1.001, 2.0, 1e3])
def test_solution(penalty):
    features, target = samples()
    game = games.robust_least_squares_game(penalty=penalty)
    w, s = (np.asarray(game.solution[name]) for name in ("weights", "shift"))
    assert np.allclose(w, np.linalg.solve(features.T @ features, features.T @ target), rtol=0, atol=1e-12)
    q = (penalty * target - features @ w) / (penalty - 1)
    assert np.allclose(target + np.sqrt(N) * s, q, rtol=1e-10)
    # rounding of sums of N terms of the size of q
    assert np.abs(flat(game.operator(game.solution))).max() < 1e-14 * np.abs(q).max() * np.sqrt(N)


def test_symmetric_part(game):
    """<F(x) - F(y), x - y> = 2 |A (w - w')|^2 / N + 2 (penalty - 1) |s - s'|^2, exactly, so strongly monotone."""
    features, _ = samples()
    x, y = point(1), point(2)
    gap, force = flat(x) - flat(y), flat(game.operator(x)) - flat(game.operator(y))
    expected = 2 * np.sum((features @ gap[:11]) ** 2) / N + 2 * (PENALTY - 1) * np.sum(gap[11:] ** 2)
    assert gap @ force == pytest.approx(expected, rel=1e-13)
    assert np.linalg.eigvalsh(features.T @ features / N)[0] > 0.008


def test_each_component_is_monotone(game):
    x, y = point(3), point(4)
    gap = flat(x) - flat(y)
    for i in range(0, game.n, 5):
        assert gap @ (flat(game.component(i, x)) - flat(game.component(i, y))) > 0


@pytest.mark.parametrize("components", [1, 100])
def test_grouping_does_not_change_the_game(game, components):
    other = games.robust_least_squares_game(components=components, penalty=PENALTY)
    x = point(5)
    assert np.allclose(flat(game.operator(x)), flat(other.operator(x)), rtol=0, atol=1e-12)


def test_both_precisions(game, dtype):
    def cast(tree):
        return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, float) else leaf, tree)

    found = cast(game).component(3, cast(point(6)))
    exact = game.component(3, point(6))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
    # rounding of entries up to about 1e3
    assert np.allclose(flat(found), flat(exact), rtol=0, atol=1e4 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("change", [{"components": 0}, {"components": 443}, {"penalty": 1.0}, {"penalty": np.inf}])
def test_bad_input(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        games.robust_least_squares_game(**change)

"""The adversarial logistic game is the game that its docstring writes, solved to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from theorylab import games
from theorylab.numerics import normal

RIDGE, PENALTY = 0.2, 0.7
N = 569


@pytest.fixture(scope="module")
def game():
    return games.adversarial_logistic_game(ridge=RIDGE, penalty=PENALTY)


def samples():
    features, target = load_breast_cancer(return_X_y=True)
    return (features - features.mean(axis=0)) / features.std(axis=0), 2.0 * target - 1


def point(seed, scale=0.3):
    key_w, key_s = jax.random.split(jax.random.key(seed))
    weights = scale * normal(key_w, (31,))
    return {"weights": weights, "shift": normal(key_s, (N, 30)) / np.sqrt(N)}


def dot(x, y):
    return float(sum(jnp.vdot(x[name], y[name]) for name in x))


def minus(x, y):
    return jax.tree.map(jnp.subtract, x, y)


def test_the_operator_is_the_gradient_of_the_objective(game):
    features, labels = map(jnp.asarray, samples())

    def objective(weights, moves):
        margin = labels * ((features + moves) @ weights[:-1] + weights[-1])
        mean = jnp.mean(jnp.log1p(jnp.exp(-margin)) - PENALTY / 2 * jnp.sum(moves**2, axis=1))
        return mean + RIDGE / 2 * weights @ weights

    x = point(0)
    root = np.sqrt(N) * labels[:, None]
    descent, ascent = jax.grad(objective, (0, 1))(x["weights"], root * x["shift"])
    value = game.operator(x)
    assert jnp.allclose(value["weights"], descent, rtol=0, atol=1e-13)
    # the chain rule of delta_j = y_j sqrt(N) s_j
    assert jnp.allclose(value["shift"], -root * ascent, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("ridge", "penalty"), [(RIDGE, PENALTY), (1e-6, 1.0), (1e-6, 0.3), (0.1, 1e-2), (1e-2, 1e2), (1e3, 1e3)]
)
def test_solution_of_hard_and_easy_games(ridge, penalty):
    """F(x*) = 0 to rounding, where the adversary's problem is strongly concave."""
    game = games.adversarial_logistic_game(ridge=ridge, penalty=penalty)
    residual = game.operator(game.solution)
    moves = np.sqrt(N) * np.abs(game.solution["shift"]).max()
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(residual)) < 1e-15 * (1 + moves)
    assert np.sum(np.asarray(game.solution["weights"])[:-1] ** 2) < 0.52 * 4 * penalty


def test_the_adversary_moves_samples_along_the_weights_against_their_label(game):
    v = np.asarray(game.solution["weights"])[:-1]
    taus = -np.sqrt(N) * np.asarray(game.solution["shift"]) @ v / (v @ v)
    assert np.allclose(np.sqrt(N) * game.solution["shift"], -taus[:, None] * v, rtol=0, atol=1e-15)
    assert taus.min() > 0 and taus.max() < 1 / PENALTY


def test_strongly_monotone_about_the_solution(game):
    """<F(x), x - x*> >= ridge |w - w*|^2 + (penalty - (|v|^2 + |v*|^2) / 8) |s - s*|^2 while |v|^2 < 4 penalty."""
    operator = jax.jit(lambda x: game.operator(x))
    own = float(jnp.sum(game.solution["weights"][:-1] ** 2))
    for seed in range(20):
        x = point(seed, scale=0.02 * (seed + 1) / np.sqrt(2))
        length = float(jnp.sum(x["weights"][:-1] ** 2))
        assert length < 4 * PENALTY
        gap = minus(x, game.solution)
        least = RIDGE * jnp.sum(gap["weights"] ** 2) + (PENALTY - (length + own) / 8) * jnp.sum(gap["shift"] ** 2)
        assert float(least) > 0 and dot(operator(x), gap) >= least


@pytest.mark.parametrize("components", [1, 100])
def test_grouping_does_not_change_the_game(game, components):
    other = games.adversarial_logistic_game(components=components, ridge=RIDGE, penalty=PENALTY)
    x = point(5)
    a, b = game.operator(x), other.operator(x)
    assert all(jnp.allclose(a[name], b[name], rtol=0, atol=1e-13) for name in a)


@pytest.mark.parametrize("make", [games.adversarial_logistic_game, games.robust_logistic_game])
def test_components_in_both_precisions(make, dtype):
    """Of both logistic games, at their solutions: rounding of sums of entries up to ten."""
    game = make(ridge=RIDGE, penalty=PENALTY)
    short = jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, float) else leaf, game)
    found, exact = short.component(3, short.solution), game.component(3, game.solution)
    for name in exact:
        assert found[name].dtype == dtype
        assert np.allclose(found[name], exact[name], rtol=0, atol=1000 * float(jnp.finfo(dtype).eps))


def test_extragradient_goes_to_the_solution(game):
    """Squared distances fall by ten in forty epochs of reshuffling, and end in the noise of this step size."""
    method = games.Extragradient(0.01, 0.02)
    state = method.init(game, jax.random.key(0))
    step = jax.jit(lambda state, key: method.step(game, state, key))
    before = dot(*2 * (minus(state.x, game.solution),))
    for key in jax.random.split(jax.random.key(1), 40):
        state = step(state, key)
    assert dot(*2 * (minus(state.x, game.solution),)) < before / 10


@pytest.mark.parametrize("change", [{"components": 0}, {"components": 570}, {"ridge": 0.0}, {"penalty": -1.0}])
def test_bad_input(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        games.adversarial_logistic_game(**change)

"""The robust logistic game is the game that its docstring writes, solved to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from theorylab import games

RIDGE, PENALTY = 0.2, 0.7


@pytest.fixture(scope="module")
def game():
    return games.robust_logistic_game(ridge=RIDGE, penalty=PENALTY)


def objective(weights, shift):
    features, target = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features = jnp.asarray(np.column_stack([features, np.ones(569)]))
    losses = jnp.log1p(jnp.exp(-jnp.asarray(2.0 * target - 1) * (features @ weights)))
    q = 1 + np.sqrt(569) * shift
    return jnp.mean(q * losses) - PENALTY / 2 * shift @ shift + RIDGE / 2 * weights @ weights


def test_the_operator_is_the_gradient_of_the_objective(game):
    key_w, key_s = jax.random.split(jax.random.key(0))
    x = {"weights": jax.random.normal(key_w, (31,)), "shift": jax.random.normal(key_s, (569,)) / 10}
    descent, ascent = jax.grad(objective, (0, 1))(x["weights"], x["shift"])
    value = game.operator(x)
    assert jnp.allclose(value["weights"], descent, rtol=0, atol=1e-13)
    assert jnp.allclose(value["shift"], -ascent, rtol=0, atol=1e-13)


def test_solution_and_its_sample_weights(game):
    residual = game.operator(game.solution)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(residual)) < 1e-15
    q = 1 + np.sqrt(569) * np.asarray(game.solution["shift"])
    assert q.min() >= 1 and q.max() > 2


@pytest.mark.parametrize(("ridge", "penalty"), [(1e-6, 1.0), (0.1, 1e-3), (1e3, 1e3)])
def test_solution_of_hard_and_easy_games(ridge, penalty):
    """Nearly separable data, a strong adversary, nearly no game: rounding of the largest term, q_j times a feature."""
    hard = games.robust_logistic_game(ridge=ridge, penalty=penalty)
    q = 1 + np.sqrt(569) * np.asarray(hard.solution["shift"])
    residual = hard.operator(hard.solution)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(residual)) < 1e-14 * q.max()


def test_strongly_monotone_where_sample_weights_are_not_negative(game):
    """<F(x) - F(y), x - y> >= min(ridge, penalty) |x - y|^2."""
    keys = jax.random.split(jax.random.key(1), 20)

    def ratio(key):
        k = jax.random.split(key, 4)
        scale = 0.9 / np.sqrt(569)
        x, y = (
            {
                "weights": jax.random.normal(k[j], (31,)),
                "shift": scale * jax.random.uniform(k[j + 2], (569,), minval=-1, maxval=5),
            }
            for j in (0, 1)
        )
        gap, force = (jax.tree.map(jnp.subtract, a, b) for a, b in ((x, y), (game.operator(x), game.operator(y))))
        inner = sum(jnp.vdot(gap[name], force[name]) for name in gap)
        return inner / sum(jnp.vdot(gap[name], gap[name]) for name in gap)

    assert float(jax.vmap(ratio)(keys).min()) >= min(RIDGE, PENALTY)


@pytest.mark.parametrize("components", [1, 100, 569])
def test_grouping_does_not_change_the_game(game, components):
    other = games.robust_logistic_game(components=components, ridge=RIDGE, penalty=PENALTY)
    x = jax.tree.map(lambda leaf: leaf + 0.1, game.solution)
    a, b = game.operator(x), other.operator(x)
    assert all(jnp.allclose(a[name], b[name], rtol=0, atol=1e-13) for name in a)


def test_reshuffling_beats_independent_draws(game):
    """At one step size, late squared errors of reshuffling are below a third (exactly: a tenth here) of the others'."""
    late = {}
    for order in ("independent", "reshuffle"):
        method = games.Extragradient(0.01, 0.02, order)

        def one(state, key, method=method):
            state = method.step(game, state, key)
            gap = jax.tree.map(jnp.subtract, state.x, game.solution)
            return state, sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gap))

        keys = jax.random.split(jax.random.key(2), 150)
        errors = jax.jit(lambda state, keys, one=one: jax.lax.scan(one, state, keys)[1])
        late[order] = float(errors(method.init(game, keys[0]), keys)[75:].mean())
    assert late["reshuffle"] < late["independent"] / 3


@pytest.mark.parametrize("change", [{"components": 0}, {"components": 570}, {"ridge": 0.0}, {"penalty": -1.0}])
def test_bad_input(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        games.robust_logistic_game(**change)

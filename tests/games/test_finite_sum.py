"""`FiniteSum`: any pytree, data as leaves, clear errors."""

import jax
import jax.numpy as jnp
import pytest

from theorylab import games

KEY = jax.random.key(0)
TARGETS = jnp.asarray([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]])


def pull(i, x, targets):
    return {"u": x["u"] - targets[i, 0], "v": {"w": 2 * x["v"]["w"] - targets[i, :1]}}


def point(u, w):
    return {"u": jnp.asarray(u), "v": {"w": jnp.asarray([w])}}


def test_operator_of_a_pytree():
    game = games.FiniteSum(pull, 3, data=TARGETS, solution=point(3.0, 1.5))
    assert jax.tree.map(lambda leaf: float(jnp.abs(leaf).max()), game.operator(game.solution)) == {
        "u": 0.0,
        "v": {"w": 0.0},
    }
    start = game.initial(KEY)
    assert jax.tree.structure(start) == jax.tree.structure(game.solution)
    assert float(start["u"] - 3) != float(start["v"]["w"][0] - 1.5)


def test_data_are_leaves_and_functions_are_structure():
    game = games.FiniteSum(pull, 3, data=TARGETS)
    assert [leaf.shape for leaf in jax.tree.leaves(game)] == [(3, 2)]
    value = jax.jit(lambda game, x: game.component(1, x))(game, point(0.0, 0.0))
    assert float(value["u"]) == -3.0
    lanes = jax.vmap(lambda data: games.FiniteSum(pull, 3, data=data).operator(point(0.0, 0.0)))
    assert lanes(jnp.stack([TARGETS, 2 * TARGETS]))["u"].tolist() == [-3.0, -6.0]


def test_start():
    game = games.FiniteSum(lambda i, x: x, 2, start=jnp.asarray(4.0), solution=jnp.asarray(0.0))
    assert float(game.initial(KEY)) == 4.0
    with pytest.raises(ValueError, match="neither start nor solution: pass x0"):
        games.FiniteSum(lambda i, x: x, 2).initial(KEY)


@pytest.mark.parametrize("n", [0, -1, True])
def test_bad_input(n):
    with pytest.raises(ValueError, match=f"n = {n}"):
        games.FiniteSum(lambda i, x: x, n)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (lambda i, x: (x, x), "structure and the shapes of its argument"),
        (lambda i, x: jnp.stack([x, x]), "structure and the shapes of its argument"),
        (lambda i, x: x @ jnp.ones((3, 3)), "fails on x0"),
    ],
)
def test_components_that_are_no_operators(component, message):
    with pytest.raises(ValueError, match=message):
        games.Extragradient(0.1, 0.1).init(games.FiniteSum(component, 2), KEY, jnp.zeros(2))

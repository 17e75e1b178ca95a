"""Min-max games by automatic differentiation are the operators that one would write by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from theorylab import games

KEY = jax.random.key(3)
AFFINE = games.quadratic_game(KEY, components=3, dim=2, mu=1.0, lipschitz=4.0)


def payoff(u, v, i, data):
    """1/2 u^T P_i u + u^T B_i v - 1/2 v^T C_i v + a_i^T u - c_i^T v."""
    matrix, offset = data[0][i], data[1][i]
    own = u @ matrix[:2, :2] @ u / 2 - v @ matrix[2:, 2:] @ v / 2
    return own + u @ matrix[:2, 2:] @ v + offset[:2] @ u - offset[2:] @ v


def pair(x):
    return x[:2], x[2:]


@pytest.fixture(scope="module")
def game():
    return games.min_max(payoff, 3, data=(AFFINE.matrices, AFFINE.offsets), solution=pair(AFFINE.solution))


def test_components_are_those_of_the_affine_game(game, cast, dtype):
    game, affine = cast(game, dtype), cast(AFFINE, dtype)
    x = affine.solution + 1
    for i in range(3):
        found = game.component(jnp.int32(i), pair(x))
        assert [leaf.dtype for leaf in found] == [dtype, dtype]
        # rounding of four products of entries up to 20
        assert jnp.allclose(jnp.concatenate(found), affine.component(i, x), rtol=0, atol=100 * jnp.finfo(dtype).eps)
    assert jnp.allclose(jnp.concatenate(game.operator(game.solution)), 0, atol=100 * jnp.finfo(dtype).eps)


def test_extragradient_on_it_is_extragradient_on_the_affine_game(game):
    method = games.Extragradient(0.05, 0.1)
    mine, affine = (
        tl.solve(method, problem, x0, key=KEY, steps=20).value
        for problem, x0 in ((game, (jnp.ones(2), jnp.zeros(2))), (AFFINE, jnp.asarray([1.0, 1.0, 0.0, 0.0])))
    )
    assert jnp.allclose(jnp.concatenate(mine), affine, rtol=0, atol=1e-13)


def test_players_are_any_pytrees():
    """A player whose variables are a dictionary with a scalar, against one of nested tuples."""

    def payoff(u, v, i, data):
        return data[i] * u["a"] * jnp.sum(v[0][0]) - jnp.sum(v[1] ** 2) + u["b"]

    game = games.min_max(payoff, 2, data=jnp.asarray([1.0, 2.0]))
    x = ({"a": jnp.asarray(2.0), "b": jnp.asarray(1.0)}, ((jnp.asarray([3.0, 4.0]),), jnp.asarray([5.0])))
    descent, ascent = game.operator(x)
    assert (float(descent["a"]), float(descent["b"])) == (1.5 * 7, 1.0)
    assert (ascent[0][0].tolist(), ascent[1].tolist()) == ([-3.0, -3.0], [10.0])


def test_modules_are_players_and_what_is_no_variable_gets_none():
    line = eqx.nn.Linear(2, 1, key=KEY, dtype=jnp.float64)
    operator = games.descent_ascent(lambda u, v, z: (u(z) * v["w"])[0])
    descent, ascent = operator((line, {"w": jnp.asarray([3.0]), "name": "critic"}), jnp.asarray([1.0, 2.0]))
    assert descent.weight.tolist() == [[3.0, 6.0]] and descent.bias.tolist() == [3.0]
    assert np.allclose(ascent["w"], -line(jnp.asarray([1.0, 2.0])), rtol=1e-15) and ascent["name"] is None


def test_one_function_is_one_structure_and_data_are_leaves(game, compilations):
    other = games.min_max(payoff, 3, data=(2 * AFFINE.matrices, AFFINE.offsets), solution=pair(AFFINE.solution))
    assert jax.tree.structure(other) == jax.tree.structure(game)
    run = jax.jit(lambda game, x: game.operator(x))
    x = (jnp.ones(2), jnp.ones(2))
    run(game, x)
    with compilations() as count:
        run(other, x)
        assert count() == 0


def test_vmap_and_grad_through_the_data(game):
    """The operator is linear in the matrices: its derivative along them is the operator without offsets."""
    x = (jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 3.0]))

    def operator(scale):
        data = (scale * AFFINE.matrices, AFFINE.offsets)
        return jnp.concatenate(games.min_max(payoff, 3, data=data).operator(x))

    expected = jnp.mean(AFFINE.matrices, axis=0) @ jnp.concatenate(x)
    assert jnp.allclose(jax.jacobian(operator)(1.0), expected, rtol=1e-13)
    lanes = jax.vmap(operator)(jnp.asarray([1.0, 3.0]))
    assert jnp.allclose(lanes[1] - lanes[0], 2 * expected, rtol=1e-13)


def test_what_is_no_scalar_is_named_before_anything_compiles(compilations):
    game = games.min_max(lambda u, v, i: u * v, 2)
    with compilations() as count:
        with pytest.raises(ValueError, match=r"f\(u, v, \.\.\.\) has the shape \(3,\): return a scalar"):
            jax.jit(game.operator)((np.ones(3), np.ones(3)))
        assert count() == 0
    with pytest.raises(ValueError, match=r"fails on x0 .* return a scalar"):
        games.Extragradient(0.1, 0.1).init(game, KEY, (jnp.ones(3), jnp.ones(3)))


@pytest.mark.parametrize("x", [jnp.ones(2), (jnp.ones(2),), [jnp.ones(2), jnp.ones(2)]])
def test_x_is_a_pair(game, x):
    with pytest.raises(ValueError, match=r"pass the pair \(u, v\)"):
        game.function(0, x, game.data)


def test_no_components():
    with pytest.raises(ValueError, match="n = 0"):
        games.min_max(payoff, 0)

"""`AffineGame`: its operators, its solution, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games

A, B = np.array([[[2.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [3.0, 1.0]]]), np.array([[1.0, 2.0], [0.0, -1.0]])


def test_operators(make_affine, cast, dtype):
    game = cast(make_affine(0, 5, 3), dtype)
    x = jnp.asarray([0.3, -1.0, 2.0], dtype)
    each = jnp.stack([game.component(i, x) for i in range(5)])
    expected = jnp.einsum("nij,j->ni", game.matrices, x) + game.offsets
    eps = jnp.finfo(dtype).eps
    assert each.dtype == x.dtype and jnp.allclose(each, expected, rtol=0, atol=20 * eps)
    assert jnp.allclose(game.operator(x), expected.mean(axis=0), rtol=0, atol=20 * eps)
    assert jnp.abs(game.operator(game.solution)).max() < 100 * eps  # the condition of the mean is about ten
    assert (game.n, game.d) == (5, 3)


def test_initial_is_the_solution_plus_a_standard_normal(make_affine):
    game = make_affine(1, 2, 3)
    draws = jax.vmap(game.initial)(jax.random.split(jax.random.key(0), 2000)) - game.solution[None]
    assert jnp.abs(draws.mean()) < 5 / np.sqrt(6000) and jnp.abs((draws**2).mean() - 1) < 5 * np.sqrt(2 / 6000)


def test_under_transformations(make_affine):
    game = make_affine(2, 3, 2)

    def solution(scale):
        return games.AffineGame(scale * game.matrices, game.offsets).solution

    scales = jnp.asarray([1.0, 2.0])
    lanes = jax.jit(jax.vmap(solution))(scales)
    assert jnp.allclose(lanes, game.solution[None] / scales[:, None], rtol=1e-12, atol=0)
    assert jnp.allclose(jax.jacfwd(solution)(1.0), -game.solution, rtol=1e-12, atol=0)
    stack = jax.vmap(lambda scale: games.AffineGame(scale * game.matrices, game.offsets))(scales)
    assert (stack.n, stack.d) == (3, 2)


def test_integers_become_floats_and_precision_is_kept():
    game = games.AffineGame([[[2]]], [[4]])
    assert game.solution.tolist() == [-2.0] and game.matrices.dtype == game.offsets.dtype == jnp.float64
    narrow = games.AffineGame(A.astype(np.float32), B.astype(np.float32))
    assert narrow.solution.dtype == jnp.float32


def test_a_singular_mean_needs_a_solution():
    singular = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [-1.0, 0.0]]])  # mean [[1, -1], [-1, 1]] / 2
    offsets = np.array([[1.0, -1.0], [1.0, -1.0]])
    with pytest.raises(ValueError, match=r"matrices have a singular mean.*pass solution="):
        games.AffineGame(singular, offsets)
    assert games.AffineGame(singular, offsets, solution=np.array([-1.0, 1.0])).solution.tolist() == [-1.0, 1.0]
    with pytest.raises(ValueError, match=r"solution has the residual"):
        games.AffineGame(singular, offsets, solution=np.array([-1.0, 1.001]))


@pytest.mark.parametrize(
    ("matrices", "offsets", "solution", "message"),
    [
        (A[0], B, None, r"matrices has the shape \(2, 2\): pass \(n, d, d\)"),
        (A[:, :1], B, None, r"matrices has the shape \(2, 1, 2\)"),
        (A[:0], B[:0], None, r"matrices has the shape \(0, 2, 2\).*n >= 1"),
        (A, B[:1], None, r"offsets has the shape \(1, 2\): pass \(2, 2\)"),
        (A, B[0], None, r"offsets has the shape \(2,\)"),
        (A, B, np.zeros(3), r"solution has the shape \(3,\)"),
        (np.where(A == 3, np.nan, A), B, None, r"matrices\[1, 1, 0\] = nan is not finite"),
        (A, np.where(B == 2, np.inf, B), None, r"offsets\[0, 1\] = inf is not finite"),
        (A, B, np.array([np.nan, 0.0]), r"solution\[0\] = nan is not finite"),
        (A.astype(np.float32), B, None, r"offsets is float64 and matrices float32: give both one dtype"),
    ],
)
def test_bad_input(matrices, offsets, solution, message):
    with pytest.raises(ValueError, match=message):
        games.AffineGame(matrices, offsets, solution)

"""Measurement operators: each one is the linear map that it says, and its adjoint the exact transpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from theorylab import lowrank
from theorylab.lowrank.sensing import _normal_rows
from theorylab.numerics import normal

SHAPE, M = (5, 4), 12
KEY = jax.random.key(0)
WEIGHTS = jnp.asarray(np.random.default_rng(5).normal(size=(7, 5)))
MAKE = {
    "gaussian": lambda: lowrank.GaussianSensing(KEY, SHAPE, M),
    "rank one": lambda: lowrank.RankOneSensing(KEY, SHAPE, M),
    "entries": lambda: lowrank.EntrySampling(KEY, SHAPE, M),
    "repeated entries": lambda: lowrank.EntrySampling.from_indices([0, 4, 0], [1, 3, 1], SHAPE),
    "identity": lambda: lowrank.IdentitySensing(SHAPE),
    "linear": lambda: lowrank.LinearSensing(lambda X: jnp.sum(WEIGHTS.astype(X.dtype) @ X, axis=1), SHAPE),
}


@pytest.fixture(params=MAKE)
def operator(request, cast, dtype):
    return cast(MAKE[request.param](), dtype)


@pytest.fixture
def inputs(operator, dtype):
    keys = jax.random.split(jax.random.key(1), 3)
    L, R = (normal(key, (n, 2), dtype) for key, n in zip(keys, operator.shape, strict=False))
    return L, R, normal(keys[2], (operator.measurements,), dtype)


def dense(operator, dtype):
    """The matrices A_k of any operator, from its values on the unit matrices."""
    basis = jnp.eye(SHAPE[0] * SHAPE[1], dtype=dtype).reshape(-1, *SHAPE)
    return jnp.stack([operator.apply(unit) for unit in basis], axis=1).reshape(-1, *SHAPE)


def close(found, expected, scale=1.0):
    # some hundred products of numbers of order one
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1000 * jnp.finfo(found.dtype).eps * scale)


def test_maps(operator, inputs, dtype):
    L, R, y = inputs
    A = dense(operator, dtype)
    assert A.shape == (operator.measurements, *operator.shape) == (operator.measurements, *SHAPE)
    close(operator.apply(L @ R.T), jnp.einsum("kij,ij->k", A, L @ R.T))
    close(operator.adjoint(y), jnp.einsum("kij,k->ij", A, y))
    close(jnp.vdot(operator.apply(L @ R.T), y), jnp.vdot(L @ R.T, operator.adjoint(y)), 10)
    close(operator.apply_factors(L, R), operator.apply(L @ R.T))


@pytest.mark.parametrize("link", [jnp.sign, lambda z: z], ids=["sign", "residual"])
def test_factor_gradients(operator, inputs, link):
    L, R, y = inputs
    residual, of_L, of_R = operator.factor_gradients(L, R, y, link)
    S = operator.adjoint(link(operator.apply(L @ R.T) - y))
    close(residual, operator.apply(L @ R.T) - y)
    close(of_L, S @ R, 10)
    close(of_R, S.T @ L, 10)


def test_the_gradient_of_the_squares_is_the_adjoint(operator, inputs):
    """Automatic differentiation knows nothing of `adjoint`."""
    L, R, y = inputs

    def loss(x):
        return jnp.sum((operator.apply_factors(*x) - y) ** 2) / 2

    of_L, of_R = jax.jit(jax.grad(loss))((L, R))
    _, expected_L, expected_R = operator.factor_gradients(L, R, y, lambda z: z)
    close(of_L, expected_L, 10)
    close(of_R, expected_R, 10)


def test_lanes_that_share_the_operator_are_a_loop(operator, inputs):
    L, R, y = inputs
    Ls, Rs, ys = (jnp.stack([leaf, 2 * leaf, -leaf]) for leaf in (L, R, y))

    def gradients(operator, L, R, y):
        return operator.factor_gradients(L, R, y, jnp.sign)

    lanes = jax.jit(jax.vmap(gradients, (None, 0, 0, 0)))(operator, Ls, Rs, ys)
    for i in range(3):
        for found, expected in zip(lanes, gradients(operator, Ls[i], Rs[i], ys[i]), strict=True):
            close(found[i], expected, 10)


def test_gain_is_the_mean_square_of_the_matrices(operator, dtype):
    exact = jnp.mean(dense(operator, dtype) ** 2)
    # the general rule draws eight sign vectors; its variance is twice the off-diagonal part of |A A*|^2, over eight
    tolerance = 1e-5
    if isinstance(operator, lowrank.LinearSensing):
        A = dense(operator, dtype).reshape(operator.measurements, -1)
        gram = np.asarray(A @ A.T)
        off = np.sum((gram - np.diag(np.diag(gram))) ** 2)
        tolerance = 4 * np.sqrt(2 * off / 8) / np.trace(gram)
    assert abs(float(operator.gain()) / float(exact) - 1) < tolerance


def test_draws():
    """Standard normal, the same rows for any number of them (to the rounding of two programs), and in place."""
    A = lowrank.GaussianSensing(KEY, SHAPE, 500).matrices
    np.testing.assert_allclose(A[:M], lowrank.GaussianSensing(KEY, SHAPE, M).matrices, rtol=8 * jnp.finfo(A.dtype).eps)
    assert abs(float(A.mean())) < 4 / np.sqrt(A.size) and abs(float((A**2).mean()) - 1) < 4 * np.sqrt(2 / A.size)
    a, b = (vectors.T for vectors in (lambda o: (o.left, o.right))(lowrank.RankOneSensing(KEY, (40, 40), 50)))
    assert abs(float(jnp.vdot(a, b))) < 4 * np.sqrt(a.size)  # independent of one another
    entries = lowrank.EntrySampling(KEY, SHAPE, 20)
    assert len(set(zip(entries.rows.tolist(), entries.columns.tolist(), strict=True))) == 20


def test_a_draw_holds_one_copy():
    memory = _normal_rows.lower(KEY, 2500, 400).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.1 * memory.output_size_in_bytes


def test_rows_on_several_devices():
    """An operator sharded by rows stays so: no device gathers it."""
    mesh = Mesh(np.asarray(jax.devices()[:4]), "rows")
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    whole = lowrank.GaussianSensing(KEY, SHAPE, M)
    L, R, y = jnp.ones((5, 2)), jnp.ones((4, 2)), jnp.linspace(-9.0, 9.0, M)
    operator, shared_y = jax.device_put((whole, y), rows)
    step = jax.jit(lambda operator, L, R, y: operator.factor_gradients(L, R, y, jnp.sign))
    compiled = step.lower(operator, L, R, shared_y).compile()
    assert "all-gather" not in compiled.as_text() and "all-reduce" in compiled.as_text()
    for found, expected in zip(step(operator, L, R, shared_y), step(whole, L, R, y), strict=True):
        close(found, expected, 10)


def test_given_matrices_and_vectors():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4.0).reshape(2, 2)
    rank_one = lowrank.RankOneSensing.from_vectors(a, b)
    formed = lowrank.GaussianSensing.from_matrices(np.einsum("ki,kj->kij", a, b))
    X = jnp.asarray([[1.0, -1.0], [2.0, 0.5], [0.0, 3.0]])
    close(rank_one.apply(X), formed.apply(X), 10)
    assert lowrank.GaussianSensing.from_matrices([[[1, 2]]]).matrices.dtype == jnp.float64  # integers become floats
    assert lowrank.GaussianSensing.from_matrices(np.ones((1, 2, 2), np.float32)).matrices.dtype == jnp.float32
    leaves = jax.tree.leaves(
        lowrank.LinearSensing(jax.tree_util.Partial(lambda w, X: w @ X[0], jnp.ones((2, 4))), SHAPE)
    )
    assert [leaf.shape for leaf in leaves] == [(2, 4)]  # a Partial keeps its arrays as leaves


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lowrank.GaussianSensing(KEY, (0, 3), 4), r"shape = \(0, 3\) must be two positive integers"),
        (lambda: lowrank.IdentitySensing((3, -1)), r"shape = \(3, -1\)"),
        (lambda: lowrank.RankOneSensing(KEY, (3, 3), 0), "measurements = 0 must be an integer >= 1"),
        (
            lambda: lowrank.GaussianSensing.from_matrices(np.ones((2, 3))),
            r"A has the shape \(2, 3\): pass \(m, n1, n2\)",
        ),
        (lambda: lowrank.GaussianSensing.from_matrices([[[np.nan]]]), "A holds a NaN"),
        (lambda: lowrank.RankOneSensing.from_vectors(np.ones((2, 3)), np.ones((3, 3))), "pass as many of both"),
        (lambda: lowrank.RankOneSensing.from_vectors([[np.inf]], [[1.0]]), "a holds a NaN or an infinity"),
        (lambda: lowrank.EntrySampling(KEY, (2, 2), 5), "measurements = 5 exceeds the 4 entries"),
        (
            lambda: lowrank.EntrySampling.from_indices([0], [2], (2, 2)),
            "columns goes from 2 to 2: pass indices from 0 to 1",
        ),
        (lambda: lowrank.EntrySampling.from_indices([0], [0, 1], (2, 2)), "rows has the shape"),
        (lambda: lowrank.LinearSensing(lambda X: X, (2, 2)), r"function returns .*: return a vector"),
        (lambda: lowrank.LinearSensing(lambda X: X[0] ** 2, (2, 2)), "function cannot be transposed"),
        (lambda: lowrank.LinearSensing(lambda X: X[0] + 1, (2, 2)), r"function\(0\) = .* is not zero"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()

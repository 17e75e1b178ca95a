"""`matvec` and `vecmat` are products, in every way that JAX can ask for them."""

import jax
import jax.numpy as jnp
import pytest

from theorylab.numerics import matvec, normal, vecmat


@pytest.fixture
def pair(dtype):
    key_a, key_x = jax.random.split(jax.random.key(0))
    return normal(key_a, (4, 3), dtype), normal(key_x, (5, 3), dtype)


def close(found, expected):
    # two summation orders of a handful of products
    return bool(jnp.all(jnp.abs(found - expected) <= 20 * jnp.finfo(found.dtype).eps * jnp.max(jnp.abs(expected))))


def test_product_and_lanes(pair):
    a, xs = pair
    assert close(matvec(a, xs[0]), a @ xs[0])
    assert close(jax.jit(jax.vmap(matvec, (None, 0)))(a, xs), xs @ a.T)
    stack = jnp.stack([a] * 5) * jnp.arange(1, 6, dtype=a.dtype)[:, None, None]
    assert close(jax.vmap(matvec)(stack, xs), jnp.einsum("lij,lj->li", stack, xs))
    assert close(jax.vmap(matvec, (0, None))(stack, xs[0]), stack @ xs[0])
    lanes_of_lanes = jax.jit(jax.vmap(jax.vmap(matvec, (None, 0)), (None, 1)))(a, jnp.stack([xs, 2 * xs], axis=1))
    assert close(lanes_of_lanes, jnp.stack([xs @ a.T, 2 * xs @ a.T]))
    nested = jax.vmap(jax.vmap(matvec, (None, 0)), (0, None))(stack, xs)
    assert close(nested, jnp.einsum("kij,lj->kli", stack, xs))


def test_derivatives(pair):
    a, xs = pair
    x, dx, da = xs[0], xs[1], 2 * a
    _, tangent = jax.jvp(matvec, (a, x), (da, dx))
    assert close(tangent, da @ x + a @ dx)
    ct = jnp.arange(1, 5, dtype=a.dtype)
    ct_a, ct_x = jax.vjp(matvec, a, x)[1](ct)
    assert close(ct_a, jnp.outer(ct, x)) and close(ct_x, a.T @ ct)
    lanes = jax.vmap(jax.grad(lambda x: jnp.sum(matvec(a, x) ** 2)))(xs)
    assert close(lanes, 2 * xs @ a.T @ a)


@pytest.fixture
def rows(dtype):
    key_a, key_y = jax.random.split(jax.random.key(0))
    return normal(key_y, (5, 4), dtype), normal(key_a, (4, 3), dtype)


def test_rows_and_lanes(rows):
    ys, a = rows
    assert close(vecmat(ys[0], a), ys[0] @ a)
    assert close(jax.jit(jax.vmap(vecmat, (0, None)))(ys, a), ys @ a)
    stack = jnp.stack([a] * 5) * jnp.arange(1, 6, dtype=a.dtype)[:, None, None]
    assert close(jax.vmap(vecmat)(ys, stack), jnp.einsum("li,lij->lj", ys, stack))
    assert close(jax.vmap(vecmat, (None, 0))(ys[0], stack), ys[0] @ stack)
    lanes_of_lanes = jax.jit(jax.vmap(jax.vmap(vecmat, (0, None)), (1, None)))(jnp.stack([ys, 2 * ys], axis=1), a)
    assert close(lanes_of_lanes, jnp.stack([ys @ a, 2 * ys @ a]))
    nested = jax.vmap(jax.vmap(vecmat, (0, None)), (None, 0))(ys, stack)
    assert close(nested, jnp.einsum("li,kij->klj", ys, stack))


def test_derivatives_of_rows(rows):
    ys, a = rows
    y, dy, da = ys[0], ys[1], 2 * a
    _, tangent = jax.jvp(vecmat, (y, a), (dy, da))
    assert close(tangent, dy @ a + y @ da)
    ct = jnp.arange(1, 4, dtype=a.dtype)
    ct_y, ct_a = jax.vjp(vecmat, y, a)[1](ct)
    assert close(ct_y, a @ ct) and close(ct_a, jnp.outer(y, ct))
    assert close(jax.jvp(lambda y: vecmat(y, a), (y,), (dy,))[1], dy @ a)
    lanes = jax.vmap(jax.grad(lambda y: jnp.sum(vecmat(y, a) ** 2)))(ys)
    assert close(lanes, 2 * ys @ a @ a.T)


def test_a_fixed_matrix_costs_no_second_product():
    def flops(fn):
        return jax.jit(fn).lower(jnp.ones(64), jnp.ones((64, 64))).compile().cost_analysis()["flops"]

    def along(y, a):
        return jax.jvp(lambda y: vecmat(y, a), (y,), (y,))[1]

    assert flops(along) <= flops(vecmat) * 1.01
    assert flops(lambda x, a: jax.jvp(lambda x: matvec(a, x), (x,), (x,))[1]) <= flops(vecmat) * 1.01

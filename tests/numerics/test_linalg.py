"""`matvec` is a product, in every way that JAX can ask for it."""

import jax
import jax.numpy as jnp
import pytest

from theorylab.numerics import matvec


@pytest.fixture
def pair(dtype):
    key_a, key_x = jax.random.split(jax.random.key(0))
    return jax.random.normal(key_a, (4, 3), dtype), jax.random.normal(key_x, (5, 3), dtype)


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

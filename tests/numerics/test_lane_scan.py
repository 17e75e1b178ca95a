"""`lane_scan` is `lax.scan`, whatever JAX makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from theorylab.numerics import lane_scan, matvec, normal


def plain(body, carry, xs):
    return lax.scan(lambda c, x: (body(c, x), None), carry, xs)[0]


def test_what_changes_is_named():
    with pytest.raises(TypeError, match=r"leaf \[1\] from float32\[2\] to float32\[1\]"):
        lane_scan(lambda c, x: (c[0], c[1][:1]), (jnp.zeros(1), jnp.zeros(2, jnp.float32)), jnp.arange(3))


@pytest.fixture
def data(dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    return {
        "matrices": normal(keys[0], (5, 3, 3), dtype) / 3,
        "x": normal(keys[1], (4, 2, 3), dtype),
        "rate": jax.random.uniform(keys[2], (4, 2), dtype),
        "shift": normal(keys[3], (2, 3), dtype),
        "order": jnp.asarray([[3, 1, 0, 4, 2, 2], [0, 1, 2, 3, 4, 0]], jnp.int32),
    }


def run(scan, matrices, x, rate, shift, order):
    """A carry of a vector, a number, a matrix and an integer; matrices, a rate and a shift from outside."""

    def body(carry, i):
        x, total, square, count = carry
        moved = x - rate * (matvec(matrices[i], x) + shift)
        return moved, total + jnp.sum(moved), square + jnp.outer(moved, x), count + i

    zero = jnp.zeros((), x.dtype)
    return scan(body, (x, zero, jnp.zeros((3, 3), x.dtype), jnp.int32(0)), order)


def same(found, expected):
    eps = float(jnp.finfo(expected[0].dtype).eps)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        # six steps of a few roundings, whose products are summed in another order
        assert np.allclose(a, b, rtol=0, atol=100 * eps * (1 + np.abs(np.asarray(b)).max()))


AXES = {
    "lanes of a rate": (None, None, 0, None, None),
    "lanes of everything small": (None, 0, 0, None, None),
    "matrices of their own": (0, 0, None, None, None),
    "orders of their own": (None, None, None, 0, 0),
}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_under_vmap(data, axes):
    args = [data["matrices"], data["x"][0, 0], data["rate"][0, 0], data["shift"][0], data["order"][0]]
    many = [
        jnp.stack([data["matrices"], -data["matrices"]]),
        data["x"][0],
        data["rate"][0],
        data["shift"],
        data["order"],
    ]
    given = [m if a == 0 else one for m, one, a in zip(many, args, axes, strict=True)]
    same(*(jax.jit(jax.vmap(lambda *args, s=s: run(s, *args), axes))(*given) for s in (lane_scan, plain)))
    same(*(run(s, *args) for s in (lane_scan, plain)))


@pytest.mark.parametrize("inner", [(None, 0, 0, 0, None), (None, None, 0, 0, None), (None, 0, None, None, None)])
@pytest.mark.parametrize("outer", [(None, 0, 0, None, None), (None, 0, None, None, None), (0, 0, None, None, None)])
def test_under_nested_vmap(data, inner, outer):
    """Axes that both levels have, one has, or none; and matrices that only the outer level moves."""
    shapes = {"x": data["x"], "rate": data["rate"], "shift": jnp.stack([data["shift"], 2 * data["shift"]] * 2)}
    given = []
    for name, i, o in zip(("matrices", "x", "rate", "shift", "order"), inner, outer, strict=True):
        if name in shapes:
            given.append(shapes[name][(slice(None) if o == 0 else 0, slice(None) if i == 0 else 0)])
        else:
            one = data[name] if name == "matrices" else data[name][0]
            given.append(jnp.stack([one, -one, 2 * one, one]) if o == 0 else one)
    same(*(
        jax.jit(jax.vmap(jax.vmap(lambda *args, s=s: run(s, *args), inner), outer))(*given) for s in (lane_scan, plain)
    ))  # fmt: skip


def test_derivatives(data):
    """Forward, reverse, and both under vmap: those of the plain scan."""
    x, rates, matrices = data["x"][0, 0], data["rate"][0], data["matrices"]

    def end(scan):
        return lambda rate, matrices: jnp.sum(run(scan, matrices, x, rate, data["shift"][0], data["order"][0])[0] ** 2)

    for transform in (
        lambda f: jax.grad(f, (0, 1))(rates[0], matrices),
        lambda f: jax.jvp(f, (rates[0], matrices), (rates[1], 2 * matrices)),
        lambda f: (jax.vmap(jax.grad(f), (0, None))(rates, matrices),),
        lambda f: (jax.grad(lambda r: jnp.sum(jax.vmap(f, (0, None))(r, matrices)))(rates),),
    ):
        same(*(transform(end(scan)) for scan in (lane_scan, plain)))


def test_a_body_over_what_vmap_holds(data):
    """The body may close over a value of the very axis that is mapped."""

    def end(scan):
        return lambda shift: scan(lambda c, x: c + x * shift, jnp.zeros(3, shift.dtype), jnp.ones(4, shift.dtype))

    same(*((jax.vmap(end(scan))(data["shift"]),) for scan in (lane_scan, plain)))

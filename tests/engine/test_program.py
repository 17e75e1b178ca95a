"""Programs: what a function captures is an argument."""

import jax
import jax.numpy as jnp
import numpy as np

from theorylab.engine.program import trace


def test_captured_arrays_are_arguments_not_text():
    big = jnp.arange(10_000.0).reshape(100, 100) / 1e4
    inner = jax.jit(lambda x: big @ x)
    x = jnp.ones(100)
    forms = {
        "jit": inner,
        "while": lambda x: jax.lax.fori_loop(0, jnp.int32(3), lambda i, x: inner(x), x),
        "scan": lambda x: jax.lax.scan(lambda c, t: (inner(c) + t, c[0]), x, jnp.arange(3.0))[1],
        "cond": lambda x: jax.lax.cond(x[0] > 0, inner, lambda x: x, x),
        "custom": jax.grad(lambda x: jnp.sum(jax.nn.relu(inner(x)))),
    }
    for name, fn in forms.items():
        traced = trace(fn, x)
        assert [c.shape for c in traced.captured] == [(100, 100)], name
        np.testing.assert_allclose(traced(traced.captured, [x])[0], fn(x), rtol=1e-13, err_msg=name)

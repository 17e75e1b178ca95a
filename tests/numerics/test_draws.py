"""Draws along one axis are the draws along many, under `vmap` too."""

import jax
import numpy as np
import pytest

from theorylab.numerics import normal, orthogonal, uniform


@pytest.mark.parametrize("ours, theirs", [(normal, jax.random.normal), (uniform, jax.random.uniform)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (2, 1, 3)])
def test_the_same_numbers(ours, theirs, shape, dtype):
    """Of the same bits, and equal to the rounding of two programs."""
    key, rounding = jax.random.key(3), 8 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(ours(key, shape, dtype), theirs(key, shape, dtype), rtol=rounding)
    keys = jax.random.split(key, 2)
    lanes = [jax.vmap(lambda k, draw=draw: draw(k, shape, dtype))(keys) for draw in (ours, theirs)]
    np.testing.assert_allclose(*lanes, rtol=rounding)
    assert ours(key, shape, dtype).dtype == dtype


@pytest.mark.parametrize("n, m, shape", [(3, None, ()), (3, 2, ()), (2, None, (3, 2)), (1, None, (0,))])
def test_the_same_matrices(n, m, shape):
    key = jax.random.key(3)
    ours, theirs = orthogonal(key, n, shape, m=m), jax.random.orthogonal(key, n, shape, m=m)
    # some roundings of entries below one: two programs may round the draws in two ways
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=8 * np.finfo(float).eps)

"""Games that the tests of the room share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games


def affine(seed, n, d, shared=False, noise=1.0):
    """A strongly monotone affine game with general (not symmetric) matrices, that no generator of the library makes."""
    rng = np.random.default_rng(seed)
    square = rng.standard_normal((1 if shared else n, d, d))
    skew = rng.standard_normal((1 if shared else n, d, d))
    matrices = square @ square.mT / d + np.eye(d) / 2 + (skew - skew.mT) / 2
    matrices = np.broadcast_to(matrices, (n, d, d))
    offsets = noise * rng.standard_normal((n, d))
    return games.AffineGame(jnp.asarray(matrices), jnp.asarray(offsets))


@pytest.fixture
def make_affine():
    return affine


@pytest.fixture
def cast():
    """A game in another precision."""
    return lambda game, dtype: jax.tree.map(lambda leaf: leaf.astype(dtype), game)

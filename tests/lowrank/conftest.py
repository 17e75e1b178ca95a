"""What the tests of the room share."""

import jax
import pytest

from theorylab import lowrank


@pytest.fixture
def cast():
    """Any tree in another precision."""

    def change(tree, dtype):
        floating = jax.numpy.issubdtype
        return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf.dtype, jax.numpy.floating) else leaf, tree)

    return change


@pytest.fixture(scope="session")
def corrupted():
    """A truth of rank two in 12 x 10, a tenth of 400 measurements wrong."""
    return lowrank.sensing_problem(
        jax.random.key(0), shape=(12, 10), true_rank=2, measurements=400, condition=3.0, outliers=0.1
    )

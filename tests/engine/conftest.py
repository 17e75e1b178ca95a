"""A shared problem."""

import jax.numpy as jnp
import pytest

from tests.engine.problems import Linear


@pytest.fixture(scope="session")
def linear():
    return Linear(jnp.asarray([1.0, 2.0, 4.0]), jnp.asarray([0.0, 1.0, -2.0]))

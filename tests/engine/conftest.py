"""A shared problem, and a count of compilations."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

from tests.engine.problems import Linear


@pytest.fixture(scope="session")
def linear():
    return Linear(jnp.asarray([1.0, 2.0, 4.0]), jnp.asarray([0.0, 1.0, -2.0]))


@pytest.fixture
def compilations():
    """`with compilations() as count: ...; count()`: how many programs XLA compiled."""
    from jax._src import monitoring  # the public module registers listeners but cannot take one away

    @contextlib.contextmanager
    def counting():
        seen = []

        def listen(event, duration, **_):
            if "backend_compile" in event:
                seen.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield lambda: len(seen)
        finally:
            monitoring.unregister_event_duration_listener(listen)

    return counting

"""A small sweep that is stored."""

import jax
import jax.numpy as jnp

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm

KEY = jax.random.key(5)
RECORD = tl.Record(tl.every(10), e=norm, mean=tl.Mean(lambda problem, state: state.x))
PROBLEM = Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))


def sweep(folder, **keywords):
    """A sweep of 2 x 3 lanes in several blocks, on one device."""

    def build(key, *, rate):
        return Relax(rate.astype(float), 0.1), PROBLEM, jax.random.normal(key, (2,))

    asked = {
        "over": {"rate": [0.1, 0.2]},
        "seeds": 3,
        "key": KEY,
        "steps": 50,
        "record": RECORD,
        "mesh": jax.local_devices()[:1],
        "memory_limit": 700,
    }
    return tl.sweep(build, store=folder, **asked | keywords)

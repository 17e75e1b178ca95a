"""Small problems with known answers."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

import theorylab as tl


class Linear(tl.engine.State):
    """x' = x - rate (a x - b) on a diagonal: the field `x` holds the diagonal, the iterate has a closed form."""

    b: jax.Array

    def initial(self, key):
        return jnp.ones_like(self.x)


class Relax(tl.Method):
    """Deterministic relaxation of `Linear`, with a draw of size `noise` added at each step."""

    rate: jax.Array
    noise: jax.Array

    def __init__(self, rate, noise=0.0):
        self.rate, self.noise = jnp.asarray(rate), jnp.asarray(noise)

    def init(self, problem, key, x0=None):
        return tl.engine.State(tl.engine.start(problem, key, x0))

    def step(self, problem, state, key):
        draw = self.noise * jax.random.normal(key, state.x.shape, state.x.dtype)
        return tl.engine.State(state.x - self.rate * (problem.x * state.x - problem.b) + draw)

    def requires(self):
        return {f"rate must be positive, got {self.rate}": self.rate > 0}


def norm(problem, state):
    return jnp.sqrt(jnp.sum((problem.x * state.x - problem.b) ** 2))


class Objective(eqx.Module):
    """A loss given as a function of (x, key)."""

    loss: Callable

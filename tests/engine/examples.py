"""One valid call of each method of the engine."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import theorylab as tl
from tests.contract.examples import Example


class NoisyQuartic(eqx.Module):
    """The loss |x - target|^4 + <x, draw>, which has a gradient that depends on the step's key."""

    target: Array

    def loss(self, x: Array, key: Array) -> Array:
        draw = jax.random.normal(key, x.shape, x.dtype)
        return jnp.sum((x - self.target) ** 4) + 0.1 * jnp.sum(draw * x)


def gradient(dtype: str) -> Example:
    def method(learning_rate, b1=0.8):
        return tl.Gradient(optax.adam, learning_rate=learning_rate, b1=b1)

    return Example(
        method=method,
        problem=lambda scale: NoisyQuartic(jnp.asarray([1, -2], dtype) * scale),
        x0=jnp.asarray([0.5, 0.5], dtype),
        over={"learning_rate": np.asarray([0.02, 0.05, 0.1], dtype)},
        bad={"learning_rate": -0.1},
        promotion="standard",  # Optax's adam is not clean under strict promotion
    )


METHODS = {tl.Gradient: gradient}

"""Averages over time in independent chains, where the moments have no affordable formula."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int, PRNGKeyArray

from ..affine import AffineGame
from .updates import AffineEpoch, at_solution, widened


def epoch_averages(
    game: AffineGame, method: Any, key: PRNGKeyArray, samples: int, burn_in: int, epochs: int
) -> tuple[Float[np.ndarray, "samples d"], Float[np.ndarray, "samples d d"]]:
    """Time averages of x - x* and of (x - x*)(x - x*)^T at the ends of epochs, for chains that start at x*.

    **Arguments**: `game` of concrete arrays; `method`; `key`; `samples`, the number of chains; `burn_in` epochs that do
    not count; `epochs` that do. All in float64.

    **Returns** the two averages of each chain, (samples, d) and (samples, d, d).

    **Source**: derived here; checked against exact moments.
    """
    with jax.enable_x64(True):
        keys = jax.random.split(key, samples)
        sums = _run(widened(method), at_solution(game), keys, jnp.asarray(burn_in), jnp.asarray(epochs))
        return np.asarray(sums[0]) / epochs, np.asarray(sums[1]) / epochs


def draw_orders(key: PRNGKeyArray, epoch: AffineEpoch, samples: int) -> Int[np.ndarray, "samples m"]:
    """Sequences of indices that an epoch may take, drawn on the host.

    **Arguments**: `key`; `epoch`, from `affine_epoch`; `samples`, their number.

    **Returns** (samples, s * n), s the samples of an update.
    """
    seed = np.asarray(jax.random.key_data(key), np.uint32).ravel()
    draws, n, passes = np.random.default_rng(seed), epoch.updates.n, epoch.updates.samples
    if epoch.order == "independent":
        return draws.integers(n, size=(samples, passes * n))
    if epoch.order == "repeat":
        return np.repeat(draws.integers(n, size=(samples, passes)), n, axis=1)
    several = 1 if epoch.order == "once" else passes
    orders = draws.permuted(np.tile(np.arange(n), (samples, several, 1)), axis=-1).reshape(samples, -1)
    return np.tile(orders, passes // several)


@jax.jit
def _run(method, game, keys, burn_in, epochs):
    def chain(key):
        key_init, key_steps = jax.random.split(key)

        def one(t, carry):
            state, first, second = carry
            state = method.step(game, state, jax.random.fold_in(key_steps, t))
            counts = jnp.where(t >= burn_in, 1.0, 0.0)
            return state, first + counts * state.x, second + counts * jnp.outer(state.x, state.x)

        zero = jnp.zeros_like(game.solution)
        start = method.init(game, key_init, zero), zero, jnp.zeros((game.d, game.d), zero.dtype)
        return lax.fori_loop(0, burn_in + epochs, one, start)[1:]

    return jax.vmap(chain)(keys)

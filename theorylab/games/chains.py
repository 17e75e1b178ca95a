"""Averages over time in independent chains, where the moments have no affordable formula."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, PRNGKeyArray

from .affine import AffineGame


def epoch_averages(
    game: AffineGame, method: Any, key: PRNGKeyArray, samples: int, burn_in: int, epochs: int
) -> tuple[Float[np.ndarray, "samples d"], Float[np.ndarray, "samples d d"]]:
    """Time averages of x - x* and of (x - x*)(x - x*)^T at the ends of epochs, for chains that start at x*.

    **Arguments**: `game` of concrete arrays; `method`; `key`; `samples`, the number of chains; `burn_in` epochs that do
    not count; `epochs` that do. All in float64.

    **Returns** the two averages of each chain, (samples, d) and (samples, d, d).

    **Source**: derived here; checked against exact moments.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> from theorylab.games.chains import epoch_averages
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[0.0], [0.0]]))
        >>> means, _ = epoch_averages(game, tl.games.GradientDescentAscent(0.5), jax.random.key(0), 3, 2, 4)
        >>> means.ravel().tolist()
        [0.0, 0.0, 0.0]
    """
    with jax.enable_x64(True):
        matrices, offsets = np.asarray(game.matrices, float), np.asarray(game.offsets, float)
        at_solution = matrices @ np.asarray(game.solution, float) + offsets
        # x* = 0 in these coordinates; only the components are used, so the solution is not asked to be exact
        shifted = jax.tree.unflatten(
            jax.tree.structure(game), [jnp.asarray(leaf) for leaf in (matrices, at_solution, np.zeros(game.d))]
        )
        method = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), method)
        keys = jax.random.split(key, samples)
        sums = _run(method, shifted, keys, jnp.asarray(burn_in), jnp.asarray(epochs))
        return np.asarray(sums[0]) / epochs, np.asarray(sums[1]) / epochs


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

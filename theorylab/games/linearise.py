"""A method's update on an affine game as an affine map, found by differentiating the update itself (host, float64)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from ..numerics.extrapolation import richardson_weights
from .affine import AffineGame
from .epochs import EpochMethod, noise_level
from .richardson import Richardson

Groups = Int[np.ndarray, "k g"]


class Linearised(NamedTuple):
    r"""The updates of a method on an affine game, in coordinates where x* = 0.

    A state $z = (x, \text{memory})$ of size D, for `Richardson` those of all chains one after the other, moves by
    $z^+ = M z + c + L u$, with u the unit normal draw of smoothing noise at the oracle.

    `maps`: from groups of component indices (k, g) to $[[M, c], [0, 1]]$, (k, D+1, D+1); `noise`: from groups to L,
    (k, D, m), with m = 0 where there is none; `after` (D, d), what multiplies the draw of noise at the iterate, zero
    where there is none; `readout` (d, D), what of z is emitted.

    **Source**: derived here; see `linearise`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> from theorylab.games.linearise import linearise
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> linearise(game, tl.games.OptimisticGradient(0.5)).readout.tolist()
        [[1.0, 0.0]]
    """

    maps: Callable[[Groups], Float[np.ndarray, "k p p"]]
    noise: Callable[[Groups], Float[np.ndarray, "k q m"]]
    after: Float[np.ndarray, "q d"]
    readout: Float[np.ndarray, "d q"]


def linearise(game: Any, method: Any) -> Linearised:
    """The update of an epoch method with constant steps on an affine game, exactly.

    **Arguments**: `game`, an `AffineGame` of concrete arrays; `method`, an epoch method or `Richardson` of one; its
    order and coupling are not used: the chains of `Richardson` share their samples here.

    **Returns** `Linearised`, in float64.

    **Raises** `ValueError` for another kind of game, for another kind of method, and for step sizes that follow a
    schedule.

    **Source**: derived here, by forward differentiation of `method.update`, which is affine in its state; checked
    against closed forms and the methods' own epochs.

        >>> import jax.numpy as jnp, numpy as np, theorylab as tl
        >>> from theorylab.games.linearise import linearise
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> linearise(game, tl.games.Extragradient(0.5, 0.5)).maps(np.asarray([[0]])).tolist()
        [[[0.75, -0.25], [0.0, 1.0]]]
    """
    if not isinstance(game, AffineGame):
        raise ValueError(
            f"game is a {type(game).__name__}: exact theory has formulas for an AffineGame alone; run the method and "
            "average over late epochs instead"
        )
    inner = method.method if isinstance(method, Richardson) else method
    if not isinstance(inner, EpochMethod):
        raise ValueError(
            f"method is a {type(inner).__name__}: pass GradientDescentAscent, Extragradient or another epoch method, "
            "or Richardson of one"
        )
    if any(callable(getattr(inner, name)) for name in inner.steps):
        raise ValueError("method has step sizes that follow a schedule, so that nothing is stationary: pass numbers")
    multipliers = method.multipliers if isinstance(method, Richardson) else (1.0,)
    with jax.enable_x64(True):
        shifted = _at_solution(game)
        chains = [_wide(inner.scaled(m)) for m in multipliers]
        parts = [_part(chain, shifted) for chain in chains]

    def maps(groups):
        each = [_derivatives(chain, shifted, groups) for chain in chains]
        size = sum(len(c[0]) for _, c, _ in each)
        found = np.zeros((len(groups), size + 1, size + 1))
        found[:, -1, -1] = 1.0
        place = 0
        for matrix, offset, _ in each:
            end = place + offset.shape[1]
            found[:, place:end, place:end], found[:, place:end, -1] = matrix, offset
            place = end
        return found

    def noise(groups):
        return np.concatenate([_derivatives(chain, shifted, groups)[2] for chain in chains], axis=1)

    weights = richardson_weights(multipliers)
    return Linearised(
        maps,
        noise,
        np.concatenate([after for after, _ in parts]),
        np.concatenate([w * readout for w, (_, readout) in zip(weights, parts, strict=True)], axis=1),
    )


def _at_solution(game):
    matrices, offsets = np.asarray(game.matrices, float), np.asarray(game.offsets, float)
    at_solution = matrices @ np.asarray(game.solution, float) + offsets
    # only the components are used, so the solution is not asked to be exact
    leaves = [jnp.asarray(leaf) for leaf in (matrices, at_solution, np.zeros(game.d))]
    return jax.tree.unflatten(jax.tree.structure(game), leaves)


def _wide(method):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), method)


def _part(method, game):
    size = ravel_pytree((game.solution, method.remember(game, game.solution)))[0].size
    after = np.zeros((size, game.d))
    if method.noise_site == "iterate":
        level = np.asarray(method.level(game, noise_level(method, game, game.solution)))
        after[: game.d] = np.eye(game.d) * level
    return after, np.eye(game.d, size)


def _derivatives(method, game, groups):
    with jax.enable_x64(True):
        found = _update(method, game, jnp.asarray(groups, jnp.int32))
    return [np.asarray(part) for part in found]


@jax.jit
def _update(method, game, groups):
    start, unravel = ravel_pytree((game.solution, method.remember(game, game.solution)))
    start = jnp.zeros_like(start)
    sigma = noise_level(method, game, game.solution)
    shape = {"oracle_step": (method.samples, game.d), "oracle_epoch": (game.d,)}.get(method.noise_site, (0,))
    unit = jnp.zeros(shape, start.dtype)

    def update(z, unit, group):
        noise = unit if unit.size else None
        after = method.update(game, *unravel(z), method.oracles(game, group, noise, sigma))
        return ravel_pytree(after)[0]

    def one(group):
        matrix, noise = jax.jacfwd(update, (0, 1))(start, unit, group)
        return matrix, update(start, unit, group), noise.reshape(len(start), -1)

    return jax.vmap(one)(groups)

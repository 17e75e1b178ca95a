"""What an epoch on an affine game is made of: each update as an affine map, by differentiating it (host, float64)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from ...numerics.extrapolation import richardson_weights
from ..affine import AffineGame
from ..epochs import EpochMethod, noise_level
from ..richardson import Richardson

Maps = Float[np.ndarray, "k p p"]
Groups = Int[np.ndarray, "k g"]


class Updates(NamedTuple):
    """The updates of an epoch, by the group of components that each takes.

    `maps`, groups of indices (k, g) to matrices H (k, p, p); `n` components; `batch_size`, indices of a sample;
    `samples` of an update, so that a group holds `samples * batch_size` indices; `noise`, groups to covariances
    (k, p, p) of the noise that each update adds (its last row and column 0), or None.
    """

    maps: Callable[[Groups], Maps]
    n: int
    batch_size: int = 1
    samples: int = 1
    noise: Callable[[Groups], Maps] | None = None

    def cuts(self) -> list[tuple[int, int]]:
        """Where the groups of an epoch begin and end in its sequence of `samples * n` indices."""
        length, size = self.samples * self.n, self.samples * self.batch_size
        return [(start, min(start + size, length)) for start in range(0, length, size)]

    def at(self, groups: Groups) -> tuple[Maps, Maps | None]:
        """The matrices and the noise of many groups, asked once for each different group."""
        different, which = np.unique(groups, axis=0, return_inverse=True)
        noise = None if self.noise is None else self.noise(different)[which.ravel()]
        return self.maps(different)[which.ravel()], noise


class AffineEpoch(NamedTuple):
    r"""The epoch of a method on an affine game, in coordinates where x* = 0.

    A state $z = (x, \text{memory})$ of size D, for `Richardson` those of all chains one after the other, moves by
    $z^+ = M z + c + L u$, with u the unit normal draw of smoothing noise at the oracle.

    `updates`, groups to $[[M, c], [0, 1]]$, p = D + 1; `order` and `noise_site` of the method; `loadings`, groups
    (k, g) to L, (k, D, m), with m = 0 where there is none; `after` (D, d), what multiplies the draw of noise at the
    iterate, zero where there is none; `readout` (d, D), what of z is emitted.
    """

    updates: Updates
    order: str
    noise_site: str
    loadings: Callable[[Groups], Float[np.ndarray, "k q m"]]
    after: Float[np.ndarray, "q d"]
    readout: Float[np.ndarray, "d q"]

    def by_draw(self) -> list[Updates]:
        """For noise drawn once an epoch: the updates with what one coordinate of it adds in the place of offsets."""

        def replaced(u):
            def maps(groups):
                found = self.updates.maps(groups)
                found[:, :-1, -1] = self.loadings(groups)[..., u]
                return found

            return self.updates._replace(maps=maps)

        width = self.loadings(np.zeros((1, self.updates.samples), int)).shape[-1]
        return [replaced(u) for u in range(width)]


def affine_epoch(game: Any, method: Any) -> AffineEpoch:
    """Take the epoch of a method with constant steps on an affine game apart, exactly.

    **Arguments**: `game`, an `AffineGame` of concrete arrays; `method`, an epoch method, or `Richardson` of one, whose
    chains share their draws here.

    **Returns** `AffineEpoch`, in float64.

    **Raises** `ValueError` for another kind of game, for another kind of method, and for step sizes that follow a
    schedule.

    **Source**: derived here, by forward differentiation of `method.update`, which is affine in its state; checked
    against closed forms and the methods' own epochs.
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
    if any(callable(getattr(inner, name)) for name in inner.step_sizes):
        raise ValueError("method has step sizes that follow a schedule, so that nothing is stationary: pass numbers")
    multipliers = method.multipliers if isinstance(method, Richardson) else (1.0,)
    with jax.enable_x64(True):
        shifted = at_solution(game)
        chains = [widened(inner.scaled(m)) for m in multipliers]
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

    def loadings(groups):
        return np.concatenate([_derivatives(chain, shifted, groups)[2] for chain in chains], axis=1)

    def covariances(groups):
        factor = loadings(groups)
        found = np.zeros((len(groups), factor.shape[1] + 1, factor.shape[1] + 1))
        found[:, :-1, :-1] = factor @ factor.mT
        return found

    noise = covariances if inner.noise_site == "oracle_step" else None
    weights = richardson_weights(multipliers)
    return AffineEpoch(
        Updates(maps, game.n, inner.batch_size, inner.samples, noise),
        inner.order,
        inner.noise_site,
        loadings,
        np.concatenate([after for after, _ in parts]),
        np.concatenate([w * readout for w, (_, readout) in zip(weights, parts, strict=True)], axis=1),
    )


def at_solution(game: AffineGame) -> AffineGame:
    """The game in coordinates where x* = 0, in float64; call it where x64 is on."""
    matrices, offsets = np.asarray(game.matrices, float), np.asarray(game.offsets, float)
    values = matrices @ np.asarray(game.solution, float) + offsets
    # only the components are used, so the solution is not asked to be exact
    leaves = [jnp.asarray(leaf) for leaf in (matrices, values, np.zeros(game.d))]
    return jax.tree.unflatten(jax.tree.structure(game), leaves)


def widened(method: Any) -> Any:
    """The method with its leaves in float64; call it where x64 is on."""
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

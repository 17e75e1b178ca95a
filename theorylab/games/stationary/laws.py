"""One epoch on an affine game as a random affine map, and its first two moments under each order (host, float64).

A map z -> Mz + c is written as H = [[M, c], [0, 1]] on (z, 1), so that an epoch is a product of such matrices; noise
adds a draw of covariance N. All that the stationary moments need of its law is E[H] and the linear map
Z -> E[H Z H^T] + Z_pp N.
"""

from collections.abc import Callable
from itertools import combinations_with_replacement, product
from math import factorial, prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .updates import Groups, Maps, Updates

Batch = Float[np.ndarray, "*batch p p"]


class Law(NamedTuple):
    """A law of random affine maps: `mean` = E[H] (p, p), and `transport`, Z -> E[H Z H^T] + Z_pp N on symmetric Z.

    **Arguments**: `mean` (p, p); `transport`, a function of symmetric arrays (..., p, p).
    """

    mean: Float[np.ndarray, "p p"]
    transport: Callable[[Batch], Batch]


def uniform_law(maps: Maps, noise: Maps | None = None, weights: Float[np.ndarray, " k"] | None = None) -> Law:
    """The law of a map drawn from a list: an update, or a sample of epochs.

    **Arguments**: `maps` (k, p, p); `noise` (k, p, p), the covariance that each adds, or None; `weights` (k,), their
    probabilities, uniform when None.

    **Returns** its `Law`; a transport costs 4 k p^3 flops.
    """
    k, p = len(maps), maps.shape[-1]
    weights = np.full(k, 1 / k) if weights is None else weights
    added = np.zeros((p, p)) if noise is None else np.tensordot(weights, noise, axes=1)
    stacked, weighted = maps.reshape(k * p, p), (weights[:, None, None] * maps.mT).reshape(k * p, p)

    def moved(z):
        # the sum over the list is one matrix product, of (p, k p) with (k p, p)
        return (stacked @ z).reshape(k, p, p).swapaxes(0, 1).reshape(p, k * p) @ weighted

    def transport(z):
        return np.asarray([moved(one) for one in z.reshape(-1, p, p)]).reshape(z.shape) + z[..., -1:, -1:] * added

    return Law(np.tensordot(weights, maps, axes=1), transport)


def composed(law: Law, repeats: int, *rest: Law) -> Law:
    """The law of independent maps in turn: `repeats` of one law, and then one of each of the rest.

    **Arguments**: `law`; `repeats` >= 0; `rest`, laws of the same size.

    **Returns** the `Law` of their product.
    """
    mean = np.linalg.matrix_power(law.mean, repeats)
    for one in rest:
        mean = one.mean @ mean

    def transport(z):
        for one in [law] * repeats + list(rest):
            z = one.transport(z)
        return z

    return Law(mean, transport)


def multisets(n: int, batch_size: int, samples: int = 1) -> tuple[Groups, Float[np.ndarray, " k"]]:
    """The groups that independent draws give, each sample in ascending order, and their probabilities.

    **Arguments**: `n` components; `batch_size`; `samples` of a group.

    **Returns** groups (k, samples * batch_size) with k = C(n + batch_size - 1, batch_size)^samples, and (k,).
    """
    one = list(combinations_with_replacement(range(n), batch_size))
    ways = [factorial(batch_size) // prod(factorial(batch.count(i)) for i in set(batch)) for batch in one]
    groups = [sum(batches, ()) for batches in product(one, repeat=samples)]
    chances = [prod(counts) for counts in product(ways, repeat=samples)]
    return np.asarray(groups, int), np.asarray(chances, float) / float(n) ** (batch_size * samples)


def spread_law(mean: Float[np.ndarray, "p p"], spread: Float[np.ndarray, "p p"]) -> Law:
    """The law of maps whose matrix is not random, and whose offset has a covariance.

    **Arguments**: `mean` (p, p), homogeneous; `spread` (p, p), the covariance, its last row and column 0.

    **Returns** its `Law`.
    """
    return Law(mean, lambda z: sandwich(z, mean) + z[..., -1:, -1:] * spread)


def products(
    updates: Updates, sequences: Int[np.ndarray, "k m"], there_and_back: bool = False
) -> tuple[Maps, Maps | None]:
    """The epoch's map for each of many sequences of indices, H of the last group leftmost, and the noise that it adds.

    **Arguments**: `updates`; `sequences` (k, samples * n), integers; `there_and_back`, for flip-flop.

    **Returns** (k, p, p), and (k, p, p) or None.
    """
    blocks = [sequences[:, start:stop] for start, stop in updates.cuts()]
    # groups of one size are asked for together
    whole = [block for block in blocks if block.shape == blocks[0].shape]
    maps, noise = updates.at(np.concatenate(whole))
    steps = list(zip(np.split(maps, len(whole)), _split(noise, len(whole)), strict=True))
    steps += [updates.at(block) for block in blocks[len(whole) :]]
    (result, added), *following = steps + steps[::-1] if there_and_back else steps
    for maps, noise in following:
        result = maps @ result
        added = None if added is None or noise is None else maps @ added @ maps.mT + noise
    return result, added


def sandwich(z: Batch, one: Float[np.ndarray, "p p"]) -> Batch:
    """H Z H^T for many symmetric Z and one H, as two matrix products.

    **Arguments**: `z` (..., p, p), symmetric; `one` (p, p).

    **Returns** (..., p, p).
    """
    return from_right(np.ascontiguousarray(np.swapaxes(from_right(z, one), -1, -2)), one)


def from_right(rows: Batch, one: Float[np.ndarray, "p p"]) -> Batch:
    """Z H^T for many Z and one H, as one matrix product.

    **Arguments**: `rows` (..., p, p); `one` (p, p).

    **Returns** (..., p, p).
    """
    return (rows.reshape(-1, rows.shape[-1]) @ one.T).reshape(rows.shape)


def _split(noise, pieces):
    return [None] * pieces if noise is None else np.split(noise, pieces)

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

Batch = Float[np.ndarray, "*batch p p"]
Maps = Float[np.ndarray, "k p p"]
Groups = Int[np.ndarray, "k g"]


class Law(NamedTuple):
    """A law of random affine maps: `mean` = E[H] (p, p), and `transport`, Z -> E[H Z H^T] + Z_pp N on symmetric Z.

    **Arguments**: `mean` (p, p); `transport`, a function of symmetric arrays (..., p, p).

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import uniform_law
        >>> uniform_law(np.array([[[1.0]], [[3.0]]])).mean.tolist()
        [[2.0]]
    """

    mean: Float[np.ndarray, "p p"]
    transport: Callable[[Batch], Batch]


class Updates(NamedTuple):
    """What an epoch is made of: the updates, by the group of components that each takes.

    **Arguments**: `maps`, groups of indices (k, g) to matrices H (k, p, p); `n` components; `batch_size`, indices of a
    sample; `samples` of an update, so that a group holds `samples * batch_size` indices; `noise`, groups to covariances
    (k, p, p) of the noise that each update adds (its last row and column 0), or None.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import Updates
        >>> Updates(lambda groups: np.ones((len(groups), 1, 1)), n=5, batch_size=2).cuts()
        [(0, 2), (2, 4), (4, 5)]
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


def uniform_law(maps: Maps, noise: Maps | None = None, weights: Float[np.ndarray, " k"] | None = None) -> Law:
    """The law of a map drawn from a list: an update, or a sample of epochs.

    **Arguments**: `maps` (k, p, p); `noise` (k, p, p), the covariance that each adds, or None; `weights` (k,), their
    probabilities, uniform when None.

    **Returns** its `Law`; a transport costs 4 k p^3 flops.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import uniform_law
        >>> uniform_law(np.array([[[1.0]], [[3.0]]])).transport(np.array([[1.0]])).tolist()
        [[5.0]]
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

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import composed, uniform_law
        >>> composed(uniform_law(np.array([[[2.0]]])), 3).mean.tolist()
        [[8.0]]
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

    **Source**: the multinomial distribution.

        >>> from theorylab.games.laws import multisets
        >>> groups, chances = multisets(2, 2)
        >>> groups.tolist(), chances.tolist()
        ([[0, 0], [0, 1], [1, 1]], [0.25, 0.5, 0.25])
    """
    one = list(combinations_with_replacement(range(n), batch_size))
    ways = [factorial(batch_size) // prod(factorial(batch.count(i)) for i in set(batch)) for batch in one]
    groups = [sum(batches, ()) for batches in product(one, repeat=samples)]
    chances = [prod(counts) for counts in product(ways, repeat=samples)]
    return np.asarray(groups, int), np.asarray(chances, float) / float(n) ** (batch_size * samples)


def shared_law(updates: Updates, there_and_back: bool = False) -> Law:
    r"""The law of an epoch in a uniformly random order, where all updates have one matrix M: any n.

    The epoch adds $\sum_k W_k c_{w_k}$ to $M^q z$, with $W_k$ the power of M that follows the update of position k
    over the size of its batch; there and back, the sum of two such powers, $M^{2q-1-t} + M^t$ for update t of q.
    Without replacement offsets with covariance C have the covariance $-C/(n-1)$ with one another, so that the epoch's
    offset has the covariance $\frac{n}{n-1} \sum_k (W_k - \bar W) C (W_k - \bar W)^T$. An update of two samples has an
    offset for each, and a permutation for each.

    **Arguments**: `updates` with `is_shared(updates)`; `there_and_back`, for flip-flop.

    **Returns** its `Law`; a transport costs 4 p^3 flops.

    **Source**: derived here; checked against `subsets.reshuffled_law` and `subsets.flipflop_law`.

        >>> import numpy as np
        >>> from theorylab.games.laws import Updates, shared_law
        >>> maps = np.array([[[0.5, 1.0], [0.0, 1.0]], [[0.5, -1.0], [0.0, 1.0]]])
        >>> shared_law(Updates(lambda groups: maps[groups[:, 0]], n=2)).mean.tolist()
        [[0.25, 0.0], [0.0, 1.0]]
    """
    n, samples = updates.n, updates.samples
    matrix, offsets = _shared_offsets(updates)
    d, cuts = len(matrix), updates.cuts()
    last = 2 * len(cuts) - 1 if there_and_back else len(cuts) - 1
    powers = [np.eye(d)]
    for _ in range(last + 1):
        powers.append(matrix @ powers[-1])
    weights = np.zeros((samples * n, d, samples, d))
    for t, (start, stop) in enumerate(cuts):
        after = powers[last - t] + powers[t] if there_and_back else powers[last - t]
        half = (stop - start) // samples
        for s in range(samples):
            weights[start + s * half : start + (s + 1) * half, :, s] = after / half
    weights = weights.reshape(samples, n, d, samples * d)
    average = weights.mean(axis=1, keepdims=True)
    mean, spread = np.eye(d + 1), np.zeros((d + 1, d + 1))
    mean[:-1, :-1], mean[:-1, -1] = powers[-1], n * average.sum(axis=0)[0] @ offsets.mean(axis=0)
    # the weights enter as deviations from their mean, which shuffling allows: nothing cancels
    deviations = (weights - average).reshape(samples * n, d, samples * d)
    covariance = np.cov(offsets.T, bias=True).reshape(samples * d, samples * d)
    spread[:-1, :-1] = np.sum(deviations @ covariance @ deviations.mT, axis=0) * (n / max(n - 1, 1))
    if updates.noise is not None:
        step = updates.noise(np.zeros((1, samples), int))[0, :-1, :-1]
        spread[:-1, :-1] += np.sum(np.asarray(powers[:-1]) @ step @ np.asarray(powers[:-1]).mT, axis=0)
    return spread_law(mean, spread)


def is_shared(updates: Updates) -> bool:
    """Whether all updates have one matrix, to rounding: their components differ in their offsets alone.

    **Arguments**: `updates`.

    **Returns** a bool.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import Updates, is_shared
        >>> is_shared(Updates(lambda groups: np.ones((len(groups), 2, 2)), n=5))
        True
    """
    maps = updates.maps(_singles(updates))[:, :, :-1]
    if updates.samples == 2 and np.allclose(maps, maps[0], rtol=0, atol=1e-14 * np.abs(maps[0]).max()):
        maps = updates.maps(_crossed(updates))[:, :, :-1]
    return bool(np.allclose(maps, maps[0], rtol=0, atol=1e-14 * np.abs(maps[0]).max()))


def spread_law(mean: Float[np.ndarray, "p p"], spread: Float[np.ndarray, "p p"]) -> Law:
    """The law of maps whose matrix is not random, and whose offset has a covariance.

    **Arguments**: `mean` (p, p), homogeneous; `spread` (p, p), the covariance, its last row and column 0.

    **Returns** its `Law`.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import spread_law
        >>> spread_law(np.eye(1), np.eye(1)).transport(np.eye(1)).tolist()
        [[2.0]]
    """
    return Law(mean, lambda z: sandwich(z, mean) + z[..., -1:, -1:] * spread)


def products(
    updates: Updates, sequences: Int[np.ndarray, "k m"], there_and_back: bool = False
) -> tuple[Maps, Maps | None]:
    """The epoch's map for each of many sequences of indices, H of the last group leftmost, and the noise that it adds.

    **Arguments**: `updates`; `sequences` (k, samples * n), integers; `there_and_back`, for flip-flop.

    **Returns** (k, p, p), and (k, p, p) or None.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import Updates, products
        >>> maps = np.array([[[2.0]], [[3.0]]])
        >>> products(Updates(lambda groups: maps[groups[:, 0]], n=2), np.array([[0, 1], [0, 0]]))[0].ravel().tolist()
        [6.0, 4.0]
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

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import sandwich
        >>> sandwich(np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]])).tolist()
        [[2.0, 1.0], [1.0, 1.0]]
    """
    return from_right(np.ascontiguousarray(np.swapaxes(from_right(z, one), -1, -2)), one)


def from_right(rows: Batch, one: Float[np.ndarray, "p p"]) -> Batch:
    """Z H^T for many Z and one H, as one matrix product.

    **Arguments**: `rows` (..., p, p); `one` (p, p).

    **Returns** (..., p, p).

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import from_right
        >>> from_right(np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]])).tolist()
        [[1.0, 0.0], [2.0, 1.0]]
    """
    return (rows.reshape(-1, rows.shape[-1]) @ one.T).reshape(rows.shape)


def _split(noise, pieces):
    return [None] * pieces if noise is None else np.split(noise, pieces)


def _singles(updates):
    """Every component in the first place of a group, the first component in the others."""
    groups = np.zeros((updates.n, updates.samples), int)
    groups[:, 0] = np.arange(updates.n)
    return groups


def _crossed(updates):
    return _singles(updates)[:, ::-1]


def _shared_offsets(updates):
    """M (d, d), and what each component adds to an update as each of its samples, (n, samples d)."""
    maps = updates.maps(_singles(updates))
    matrix, offsets = maps[0, :-1, :-1], maps[:, :-1, -1]
    if updates.samples == 2:
        # c_ij = a_i + b_j, as the update is affine in each of its two oracles
        other = updates.maps(_crossed(updates))[:, :-1, -1]
        offsets = np.concatenate([offsets, other], axis=1) - np.tile(offsets[0] / 2, 2)
    return matrix, offsets

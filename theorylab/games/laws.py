"""One epoch on an affine game as a random affine map, and its first two moments under each order (host, float64).

A map x -> Mx + c is written as H = [[M, c], [0, 1]] on (x, 1), so that an epoch is a product of such matrices. All that
the stationary moments need of its law is E[H] and the linear map Z -> E[H Z H^T].
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .affine import AffineGame

Batch = Float[np.ndarray, "*batch p p"]
Maps = Float[np.ndarray, "n p p"]


class Law(NamedTuple):
    """A law of random affine maps: `mean` = E[H] (p, p), and `transport`, Z -> E[H Z H^T] on symmetric (..., p, p)."""

    mean: Float[np.ndarray, "p p"]
    transport: Callable[[Batch], Batch]


def update_maps(game: AffineGame, step_size: float, extrapolation_step: float) -> Maps:
    r"""The updates of extragradient, one for each component, in coordinates where x* = 0.

    $M_i = I - \gamma_1 A_i (I - \gamma_2 A_i)$ and $c_i = -\gamma_1 (I - \gamma_2 A_i) F_i(x^\star)$; descent-ascent
    has $\gamma_2 = 0$.

    **Arguments**: `game`, of concrete arrays; `step_size`, `extrapolation_step`.

    **Returns** (n, d+1, d+1), float64.

    **Source**: derived here, by inserting the look-ahead; checked against the methods' own steps.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> from theorylab.games.laws import update_maps
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> update_maps(game, 0.5, 0.5)[0].tolist()
        [[0.75, -0.25], [0.0, 1.0]]
    """
    matrices, offsets = np.asarray(game.matrices, float), np.asarray(game.offsets, float)
    at_solution = matrices @ np.asarray(game.solution, float) + offsets
    ahead = step_size * (np.eye(game.d) - extrapolation_step * matrices)
    maps = np.zeros((game.n, game.d + 1, game.d + 1))
    maps[:, :-1, :-1] = np.eye(game.d) - ahead @ matrices
    maps[:, :-1, -1] = -np.einsum("nij,nj->ni", ahead, at_solution)
    maps[:, -1, -1] = 1.0
    return maps


def uniform_law(maps: Maps) -> Law:
    """The law of a map drawn uniformly from a list: an independent update, or a sample of epochs.

    **Arguments**: `maps` (n, p, p).

    **Returns** its `Law`; a transport costs 4 n p^3 flops.

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import uniform_law
        >>> uniform_law(np.array([[[1.0]], [[3.0]]])).transport(np.array([[1.0]])).tolist()
        [[5.0]]
    """

    def transport(z):
        return np.asarray(sum(_sandwich(z, one) for one in maps)) / len(maps)

    return Law(maps.mean(axis=0), transport)


def reshuffled_law(maps: Maps) -> Law:
    r"""The law of the product of all maps in a uniformly random order, exactly, without visiting the n! orders.

    With $T_S(Z)$ the mean over the orders of a subset S, the last factor is each i of S equally often:
    $T_S(Z) = \frac{1}{|S|} \sum_{i \in S} H_i\, T_{S \setminus i}(Z)\, H_i^T$, and likewise
    $E_S = \frac{1}{|S|} \sum_{i\in S} H_i E_{S \setminus i}$. There are $n 2^{n-1}$ terms.

    **Arguments**: `maps` (n, p, p).

    **Returns** its `Law`; a transport costs 4 p^3 n 2^(n-1) flops.

    **Source**: derived here; checked against the enumeration of all orders for n <= 6.

        >>> import numpy as np
        >>> from theorylab.games.laws import reshuffled_law
        >>> swaps = np.array([[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]])
        >>> reshuffled_law(swaps).mean.tolist()
        [[1.5, 1.0], [1.0, 1.5]]
    """
    n, p = len(maps), maps.shape[-1]
    # rows are multiplied from the right, which is one matrix product for a whole level: the identity gives E[H]^T
    mean = _subset_average(lambda rows, one: _right(rows, one), np.eye(p), maps).T
    together = max(1, int(2**24 // (math.comb(n, n // 2) * p**2)))

    def transport(z):
        flat = z.reshape(-1, p, p)
        blocks = [_subset_average(_sandwich, flat[k : k + together], maps) for k in range(0, len(flat), together)]
        return np.concatenate(blocks).reshape(z.shape)

    return Law(mean, transport)


def shared_law(maps: Maps) -> Law:
    r"""`reshuffled_law` where all maps have one matrix M: any n, since only the offsets are shuffled.

    The epoch is $x \mapsto M^n x + \sum_j M^{n-1-j} c_{w_j}$. Without replacement offsets with covariance C have the
    covariance $-C/(n-1)$ with one another, so that with $G = \sum_{j<n} M^j$ the epoch's offset has the mean $G \bar c$
    and the covariance $\frac{1}{n-1} \big(n \sum_{j<n} M^j C M^{jT} - G C G^T\big)$.

    **Arguments**: `maps` (n, p, p) that differ in their last column alone.

    **Returns** its `Law`; a transport costs 4 p^3 flops.

    **Source**: derived here; checked against `reshuffled_law`.

        >>> import numpy as np
        >>> from theorylab.games.laws import shared_law
        >>> shared_law(np.array([[[0.5, 1.0], [0.0, 1.0]], [[0.5, -1.0], [0.0, 1.0]]])).mean.tolist()
        [[0.25, 0.0], [0.0, 1.0]]
    """
    n, p = len(maps), maps.shape[-1]
    matrix, offsets = maps[0, :-1, :-1], maps[:, :-1, -1]
    powers = [np.eye(p - 1)]
    for _ in range(n):
        powers.append(matrix @ powers[-1])
    centred = offsets - offsets.mean(axis=0)
    covariance = centred.T @ centred / n
    # the powers enter as M^j - G/n, which the sum-to-zero of the offsets allows: nothing cancels
    geometric = np.sum(powers[:-1], axis=0)
    deviations = np.asarray(powers[:-1]) - geometric / n
    spread = np.zeros((p, p))
    spread[:-1, :-1] = np.sum(deviations @ covariance @ deviations.mT, axis=0) * (n / max(n - 1, 1))
    mean = np.eye(p)
    mean[:-1, :-1], mean[:-1, -1] = powers[n], geometric @ offsets.mean(axis=0)
    return Law(mean, lambda z: _sandwich(z, mean) + z[..., -1:, -1:] * spread)


def products(maps: Maps, orders: np.ndarray) -> Batch:
    """The epoch's map for each of many orders, H of the last index leftmost.

    **Arguments**: `maps` (n, p, p); `orders` (k, n), integers.

    **Returns** (k, p, p).

    **Source**: derived here.

        >>> import numpy as np
        >>> from theorylab.games.laws import products
        >>> products(np.array([[[2.0]], [[3.0]]]), np.array([[0, 1], [0, 0]])).ravel().tolist()
        [6.0, 4.0]
    """
    result = maps[orders[:, 0]]
    for column in orders.T[1:]:
        result = maps[column] @ result
    return result


def _subset_average(apply, start, maps):
    """The mean of `apply(... apply(start, first) ..., last)` over all orders, by size of subset."""
    n = len(maps)
    subsets = np.arange(2**n)
    sizes = np.bitwise_count(subsets)
    place = np.zeros(2**n, int)
    level = np.asarray(start)[None]
    for size in range(1, n + 1):
        members = subsets[sizes == size]
        place[members] = np.arange(len(members))
        following = np.zeros((len(members), *start.shape))
        for i in range(n):
            mine = np.flatnonzero(members >> i & 1)
            following[mine] += apply(level[place[members[mine] ^ (1 << i)]], maps[i])
        level = following / size
    return level[0]


def _right(rows, one):
    p = one.shape[0]
    return (rows.reshape(-1, p) @ one.T).reshape(rows.shape)


def _sandwich(z, one):
    return _right(np.ascontiguousarray(np.swapaxes(_right(z, one), -1, -2)), one)

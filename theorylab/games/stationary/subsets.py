"""Epochs in a random order, exactly: a recursion over the subsets of components that an epoch has already visited.

An order is a sequence of `samples` permutations, one after the other, cut into groups. The average over the orders that
visit a set S first is an average over S's last group, of the average over what S holds without it: there are 2^n sets
where there are n! orders.
"""

from collections.abc import Callable
from itertools import combinations, pairwise
from math import comb
from typing import Any, NamedTuple

import numpy as np

from .laws import Batch, Law, from_right, sandwich
from .updates import Maps, Updates


class _Stage(NamedTuple):
    """One update: for every group that it may take, the sets that it leads to and those that it comes from."""

    maps: Maps
    noise: Maps | None
    moves: list[tuple[np.ndarray, np.ndarray]]
    sets: int

    @property
    def ways(self) -> float:
        """How many groups lead to each set."""
        return sum(len(targets) for targets, _ in self.moves) / self.sets


def terms(updates: Updates) -> int:
    """How many terms the recursion adds up: n 2^(n-1) for single components.

    **Arguments**: `updates`.

    **Returns** an integer.

    **Source**: derived here; checked against the recursion itself.
    """
    found = 0
    for start, stop in updates.cuts():
        free = [updates.n - start % updates.n, updates.n]
        ways = comb(updates.n, start % updates.n)
        for table, size in _segments(updates, start, stop):
            ways *= comb(free[table - start // updates.n], size)
            free[table - start // updates.n] -= size
        found += ways
    return found


def reshuffled_law(updates: Updates) -> Law:
    r"""The law of an epoch in a uniformly random order, exactly, without visiting the n! orders.

    With $T_S(Z)$ the mean over the orders of a subset S, the last group is each subset g of S, of the size that is its
    turn, equally often: $T_S(Z) = \operatorname{mean}_g H_g\, T_{S \setminus g}(Z)\, H_g^T$ (and the noise of the
    update), and likewise $E_S = \operatorname{mean}_g H_g E_{S \setminus g}$. Single components make $n 2^{n-1}$ terms.
    With two samples the groups are ordered pairs of halves, and the second permutation begins where the first ends.

    **Arguments**: `updates`.

    **Returns** its `Law`; a transport costs 4 p^3 terms(updates) flops.

    **Source**: derived here; checked against the enumeration of all orders for n <= 6.
    """
    stages = _stages(updates, backwards=False)
    p = stages[0].maps.shape[-1]
    # rows are multiplied from the right, which is one matrix product for a whole level: the identity gives E[H]^T
    mean = _average(np.eye(p), [(stage, _rows(stage.maps)) for stage in stages]).T
    applied = [(stage, _moved(stage.maps, stage.noise)) for stage in stages]
    together = max(1, int(2**24 // (max(stage.sets for stage in stages) * p**2)))

    def transport(z):
        flat = z.reshape(-1, p, p)
        blocks = [_average(flat[k : k + together], applied) for k in range(0, len(flat), together)]
        return np.concatenate(blocks).reshape(z.shape)

    return Law(mean, transport)


def flipflop_law(updates: Updates) -> Law:
    r"""The law of an epoch that goes through a random order and then back, exactly.

    The recursion grows the order from its middle outwards: $E_S = \operatorname{mean}_g H_g E_{S \setminus g} H_g$ over
    the first group g of S. For second moments the same holds with the linear maps $Z \mapsto H_g Z H_g^T$ (and noise)
    in the place of $H_g$, as matrices on the upper triangles of symmetric Z.

    **Arguments**: `updates`.

    **Returns** its `Law`. To build it costs 4 P^3 terms(updates) flops with P = p(p+1)/2; a transport is one product
    with a (P, P) matrix.

    **Source**: derived here; checked against the enumeration of all orders for n <= 6.
    """
    stages = _stages(updates, backwards=True)
    p = stages[0].maps.shape[-1]
    mean = _average(np.eye(p), [(stage, _around(stage.maps)) for stage in stages])
    lifted = [(stage, _around(_lifted(stage.maps, stage.noise))) for stage in stages]
    matrix = _average(np.eye(p * (p + 1) // 2), lifted)
    rows, columns = np.triu_indices(p)

    def transport(z):
        packed = z[..., rows, columns] @ matrix.T
        moved = np.empty_like(z)
        moved[..., rows, columns] = packed
        moved[..., columns, rows] = packed
        return moved

    return Law(mean, transport)


def _rows(maps):
    return lambda rows, w: from_right(rows, maps[w])


def _moved(maps, noise):
    if noise is None:
        return lambda z, w: sandwich(z, maps[w])
    return lambda z, w: sandwich(z, maps[w]) + z[..., -1:, -1:] * noise[w]


def _around(factors):
    return lambda inner, w: factors[w] @ inner @ factors[w]


def _lifted(maps, noise):
    """Z -> H Z H^T + Z_pp N on upper triangles, (k, P, P)."""
    rows, columns = np.triu_indices(maps.shape[-1])
    lifted = maps[:, rows[:, None], rows] * maps[:, columns[:, None], columns]
    crossed = maps[:, rows[:, None], columns] * maps[:, columns[:, None], rows]
    lifted += np.where(rows == columns, 0.0, crossed)
    if noise is not None:
        lifted[:, :, -1] += noise[:, rows, columns]
    return lifted


def _segments(updates, start, stop):
    """A group's indices as unordered choices (permutation, size): cut where its samples and the permutations meet."""
    half = (stop - start) // updates.samples
    edges = sorted({start, stop, *range(start, stop, half), *(updates.n * k for k in range(updates.samples))})
    inside = [edge for edge in edges if start <= edge <= stop]
    return [(low // updates.n, high - low) for low, high in pairwise(inside)]


def _stages(updates: Updates, backwards: bool) -> list[_Stage]:
    """The updates of an epoch, from its first or from its last; sets are masks over the items of all permutations."""
    n, samples = updates.n, updates.samples
    order = [updates.samples - 1 - table for table in range(samples)] if backwards else list(range(samples))
    known: dict[Any, Any] = {}
    visited, before, stages = 0, _sets(n, 0), []
    for start, stop in reversed(updates.cuts()) if backwards else updates.cuts():
        visited += stop - start
        after = _sets(n, visited)
        segments = tuple(_segments(updates, start, stop))
        if segments not in known:
            groups, masks = _choices(n, segments, order)
            known[segments] = masks, *updates.at(groups)
        masks, maps, noise = known[segments]
        moves = []
        for mask in masks:
            targets = np.flatnonzero(after & mask == mask)
            moves.append((targets, np.searchsorted(before, after[targets] ^ mask)))
        stages.append(_Stage(maps, noise, moves, len(after)))
        before = after
    return stages


def _sets(n, visited):
    """The sets of so many items: all of the permutations that are complete, and any of the one that is not."""
    subsets = np.arange(2**n)
    complete, rest = divmod(visited, n)
    return subsets[np.bitwise_count(subsets) == rest] << n * complete | (1 << n * complete) - 1


def _choices(n, segments, order):
    """All groups with such segments, as indices (k, g) and as masks."""
    ways: list[tuple[int, ...]] = [()]
    for table, size in segments:
        items = range(table * n, (table + 1) * n)
        ways = [way + more for way in ways for more in combinations([i for i in items if i not in way], size)]
    masks = [sum(1 << order[item // n] * n + item % n for item in way) for way in ways]
    return np.asarray(ways) % n, masks


def _average(start: np.ndarray, applied: list[tuple[_Stage, Callable[[Batch, int], Batch]]]) -> np.ndarray:
    """The mean over all orders of the updates applied in turn, each to many sets at once."""
    level = start[None]
    for stage, apply in applied:
        following = np.zeros((stage.sets, *start.shape))
        for w, (targets, sources) in enumerate(stage.moves):
            following[targets] += apply(level[sources], w)
        level = following / stage.ways
    return level[0]

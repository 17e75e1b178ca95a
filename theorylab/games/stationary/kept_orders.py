"""Epochs whose order never changes: each order settles at a fixed point of its own (host, float64)."""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .equations import STABLE
from .laws import products
from .updates import AffineEpoch, Maps


class FixedPoints(NamedTuple):
    """Where epochs of kept orders settle.

    `points` (r, k, D), the mean states of each of k orders at r places of its cycle; `covariances` (r, k, D, D) of the
    states about them, zero without noise; `maps` (k, p, p), the epochs'. Where an epoch is unstable, the first two are
    nan.
    """

    points: Float[np.ndarray, "r k d"]
    covariances: Float[np.ndarray, "r k d d"]
    maps: Maps

    @property
    def stable(self) -> bool:
        """Whether every order settles."""
        return bool(np.isfinite(self.points).all())


def turns(epoch: AffineEpoch) -> bool:
    """Whether an order and its rotations are one cycle, seen at other updates: then one order of each cycle is enough.

    **Arguments**: `epoch`, from `affine_epoch`.

    **Returns** a bool: updates of single components, and no noise that knows where an epoch begins.
    """
    updates = epoch.updates
    single = updates.samples * updates.batch_size == 1
    return single and epoch.order == "once" and epoch.noise_site in ("none", "oracle_step")


def every_order(epoch: AffineEpoch) -> Int[np.ndarray, "k m"]:
    """All permutations that `"once"` may keep, or one of those that lead to the same points, as sequences of an epoch.

    **Arguments**: `epoch`, from `affine_epoch`.

    **Returns** (k, samples * n); an update's samples go through one and the same permutation.
    """
    n, samples = epoch.updates.n, epoch.updates.samples
    if turns(epoch):
        return np.asarray([(0, *rest) for rest in permutations(range(1, n))], int)
    every = np.asarray(list(permutations(range(n))), int)
    if samples == 1:
        # a batch is a set: one way to write it is enough
        for start, stop in epoch.updates.cuts():
            every = every[np.all(np.diff(every[:, start:stop]) > 0, axis=1)]
    return np.tile(every, samples)


def fixed_points(epoch: AffineEpoch, sequences: Int[np.ndarray, "k m"]) -> FixedPoints:
    r"""The fixed point $(I - M_w)^{-1} c_w$ of each order's epoch, and the covariance $V = M_w V M_w^T + N_w$ there.

    **Arguments**: `epoch`, from `affine_epoch`; `sequences` (k, samples * n), integers.

    **Returns** `FixedPoints`, at the ends of epochs, or after every update where `turns(epoch)`.

    **Source**: derived here; checked against runs of the methods.
    """
    maps, noise = products(epoch.updates, sequences)
    matrices, d = maps[:, :-1, :-1], maps.shape[-1] - 1
    added = np.zeros_like(matrices) if noise is None else noise[:, :-1, :-1]
    if epoch.noise_site == "oracle_epoch":
        drawn = [products(updates, sequences)[0][:, :-1, -1] for updates in epoch.by_draw()]
        added = sum((one[:, :, None] * one[:, None] for one in drawn), added)
    added = added + epoch.after @ epoch.after.T
    if np.abs(np.linalg.eigvals(matrices)).max() >= STABLE:
        return FixedPoints(np.full((1, len(maps), d), np.nan), np.full((1, *matrices.shape), np.nan), maps)
    points = [np.linalg.solve(np.eye(d) - matrices, maps[:, :-1, -1:])[..., 0]]
    covariances = [_doubled(matrices, added)]
    if turns(epoch):
        for column in sequences.T[:-1]:
            (move, noise) = epoch.updates.at(column[:, None])
            matrix = move[:, :-1, :-1]
            points.append(np.einsum("kij,kj->ki", matrix, points[-1]) + move[:, :-1, -1])
            step = 0.0 if noise is None else noise[:, :-1, :-1]
            covariances.append(matrix @ covariances[-1] @ matrix.mT + step)
    return FixedPoints(np.asarray(points), np.asarray(covariances), maps)


def _doubled(matrices, added):
    """sum_t M^t N M^tT, each round of which doubles the number of terms."""
    total = added
    while added.any() and np.abs(matrices).max() > np.finfo(float).eps ** 2:
        total = total + matrices @ total @ matrices.mT
        matrices = matrices @ matrices
    return total

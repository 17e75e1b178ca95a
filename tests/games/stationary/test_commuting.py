"""Commuting components: quadrature against the recursion over subsets, and against closed forms."""

import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary import commuting, dispatch, subsets
from theorylab.games.stationary.updates import affine_epoch


def rotations(seed, n):
    """Plane rotations with damping, and one real direction, in a common basis that is not orthogonal."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((3, 3)) + 3 * np.eye(3)
    blocks = np.zeros((n, 3, 3))
    for block, (a, b, c) in zip(blocks, rng.uniform(0.5, 1.5, (n, 3)), strict=True):
        block[:] = [[a, b, 0], [-b, a, 0], [0, 0, c]]
    return games.AffineGame(basis @ blocks @ np.linalg.inv(basis), rng.standard_normal((n, 3)))


def diagonal(seed, n):
    rng = np.random.default_rng(seed)
    return games.AffineGame(rng.uniform(0.2, 2.0, (n, 3))[:, :, None] * np.eye(3), rng.standard_normal((n, 3)))


def both(game, method):
    updates = affine_epoch(game, method).updates
    maps, noise = updates.at(np.arange(game.n)[:, None])
    found = commuting.spectrum(maps[:, :-1, :-1])
    assert found is not None
    return commuting.commuting_law(found, maps, noise), subsets.reshuffled_law(updates)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("make", [rotations, diagonal])
@pytest.mark.parametrize(
    "method",
    [
        games.GradientDescentAscent(0.3),
        games.Extragradient(0.2, 0.4, noise_site="oracle_step"),
        games.Richardson(games.GradientDescentAscent(0.1)),
    ],
    ids=["descent", "extragradient", "richardson"],
)
def test_quadrature_is_the_recursion(make, n, method):
    game = make(n, n)
    law, expected = both(game, method)
    z = np.random.default_rng(0).standard_normal((2, *law.mean.shape))
    moved = expected.transport(z + z.mT)
    assert np.allclose(law.mean, expected.mean, rtol=0, atol=1e-13)
    # rounding, times the condition of the basis squared (below 10)
    assert np.allclose(law.transport(z + z.mT), moved, rtol=0, atol=1e-13 * np.abs(moved).max() * 10)


def test_matrices_that_do_not_commute(make_affine):
    updates = affine_epoch(make_affine(0, 4, 2), games.GradientDescentAscent(0.1)).updates
    assert commuting.spectrum(updates.maps(np.arange(4)[:, None])[:, :-1, :-1]) is None
    assert commuting.spectrum(np.asarray([[[1.0, 1.0], [0.0, 1.0]]])) is None  # no eigenbasis at all


@pytest.mark.parametrize("n", [30, 99])
def test_scalars_by_another_way(n):
    """E c_w by elementary symmetric means: a component is followed by k others, a uniform subset, with chance 1/n."""
    rng = np.random.default_rng(n)
    a, b, gamma = rng.uniform(0.5, 2.0, n), rng.standard_normal(n), 0.02
    b -= b.mean()
    game = games.AffineGame(a[:, None, None], b[:, None])
    m, expected = 1 - gamma * a, 0.0
    for i in range(n):
        symmetric = np.zeros(n)  # e_k of the others
        symmetric[0] = 1.0
        for k, other in enumerate(np.delete(m, i)):
            symmetric[1 : k + 2] += other * symmetric[: k + 1]
        chances = np.cumprod(np.append(1.0, np.arange(1, n) / np.arange(n - 1, 0, -1)))
        expected -= gamma * b[i] * np.mean(symmetric * chances)
    method = games.GradientDescentAscent(gamma)
    law, _ = dispatch.law_of(affine_epoch(game, method))
    # sums of n terms of size gamma, each of n roundings
    assert law.mean[0, 1] == pytest.approx(expected, abs=1e-14 * n * gamma)
    found = games.stationary_moments(game, method)
    at = expected / (1 - np.prod(m)) + float(game.solution[0])
    assert found.mean[0] == pytest.approx(at, abs=1e-12) and found.standard_error == 0


def test_equal_matrices_are_the_shared_law():
    game = rotations(0, 40)
    game = games.AffineGame(np.broadcast_to(game.matrices[:1], (40, 3, 3)), game.offsets)
    updates = affine_epoch(game, games.Extragradient(0.05, 0.1, noise_site="oracle_step")).updates
    maps, noise = updates.at(np.arange(40)[:, None])
    law = commuting.commuting_law(commuting.spectrum(maps[:, :-1, :-1]), maps, noise)
    shared = commuting.shared_law(updates)
    one = np.diag([0.0, 0.0, 0.0, 1.0])
    assert np.allclose(law.mean, shared.mean, rtol=0, atol=1e-13)
    assert np.allclose(law.transport(one), shared.transport(one), rtol=0, atol=1e-12)

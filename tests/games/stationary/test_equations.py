"""The solver of the stationary equations: large maps by Krylov methods, small ones as matrices."""

import jax
import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary import dispatch, equations
from theorylab.games.stationary.updates import affine_epoch


def law_of(game, method):
    return dispatch.law_of(affine_epoch(game, method))[0]


def laws(make_affine):
    yield law_of(make_affine(0, 4, 4), games.GradientDescentAscent(0.01))
    yield law_of(make_affine(1, 3, 3), games.OptimisticGradient(0.05, batch_size=2))
    yield law_of(make_affine(2, 5, 4), games.Extragradient(0.1, 0.2, "independent"))
    # two chains: a map that falls into blocks
    yield law_of(make_affine(3, 3, 2), games.Richardson(games.GradientDescentAscent(0.05)))


def test_products_are_the_matrix(make_affine, monkeypatch):
    for law in laws(make_affine):
        dense = equations.stationary(law)
        assert dense.stable
        with monkeypatch.context() as patch:
            patch.setattr(equations, "DENSE", 3)
            krylov = equations.stationary(law)
        # solved to a residual of 1e-13, over 1 - ms_contraction
        tolerance = 1e-12 / (1 - dense.ms_contraction)
        assert krylov.ms_contraction == pytest.approx(dense.ms_contraction, abs=1e-12)
        scale = np.abs(dense.covariance).max()
        assert np.allclose(krylov.covariance, dense.covariance, rtol=0, atol=tolerance * scale)


def test_clusters_below_one(make_affine):
    """Forty dimensions and a small step: the radius has a positive definite eigenvector, and lies above that of
    E[M] kron E[M], which an Arnoldi iteration without shifts misses."""
    law = law_of(make_affine(1, 5, 40), games.GradientDescentAscent(0.003))
    contraction, ms_contraction = equations.radii(law)
    assert contraction**2 < ms_contraction < contraction
    found = equations.stationary(law)
    moved = law.transport(np.pad(found.covariance, (0, 1)))[:-1, :-1]
    at_mean = np.append(found.mean, 1.0)
    added = law.transport(np.outer(at_mean, at_mean))[:-1, :-1] - np.outer(found.mean, found.mean)
    assert np.allclose(found.covariance, moved + added, rtol=0, atol=1e-12 * np.abs(found.covariance).max())
    assert np.linalg.eigvalsh(found.covariance)[0] > 0


def test_eigenvalues_too_close_for_iterations(monkeypatch):
    """Components with one spectrum, of one number, at the step sizes of theorems: all second moments decay alike."""
    game = games.quadratic_game(jax.random.key(0), components=20, dim=4, mu=1.0, lipschitz=1.0)
    law = law_of(game, games.Extragradient(1e-4, 2e-4, "independent"))
    expected = equations.radii(law)
    monkeypatch.setattr(equations, "DENSE", 3)
    assert equations.radii(law) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dense", [60, 3])
def test_verdicts(monkeypatch, dense):
    """Noiseless maps around the edge: E M = 0.8 < 1 < E M^2 = 1.13 in each of three dimensions."""
    monkeypatch.setattr(equations, "DENSE", dense)
    game = games.AffineGame(np.asarray([9.0, -5.0])[:, None, None] * np.eye(3), np.ones((2, 3)))
    law = law_of(game, games.GradientDescentAscent(0.1, "independent"))
    found = equations.stationary(law)
    assert found.contraction == pytest.approx(0.8) and found.ms_contraction == pytest.approx(1.13)
    assert not found.stable and np.isnan(found.covariance).all() and np.isfinite(found.mean).all()

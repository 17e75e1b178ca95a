"""The spectral radius, by all eigenvalues and by Arnoldi."""

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

from theorylab.numerics import spectral_radius


def test_known_spectra():
    triangular = np.triu(np.ones((4, 4)), 1) + np.diag([0.5, -2.0, 1.0, 0.0])
    assert spectral_radius(triangular) == 2.0
    angle = 0.3
    rotation = 0.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert spectral_radius(rotation) == pytest.approx(0.9, rel=1e-14)
    assert spectral_radius(np.zeros((2, 2))) == 0.0
    assert spectral_radius(np.full((2, 2), np.nan)) == np.inf


@pytest.mark.parametrize("size", [3, 5, 60])
def test_arnoldi_finds_the_same(size):
    matrix = np.random.default_rng(size).uniform(size=(size, size)) / size
    assert spectral_radius(aslinearoperator(matrix)) == pytest.approx(spectral_radius(matrix), rel=1e-12)

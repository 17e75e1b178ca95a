"""Spectra on the host, in float64 (the eigenvalues of a non-symmetric matrix lower to no accelerator)."""

from typing import Any

import numpy as np
from scipy.sparse import linalg as sparse


def spectral_radius(operator: Any, start: np.ndarray | None = None) -> float:
    r"""The spectral radius $\max |\lambda|$ of a matrix, or of a linear map that is known by its products alone.

    A matrix has all its eigenvalues taken; a map goes through Arnoldi's iteration, to rounding.

    **Arguments**: `operator` (d, d), or a `scipy.sparse.linalg.LinearOperator` of that shape with d >= 3; `start` (d,),
    the first Krylov vector of a map (a positive one where the map keeps a cone), default all ones.

    **Returns** a float; `inf` for a matrix that is not finite.

    **Source**: LAPACK and ARPACK; checked on triangular matrices, and the two ways against each other.

        >>> import numpy as np, theorylab as tl
        >>> tl.numerics.spectral_radius(np.array([[0.5, 9.0], [0.0, -0.75]]))
        0.75
    """
    if isinstance(operator, sparse.LinearOperator):
        size = operator.shape[0]
        start = np.ones(size) if start is None else start
        subspace = min(size, 40)
        eigenvalues = sparse.eigs(
            operator, k=1, which="LM", v0=start, ncv=subspace, maxiter=100 * size, return_eigenvectors=False
        )
        return float(np.abs(np.asarray(eigenvalues)).max())
    matrix = np.asarray(operator, float)
    if not np.all(np.isfinite(matrix)):
        return float("inf")
    return float(np.abs(np.linalg.eigvals(matrix)).max(initial=0.0))

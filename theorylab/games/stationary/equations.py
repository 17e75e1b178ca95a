"""The stationary first and second moments of a random affine map, from its law (host, float64)."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import linalg as sparse

from ...numerics.spectra import spectral_radius
from .laws import Law

STABLE = 1 - 1e-12
"""A spectral radius below this is stable; float64 cannot tell the rest from 1."""
DENSE = 60
"""Second-moment maps of at most this size are solved as matrices, larger ones by Krylov methods."""
CLUSTERED = 1000
"""Up to this size the spectrum of one whose leading eigenvalues are too close for these methods is taken whole."""


class NotConverged(RuntimeError):
    """A large system of stationary equations whose iteration did not converge."""


class Stationary(NamedTuple):
    """Where a random affine map settles, in coordinates where x* = 0.

    `mean` (D,), nan where it has no limit; `covariance` (D, D), nan where that has none; `contraction`, the spectral
    radius of E[M]; `ms_contraction`, that of E[M kron M].
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    contraction: float
    ms_contraction: float

    @property
    def stable(self) -> bool:
        """Whether the second moment settles."""
        return max(self.contraction, self.ms_contraction) < STABLE


def stationary(law: Law) -> Stationary:
    r"""The stationary mean and covariance of $z \mapsto Mz + c$, with (M, c) drawn anew each time.

    The mean solves $m = E[M] m + E[c]$. The covariance solves $V = E[M V M^T] + Q$ with Q the covariance of one move
    from the mean, $Q = E[(Mm + c)(Mm + c)^T] - m m^T$.

    **Arguments**: `law` of (M, c).

    **Returns** `Stationary`.

    **Raises** `NotConverged` where a large system did not converge, for a map too close to critical.

    **Source**: derived here; checked against Kronecker products over the enumeration of all orders.
    """
    d = len(law.mean) - 1
    drift, offset = law.mean[:-1, :-1], law.mean[:-1, -1]
    contraction = spectral_radius(drift)
    second_map = _second_moment_map(law)
    ms_contraction = _ms_radius(second_map, drift, contraction)
    mean = np.linalg.solve(np.eye(d) - drift, offset) if contraction < STABLE else np.full(d, np.nan)
    if max(contraction, ms_contraction) >= STABLE:
        return Stationary(mean, np.full((d, d), np.nan), contraction, ms_contraction)
    at_mean = np.append(mean, 1.0)
    one_move = law.transport(np.outer(at_mean, at_mean))[:-1, :-1] - np.outer(mean, mean)
    covariance = _unpacked(_solver(second_map, drift)(one_move[np.triu_indices(d)]), d)
    return Stationary(mean, covariance, contraction, ms_contraction)


def radii(law: Law) -> tuple[float, float]:
    """The mean and the mean-square contraction of a law.

    **Arguments**: `law`.

    **Returns** the spectral radii of E[M] and of E[M kron M].
    """
    drift = law.mean[:-1, :-1]
    contraction = spectral_radius(drift)
    return contraction, _ms_radius(_second_moment_map(law), drift, contraction)


def _second_moment_map(law):
    """E[M . M^T] on the upper triangles of symmetric matrices: a matrix when small, products alone when large."""
    d = len(law.mean) - 1
    upper = np.triu_indices(d)
    size = len(upper[0])

    def transport(packed):
        z = np.zeros((*packed.shape[:-1], d + 1, d + 1))
        z[..., :-1, :-1] = _unpacked(packed, d)
        return law.transport(z)[..., upper[0], upper[1]]

    return transport(np.eye(size)).T if size <= DENSE else _linear_operator(size, transport)


def _unpacked(packed, d):
    rows, columns = np.triu_indices(d)
    z = np.zeros((*packed.shape[:-1], d, d))
    z[..., rows, columns] = packed
    z[..., columns, rows] = packed
    return z


def _linear_operator(size, apply):
    # the stubs of scipy do not know that this class's `__new__` takes the functions of a subclass that it then makes
    return sparse.LinearOperator((size, size), matvec=lambda v: apply(np.ravel(v)), dtype=float)  # pyright: ignore[reportCallIssue]


def _ms_radius(second_map, drift, contraction):
    rows, columns = np.triu_indices(len(drift))
    # the leading eigenvector lies in the cone of positive semidefinite matrices, of which the identity is the middle
    middle = (rows == columns).astype(float)
    if not isinstance(second_map, np.ndarray) and contraction < STABLE:
        # a map T that keeps the cone has its radius as an eigenvalue, and one below 1 where (I - T)^{-1} I is positive
        image = _solver(second_map, drift, throw=False)(middle)
        if _in_cone(image, len(drift)):
            found = _leading(second_map, drift, contraction, image)
            if found is not None:
                return found
            if len(middle) <= CLUSTERED:
                # column by column: what a transport makes of all of them together may not fit
                columns = [second_map @ column for column in np.eye(len(middle))]
                return spectral_radius(np.stack(columns, axis=1))
    return spectral_radius(second_map, start=middle)


def _leading(second_map, drift, contraction, vector):
    """The eigenvalue of an eigenvector in the cone, by inverse iteration with shifts that close in on it.

    Small steps make a cluster of eigenvalues below 1, where Krylov methods without a shift are slow.
    """
    least = contraction**2 + 1e-3 * (1 - contraction**2)  # above E[M] kron E[M], which preconditions
    shift, value = 1.0, np.inf
    for _ in range(30):
        vector = vector / np.linalg.norm(vector)
        image = _solver(second_map, drift, shift, throw=False)(vector)
        last, value = value, shift - 1 / float(vector @ image)
        if not np.isfinite(value):
            return None
        if abs(value - last) <= 1e-13:
            # a shift below the eigenvalue turns the sign
            return value if _in_cone(image, len(drift)) or _in_cone(-image, len(drift)) else None
        shift, vector = max(least, value + 0.1 * abs(shift - value)), image
    return None


def _in_cone(packed, d):
    eigenvalues = np.linalg.eigvalsh(_unpacked(packed, d)) if np.isfinite(packed).all() else np.full(1, -np.inf)
    return eigenvalues[0] >= -1e-9 * abs(eigenvalues[-1])


def _solver(second_map, drift, shift=1.0, throw=True):
    """v -> (shift I - T)^{-1} v for the map T of second moments."""
    if isinstance(second_map, np.ndarray):
        return lambda v: np.linalg.solve(shift * np.eye(len(v)) - second_map, v)
    size, d = second_map.shape[0], len(drift)
    powers = [drift / math.sqrt(shift)]
    while np.abs(powers[-1]).max() > 1e-4 and len(powers) < 40:
        powers.append(powers[-1] @ powers[-1])

    def nearly(packed):
        # the solution for the mean matrix alone, sum_t M^t Z M^tT by doubling: the spread of the matrices is left
        z = _unpacked(packed, d)
        for power in powers:
            z = z + power @ z @ power.T
        return z[np.triu_indices(d)] / shift

    residual, close = _linear_operator(size, lambda v: shift * v - second_map @ v), _linear_operator(size, nearly)

    def solve(packed):
        rough, _ = sparse.gmres(residual, packed, M=close, rtol=1e-6, restart=100, maxiter=20)
        # v - Tv cannot be known better than to the rounding of v: near-critical maps stop there
        floor = 8 * float(np.finfo(float).eps) * float(np.linalg.norm(rough))
        found, failed = sparse.gmres(residual, packed, rough, M=close, rtol=1e-13, atol=floor, restart=100, maxiter=20)
        if failed and throw:
            raise NotConverged(
                "GMRES for the second moment did not converge: the map is too close to critical; take a larger step "
                f"size or a game of dimension below {math.isqrt(2 * DENSE)}"
            )
        return np.full_like(found, np.nan) if failed else found

    return solve

"""Reshuffled epochs of components whose matrices commute: exact at any n, by Gauss-Legendre quadrature (host, float64).

A random order is n independent uniform times, sorted. In the common eigenbasis an epoch's offset is the sum over the
components of c_i times the eigenvalues m_j of those that come later, and given the time of i these come later
independently of one another: expectations are integrals over one time or two of products over the components, which are
polynomials.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Inexact

from .laws import Law, Maps, spread_law

ROUNDING = 1e-10
"""Off-diagonal entries below this share of the largest eigenvalue's size are rounding."""
CONDITION = 1e6
"""A common eigenbasis with a condition number above this is none."""


class Spectrum(NamedTuple):
    r"""Commuting matrices $M_i = V \operatorname{diag}(m_i)\, V^{-1}$.

    **Arguments**: `basis` V (d, d) and `eigenvalues` $m_i$ (n, d), real or complex.

    **Source**: linear algebra.

        >>> import numpy as np
        >>> from theorylab.games.commuting import Spectrum
        >>> Spectrum(np.eye(1), np.ones((2, 1))).eigenvalues.shape
        (2, 1)
    """

    basis: Inexact[np.ndarray, "d d"]
    eigenvalues: Inexact[np.ndarray, "n d"]


def spectrum(matrices: Float[np.ndarray, "n d d"]) -> Spectrum | None:
    """The common eigenbasis of matrices that commute and can be diagonalised; None where there is none.

    That of a random combination is tried on all: where they commute, it is common to them.

    **Arguments**: `matrices` (n, d, d).

    **Returns** a `Spectrum` or None.

    **Source**: linear algebra; checked on rotations and on matrices with eigenvalues in common.

        >>> import numpy as np
        >>> from theorylab.games.commuting import spectrum
        >>> turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> [spectrum(np.stack([turn, other])) is None for other in (np.eye(2), np.ones((2, 2)))]
        [False, True]
    """
    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(matrices))
    _, basis = np.linalg.eig(np.tensordot(weights, matrices, axes=1))
    if np.linalg.cond(basis) > CONDITION:
        return None
    diagonal = np.linalg.solve(basis, matrices @ basis)
    eigenvalues = np.diagonal(diagonal, axis1=1, axis2=2)
    rest = diagonal - eigenvalues[:, :, None] * np.eye(len(basis))
    if np.abs(rest).max() > ROUNDING * np.abs(eigenvalues).max():
        return None
    return Spectrum(basis, eigenvalues)


def commuting_law(found: Spectrum, maps: Maps, noise: Maps | None = None) -> Law:
    r"""The law of an epoch of single components in a uniformly random order, where their matrices commute: any n.

    With u the share of the epoch that is left after i, $E c_w = \sum_i c_i \int_0^1 \prod_{j \ne i} (1 - u + u m_j)\,
    du$, of degree n - 1. In $E[c_w c_w^H]$ a component meets itself in the same integral, with $m_{jk} \bar m_{jl}$ for
    $m_j$. It meets another at two times s < t, where of the rest a share s comes before both, t - s between them and
    1 - t after both: $\sum_{i \ne i'} c_{ik} m_{i'k} \bar c_{i'l} \iint_{s<t} \prod_{j \ne i, i'} (s + (t - s) m_{jk} +
    (1 - t) m_{jk} \bar m_{jl})\, ds\, dt$, plus the adjoint. Gauss-Legendre rules of ceil(n/2) nodes for u, for t and
    for s/t are exact. The sums over i and i' are built up factor by factor, without a division. The covariance has the
    relative accuracy rounding / (1 - |E M|)^2.

    **Arguments**: `found`, the `Spectrum` of the maps; `maps` (n, p, p); `noise` (n, p, p), the covariance that each
    update adds, or None.

    **Returns** its `Law`. To build it costs about n^3 d^2 operations.

    **Source**: derived here; the first integral is that of reshuffled scalars. Checked against
    `subsets.reshuffled_law`, real and complex.

        >>> import numpy as np
        >>> from theorylab.games.commuting import commuting_law, spectrum
        >>> maps = np.array([[[0.5, 1.0], [0.0, 1.0]], [[0.25, 0.0], [0.0, 1.0]]])
        >>> commuting_law(spectrum(maps[:, :-1, :-1]), maps).mean.round(15).tolist()  # c_1 (1 + m_2) / 2
        [[0.125, 0.625], [0.0, 1.0]]
    """
    basis, m = found
    n, d = m.shape
    c = np.linalg.solve(basis, maps[:, :-1, -1:])[..., 0]
    nodes, weights = np.polynomial.legendre.leggauss((n + 1) // 2)
    nodes, weights = (nodes + 1) / 2, weights / 2

    first = np.einsum("u,uk->k", weights, _one_left_out(nodes[:, None], m, c))
    pairs = m[:, :, None] * m[:, None].conj()
    own = c[:, :, None] * c[:, None].conj()
    if noise is not None:
        own = own + _to_basis(basis, noise[:, :-1, :-1])
    second = np.einsum("u,ukl->kl", weights, _one_left_out(nodes[:, None, None], pairs, own))
    # s = t v: the triangle s < t as a square
    late, early = (grid.ravel()[:, None, None] for grid in np.meshgrid(nodes, nodes))
    area = (np.multiply.outer(weights, weights).ravel()) * late.ravel()
    crossed = np.einsum("u,ukl->kl", area, _two_left_out(late * early, late, m, pairs, c))
    second = second + crossed + crossed.conj().T

    mean, spread = np.eye(d + 1), np.zeros((d + 1, d + 1))
    mean[:-1, :-1] = np.real((basis * np.prod(m, axis=0)) @ np.linalg.inv(basis))
    mean[:-1, -1] = np.real(basis @ first)
    spread[:-1, :-1] = np.real(basis @ (second - np.outer(first, first.conj())) @ basis.conj().T)
    return spread_law(mean, (spread + spread.T) / 2)


def _to_basis(basis, covariances):
    half = np.linalg.solve(basis, covariances)
    return np.linalg.solve(basis, half.conj().mT).conj().mT


def _one_left_out(u, m, a):
    """sum_i a_i prod_{j != i} (1 - u + u m_j) at every node."""
    whole, left_out = np.ones_like(u * m[0]), np.zeros_like(u * a[0])
    for mine, own in zip(m, a, strict=True):
        factor = 1 - u + u * mine
        left_out = left_out * factor + whole * own
        whole = whole * factor
    return left_out


def _two_left_out(s, t, m, pairs, c):
    """sum_{i != i'} c_ik m_i'k conj(c_i'l) prod_{j != i, i'} (s + (t-s) m_jk + (1-t) m_jk conj(m_jl)) at every node."""
    shape = np.broadcast_shapes(s.shape, pairs[0].shape)
    whole = np.ones(shape, pairs.dtype)
    first, second, both = (np.zeros(shape, pairs.dtype) for _ in range(3))
    for mine, pair, own in zip(m, pairs, c, strict=True):
        factor = s + (t - s) * mine[:, None] + (1 - t) * pair
        earlier, later = own[:, None], mine[:, None] * own.conj()
        both = both * factor + first * later + second * earlier
        first = first * factor + whole * earlier
        second = second * factor + whole * later
        whole = whole * factor
    return both

"""Reshuffled epochs of components whose matrices are equal, or commute: exact at any n (host, float64).

Where all are equal, an epoch's offset is a weighted sum of those of its components. Where they commute, a random order
is n independent uniform times, sorted: in the common eigenbasis an epoch's offset is the sum over the components of c_i
times the eigenvalues m_j of those that come later, and given the time of i these come later independently of one
another. Expectations are integrals over one time or two of products over the components, polynomials, for which
Gauss-Legendre quadrature is exact.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Inexact

from .laws import Law, spread_law
from .updates import Maps, Updates

ROUNDING = 1e-10
"""Off-diagonal entries below this share of the largest eigenvalue's size are rounding."""
CONDITION = 1e6
"""A common eigenbasis with a condition number above this is none."""


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
    """
    maps = updates.maps(_singles(updates))[:, :, :-1]
    if updates.samples == 2 and np.allclose(maps, maps[0], rtol=0, atol=1e-14 * np.abs(maps[0]).max()):
        maps = updates.maps(_crossed(updates))[:, :, :-1]
    return bool(np.allclose(maps, maps[0], rtol=0, atol=1e-14 * np.abs(maps[0]).max()))


class Spectrum(NamedTuple):
    r"""Commuting matrices $M_i = V \operatorname{diag}(m_i)\, V^{-1}$.

    **Arguments**: `basis` V (d, d) and `eigenvalues` $m_i$ (n, d), real or complex.
    """

    basis: Inexact[np.ndarray, "d d"]
    eigenvalues: Inexact[np.ndarray, "n d"]


def spectrum(matrices: Float[np.ndarray, "n d d"]) -> Spectrum | None:
    """The common eigenbasis of matrices that commute and can be diagonalised; None where there is none.

    That of a random combination is tried on all: where they commute, it is common to them.

    **Arguments**: `matrices` (n, d, d).

    **Returns** a `Spectrum` or None.

    **Source**: linear algebra; checked on rotations and on matrices with eigenvalues in common.
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

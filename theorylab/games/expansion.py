"""The bias of descent-ascent on an affine game in powers of the step size: what Richardson extrapolation cancels."""

from typing import Any

import numpy as np
from jaxtyping import Float

from . import orders
from .affine import AffineGame

Vector = Float[np.ndarray, " d"]


def bias_expansion(game: Any, order: str = "reshuffle") -> tuple[Vector, Vector]:
    r"""The coefficients of $E x - x^\star = c_1 \gamma + c_2 \gamma^2 + O(\gamma^3)$ at the ends of epochs.

    $\gamma$ is the step size of descent-ascent with one component an update. With $x^\star = 0$, so that $\sum_i b_i =
    0$, and an epoch of $N$ visits $v_1, \dots, v_N$, the stationary mean solves $(I - E M) m = E c$, where

    $$I - M = \gamma \sum_t A_{v_t} - \gamma^2 E_2 + \dots, \qquad c = \gamma^2 P_2 - \gamma^3 P_3 + \dots,$$

    $E_2 = \sum_{s<t} A_{v_t} A_{v_s}$, $P_2 = \sum_{s<t} A_{v_t} b_{v_s}$ and $P_3 = \sum_{r<s<t} A_{v_t} A_{v_s}
    b_{v_r}$. Hence $N \bar A c_1 = E P_2$ and $N \bar A c_2 = E[E_2] c_1 - E P_3$; with $T = \sum_i A_i$, $S = \sum_i
    A_i b_i$, $Q = \sum_i A_i^2$ and $D = 2 \sum_i A_i^2 b_i - T S - \sum_i A_i T b_i$ (the sum over distinct triples):

    - `"independent"`: $E M = (I - \gamma \bar A)^n$ and $E c = 0$, so that there is no bias at all.
    - `"reshuffle"`: $E P_2 = -\frac12 S$, $E E_2 = \frac12 (T^2 - Q)$, $E P_3 = \frac16 D$.
    - `"once"`: the mean over permutations of each one's own expansion. $c_1$ is that of `"reshuffle"`; to the right
      side for $c_2$ comes the covariance of $E_2$ with $T^{-1} P_2$, by $E[s_{ij} s_{kl}] = \frac13 (\delta_{ik} +
      \delta_{jl} - \delta_{il} - \delta_{jk} + \delta_{ik} \delta_{jl} - \delta_{il} \delta_{jk})$ for the signs
      $s_{ij} = \pm 1$ that say which of i and j comes first.
    - `"cyclic"`: the three sums of 0, ..., n-1, by partial sums.
    - `"flipflop"`: there and back all pairs meet alike, whatever the permutation: $P_2 = -S$, $E_2 = 2 T^2 - Q$, and
      $E P_3 = \frac13 D - \frac12 T S$.

    **Arguments**: `game`, an `AffineGame` of concrete arrays (any dtype; the work is in float64 on the host); `order`,
    one of `orders.ORDERS`.

    **Returns** $c_1$ (d,) and $c_2$ (d,), float64, exact up to rounding. The cost is n d^3.

    **Raises** `ValueError` for another kind of game, and for an unknown order.

    **Source**: derived here; checked against exact stationary means as the step size falls, for `"once"` and
    `"flipflop"` against the enumeration of permutations. Of Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al.
    (ICLR 2026), whose Lemma 4.5 has no term of second order.

        >>> import theorylab as tl
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> [round(float(c[0]), 12) for c in tl.games.bias_expansion(game)]  # -g (a1-a2) / (2 (a1+a2-g a1 a2))
        [-0.25, -0.1875]
    """
    orders.check(order)
    a, b = _at_solution(game)
    if order == "independent":
        return np.zeros(game.d), np.zeros(game.d)
    total = a.sum(axis=0)
    visits = 2 * total if order == "flipflop" else total
    pairs, product, triples = _ordered(a, b) if order == "cyclic" else _shuffled(a, b, order)
    first = np.linalg.solve(visits, pairs)
    right = product(first) - triples
    if order == "once":
        right = right + _covariance(a, b, total)
    return first, np.linalg.solve(visits, right)


def extragradient_bias(game: Any, extrapolation_step: float) -> Vector:
    r"""The bias of same-sample extragradient under independent draws, at every step size.

    With $x^\star = 0$ the mean update is $x - \gamma_1 \big[(\bar A - \gamma_2 \overline{A^2}) x - \gamma_2
    \overline{A b}\big]$, so that the mean settles at $m = \gamma_2 (\bar A - \gamma_2 \overline{A^2})^{-1}
    \overline{A b}$, whatever $\gamma_1$: the look-ahead sees the sample that the update uses.

    **Arguments**: `game`, an `AffineGame` of concrete arrays; `extrapolation_step` $\gamma_2 \ge 0$, small enough that
    the mean contracts.

    **Returns** $E x - x^\star$ (d,), float64.

    **Raises** `ValueError` for another kind of game, and for an extrapolation step that is negative or not finite.

    **Source**: derived here; checked against exact stationary means.

        >>> import theorylab as tl
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> tl.games.extragradient_bias(game, 0.2).tolist()  # 0.2 * 1 / (2 - 0.2 * 5)
        [0.2]
    """
    a, b = _at_solution(game)
    if not 0 <= extrapolation_step < np.inf:
        raise ValueError(f"extrapolation_step = {extrapolation_step} must be finite and not negative")
    squares, products = np.mean(a @ a, axis=0), np.einsum("nij,nj->i", a, b) / game.n
    return extrapolation_step * np.linalg.solve(a.mean(axis=0) - extrapolation_step * squares, products)


def _at_solution(game):
    if not isinstance(game, AffineGame):
        raise ValueError(
            f"game is a {type(game).__name__}: the bias has this formula for an AffineGame alone; for one scalar x "
            "`stationary_expectation` has it, else run the method and average over late epochs"
        )
    a, b = np.asarray(game.matrices, float), np.asarray(game.offsets, float)
    return a, a @ np.asarray(game.solution, float) + b


def _apply(a, vectors):
    return np.einsum("nij,nj->ni", a, np.broadcast_to(vectors, a.shape[:2]))


def _ordered(a, b):
    """P_2, E_2 as a product, and P_3 of one fixed order; `before` sums what comes earlier."""

    def before(vectors):
        return np.cumsum(vectors, axis=0) - vectors

    inner = _apply(a, before(b))
    triples = _apply(a, before(inner)).sum(axis=0)
    return inner.sum(axis=0), lambda x: _apply(a, before(_apply(a, x))).sum(axis=0), triples


def _shuffled(a, b, order):
    """The same in the mean over permutations, there alone or there and back."""
    total, each = a.sum(axis=0), _apply(a, b)
    single = each.sum(axis=0)
    distinct = 2 * _apply(a, each).sum(axis=0) - total @ single - _apply(a, b @ total.T).sum(axis=0)

    def squares(x):
        return _apply(a, _apply(a, x)).sum(axis=0)

    if order == "flipflop":
        return -single, lambda x: 2 * total @ (total @ x) - squares(x), distinct / 3 - total @ single / 2
    return -single / 2, lambda x: (total @ (total @ x) - squares(x)) / 2, distinct / 6


def _covariance(a, b, total):
    """Cov(E_2, T^-1 P_2) over permutations: the four of the six terms that sum(b) = 0 leaves."""
    inverse = np.linalg.solve(total, a)
    one_first = total @ np.einsum("nij,nj->i", a, b)
    last_first = _apply(a, b @ total.T).sum(axis=0)
    outer = np.einsum("ibc,if->bcf", a, b, optimize=True)
    same = np.einsum("jab,bcf,jcf->a", a, outer, inverse, optimize=True)
    crossed = _apply(a, b @ np.einsum("iab,ibc->ac", a, inverse, optimize=True).T).sum(axis=0)
    return (one_first - last_first + same - crossed) / 12

"""Powers of the step size: the bias of methods on an affine game, and the orders in which errors vanish."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..affine import AffineGame
from ..orders import Order

Vector = Float[np.ndarray, " d"]


class ConvergenceOrders(NamedTuple):
    """Powers of the step size: `bias` of |E x - x*|, `mse` of E|x - x*|^2; inf for identically zero, None unsaid."""

    bias: float | None
    mse: float | None


def bias_expansion(game: Any, order: Order = "reshuffle") -> tuple[Vector, Vector]:
    r"""Find the coefficients of $E x - x^\star = c_1 \gamma + c_2 \gamma^2 + O(\gamma^3)$ at the ends of epochs.

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
    - `"repeat"`: with one component throughout, $E P_2 = \frac{n - 1}{2} S$, $E E_2 = \frac{n - 1}{2} Q$ and
      $E P_3 = \frac{(n - 1)(n - 2)}{6} \sum_i A_i^2 b_i$.

    **Arguments**: `game`, an `AffineGame` of concrete arrays (any dtype; the work is in float64 on the host); `order`,
    one of `orders.ORDERS`.

    **Returns** $c_1$ (d,) and $c_2$ (d,), float64, exact up to rounding. The cost is n d^3.

    **Raises** `ValueError` for another kind of game.

    **Source**: derived here; checked against exact stationary means as the step size falls, for `"once"` and
    `"flipflop"` against the enumeration of permutations. Of Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al.
    (ICLR 2026), whose Lemma 4.5 has no term of second order.

        >>> import theorylab as tl
        >>> game = tl.games.AffineGame([[[3.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> [round(float(c[0]), 12) for c in tl.games.bias_expansion(game)]  # -g (a1-a2) / (2 (a1+a2-g a1 a2))
        [-0.25, -0.1875]
    """
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
    r"""Find the bias of same-sample extragradient under independent draws, at every step size.

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


def convergence_orders(order: Order, points: int = 1, *, affine: bool = True) -> ConvergenceOrders:
    r"""Say with which powers of the step size errors vanish at the ends of epochs, for generic smooth games.

    p step sizes cancel the first p - 1 powers of a bias that is a power series, so that its order is p; for affine
    games under independent draws it is zero. The variance has the order 1 where draws are independent, of components or
    of the one that an epoch repeats. A reshuffled epoch
    is one map up to $\gamma$ and depends on the permutation from $\gamma^2$ on, there and back from $\gamma^3$ on, and
    stationarity divides the variance of that by $\gamma$: orders 3 and 5. With the permutation kept there is none. The
    mean-square error is the larger of variance and squared bias. (Games whose matrices are all equal have no bias but
    under `"once"` and `"cyclic"`, each of whose permutations has one.)

    **Arguments**: `order`, one of `orders.ORDERS`; `points` >= 1, the number of step sizes extrapolated over, on common
    permutations for `"once"`; `affine`, whether the components are.

    **Returns** the powers `bias` of |E x - x*| and `mse` of E|x - x*|^2; the bias inf where it is identically zero.

    **Raises** `ValueError` for fewer points than 1.

    **Source**: derived here; checked against exact moments of affine games, and of scalar smooth ones by collocation.

        >>> import theorylab as tl
        >>> [tl.games.convergence_orders("reshuffle", points).mse for points in (1, 2, 3)]
        [2.0, 3.0, 3.0]
    """
    if points < 1:
        raise ValueError(f"points = {points} must be at least 1, the method itself")
    variance = {"independent": 1.0, "repeat": 1.0, "reshuffle": 3.0, "flipflop": 5.0}.get(order, np.inf)
    bias = np.inf if affine and order == "independent" else float(points)
    return ConvergenceOrders(bias, min(2 * bias, variance))


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
    """The same in the mean over what an epoch draws: a permutation, there alone or there and back, or a component."""
    total, single = a.sum(axis=0), _apply(a, b).sum(axis=0)

    def squares(vectors):
        return _apply(a, _apply(a, vectors)).sum(axis=0)

    distinct = 2 * squares(b) - total @ single - _apply(a, b @ total.T).sum(axis=0)

    if order == "repeat":
        n = len(a)
        return (n - 1) / 2 * single, lambda x: (n - 1) / 2 * squares(x), (n - 1) * (n - 2) / 6 * squares(b)
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

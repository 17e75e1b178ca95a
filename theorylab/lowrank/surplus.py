"""What surplus rank costs descent on factors: the laws of the late loss, symmetric and not, and of the signal."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from ..numerics.checked import finite
from .two_layer import check_factors


def surplus_loss(values: ArrayLike | Sequence, step_size: ScalarLike, steps: ArrayLike) -> Float[np.ndarray, "*t"]:
    r"""Predict the loss that surplus columns leave in symmetric descent: $\sum_i (x_i^{-2} + 2\eta t)^{-2}$.

    It is $|X_tX_t^T - M|^2$. Surplus singular values follow $x^+ = x - \eta x^3$, so $x_t^{-2} = x_0^{-2} + 2\eta t$ up
    to $3\eta\ln$ of the ratio of the two. Hence the sharp law: loss times $(2\eta t)^2$ tends to the number of surplus
    columns, and no power of t does better, whatever the start.

    **Arguments**: `values` $x_i \ge 0$ (k - r,), the surplus singular values at some step; `step_size` $\eta$, ();
    `steps` t, any shape, taken since then.

    **Returns** the losses, like `steps`, float64.

    **Raises** `ValueError` for values that are no row.

    **Source**: derived here for the population loss; the rate is Xiong, Ding, Du (2024), arXiv 2310.01769. Checked
    against runs.

        >>> import theorylab as tl
        >>> float(tl.lowrank.surplus_loss([1.0, 1.0], 0.05, 90))
        0.02
    """
    values = np.asarray(values, float)
    if values.ndim != 1:
        raise ValueError(f"values has the shape {values.shape}: pass a row of singular values")
    with np.errstate(divide="ignore"):
        inverse = values**-2.0
    return np.asarray(
        np.sum((inverse + 2 * np.asarray(step_size, float) * np.asarray(steps, float)[..., None]) ** -2, axis=-1)
    )


def surplus_product(start: ArrayLike, invariant: ArrayLike, time: ArrayLike) -> Float[Array, "*t"]:
    r"""Predict the product p = fg of a surplus pair under the flow $f' = -fg^2$, $g' = -gf^2$ with $c = f^2 - g^2$.

    The flow keeps c, and $p' = -p\sqrt{c^2 + 4p^2}$ has the solution $p(t) = \frac c2/\sinh(ct +
    \operatorname{arcsinh}\frac c{2p_0})$: it falls like 1/t until t is about 1/c and then at the rate c; without an
    imbalance $p_0/(1 + 2p_0t)$, for ever.

    **Arguments**: `start` $p_0 > 0$; `invariant` c, of either sign; `time` t >= 0; shapes that go together.

    **Returns** p(t), in their common shape. Takes a place in kernels: differentiable for c != 0.

    **Source**: derived here; checked against a numerical solution of the two equations.

        >>> import theorylab as tl
        >>> round(float(tl.lowrank.surplus_product(1.0, 0.0, 2.0)), 6)
        0.2
    """
    p0, c, t = jnp.broadcast_arrays(*(jnp.asarray(value, float) for value in (start, invariant, time)))
    c = jnp.abs(c)
    safe = jnp.where(c == 0, 1, c)
    # sinh(ct + arcsinh u) = u' sinh(ct) + ..., written without the difference of large terms
    growth = jnp.sinh(safe * t) * jnp.sqrt(1 + (safe / (2 * p0)) ** 2) + jnp.cosh(safe * t) * safe / (2 * p0)
    return jnp.where(c == 0, p0 / (1 + 2 * p0 * t), safe / 2 / growth)


def surplus_rate(F: ArrayLike, G: ArrayLike, solution: ArrayLike, true_rank: int | None = None) -> float:
    r"""Predict the rate at which descent on F G' forgets its surplus columns: $\min|\lambda(N^TDN)|$.

    $D = F^TF - G^TG$ is the imbalance and the columns of N an orthonormal basis of the null space of $U_r^TF$, with
    U_r the leading left singular vectors of the solution: the surplus directions once the signal is learnt. The late
    loss, in logarithm, then falls by $2\eta$ times this rate a step: a rate of the order of the square of the start's
    scale, since descent all but keeps D. The law is of leading order in that scale, `late_rate` being the exact one and
    `surplus_rate_error` a bound of the difference.

    **Arguments**: `F` (n1, rank) and `G` (n2, rank), with the signal learnt; `solution` (n1, n2); `true_rank`, or None
    for the solution's numerical rank, below rank.

    **Returns** the rate, float64, in the unit of the singular values; 0 for balanced factors.

    **Raises** `ValueError` for shapes that do not match and a true rank that leaves no surplus.

    **Source**: derived here for the population loss; the order $\alpha^2$ is Xiong, Ding, Du (2024), arXiv 2310.01769.
    Checked against runs.

        >>> import numpy as np, theorylab as tl
        >>> F, G = np.diag([1.0, 0.5, 0.0])[:, :2], np.diag([1.0, 0.3, 0.0])[:, :2]
        >>> round(tl.lowrank.surplus_rate(F, G, np.diag([1.0, 0.0, 0.0])), 6)
        0.16
    """
    F, G, D, r = _at_solution(F, G, solution, true_rank)
    N = np.linalg.svd(F[:r])[2][r:].T
    return float(np.abs(np.linalg.eigvalsh(N.T @ D @ N)).min())


def surplus_rate_error(F: ArrayLike, G: ArrayLike, solution: ArrayLike, true_rank: int | None = None) -> float:
    r"""Bound by how much `surplus_rate` may miss `late_rate`, for factors at a solution.

    In the solution's singular bases let A and C be the signal's rows of F and G, and B and E the others: $FG^T = M$
    says $AC^T = \Sigma$ and $AE^T = BC^T = BE^T = 0$. Let R be the range of $A^T$ and N its complement, as indices of
    columns, and $T = C_R^{-1}C_N$. Then $E_R = 0$ and $B_R = -B_NT^T$, and the imbalance has the blocks $D_{NN} =
    B_N^TB_N - E_N^TE_N - C_N^TC_N$ and $-D_{RN} = C_R^TC_RT + TB_N^TB_N$.

    The Schur complements of the signal in $FF^T$ and in $G^TG$ are $B_NB_N^T$ and $E_N^TE_N$, whose row spaces are
    orthogonal: the rate is the least of their positive eigenvalues, divided by something between 1 and $1 + 2|T|^2$
    while surplus columns are below the signal. By Weyl the least eigenvalue of $D_{NN}$ differs from theirs by
    $|C_N|^2$ at most, and $|C_N| \le |C_R^{-T}D_{RN}|$, for the rest of the second equation is positive semidefinite.
    Together $|C_N|^2 + 2|T|^2\lambda$. As D is of second order in the start's scale, this is of fourth order, and of
    second order relative to the rate.

    **Arguments**: `F` (n1, rank) and `G` (n2, rank), `solution` (n1, n2) and `true_rank`, as for `surplus_rate`.

    **Returns** the bound, float64, in the unit of the rates.

    **Raises** `ValueError` as `surplus_rate` does.

    **Source**: derived here. Checked by long runs at n = 20 and rank 6: from the scale 1/2 on down to 1/16 the order of
    the relative miss between one scale and its half was 1.2 to 2.2, 1.7 to 2.1 and 1.9 to 2.1 over six starts.

        >>> import numpy as np, theorylab as tl
        >>> F, G = np.diag([1.0, 0.5, 0.0])[:, :2], np.diag([1.0, 0.3, 0.0])[:, :2]
        >>> tl.lowrank.surplus_rate_error(F, G, np.diag([1.0, 0.0, 0.0]))
        0.0
    """
    F, G, D, r = _at_solution(F, G, solution, true_rank)
    rate = late_rate(F, G, r)
    basis = np.linalg.svd(F[:r])[2]
    C = G[:r] @ basis[:r].T
    C_N, least = np.linalg.solve(C.T, (basis @ D @ basis.T)[:r, r:]), np.linalg.svd(C, compute_uv=False)[-1]
    return float(np.sum(C_N**2) * (1 + 2 * rate / least**2))


def late_rate(F: ArrayLike, G: ArrayLike, true_rank: int) -> float:
    r"""Predict the rate of descent on F G' near a solution: the (rank + true_rank)-th of all singular values, squared.

    There the residual follows $E^+ = E - \eta(EGG^T + FF^TE)$ on the matrices that vanish between the complements of
    the two ranges, so its slowest part contracts by $1 - \eta\lambda$ with $\lambda$ the least positive eigenvalue of
    $FF^T$ and $GG^T$. Each surplus direction survives in one of the factors, so that rank + true_rank of the 2 rank
    singular values stay positive, the others being on their way to zero.

    **Arguments**: `F` (n1, rank) and `G` (n2, rank), near a solution; (X, X) at the true rank for symmetric descent;
    `true_rank`, of the solution.

    **Returns** the rate, float64, in the unit of the singular values. The loss falls by $(1 - \eta\lambda)^2$ a step.

    **Raises** `ValueError` for shapes that do not match and a true rank above that of the factors.

    **Source**: derived here, for the population loss and factors that are not square; checked against runs.

        >>> import numpy as np, theorylab as tl
        >>> F, G = np.diag([2.0, 0.3, 0.0])[:, :2], np.diag([0.5, 0.0, 0.0])[:, :2]
        >>> round(tl.lowrank.late_rate(F, G, 1), 6)
        0.09
    """
    F, G = (np.asarray(values, float) for values in (F, G))
    check_factors(F, G, names=("F", "G"))
    _check_rank(true_rank, F)
    values = np.concatenate([np.linalg.svd(factor, compute_uv=False) for factor in (F, G)])
    return float(np.sort(values)[::-1][F.shape[1] + true_rank - 1]) ** 2


def late_loss(residual: ArrayLike, F: ArrayLike, G: ArrayLike, step_size: ScalarLike, steps: ArrayLike) -> np.ndarray:
    r"""Predict the loss $|E_t|^2$ of descent on F G' near a solution, so many steps after a small residual E.

    Of $E^+ = E - \eta(EGG^T + FF^TE)$ each entry in the left singular vectors of F and of G contracts by itself, by
    $1 - \eta(f_i^2 + g_j^2)$: the loss is a sum of as many exponentials, and comes to the rate of `late_rate` in the
    end.

    **Arguments**: `residual` E = F G' - M (n1, n2); `F` (n1, rank) and `G` (n2, rank), near the solution; `step_size`
    $\eta$, (); `steps` t, any shape, taken since then.

    **Returns** the losses, like `steps`, float64.

    **Raises** `ValueError` for shapes that do not match.

    **Source**: derived here for the population loss; checked against the recursion.

        >>> import numpy as np, theorylab as tl
        >>> E, F, G = np.asarray([[1e-3]]), np.asarray([[2.0]]), np.asarray([[1.0]])
        >>> float(tl.lowrank.late_loss(E, F, G, 0.1, 1) / 1e-6)
        0.25
    """
    E, F, G = (np.asarray(values, float) for values in (residual, F, G))
    check_factors(F, G, names=("F", "G"))
    if E.shape != (len(F), len(G)):
        raise ValueError(f"residual has the shape {E.shape}: pass one of {(len(F), len(G))}, that of F G'")
    finite(residual=E)
    (U, f, _), (V, g, _) = (np.linalg.svd(factor) for factor in (F, G))
    rates = np.add.outer(*(np.pad(one, (0, n - len(one))) ** 2 for one, n in ((f, len(F)), (g, len(G)))))
    kept = (1 - np.asarray(step_size, float) * rates) ** (2 * np.asarray(steps, float)[..., None, None])
    return np.asarray(np.sum((U.T @ E @ V) ** 2 * kept, axis=(-2, -1)))


def _at_solution(F, G, solution, true_rank):
    """The factors in the singular bases of the solution, their imbalance, and its rank, below theirs."""
    F, G, solution = (np.asarray(values, float) for values in (F, G, solution))
    check_factors(F, G, names=("F", "G"))
    if solution.shape != (len(F), len(G)):
        raise ValueError(f"solution has the shape {solution.shape}: pass one of {(len(F), len(G))}, that of F G'")
    finite(solution=solution)
    r = int(np.linalg.matrix_rank(solution)) if true_rank is None else true_rank
    _check_rank(r, F)
    if r == F.shape[1]:
        raise ValueError(f"true_rank = {r} leaves factors of that rank no surplus: use late_rate")
    U, _, Vt = np.linalg.svd(solution)
    return U.T @ F, Vt @ G, F.T @ F - G.T @ G, r


def _check_rank(true_rank, F):
    if not 1 <= true_rank <= F.shape[1]:
        raise ValueError(f"true_rank = {true_rank} must lie between 1 and {F.shape[1]}, the rank of the factors")

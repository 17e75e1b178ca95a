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
    scale, since descent all but keeps D. The law is of leading order in that scale, `late_rate` being the exact one.

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
    F, G, solution = (np.asarray(values, float) for values in (F, G, solution))
    check_factors(F, G, names=("F", "G"))
    if solution.shape != (len(F), len(G)):
        raise ValueError(f"solution has the shape {solution.shape}: pass one of {(len(F), len(G))}, that of F G'")
    finite(solution=solution)
    r = int(np.linalg.matrix_rank(solution)) if true_rank is None else true_rank
    _check_rank(r, F)
    if r == F.shape[1]:
        raise ValueError(f"true_rank = {r} leaves factors of that rank no surplus: use late_rate")
    U = np.linalg.svd(solution)[0][:, :r]
    N = np.linalg.svd(U.T @ F)[2][r:].T
    return float(np.abs(np.linalg.eigvalsh(N.T @ (F.T @ F - G.T @ G) @ N)).min())


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


def _check_rank(true_rank, F):
    if not 1 <= true_rank <= F.shape[1]:
        raise ValueError(f"true_rank = {true_rank} must lie between 1 and {F.shape[1]}, the rank of the factors")

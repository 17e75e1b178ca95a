"""What Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026) state, from a reading note.

The formulas are reconstructed: the paper's own text was not read.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...numerics.checked import Numbers
from ..orders import Order
from ..stationary.expansion import ConvergenceOrders
from ..step_sizes import _known
from .seg_rr import UNSTATED, contraction


class StepSizeCap(NamedTuple):
    r"""The largest step size of the bound on the mean-square error, in the two readings of its formula.

    `product` reads $\mu^2 L_{\max}^2$ under the root and `quotient` $\mu^2 / L_{\max}^2$; `smaller` is safe for both.

    **Source**: see `step_size_cap`.

        >>> import theorylab as tl
        >>> tl.games.claims.rr_richardson_vip.StepSizeCap(0.25, 0.125).smaller
        0.125
    """

    product: float
    quotient: float

    @property
    def smaller(self) -> float:
        """The smaller of the two."""
        return min(self)


class MseBound(NamedTuple):
    r"""A bound $\rho^k |x_0 - x^\star|^2 + \text{neighbourhood} + \text{weakness}$ on $E|x_k - x^\star|^2$.

    `contraction` $\rho$ of an epoch; `neighbourhood`, what the noise leaves; `weakness`, what $\lambda$ leaves.

    **Source**: see `mse_bound`.

        >>> import theorylab as tl
        >>> tl.games.claims.rr_richardson_vip.MseBound(0.5, 1.0, 0.0).after([0, 1, 2], squared_distance=8.0).tolist()
        [9.0, 5.0, 3.0]
    """

    contraction: float
    neighbourhood: float
    weakness: float

    def after(self, epochs: Numbers, squared_distance: float) -> Float[np.ndarray, "*k"]:
        """The bound after `epochs`, a number or an array, from |x_0 - x*|^2 = `squared_distance`."""
        transient = self.contraction ** np.asarray(epochs, float) * squared_distance
        return np.asarray(transient + self.neighbourhood + self.weakness)


def step_size_cap(
    game: Any = None, *, n: int | None = None, mu: float | None = None, lipschitz_max: float | None = None
) -> StepSizeCap:
    r"""Compute the step sizes that the theorems on reshuffled descent-ascent allow, in both readings.

    $\gamma_{\max} = \min\big\{\frac{1}{3 n L_{\max}}, \frac{\sqrt{1 + 6 q} - 1}{12 n L_{\max}^2}\big\}$ with $q = \mu^2
    L_{\max}^2$ as printed, or $q = \mu^2 / L_{\max}^2$. A step size has the unit of $1/L_{\max}$. The first entry has
    it and the second in neither reading: the quotient would, with $12 n L_{\max}$ below. Where L_max = 1 all agree.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `mu` > 0 and `lipschitz_max` > 0.

    **Returns** a `StepSizeCap`.

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), as a reading note prints it.

        >>> import theorylab as tl
        >>> cap = tl.games.claims.rr_richardson_vip.step_size_cap(n=2, mu=0.5, lipschitz_max=2.0)
        >>> round(cap.product, 6), round(cap.quotient, 6)
        (0.017143, 0.001798)
    """
    known = _known(game, UNSTATED, n=n, mu=mu, lipschitz_max=lipschitz_max)
    components, curvature, top = known["n"], known["mu"], known["lipschitz_max"]

    def cap(q):
        # (sqrt(1 + 6q) - 1) without the difference of nearly equal numbers
        return float(min(1 / (3 * components * top), 6 * q / (np.sqrt(1 + 6 * q) + 1) / (12 * components * top**2)))

    return StepSizeCap(product=cap((curvature * top) ** 2), quotient=cap((curvature / top) ** 2))


def mse_bound(
    game: Any = None,
    *,
    step_size: float,
    weakness: float = 0.0,
    n: int | None = None,
    mu: float | None = None,
    lipschitz_max: float | None = None,
    variance: float | None = None,
) -> MseBound:
    r"""Compute the bound on the mean-square error of reshuffled descent-ascent.

    $$E|x_k - x^\star|^2 \le (1 - \tfrac{\gamma n \mu}{2})^k |x_0 - x^\star|^2 + \frac{8 n \gamma^2 L_{\max}^2
    \sigma_\star^2}{\mu^2} + \frac{8 \lambda}{\mu}$$

    for $\gamma$ up to `step_size_cap` and $\langle F(x), x - x^\star\rangle \ge \mu |x - x^\star|^2 - \lambda$.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `mu` > 0, `lipschitz_max` > 0 and `variance`
    $\sigma_\star^2 \ge 0$; `step_size` $\gamma > 0$, below $2/(n\mu)$; `weakness` $\lambda \ge 0$.

    **Returns** an `MseBound`.

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), Theorem 4.1, from a reading
    note. On random strongly monotone games the exact error is thousands of times smaller (checked).

        >>> import theorylab as tl
        >>> claims = tl.games.claims.rr_richardson_vip
        >>> bound = claims.mse_bound(step_size=0.125, n=2, mu=1.0, lipschitz_max=2.0, variance=3.0)
        >>> bound.contraction, bound.neighbourhood, bound.after(2, squared_distance=64.0).item()
        (0.875, 3.0, 52.0)
    """
    known = _known(game, UNSTATED, n=n, mu=mu, lipschitz_max=lipschitz_max, variance=variance)
    if not 0 <= weakness < np.inf:
        raise ValueError(
            f"weakness = {weakness} must be finite and not negative: it is 0 for quasi-strong monotonicity"
        )
    factor = contraction(step_size=step_size, n=known["n"], mu=known["mu"])
    ratio = step_size * known["lipschitz_max"] / known["mu"]
    neighbourhood = 8 * known["n"] * ratio**2 * known["variance"]
    return MseBound(factor, float(neighbourhood), float(8 * weakness / known["mu"]))


def convergence_orders(order: Order, points: int = 1) -> ConvergenceOrders:
    """Say which powers of the step size the paper states for last iterates.

    Independent draws: bias 1 and mean-square error 1; extrapolated over two step sizes, bias 3/2. Reshuffled: 1 and 2;
    extrapolated, 3 and 2.

    **Arguments**: `order`, "independent" or "reshuffle"; `points`, 1 for the method itself, 2 for its extrapolation
    over two step sizes.

    **Returns** the powers `bias` of |E x - x*| and `mse` of E|x - x*|^2; None where the paper states none.

    **Raises** `ValueError` for an order or a number of points that the paper does not speak of.

    **Source**: Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), Lemma 4.5, Theorem 4.6 and the
    table, from a reading note. `games.convergence_orders` says what exact computation gives.

        >>> import theorylab as tl
        >>> stated = tl.games.claims.rr_richardson_vip.convergence_orders("reshuffle", 2)
        >>> stated.bias, tl.games.convergence_orders("reshuffle", 2).bias
        (3.0, 2.0)
    """
    table = {
        ("independent", 1): ConvergenceOrders(1.0, 1.0),
        ("independent", 2): ConvergenceOrders(1.5, None),
        ("reshuffle", 1): ConvergenceOrders(1.0, 2.0),
        ("reshuffle", 2): ConvergenceOrders(3.0, 2.0),
    }
    if (order, points) not in table:
        raise ValueError(
            f"order = {order!r} with points = {points}: the paper speaks of 'independent' and 'reshuffle' with 1 and 2"
            " points; `games.convergence_orders` knows the others"
        )
    return table[order, points]

"""What the papers state about reshuffled and extrapolated methods, as code, and beside it what exact computation gives.

Everything `claimed_...` is a paper's statement, reconstructed (the papers' own texts were not read); the rest is ours.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..numerics.checked import Numbers
from . import orders, step_sizes

UNSTATED = "the paper states nothing without it"


class StepSizeCap(NamedTuple):
    r"""The largest step size of the bound on the mean-square error, in the two readings of its formula.

    `product` reads $\mu^2 L_{\max}^2$ under the root and `quotient` $\mu^2 / L_{\max}^2$; `smaller` is safe for both.

    **Source**: see `claimed_step_size_cap`.

        >>> import theorylab as tl
        >>> tl.games.bounds.StepSizeCap(0.25, 0.125).smaller
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

    **Source**: see `claimed_mse_bound`.

        >>> import theorylab as tl
        >>> tl.games.bounds.MseBound(0.5, 1.0, 0.0).after([0, 1, 2], squared_distance=8.0).tolist()
        [9.0, 5.0, 3.0]
    """

    contraction: float
    neighbourhood: float
    weakness: float

    def after(self, epochs: Numbers, squared_distance: float) -> Float[np.ndarray, "*k"]:
        """The bound after `epochs`, a number or an array, from |x_0 - x*|^2 = `squared_distance`."""
        transient = self.contraction ** np.asarray(epochs, float) * squared_distance
        return np.asarray(transient + self.neighbourhood + self.weakness)


class Orders(NamedTuple):
    """Powers of the step size: `bias` of |E x - x*|, `mse` of E|x - x*|^2; inf for identically zero, None for unsaid.

    **Source**: see `claimed_orders` and `derived_orders`.

        >>> import theorylab as tl
        >>> tl.games.bounds.Orders(2, 3).mse
        3
    """

    bias: float | None
    mse: float | None


def claimed_step_size_cap(
    game: Any = None, *, n: int | None = None, mu: float | None = None, lipschitz_max: float | None = None
) -> StepSizeCap:
    r"""The step sizes that the theorems on reshuffled descent-ascent allow, in both readings (reconstructed).

    $\gamma_{\max} = \min\big\{\frac{1}{3 n L_{\max}}, \frac{\sqrt{1 + 6 q} - 1}{12 n L_{\max}^2}\big\}$ with $q = \mu^2
    L_{\max}^2$ as printed, or $q = \mu^2 / L_{\max}^2$. A step size has the unit of $1/L_{\max}$. The first entry has
    it and the second in neither reading: the quotient would, with $12 n L_{\max}$ below. Where L_max = 1 all agree.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `mu` > 0 and `lipschitz_max` > 0.

    **Returns** a `StepSizeCap`.

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), as a reading note prints it.

        >>> import theorylab as tl
        >>> cap = tl.games.bounds.claimed_step_size_cap(n=2, mu=0.5, lipschitz_max=2.0)
        >>> round(cap.product, 6), round(cap.quotient, 6)
        (0.017143, 0.001798)
    """
    known = step_sizes.known(game, UNSTATED, n=n, mu=mu, lipschitz_max=lipschitz_max)
    components, curvature, top = known["n"], known["mu"], known["lipschitz_max"]

    def cap(q):
        # (sqrt(1 + 6q) - 1) without the difference of nearly equal numbers
        return float(min(1 / (3 * components * top), 6 * q / (np.sqrt(1 + 6 * q) + 1) / (12 * components * top**2)))

    return StepSizeCap(product=cap((curvature * top) ** 2), quotient=cap((curvature / top) ** 2))


def claimed_contraction(game: Any = None, *, step_size: float, n: int | None = None, mu: float | None = None) -> float:
    r"""What an epoch makes of $E|x - x^\star|^2$, up to a neighbourhood: $1 - \gamma_1 n \mu / 2$ (reconstructed).

    Stated alike for reshuffled descent-ascent and for reshuffled extragradient with its update's step.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1 and `mu` > 0; `step_size` $\gamma_1 > 0$, below
    $2/(n\mu)$.

    **Returns** the factor, in (0, 1).

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, strongly monotone theorem; Emmanouilidis, Vidal,
    Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), Theorem 4.1.

        >>> import theorylab as tl
        >>> tl.games.bounds.claimed_contraction(step_size=0.0625, n=4, mu=2.0)
        0.75
    """
    known = step_sizes.known(game, UNSTATED, n=n, mu=mu)
    return _contraction(step_size, known["n"], known["mu"])


def claimed_mse_bound(
    game: Any = None,
    *,
    step_size: float,
    weakness: float = 0.0,
    n: int | None = None,
    mu: float | None = None,
    lipschitz_max: float | None = None,
    variance: float | None = None,
) -> MseBound:
    r"""The bound on the mean-square error of reshuffled descent-ascent (reconstructed).

    $$E|x_k - x^\star|^2 \le (1 - \tfrac{\gamma n \mu}{2})^k |x_0 - x^\star|^2 + \frac{8 n \gamma^2 L_{\max}^2
    \sigma_\star^2}{\mu^2} + \frac{8 \lambda}{\mu}$$

    for $\gamma$ up to `claimed_step_size_cap` and $\langle F(x), x - x^\star\rangle \ge \mu |x - x^\star|^2 - \lambda$.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `mu` > 0, `lipschitz_max` > 0 and `variance`
    $\sigma_\star^2 \ge 0$; `step_size` $\gamma > 0$, below $2/(n\mu)$; `weakness` $\lambda \ge 0$.

    **Returns** an `MseBound`.

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), Theorem 4.1, from a reading
    note. On random strongly monotone games the exact error is thousands of times smaller (checked).

        >>> import theorylab as tl
        >>> bound = tl.games.bounds.claimed_mse_bound(step_size=0.125, n=2, mu=1.0, lipschitz_max=2.0, variance=3.0)
        >>> bound.contraction, bound.neighbourhood, bound.after(2, squared_distance=64.0).item()
        (0.875, 3.0, 52.0)
    """
    known = step_sizes.known(game, UNSTATED, n=n, mu=mu, lipschitz_max=lipschitz_max, variance=variance)
    if not 0 <= weakness < np.inf:
        raise ValueError(
            f"weakness = {weakness} must be finite and not negative: it is 0 for quasi-strong monotonicity"
        )
    contraction = _contraction(step_size, known["n"], known["mu"])
    ratio = step_size * known["lipschitz_max"] / known["mu"]
    neighbourhood = 8 * known["n"] * ratio**2 * known["variance"]
    return MseBound(contraction, float(neighbourhood), float(8 * weakness / known["mu"]))


def claimed_monotone_constant(
    game: Any = None,
    *,
    step_size: float,
    n: int | None = None,
    lipschitz_max: float | None = None,
    lipschitz: float | None = None,
    variance_growth: float | None = None,
) -> float:
    r"""The constant G in the rate of reshuffled extragradient on monotone games (reconstructed).

    $\min_{k \le K} E|F(x_k)|^2 \le G |x_0 - x^\star|^2 / (\gamma_1 \gamma_2 n K) + O(\gamma_1^2)$ with $G = 2 \big(1 +
    \gamma_1^2 n^2 (2 L^2 + 8 \gamma_1^2 L^4 + 3) + 3 C L_{\max}^2\big)$ and $C = \gamma_1^2 \big[(50 + 2n) A + 2 (10
    n^2 + 50 n + 2) L^2 + 4 (A + 2 L^2)\big]$, A the variance growth; at the steps of `step_sizes.monotone`.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `lipschitz_max`, `lipschitz` and `variance_growth`
    > 0; `step_size` $\gamma_1 > 0$.

    **Returns** G.

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, monotone theorem, constants as its code has them.

        >>> import theorylab as tl
        >>> numbers = {"n": 1, "lipschitz_max": 1.0, "lipschitz": 1.0, "variance_growth": 2.0}
        >>> tl.games.bounds.claimed_monotone_constant(step_size=0.5, **numbers)  # C = 244/4, and 7/4 beside it
        371.5
    """
    known = step_sizes.known(
        game, UNSTATED, n=n, lipschitz_max=lipschitz_max, lipschitz=lipschitz, variance_growth=variance_growth
    )
    _step_size(step_size)
    components, growth, square = known["n"], known["variance_growth"], known["lipschitz"] ** 2
    inner = (50 + 2 * components) * growth + 2 * (10 * components**2 + 50 * components + 2) * square
    c = step_size**2 * (inner + 4 * (growth + 2 * square))
    epoch = (step_size * components) ** 2 * (2 * square + 8 * (step_size * square) ** 2 + 3)
    return float(2 * (1 + epoch + 3 * c * known["lipschitz_max"] ** 2))


def claimed_orders(order: str, points: int = 1) -> Orders:
    """The orders in the step size that the paper states for last iterates (reconstructed).

    Independent draws: bias 1 and mean-square error 1; extrapolated over two step sizes, bias 3/2. Reshuffled: 1 and 2;
    extrapolated, 3 and 2.

    **Arguments**: `order`, "independent" or "reshuffle"; `points`, 1 for the method itself, 2 for its extrapolation
    over two step sizes.

    **Returns** `Orders`; None where the paper states none.

    **Raises** `ValueError` for an order or a number of points that the paper does not speak of.

    **Source**: Emmanouilidis, Vidal, Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), Lemma 4.5, Theorem 4.6 and the
    table, from a reading note. `derived_orders` says what exact computation gives.

        >>> import theorylab as tl
        >>> tl.games.bounds.claimed_orders("reshuffle", 2).bias, tl.games.bounds.derived_orders("reshuffle", 2).bias
        (3.0, 2.0)
    """
    table = {
        ("independent", 1): Orders(1.0, 1.0),
        ("independent", 2): Orders(1.5, None),
        ("reshuffle", 1): Orders(1.0, 2.0),
        ("reshuffle", 2): Orders(3.0, 2.0),
    }
    if (orders.check(order), points) not in table:
        raise ValueError(
            f"order = {order!r} with points = {points}: the paper speaks of 'independent' and 'reshuffle' with 1 and 2"
            " points; `derived_orders` knows the others"
        )
    return table[order, points]


def derived_orders(order: str, points: int = 1, *, affine: bool = True) -> Orders:
    r"""The exact orders in the step size at the ends of epochs, for generic smooth games.

    p step sizes cancel the first p - 1 powers of a bias that is a power series, so that its order is p; for affine
    games under independent draws it is zero. The variance has the order 1 under independent draws. A reshuffled epoch
    is one map up to $\gamma$ and depends on the permutation from $\gamma^2$ on, there and back from $\gamma^3$ on, and
    stationarity divides the variance of that by $\gamma$: orders 3 and 5. With the permutation kept there is none. The
    mean-square error is the larger of variance and squared bias. (Games whose matrices are all equal have no bias but
    under `"once"` and `"cyclic"`, each of whose permutations has one.)

    **Arguments**: `order`, one of `orders.ORDERS`; `points` >= 1, the number of step sizes extrapolated over, on common
    permutations for `"once"`; `affine`, whether the components are.

    **Returns** `Orders`; the bias inf where it is identically zero.

    **Raises** `ValueError` for an unknown order, and for fewer points than 1.

    **Source**: derived here; checked against exact moments of affine games, and of scalar smooth ones by collocation.

        >>> import theorylab as tl
        >>> [tl.games.bounds.derived_orders("reshuffle", points).mse for points in (1, 2, 3)]
        [2.0, 3.0, 3.0]
    """
    if points < 1:
        raise ValueError(f"points = {points} must be at least 1, the method itself")
    variance = {"independent": 1.0, "reshuffle": 3.0, "flipflop": 5.0}.get(orders.check(order), np.inf)
    bias = np.inf if affine and order == "independent" else float(points)
    return Orders(bias, min(2 * bias, variance))


def _contraction(step_size, n, mu):
    _step_size(step_size)
    if step_size * n * mu >= 2:
        raise ValueError(
            f"step_size = {step_size} is not below 2/(n mu) = {2 / (n * mu):.3g}: the bound contracts nothing there; "
            "take it up to `claimed_step_size_cap`"
        )
    return float(1 - step_size * n * mu / 2)


def _step_size(step_size):
    if not 0 < step_size < np.inf:
        raise ValueError(f"step_size = {step_size} must be positive and finite")

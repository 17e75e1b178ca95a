"""What Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, state, reconstructed: their text was not read."""

from typing import Any

import numpy as np

from ..step_sizes import _known

UNSTATED = "the paper states nothing without it"


def contraction(game: Any = None, *, step_size: float, n: int | None = None, mu: float | None = None) -> float:
    r"""Say what an epoch makes of $E|x - x^\star|^2$, up to a neighbourhood: $1 - \gamma_1 n \mu / 2$.

    Stated alike for reshuffled descent-ascent and for reshuffled extragradient with its update's step.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1 and `mu` > 0; `step_size` $\gamma_1 > 0$, below
    $2/(n\mu)$.

    **Returns** the factor, in (0, 1).

    **Raises** `ValueError` for both a game and numbers, for neither, and for a number that is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, strongly monotone theorem; Emmanouilidis, Vidal,
    Loizou, Vlatakis-Gkaragkounis et al. (ICLR 2026), Theorem 4.1.

        >>> import theorylab as tl
        >>> tl.games.claims.seg_rr.contraction(step_size=0.0625, n=4, mu=2.0)
        0.75
    """
    known = _known(game, UNSTATED, n=n, mu=mu)
    _check(step_size)
    decrease = step_size * known["n"] * known["mu"] / 2
    if decrease >= 1:
        raise ValueError(
            f"step_size = {step_size} is not below 2/(n mu) = {step_size / decrease:.3g}: the bound contracts nothing "
            "there; take it up to `claims.rr_richardson_vip.step_size_cap`"
        )
    return float(1 - decrease)


def monotone_constant(
    game: Any = None,
    *,
    step_size: float,
    n: int | None = None,
    lipschitz_max: float | None = None,
    lipschitz: float | None = None,
    variance_growth: float | None = None,
) -> float:
    r"""Compute the constant G in the rate of reshuffled extragradient on monotone games.

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
        >>> tl.games.claims.seg_rr.monotone_constant(step_size=0.5, **numbers)  # C = 244/4, and 7/4 beside it
        371.5
    """
    known = _known(
        game, UNSTATED, n=n, lipschitz_max=lipschitz_max, lipschitz=lipschitz, variance_growth=variance_growth
    )
    _check(step_size)
    components, growth, square = known["n"], known["variance_growth"], known["lipschitz"] ** 2
    inner = (50 + 2 * components) * growth + 2 * (10 * components**2 + 50 * components + 2) * square
    c = step_size**2 * (inner + 4 * (growth + 2 * square))
    epoch = (step_size * components) ** 2 * (2 * square + 8 * (step_size * square) ** 2 + 3)
    return float(2 * (1 + epoch + 3 * c * known["lipschitz_max"] ** 2))


def _check(step_size):
    if not 0 < step_size < np.inf:
        raise ValueError(f"step_size = {step_size} must be positive and finite")

"""What theory states of scaled subgradient steps, reconstructed: the constants of the paper were not at hand."""

import numpy as np


def contraction(chi: float | int) -> float:
    r"""State the factor by which a Polyak step shrinks the distance to the truth: $\sqrt{1 - 0.12/\chi^2}$.

    **Arguments**: `chi` >= 1, the quotient of the restricted constants.

    **Returns** a float below one.

    **Raises** `ValueError` for chi < 1.

    **Source**: reconstructed from the case of damping 0 at the true rank, Tong, Ma, Chi (2021), arXiv 2010.13364; the
    constants of Giampouras, Cai, Vidal (2025), arXiv 2410.16826, were not at hand.

        >>> import theorylab as tl
        >>> round(tl.lowrank.claims.opsa_robust_recovery.contraction(1.0), 4)
        0.9381
    """
    _check(chi)
    return float(np.sqrt(1 - 0.12 / chi**2))


def radius(chi: float | int, smallest: float | int) -> float:
    r"""State the distance from the truth within which `contraction` holds: $0.02\,\sigma_r/\chi$.

    **Arguments**: `chi` >= 1; `smallest` $\sigma_r > 0$, the smallest non-zero singular value of the truth.

    **Returns** a float, in the unit of `smallest`.

    **Raises** `ValueError` for chi < 1 or a singular value that is not positive.

    **Source**: reconstructed, as for `contraction`.

        >>> import theorylab as tl
        >>> tl.lowrank.claims.opsa_robust_recovery.radius(2.0, 1.0)
        0.01
    """
    _check(chi)
    if not smallest > 0:
        raise ValueError(f"smallest = {smallest} must be positive: the smallest non-zero singular value")
    return float(0.02 * smallest / chi)


def _check(chi):
    if not chi >= 1:
        raise ValueError(f"chi = {chi} must be at least 1: the quotient of an upper and a lower constant")

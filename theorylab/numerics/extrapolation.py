"""Richardson extrapolation: a limit from its values at several step sizes."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float


def richardson_weights(multipliers: Sequence[int | float]) -> Float[np.ndarray, " p"]:
    r"""Weights that cancel the first p - 1 powers of the step: $\sum_j w_j = 1$, $\sum_j w_j m_j^q = 0$, $0 < q < p$.

    They are the Lagrange polynomials of the nodes $m_j$ at zero, $w_j = \prod_{i \ne j} \frac{m_i}{m_i - m_j}$, in
    exact rational arithmetic: one rounding each.

    **Arguments**: `multipliers` (p,), p >= 1, positive, finite and different from one another, dimensionless.

    **Returns** (p,), float64.

    **Raises** `ValueError` for multipliers that are none, not positive and finite, or equal.

    **Source**: Richardson (1911), for powers 1, 2, ...; checked against the defining equations.

        >>> import theorylab as tl
        >>> tl.numerics.richardson_weights([1, 2]).tolist(), (3 * tl.numerics.richardson_weights([1, 2, 4])).tolist()
        ([2.0, -1.0], [8.0, -6.0, 1.0])
    """
    given = np.asarray(multipliers, float)
    if given.ndim != 1 or not given.size or not np.all(np.isfinite(given) & (given > 0)):
        raise ValueError(f"multipliers = {multipliers} must be positive, finite numbers, such as (1, 2)")
    if len(set(given.tolist())) < len(given):
        raise ValueError(f"multipliers = {multipliers} holds a number twice: all must differ, as in (1, 2, 4)")
    nodes = [Fraction(m) for m in given.tolist()]
    weights = []
    for j, node in enumerate(nodes):
        weight = Fraction(1)
        for other in nodes[:j] + nodes[j + 1 :]:
            weight *= other / (other - node)
        weights.append(float(weight))
    return np.asarray(weights)

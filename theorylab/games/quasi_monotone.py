"""Games that are not monotone and yet pull towards their solution: the weakly quasi-monotone class, by example."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..numerics.checked import Key
from .finite_sum import FiniteSum
from .generators import bilinear_game, quadratic_game

LEAST_SINC = -0.21723362821122166
"""The least value of sin(z) / z, at z = 4.4934."""


class QuasiMonotoneGame(FiniteSum):
    r"""A finite sum whose mean satisfies $\langle F(x), x - x^\star\rangle \ge \mu |x - x^\star|^2 - \lambda$.

    **Arguments**: `game`, a `FiniteSum` with its solution; `mu` > 0, (); `weakness` $\lambda \ge 0$, (): 0 for
    quasi-strong monotonicity.

    **Source**: the class of the theorems of Emmanouilidis, Vidal, Loizou and co-authors (2026), ICLR.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> pull = tl.games.FiniteSum(lambda i, x: x + jnp.sin(4 * x), 1, solution=jnp.asarray(0.0))
        >>> game = tl.games.QuasiMonotoneGame(pull, mu=0.5, weakness=0.5)
        >>> float(game.mu), float(game.weakness)
        (0.5, 0.5)
    """

    mu: Float[Array, "*lanes"]
    weakness: Float[Array, "*lanes"]

    def __init__(self, game: FiniteSum, *, mu: float | Array, weakness: float | Array):
        super().__init__(game.function, game.n, data=game.data, solution=game.solution, start=game.start)
        self.mu, self.weakness = jnp.asarray(mu), jnp.asarray(weakness)


def quasi_monotone_game(
    key: Key,
    *,
    components: int,
    dim: int,
    mu: float | Float[Array, ""],
    lipschitz: float | Float[Array, ""],
    ripple: float | Float[Array, ""],
    frequency: float | Float[Array, ""],
) -> QuasiMonotoneGame:
    r"""Draw a quadratic game under ripples, which make it not monotone and only weakly quasi-strongly monotone.

    $F_i(x) = A_i x + b_i + r \sin(\omega x)$, the sine entry by entry, with the solution $x^\star = 0$. The $A_i$ are
    those of `quadratic_game` with curvature from $2\mu$ to `lipschitz`, and $\sum_i b_i = 0$. With d = 2 dim, $\langle
    F(x), x\rangle \ge 2\mu|x|^2 + r\sum_k x_k \sin\omega x_k \ge \mu |x|^2 - \lambda$, where $\lambda = d r^2 / (4\mu)$
    from $r|x_k| \le \mu x_k^2 + r^2/(4\mu)$, and $\lambda = 0$ where $0.2172\, r\omega \le \mu$, since $\sin(z)/z \ge
    -0.2172$. At $x = (\pi/\omega, \dots)$ the ripple's slope is $-r\omega$ in every direction: F is not monotone when
    $r\omega$ exceeds the least eigenvalue of the players' mean blocks, for certain when it exceeds `lipschitz`. F is
    Lipschitz with the constant `lipschitz` $+ 1 + r\omega$.

    **Arguments**: `key`; `components` n >= 1; `dim` of each player, so that x has d = 2 dim; `mu` > 0 with 2 mu <=
    `lipschitz`; `ripple` r >= 0; `frequency` $\omega > 0$, in radians for each unit of x.

    **Returns** a `QuasiMonotoneGame` with offsets of standard deviation about 1, in JAX's default precision.

    **Raises** `ValueError` when one of them is out of range.

    **Source**: derived here, for the class of Emmanouilidis, Vidal, Loizou and co-authors (2026), ICLR; the inequality
    is checked at random points.

        >>> import jax, theorylab as tl
        >>> game = tl.games.quasi_monotone_game(
        ...     jax.random.key(0), components=4, dim=2, mu=0.5, lipschitz=2.0, ripple=1.0, frequency=8.0)
        >>> game.solution.tolist(), float(game.weakness)
        ([0.0, 0.0, 0.0, 0.0], 2.0)
    """
    _check(mu=mu, frequency=frequency)
    if not isinstance(ripple, Tracer) and not 0 <= ripple < float("inf"):
        raise ValueError(f"ripple = {ripple} must be finite and >= 0")
    if not any(isinstance(value, Tracer) for value in (mu, lipschitz)) and 2 * mu > lipschitz:
        raise ValueError(f"mu = {mu} must be at most half of lipschitz = {lipschitz}: the curvature begins at 2 mu")
    linear = quadratic_game(key, components=components, dim=dim, mu=2 * mu, lipschitz=lipschitz)
    weakness = jnp.where(
        -LEAST_SINC * jnp.asarray(ripple * frequency) <= mu, 0.0, linear.d * jnp.asarray(ripple**2 / (4 * mu))
    )
    data = _data(linear, ripple=ripple, frequency=frequency)
    game = FiniteSum(_rippled, components, data=data, solution=jnp.zeros_like(linear.solution))
    return QuasiMonotoneGame(game, mu=mu, weakness=weakness)


def quasi_strongly_monotone_game(
    key: Key,
    *,
    components: int,
    dim: int,
    mu: float | Float[Array, ""],
    lipschitz: float | Float[Array, ""],
    ripple: float | Float[Array, ""],
    frequency: float | Float[Array, ""],
) -> QuasiMonotoneGame:
    r"""Draw a bilinear game with a pull of wavering strength: quasi-strongly monotone ($\lambda = 0$), not monotone.

    $F_i(x) = \frac{\mu}{1 - a}\big(1 + a \cos(\omega \log(1 + |x|^2))\big) x + K_i x + b_i$, with the solution
    $x^\star = 0$, the skew $K_i$ of `bilinear_game` (singular values $\mu$ to `lipschitz`), $\sum_i b_i = 0$. Exactly,
    $\langle F(x), x\rangle = \frac{\mu}{1 - a}(1 + a\cos\theta)|x|^2 \ge \mu |x|^2$ with $\theta = \omega \log(1 +
    |x|^2)$. Along a ray, at |x| = r, the pull's slope is $\frac{\mu}{1 - a}(1 + a \cos\theta - 2 a\omega \frac{r^2}{1 +
    r^2} \sin\theta)$: it has negative values, and F is not monotone, when $a\sqrt{1 + 4\omega^2} > 1$. The slope is
    bounded, and F Lipschitz.

    **Arguments**: `key`; `components` n >= 1; `dim` of each player, so that x has d = 2 dim; 0 < `mu` <= `lipschitz`;
    `ripple` a, 0 <= a < 1; `frequency` $\omega > 0$, radians for each unit of $\log(1 + |x|^2)$.

    **Returns** a `QuasiMonotoneGame` with `weakness` 0 and offsets of standard deviation about 1, in JAX's default
    precision.

    **Raises** `ValueError` when one of them is out of range.

    **Source**: derived here, for the class of Emmanouilidis, Vidal, Loizou and co-authors (2026), ICLR; the inequality
    is checked at random points.

        >>> import jax, theorylab as tl
        >>> game = tl.games.quasi_strongly_monotone_game(
        ...     jax.random.key(0), components=4, dim=2, mu=0.5, lipschitz=2.0, ripple=0.5, frequency=3.0)
        >>> game.solution.tolist(), float(game.weakness)
        ([0.0, 0.0, 0.0, 0.0], 0.0)
    """
    _check(mu=mu, frequency=frequency)
    if not isinstance(ripple, Tracer) and not 0 <= ripple < 1:
        raise ValueError(f"ripple = {ripple} must be >= 0 and below 1, or the pull changes its sign")
    linear = bilinear_game(key, components=components, dim=dim, mu=mu, lipschitz=lipschitz)
    data = _data(linear, ripple=ripple, frequency=frequency, strength=mu / (1 - ripple))
    data["offsets"] = components * data["offsets"]  # the bilinear game's are N(0, 1/n^2)
    game = FiniteSum(_wavering, components, data=data, solution=jnp.zeros_like(linear.solution))
    return QuasiMonotoneGame(game, mu=mu, weakness=0.0)


def _rippled(i, x, data):
    return data["matrices"][i] @ x + data["offsets"][i] + data["ripple"] * jnp.sin(data["frequency"] * x)


def _wavering(i, x, data):
    wave = jnp.cos(data["frequency"] * jnp.log1p(x @ x))
    pull = data["strength"] * (1 + data["ripple"] * wave)
    return pull * x + data["matrices"][i] @ x + data["offsets"][i]


def _data(linear, **numbers: Any) -> dict[str, Array]:
    offsets = linear.offsets - jnp.mean(linear.offsets, axis=0, keepdims=True)
    numbers = {name: jnp.asarray(value, offsets.dtype) for name, value in numbers.items()}
    return {"matrices": linear.matrices, "offsets": offsets} | numbers


def _check(**numbers):
    for name, value in numbers.items():
        if not isinstance(value, Tracer) and not 0 < value < np.inf:
            raise ValueError(f"{name} = {value} must be positive and finite")

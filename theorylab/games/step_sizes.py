"""Step sizes of the theorems, (step_size, extrapolation_step), from a game or from its constants."""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from .affine import AffineGame
from .schedules import Power

NO_STEP = "this rule has no step without it (games with lambda_min > 0 have `affine`, monotone ones `monotone`)"


class Constants(NamedTuple):
    r"""The constants that the theorems ask of a game.

    `n` components; `mu`, the least eigenvalue of the symmetric part of the mean matrix (0 when rounding cannot tell
    it from 0); `lambda_min`, the least singular value of that matrix; `lipschitz`, the largest; `lipschitz_max` $=
    \max_i L_i$; `variance_growth` $= \frac2n \sum_i L_i^2$; `variance` $\sigma_\star^2 = \frac1n \sum_i
    |F_i(x^\star)|^2$.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, assumptions; see `constants`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[0.0, 2.0], [-2.0, 0.0]]]), jnp.zeros((1, 2)))
        >>> found = tl.games.step_sizes.constants(game)
        >>> found.mu, found.lambda_min, found.lipschitz
        (0.0, 2.0, 2.0)
    """

    n: int
    mu: float
    lambda_min: float
    lipschitz: float
    lipschitz_max: float
    variance_growth: float
    variance: float


def constants(game: Any) -> Constants:
    """Compute the constants of an affine game, exactly, in float64 on the host.

    **Arguments**: `game`, an `AffineGame` of concrete arrays.

    **Returns** its `Constants`.

    **Raises** `ValueError` for a game of another kind.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, assumptions; the variance growth is the one that
    always holds, (1/n) sum |F_i(x) - F(x)|^2 <= variance_growth |x - x*|^2 + 2 variance.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[3.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> found = tl.games.step_sizes.constants(game)
        >>> found.mu, found.lipschitz_max, found.variance_growth, found.variance
        (2.0, 3.0, 10.0, 1.0)
    """
    if not isinstance(game, AffineGame):
        raise ValueError(
            f"game is a {type(game).__name__}, whose constants are not known: pass an AffineGame, or the numbers "
            "(n=, mu=, ...)"
        )
    matrices, offsets = np.asarray(game.matrices, float), np.asarray(game.offsets, float)
    mean = matrices.mean(axis=0)
    singular = np.linalg.svd(mean, compute_uv=False)
    curvature = np.linalg.eigvalsh((mean + mean.T) / 2)[0]
    rounding = game.d * float(np.finfo(game.matrices.dtype).eps) * singular[0]
    each = np.linalg.norm(matrices, 2, axis=(1, 2))
    at_solution = matrices @ np.asarray(game.solution, float) + offsets
    return Constants(
        n=game.n,
        mu=0.0 if abs(curvature) <= rounding else float(curvature),
        lambda_min=float(singular[-1]),
        lipschitz=float(singular[0]),
        lipschitz_max=float(each.max()),
        variance_growth=float(2 * np.mean(each**2)),
        variance=float(np.mean(np.sum(at_solution**2, axis=1))),
    )


def strongly_monotone(
    game: Any = None, *, n: int | None = None, mu: float | None = None, lipschitz_max: float | None = None
) -> tuple[float, float]:
    r"""Compute the rule for strongly monotone games.

    $\gamma_1 = \mu / (10 L_{\max}^2 \sqrt{10 n^2 + 2n + 54})$ and $\gamma_2 = 2\gamma_1$.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `mu` > 0 and `lipschitz_max` > 0.

    **Returns** (step_size, extrapolation_step).

    **Raises** `ValueError` for both a game and numbers, for neither, and for mu <= 0.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, strongly monotone theorem, as its code has it.

        >>> import theorylab as tl
        >>> step_size, extrapolation_step = tl.games.step_sizes.strongly_monotone(n=1, mu=1.0, lipschitz_max=1.0)
        >>> round(step_size, 6), round(extrapolation_step, 6)
        (0.012309, 0.024618)
    """
    given = _known(game, NO_STEP, n=n, mu=mu, lipschitz_max=lipschitz_max)
    components, curvature = given["n"], given["mu"]
    step_size = curvature / (10 * given["lipschitz_max"] ** 2 * np.sqrt(10 * components**2 + 2 * components + 54))
    return float(step_size), float(2 * step_size)


def affine(
    game: Any = None,
    *,
    version: Literal["main", "figure1"] = "main",
    n: int | None = None,
    lambda_min: float | None = None,
    mu: float | None = None,
    lipschitz_max: float | None = None,
    lipschitz: float | None = None,
    variance_growth: float | None = None,
) -> tuple[float, float]:
    r"""Compute the rules for affine games, bilinear ones included; $\gamma_2 = 4\gamma_1$ in both versions.

    `"main"`: $\gamma_1 = \lambda_{\min} / (2\sqrt{120}\, n L_{\max}^2)$. `"figure1"`: with $L$ the mean's Lipschitz
    constant, $A$ the variance growth and $\Omega = \frac{L_{\max}}{n\mu}\big[2\,(p + \tfrac52 (n-1)(2n-1)) L^2 +
    A\,p\big]$, $p = 24n^2 - 23n + 1$, $\gamma_1 = \min\{\frac{\mu}{4L_{\max}^2}, \frac{1}{3\sqrt{2n(n-1)} L_{\max}},
    \frac{\sqrt{L_{\max}^4 + n\mu\Omega/4} - L_{\max}^2}{\Omega}\}$ (one component: without the middle entry). The
    curvature is lambda_min in both: what the second calls mu is zero on a bilinear game. `mu=` is another name for
    it, for those who know the strong monotonicity constant.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 1, `lambda_min` (or `mu`) > 0 and `lipschitz_max` >
    0, and for `"figure1"` `lipschitz` > 0 and `variance_growth` > 0 too; `version`.

    **Returns** (step_size, extrapolation_step).

    **Raises** `ValueError` for both a game and numbers, for neither, for a number that the
    version does not use, and for one that is not positive.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, affine theorem and figure 1, as its code has
    them.

        >>> import theorylab as tl
        >>> step_size, extrapolation_step = tl.games.step_sizes.affine(n=10, lambda_min=1.0, lipschitz_max=2.0)
        >>> round(step_size, 6), round(extrapolation_step, 6)
        (0.001141, 0.004564)
    """
    if lambda_min is not None and mu is not None:
        raise ValueError("lambda_min and mu are two names of one curvature: pass one of them")
    numbers: dict[str, Any] = {"n": n, "lambda_min": mu if lambda_min is None else lambda_min}
    numbers["lipschitz_max"] = lipschitz_max
    extra = {"lipschitz": lipschitz, "variance_growth": variance_growth}
    if version == "main":
        for name in (name for name, value in extra.items() if value is not None):
            raise ValueError(f"{name} is not used by version='main': leave it out, or take version='figure1'")
        given = _known(game, NO_STEP, **numbers)
        step_size = given["lambda_min"] / (2 * np.sqrt(120) * given["n"] * given["lipschitz_max"] ** 2)
    else:
        step_size = _figure1(**_known(game, NO_STEP, **numbers, **extra))
    return float(step_size), float(4 * step_size)


def monotone(game: Any = None, *, n: int | None = None, lipschitz_max: float | None = None) -> tuple[float, float]:
    r"""Compute the rule for monotone games: $\gamma_1 = 1 / (3\sqrt{2n(n-1)}\, L_{\max})$, $\gamma_2 = 2\gamma_1$.

    **Arguments**: `game`, an `AffineGame`, or the numbers `n` >= 2 and `lipschitz_max` > 0.

    **Returns** (step_size, extrapolation_step).

    **Raises** `ValueError` for n < 2, for both a game and numbers, and for neither.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, monotone theorem, as its code has it.

        >>> import theorylab as tl
        >>> step_size, extrapolation_step = tl.games.step_sizes.monotone(n=9, lipschitz_max=1.0)
        >>> round(1 / step_size, 9), round(1 / extrapolation_step, 9)
        (36.0, 18.0)
    """
    given = _known(game, NO_STEP, n=n, lipschitz_max=lipschitz_max)
    if given["n"] < 2:
        raise ValueError(
            f"n = {given['n']}: the monotone rule divides by n - 1 and needs n >= 2 components; with one component "
            "there is no noise, and any deterministic extragradient step below 1/lipschitz_max does"
        )
    step_size = 1 / (3 * np.sqrt(2 * given["n"] * (given["n"] - 1)) * given["lipschitz_max"])
    return float(step_size), float(2 * step_size)


def _figure1(n, lambda_min, lipschitz_max, lipschitz, variance_growth):
    p = 24 * n**2 - 23 * n + 1
    bracket = 2 * (p + 2.5 * (n - 1) * (2 * n - 1)) * lipschitz**2 + variance_growth * p
    omega = lipschitz_max / (n * lambda_min) * bracket
    # (sqrt(a^2 + c) - a) / omega, without the difference of nearly equal numbers
    c = n * lambda_min * omega / 4
    last = c / (np.sqrt(lipschitz_max**4 + c) + lipschitz_max**2) / omega
    middle = 1 / (3 * np.sqrt(2 * n * (n - 1)) * lipschitz_max) if n > 1 else np.inf
    return min(lambda_min / (4 * lipschitz_max**2), middle, last)


def decreasing(*, ratio: float) -> tuple[Power, Power]:
    r"""Make the decreasing rule $\gamma_1 = 1/(t+1)$, $\gamma_2 = \text{ratio} \cdot \gamma_1$, after t updates.

    **Arguments**: `ratio`, 2 for strongly monotone games and 4 for bilinear ones.

    **Returns** (step_size, extrapolation_step), two schedules.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, experiments.

        >>> import theorylab as tl
        >>> step_size, extrapolation_step = tl.games.step_sizes.decreasing(ratio=2.0)
        >>> float(step_size(3)), float(extrapolation_step(3))
        (0.25, 0.5)
    """
    return Power(1.0), Power(ratio)


def double(*, update: float | Float[Array, ""], extrapolation: float | Float[Array, ""]) -> tuple[Power, Power]:
    r"""Make the double rule: the look-ahead's step falls more slowly than the update's.

    $\gamma_1 = (t+19)^{-r}$ and $\gamma_2 = (t+19)^{-q}/10$, in the number t of updates.

    **Arguments**: `update` r and `extrapolation` q, in the paper's experiments (0.7, 0.7), (0.5, 0) and (0.7, 0.2).

    **Returns** (step_size, extrapolation_step), two schedules.

    **Source**: Hsieh, Iutzeler, Malick, Mertikopoulos (2020), arXiv 2003.10162, with the exponents of Emmanouilidis,
    Vidal, Loizou (2024), arXiv 2403.07148.

        >>> import theorylab as tl
        >>> step_size, extrapolation_step = tl.games.step_sizes.double(update=0.5, extrapolation=0.0)
        >>> round(float(step_size(6)), 6), round(float(extrapolation_step(6)), 6)
        (0.2, 0.1)
    """
    return Power(1.0, update, 19.0), Power(0.1, extrapolation, 19.0)


def _known(game: Any, why: str, **numbers: Any) -> dict[str, Any]:
    """The constants of a game by name, or the same as numbers, checked; `why` tells of one that is out of range."""
    given = [name for name, value in numbers.items() if value is not None]
    names = ", ".join(f"{name}=" for name in numbers)
    if game is not None and given:
        raise ValueError(f"both a game and {', '.join(given)} were given: pass the game, or the numbers ({names})")
    values: dict[str, Any] = dict(numbers)
    if game is not None:
        exact = constants(game)._asdict()
        values = {name: exact[name] for name in numbers}
    elif len(given) < len(numbers):
        missing = ", ".join(name for name in numbers if name not in given)
        raise ValueError(f"{missing} missing: pass a game, or all the numbers ({names})")
    for name, value in values.items():
        least = "not negative" if name == "variance" else "positive"
        if not (0 < value < np.inf or (value == 0 and name == "variance")):
            raise ValueError(f"{name} = {value} must be {least} and finite: {why}")
    if values.get("n", 1) != int(values.get("n", 1)):
        raise ValueError(f"n = {values['n']} must be a whole number of components")
    return values

"""The forward process, and the four things that a denoiser may predict."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from .schedules import Schedule, check_levels

PARAMETRISATIONS = ("epsilon", "x0", "v", "score")


def diffuse(
    x0: Float[Array, "..."], t: int | Integer[Array, "..."], noise: Float[Array, "..."], schedule: Schedule
) -> Float[Array, "..."]:
    r"""Noise clean points to given levels: $x_t = \sqrt{\bar\alpha_t}\, x_0 + c_t\, \varepsilon$.

    **Arguments**: `x0`, (batch, ...), or one point with a scalar t; `t`, integers (batch,), each in 0..T - 1; `noise`,
    of the shape of `x0`; `schedule`, a `Schedule`.

    **Returns** an array of the shape of `x0`.

    **Raises** `ValueError` for a level out of range, for shapes that do not fit, and for integers as points.

    **Source**: Ho, Jain, Abbeel (2020), arXiv 2006.11239, equation 4.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.64, 0.25])
        >>> x0, noise = jnp.ones((2, 3)), jnp.zeros((2, 3))
        >>> tl.diffusion.diffuse(x0, jnp.asarray([0, 1]), noise, schedule)[:, 0].round(3).tolist()
        [0.8, 0.4]
    """
    t = jnp.asarray(t)
    if noise.shape != x0.shape:
        raise ValueError(f"noise has the shape {noise.shape} and x0 the shape {x0.shape}: pass one draw for each entry")
    if x0.shape[: t.ndim] != t.shape:
        raise ValueError(f"t has the shape {t.shape} and x0 the shape {x0.shape}: pass one level for each point")
    check_levels(t, schedule)
    r, c = _roots(x0, t, schedule)
    return r * x0 + c * noise


def convert(
    prediction: Float[Array, "..."],
    x: Float[Array, "..."],
    t: int | Integer[Array, "..."],
    schedule: Schedule,
    *,
    source: str,
    target: str = "epsilon",
) -> Float[Array, "..."]:
    r"""Convert a prediction from one parametrisation to another.

    At a noised point x every parametrisation is linear in the pair $(x_0, \varepsilon)$, of which x itself gives one
    equation, $x = \sqrt{\bar\alpha}\, x_0 + c\, \varepsilon$, and the prediction the other: `"epsilon"` and `"x0"`
    are the pair's own entries, `"v"` is $\sqrt{\bar\alpha}\, \varepsilon - c\, x_0$, and `"score"`
    $-\varepsilon / c$, the gradient of the log-density of the noised points where the prediction is exact.

    **Arguments**: `prediction` and the noised points `x`, (batch, ...), or one point with a scalar t; `t`, integers
    (batch,); `schedule`; `source` and `target`, names of parametrisations.

    **Returns** an array of the shape of `x`.

    **Raises** `ValueError` for another name, for a level out of range and for shapes that do not fit.

    **Source**: Salimans, Ho (2022), arXiv 2202.00512, appendix D, for v; derived here as one formula, Cramer's rule,
    whose terms never cancel.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.64])
        >>> x0, noise = jnp.asarray([2.0]), jnp.asarray([5.0])
        >>> x = tl.diffusion.diffuse(x0, 0, noise, schedule)
        >>> tl.diffusion.convert(noise, x, 0, schedule, source="epsilon", target="x0").round(3).tolist()
        [2.0]
    """
    t = jnp.asarray(t)
    check_parametrisation("source", source)
    check_parametrisation("target", target)
    if prediction.shape != x.shape or x.shape[: t.ndim] != t.shape:
        raise ValueError(
            f"the prediction has the shape {prediction.shape}, x {x.shape} and t {t.shape}: pass predictions of the "
            "shape of x, and one level for each point"
        )
    check_levels(t, schedule)
    if source == target:
        return prediction
    r, c = _roots(x, t, schedule)
    given, wanted, point = _row(source, r, c), _row(target, r, c), (r, c)
    scale = 1 / _determinant(given, point)
    return _determinant(wanted, point) * scale * prediction + _determinant(given, wanted) * scale * x


def reparametrise(
    model: Callable[..., Any], schedule: Schedule, *, source: str, target: str = "epsilon"
) -> Callable[..., Any]:
    """Wrap a model of one parametrisation as a model `(x, t)` of another.

    **Arguments**: `model`, any callable of one point x and its level t; `schedule`; `source`, what it predicts;
    `target`, what the result predicts; both as in `convert`.

    **Returns** a callable `(x, t)`.

    **Raises** `ValueError` for another name.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.64])
        >>> score = tl.diffusion.reparametrise(lambda x, t: 0.6 * x, schedule, source="epsilon", target="score")
        >>> score(jnp.asarray([2.0]), 0).round(3).tolist()
        [-2.0]
    """
    check_parametrisation("source", source)
    check_parametrisation("target", target)
    return lambda x, t: convert(model(x, t), x, t, schedule, source=source, target=target)


def check_parametrisation(argument: str, name: str) -> None:
    """An error where a name is none of the four."""
    if name not in PARAMETRISATIONS:
        raise ValueError(f"{argument} = {name!r} is not one of {', '.join(map(repr, PARAMETRISATIONS))}")


def _roots(x, t, schedule):
    """The roots of alpha-bar and of 1 - alpha-bar at the levels t, in x's dtype and with its axes."""
    axes = tuple(range(t.ndim, x.ndim))
    return tuple(jnp.expand_dims(root[t], axes).astype(x.dtype) for root in (schedule.signal_root, schedule.noise_root))


def _row(name, r, c):
    """The coefficients of (x0, epsilon) in one parametrisation."""
    zero, one = jnp.zeros_like(r), jnp.ones_like(r)
    return {"epsilon": (zero, one), "x0": (one, zero), "v": (-c, r), "score": (zero, -1 / c)}[name]


def _determinant(first, second):
    return first[0] * second[1] - first[1] * second[0]

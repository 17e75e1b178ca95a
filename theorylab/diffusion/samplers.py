"""Samplers: from noise to data by any model of the noise, in steps of the chain, along its flow, or with fresh noise.

All of them start from points `start` (batch, ...) at the last level, usually `jax.random.normal(key, shape)`, and run
point by point under `vmap`: every point draws from a key of its own, so that its sample depends neither on the batch
nor on how it is dealt out to devices. They are traced at every call, since a model may have trained in place, and
compiled at the first: where the tracing counts, put them under `jax.jit`, with the model as an argument.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, ScalarLike

from ..engine.program import call
from ..numerics.checked import Key
from ..numerics.draws import normal
from .blocks import program
from .counter import working_dtype
from .process import check_parametrisation, convert
from .schedules import Schedule

Samples = Float[Array, "..."]


def sample_ancestral(
    model: Callable[..., Any],
    schedule: Schedule,
    start: Float[Array, "batch ..."],
    key: Key,
    *,
    parametrisation: str = "epsilon",
    trajectory: bool = False,
) -> Samples:
    r"""Sample by the reverse chain of DDPM, level by level.

    $x_{t-1} \sim N(a_t \hat x_0 + b_t x_t, \tilde\beta_t)$, with the mean and variance of $x_{t-1}$ given $x_t$ and
    $x_0$, and the model's $\hat x_0(x_t, t)$ in the place of $x_0$; the last step, from level 0, gives $\hat x_0$
    itself.

    **Arguments**: `model`, a callable `(x, t)` of one point and its level, an int32 (); `schedule`; `start`, points at
    the last level (batch, ...), floating, where standard normal ones belong; `key`, a key or a seed;
    `parametrisation`, what the model predicts, as in `denoising_loss`; `trajectory`, whether to return the whole path.

    **Returns** samples of the shape and dtype of `start`; as a path (T + 1, batch, ...), from the start to the samples.

    **Raises** `ValueError` for a start that is no batch of points, and for a model whose result has not the shape of
    its point.

    **Source**: Ho, Jain, Abbeel (2020), arXiv 2006.11239, algorithm 2 with the variance of the posterior.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.8, 50)
        >>> model = tl.diffusion.bayes_denoiser(tl.diffusion.GaussianMixture([[3.0]], 0.01, [1.0]), schedule)
        >>> start = jax.random.normal(jax.random.key(0), (100, 1))
        >>> x0 = tl.diffusion.sample_ancestral(model, schedule, start, jax.random.key(1))
        >>> x0.shape, bool(abs(x0.mean() - 3) < 0.1), bool(x0.std() < 0.2)
        ((100, 1), True, True)
    """
    return sample_ddim(model, schedule, start, key, eta=1.0, parametrisation=parametrisation, trajectory=trajectory)


def sample_ddim(
    model: Callable[..., Any],
    schedule: Schedule,
    start: Float[Array, "batch ..."],
    key: Key | None = None,
    *,
    eta: ScalarLike = 0.0,
    steps: int | None = None,
    parametrisation: str = "epsilon",
    trajectory: bool = False,
) -> Samples:
    r"""Sample by DDIM, with as much noise as is wished and by as many levels.

    From level t to an earlier one s, $x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{c_s^2 - \sigma^2}\, \hat\varepsilon
    + \sigma z$ with $\sigma^2 = \eta^2 (1 - \bar\alpha_t/\bar\alpha_s)\, c_s^2/c_t^2$: without noise at $\eta = 0$,
    and the ancestral chain at $\eta = 1$. The last step goes to $\bar\alpha = 1$, the data.

    **Arguments**: `model`, `schedule`, `start`, `parametrisation` and `trajectory` as in `sample_ancestral`; `key`, a
    typed key (), which $\eta = 0$ does not need; `eta` in [0, 1], (); `steps` S, how many levels are visited, equally
    spaced and the last one of the schedule among them, all T by default.

    **Returns** samples of the shape and dtype of `start`; as a path (S + 1, batch, ...), from the start to the samples.

    **Raises** `ValueError` for an eta outside of [0, 1] or without a key, for steps outside of 1..T, and as
    `sample_ancestral` does.

    **Source**: Song, Meng, Ermon (2021), arXiv 2010.02502, equations 12 and 16; in one coefficient of x and one of the
    prediction, whose differences are written so that they do not cancel, derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.64])
        >>> tl.diffusion.sample_ddim(lambda x, t: 0 * x, schedule, jnp.asarray([[0.8]])).round(3).tolist()
        [[1.0]]
    """
    silent = not isinstance(eta, Tracer) and np.asarray(eta) == 0
    if not isinstance(eta, Tracer) and not 0 <= np.asarray(eta) <= 1:
        raise ValueError(f"eta = {eta} must lie in [0, 1]: 0 draws no noise, 1 as much as the ancestral chain")
    if key is None and not silent:
        raise ValueError(f"eta = {eta} draws noise at every step: pass a key, or eta=0")
    predict, x = _prepare(model, schedule, start, parametrisation)
    levels = _levels(schedule.levels, steps)
    signal, other, spread = (value.astype(x.dtype) for value in _ddim_coefficients(schedule, levels, eta))

    def sample(x, key):
        def step(x, now):
            t, signal, other, spread = now
            x = signal * x + other * predict(x, t)
            if not silent:
                x = x + spread * normal(jax.random.fold_in(key, t), x.shape, x.dtype)
            return x, x if trajectory else None

        last, path = lax.scan(step, x, (jnp.asarray(levels), signal, other, spread))
        return _path(x, path) if trajectory else last

    return _over_batch(sample, x, None if silent else key, start.dtype, trajectory)


def sample_flow(
    model: Callable[..., Any],
    schedule: Schedule,
    start: Float[Array, "batch ..."],
    *,
    steps: int = 50,
    solver: Any = None,
    parametrisation: str = "epsilon",
    trajectory: bool = False,
) -> Samples:
    r"""Sample along the probability-flow ODE, whose law at each level is that of the noised data.

    With the noise-to-signal ratio $\sigma = c/\sqrt{\bar\alpha}$ and $y = x/\sqrt{\bar\alpha}$ it reads
    $dy/d\sigma = \hat\varepsilon$, and is solved in steps of equal length in $\log\sigma$, from the last level to
    level 0, whence the step of DDIM leads to the data. It is the limit of DDIM as its levels grow dense.

    Between two levels the prediction is that of both at the same point $x = y/\sqrt{1 + \sigma^2}$, interpolated
    linearly in $\operatorname{arsinh}\sigma$: a model is asked at levels of the schedule alone, with points of the size
    that it knows, twice for every evaluation of the field. What this changes falls nearly as $1/T^2$.

    **Arguments**: `model`, `schedule`, `start`, `parametrisation` and `trajectory` as in `sample_ancestral`; `steps` N;
    `solver`, of Diffrax, for equations without noise, by default `diffrax.Heun()`, of order two.

    **Returns** samples of the shape and dtype of `start`; as a path (N + 2, batch, ...): the start, N steps, and the
    samples.

    **Raises** `ValueError` for steps below 1, and as `sample_ancestral` does.

    **Source**: Song et al. (2021), arXiv 2011.13456, equation 13, in the variables of Song, Meng, Ermon (2021), arXiv
    2010.02502, equation 14; the interpolation is derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.8, 50)
        >>> model = tl.diffusion.bayes_denoiser(tl.diffusion.GaussianMixture([[3.0]], 0.01, [1.0]), schedule)
        >>> x0 = tl.diffusion.sample_flow(model, schedule, jnp.asarray([[0.0], [1.0]]), steps=20)
        >>> x0.round(1).tolist()
        [[3.0], [3.1]]
    """
    predict, x = _prepare(model, schedule, start, parametrisation)
    walk = partial(_walk, predict, schedule, _count(steps), solver, trajectory)
    return _over_batch(walk, x, None, start.dtype, trajectory)


def sample_sde(
    model: Callable[..., Any],
    schedule: Schedule,
    start: Float[Array, "batch ..."],
    key: Key,
    *,
    steps: int = 50,
    solver: Any = None,
    parametrisation: str = "epsilon",
    trajectory: bool = False,
) -> Samples:
    r"""Sample along the reverse SDE, of which the ancestral chain is a discretisation.

    In the variables of `sample_flow`, with $\tau = -\log\sigma$: $dy = -2\sigma\hat\varepsilon\,d\tau +
    \sqrt2\,\sigma\,dW$, twice the drift of the flow and fresh noise. Levels, interpolation and the last step are those
    of `sample_flow`.

    **Arguments**: `model`, `schedule`, `start`, `key`, `parametrisation` and `trajectory` as in `sample_ancestral`;
    `steps` N; `solver`, of Diffrax, for equations with noise, one that needs its increments alone, by default
    `diffrax.Heun()`, whose weak order is two where the noise does not depend on the state, as here.

    **Returns** samples of the shape and dtype of `start`; as a path (N + 2, batch, ...): the start, N steps, and the
    samples.

    **Raises** `ValueError` for steps below 1, and as `sample_ancestral` does.

    **Source**: Song et al. (2021), arXiv 2011.13456, equation 6, in these variables derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.8, 50)
        >>> model = tl.diffusion.bayes_denoiser(tl.diffusion.GaussianMixture([[3.0]], 0.01, [1.0]), schedule)
        >>> x0 = tl.diffusion.sample_sde(model, schedule, jnp.zeros((100, 1)), jax.random.key(1), steps=20)
        >>> x0.shape, bool(abs(x0.mean() - 3) < 0.1)
        ((100, 1), True)
    """
    predict, x = _prepare(model, schedule, start, parametrisation)
    walk = partial(_walk, predict, schedule, _count(steps), solver, trajectory)
    return _over_batch(walk, x, key, start.dtype, trajectory)


def _prepare(model, schedule, start, parametrisation):
    """The model as a checked function (x, t) of the noise, and the start, both in float32 at least."""
    check_parametrisation("parametrisation", parametrisation)
    if start.ndim < 2 or start.size == 0:
        raise ValueError(
            f"start has the shape {start.shape}: pass a batch of points (batch, ...), and not an empty one"
        )
    program(model, start)  # for its check

    def predict(x, t):
        prediction = model(x.astype(start.dtype), t).astype(x.dtype)
        return convert(prediction, x, t, schedule, source=parametrisation)

    return predict, start.astype(working_dtype(start.dtype))


def _over_batch(sample, x, key, dtype, trajectory):
    def batch(x, key):
        each = None if key is None else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(x), dtype=jnp.uint32))
        found = jax.vmap(sample, (0, None if key is None else 0), 1 if trajectory else 0)(x, each)
        return found.astype(dtype)

    return call(batch, x, key)


def _path(start, path, *last):
    return jnp.concatenate([start[None], path, *(x[None] for x in last)])


def _levels(T, steps):
    """The levels that are visited, from the last one down."""
    count = T if steps is None else _count(steps)
    if count > T:
        raise ValueError(f"steps = {steps} is more than the {T} levels of the schedule: pass at most that many")
    return np.asarray([-(-T * left // count) - 1 for left in range(count, 0, -1)], np.int32)


def _count(steps):
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps = {steps!r} must be an integer from 1 on")
    return int(steps)


def _ddim_coefficients(schedule, levels, eta):
    """What multiplies x, the prediction and the noise in each step."""
    here = schedule.alpha_bar[levels]
    there = jnp.concatenate([here[1:], jnp.ones_like(here[:1])])
    alpha, rest, left = here / there, 1 - here, 1 - there
    variance = jnp.asarray(eta, here.dtype) ** 2 * (1 - alpha) * left / rest
    # the difference of roots sqrt(left - variance) - sqrt(rest / alpha), with the larger one in the denominator
    kept = jnp.sqrt(jnp.maximum(left - variance, 0))
    other = -((1 - alpha) / alpha + variance) / (jnp.sqrt(rest / alpha) + kept)
    return 1 / jnp.sqrt(alpha), other, jnp.sqrt(variance)


def _walk(predict, schedule, steps, solver, trajectory, x, key):
    """One point along the flow, or along the SDE where there is a key; time counts steps, which no rounding blurs."""
    import diffrax
    import lineax

    logs = jnp.log(schedule.noise_root / schedule.signal_root).astype(x.dtype)
    length = (logs[-1] - logs[0]) / steps

    def place(time):
        return logs[-1] - time * length

    def drift(time, y, args):
        del args
        slope = -length * jnp.exp(place(time)) * _between(predict, logs, _point(y, place(time)), place(time))
        return slope if key is None else 2 * slope

    def diffusion(time, y, args):
        del args
        return lineax.DiagonalLinearOperator(jnp.full_like(y, jnp.sqrt(2 * length) * jnp.exp(place(time))))

    terms: Any = diffrax.ODETerm(drift)
    if key is not None:
        # fresh increments for every step, whose times are exact integers: the same draws on any machine
        noise = diffrax.UnsafeBrownianPath(jax.ShapeDtypeStruct(x.shape, x.dtype), key)
        terms = diffrax.MultiTerm(terms, diffrax.ControlTerm(diffusion, noise))
    solver = diffrax.Heun() if solver is None else solver

    # by the solver's steps and not by `diffeqsolve`, whose checks ask the host
    def step(carry, time):
        y, state = carry
        end = time + 1
        y, _, _, state, _ = solver.step(terms, time, end, y, None, state, made_jump=False)
        return (y, state), _point(y, place(end)) if trajectory else None

    times = jnp.arange(steps).astype(x.dtype)
    y0 = x * jnp.sqrt(1 + jnp.exp(2 * logs[-1]))
    state = solver.init(terms, times[0], times[0] + 1, y0, None)
    (y, _), path = lax.scan(step, (y0, state), times)
    last = y - jnp.exp(logs[0]) * predict(_point(y, logs[0]), jnp.int32(0))
    return _path(x, path, last) if trajectory else last


def _point(y, place):
    return y / jnp.sqrt(1 + jnp.exp(2 * place))


def _between(predict, logs, x, place):
    """The prediction at a ratio whose logarithm is `place`, between those at the two levels around it."""
    if len(logs) == 1:
        return predict(x, jnp.int32(0))
    lower = jnp.clip(jnp.searchsorted(logs, place, side="right") - 1, 0, len(logs) - 2).astype(jnp.int32)
    # as the prediction of smooth data: linear in the ratio where it is small, and in its logarithm where it is large
    near, left, right = (jnp.arcsinh(jnp.exp(log)) for log in (place, logs[lower], logs[lower + 1]))
    share = jnp.clip((near - left) / (right - left), 0, 1)
    below, above = jax.vmap(predict, (None, 0))(x, jnp.stack([lower, lower + 1]))
    return below + share * (above - below)

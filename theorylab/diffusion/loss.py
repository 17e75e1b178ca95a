"""The denoising loss of any model: its mean over random levels and noise, or at given ones, level by level."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..engine.keys import stream
from ..engine.program import call
from ..numerics.arrays import floating
from ..numerics.checked import Key
from ..numerics.draws import normal
from .blocks import block_size, block_sum, traced
from .counter import counter_normal, working_dtype
from .process import check_parametrisation, convert, diffuse
from .schedules import Schedule, check_levels


def denoising_loss(
    model: Callable[..., Any],
    x0: Float[Array, "batch ..."],
    schedule: Schedule,
    *,
    key: Key | None = None,
    t: Any = None,
    noise: Any = "threefry",
    levels: Any = "uniform",
    parametrisation: str = "epsilon",
    block: int | str | None = "auto",
) -> Float[Array, ""]:
    r"""Compute the mean squared error, per entry, of a model that predicts the noise on noised points.

    $\frac{1}{nD} \sum_{i=1}^n \big\|\hat\varepsilon(x_{t_i}, t_i) - \varepsilon_i\big\|^2$ with $x_{t_i} =
    \sqrt{\bar\alpha_{t_i}}\, x_{0,i} + c_{t_i} \varepsilon_i$ and D the entries of a point. Given a key, levels and
    noise are drawn; given `t` and `noise`, the loss is exact arithmetic.

    **Arguments**

    - `model`: a callable `(x, t)` of one point and its level, an int32 (); an Equinox module, a Flax NNX module,
      `functools.partial(net.apply, params)` of Linen, or a function. Differentiate with respect to what it holds.
    - `x0`: clean points (batch, ...); `schedule`: a `Schedule`.
    - `key`: a key or a seed, from which levels and noise are drawn; or `t`, integers (batch,), with `noise` an array
      like `x0`.
    - `noise`: with a key, how it is drawn: `"threefry"`, or `"counter"`, faster on a CPU (`counter_normal`).
    - `levels`: with a key, how levels are drawn: `"uniform"`, each alone; `"stratified"`, every level as often as any
      other, to one; or weights (T,), not negative: each level in proportion to its weight, to one draw. Errors are not
      reweighted: the loss then estimates the weighted mean of the levels' risks.
    - `parametrisation`: what the model predicts, `"epsilon"`, `"x0"`, `"v"` or `"score"`; the loss is that of the
      noise that follows from it.
    - `block`: points at a time. Value and gradient of a block are found together, in cache, before the next; None
      takes the whole batch at once, which forward-mode derivatives need, and `"auto"` chooses on a CPU, and elsewhere
      takes None. It changes rounding alone; draws are the same. A batch on several devices wants None: the loop over
      blocks cannot be split.

    **Returns** the loss, (), in float32 at least.

    **Raises** `ValueError` for both or neither of `key` and `t`, levels out of range, shapes that do not fit, weights
    that are no distribution, a block below 1, and a model whose result has not the shape of its point.

    **Source**: Ho, Jain, Abbeel (2020), arXiv 2006.11239, equation 14.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, 10)
        >>> x0 = jnp.zeros((64, 4))  # without a signal, the noise is what is seen, over c
        >>> model = lambda x, t: x / schedule.noise_root[t]
        >>> loss = tl.diffusion.denoising_loss(model, x0, schedule, key=jax.random.key(0), levels="stratified")
        >>> float(loss) < 1e-10
        True
    """
    check_parametrisation("parametrisation", parametrisation)
    if x0.ndim < 2 or x0.size == 0:
        raise ValueError(f"x0 has the shape {x0.shape}: pass a batch of points (batch, ...), and not an empty one")
    t, words, third, draw = _source(key, t, noise, levels, x0, schedule)
    apply, held, largest = traced(model, x0)

    def term(shared, rows):
        (alphas, *seed), held = shared[: 1 + len(words)], shared[1 + len(words) :]
        x0, t, third = rows
        here = eqx.tree_at(lambda schedule: schedule.alphas, schedule, alphas)
        # kept from being fused into the noised points and into the error, and so drawn twice
        noise = lax.optimization_barrier(draw(seed, x0, third))
        x = diffuse(x0, t, noise, here)
        prediction = jax.vmap(lambda x, t: apply(held, x, t))(x, t).astype(x.dtype)
        error = convert(prediction, x, t, here, source=parametrisation) - noise
        return jnp.sum((error * error).astype(working_dtype(x.dtype)))

    shared, rows = [schedule.alphas, *words, *held], [x0, t, third]
    size = block_size(block, x0.shape[0], largest, sum(leaf.size for leaf in held))
    total: Any = term(shared, rows) if size is None else block_sum(term, size, shared, rows)
    return total / x0.size


def level_risks(
    model: Callable[..., Any],
    x0: Float[Array, "batch ..."],
    schedule: Schedule,
    key: Key,
    *,
    parametrisation: str = "epsilon",
    block: int | str | None = "auto",
) -> Float[Array, " levels"]:
    r"""Compute the denoising loss of each level by itself.

    At every level all points are noised anew, so that the mean of the risks estimates the same quantity as the loss
    with uniform levels, from T times as many draws.

    **Arguments**: `model`, `x0` (batch, ...), `schedule`, `parametrisation` and `block` as in `denoising_loss`; `key`,
    a typed key (), from which the noise is drawn.

    **Returns** (T,), mean squared errors per entry.

    **Raises** `ValueError` as `denoising_loss` does.

    **Source**: derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.from_alphas([0.5, 0.5])
        >>> model = lambda x, t: x / schedule.noise_root[0]  # exact at level 0, for points at zero
        >>> tl.diffusion.level_risks(model, jnp.zeros((8, 2)), schedule, jax.random.key(0)).round(3)[0].tolist()
        0.0
    """

    def at(level):
        t = jnp.full(x0.shape[:1], level)
        noise = normal(jax.random.fold_in(key, level), x0.shape, x0.dtype)
        return denoising_loss(model, x0, schedule, t=t, noise=noise, parametrisation=parametrisation, block=block)

    return call(partial(lax.map, at), jnp.arange(schedule.levels, dtype=jnp.int32))


def draw_levels(key: Key, batch: int, schedule: Schedule, levels: Any = "uniform") -> Int[Array, " batch"]:
    r"""Draw levels for a batch of points.

    Stratified levels are an equally spaced grid on the circle of all levels, turned by a random angle: every level is
    drawn $\lfloor n/T \rfloor$ or $\lceil n/T \rceil$ times, and each point's level is uniform by itself, whatever the
    order of the points. Weighted ones are the same grid on a circle whose arcs are the weights.

    **Arguments**: `key`, a key or a seed; `batch` n; `schedule`; `levels`, `"uniform"`, `"stratified"` or weights (T,).

    **Returns** int32 (batch,), in 0..T - 1.

    **Raises** `ValueError` for another name, and for weights of another shape, negative, not finite or all zero.

    **Source**: systematic sampling, as derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, 4)
        >>> t = tl.diffusion.draw_levels(jax.random.key(0), 8, schedule, "stratified")
        >>> jnp.bincount(t).tolist()
        [2, 2, 2, 2]
    """
    T = schedule.levels
    if not isinstance(levels, str):
        return _weighted_levels(key, batch, _check_weights(levels, T))
    if levels == "uniform":
        return jax.random.randint(key, (batch,), 0, T, jnp.int32)
    if levels != "stratified":
        raise ValueError(f"levels = {levels!r} is not 'uniform', 'stratified' or an array of weights ({T},)")
    if batch * T >= 2**31:
        raise ValueError(f"a batch of {batch} points is too large to stratify over {T} levels: use 'uniform'")
    key_angle, key_turn = jax.random.split(key)
    angle = jax.random.randint(key_angle, (), 0, batch, jnp.int32)
    turn = jax.random.randint(key_turn, (), 0, T, jnp.int32)
    return ((jnp.arange(batch, dtype=jnp.int32) * T + angle) // batch + turn) % T


def _weighted_levels(key, batch, weights):
    ends = jnp.cumsum(weights)
    place = (jnp.arange(batch) / batch).astype(ends.dtype) + jax.random.uniform(key, (), ends.dtype)
    # rounding must not carry a point past the last level of positive weight
    place = jnp.minimum(place % 1 * ends[-1], jnp.nextafter(ends[-1], jnp.zeros_like(ends[-1])))
    return jnp.searchsorted(ends, place, side="right").astype(jnp.int32)


def _check_weights(weights, T):
    weights = floating(weights)
    if weights.shape != (T,):
        raise ValueError(f"levels has the shape {weights.shape}: pass one weight for each of the {T} levels")
    if not isinstance(weights, Tracer):
        known = np.asarray(weights)
        if not (np.isfinite(known).all() and (known >= 0).all() and known.sum() > 0):
            raise ValueError("levels holds weights that are negative, not finite or all zero: pass a distribution")
    return weights


def _source(key, t, noise, levels, x0, schedule):
    """Levels, the words of a key, a third thing for each point, and how words, points and third things give noise."""
    batch, named = x0.shape[0], isinstance(noise, str)
    if (key is None) == (t is None):
        raise ValueError(
            f"key and t are both {'missing' if key is None else 'given'}: pass key=, to draw levels and noise, or t= "
            "with noise="
        )
    if key is None:
        if named:
            raise ValueError(f"noise = {noise!r} with t=: pass the noise itself, an array like x0; or key= for both")
        t, noise = jnp.asarray(t, jnp.int32), jnp.asarray(noise, x0.dtype)
        if t.shape != (batch,) or noise.shape != x0.shape:
            raise ValueError(
                f"x0 has the shape {x0.shape}, t {t.shape} and noise {noise.shape}: pass a level for each point, "
                f"({batch},), and noise like x0"
            )
        check_levels(t, schedule)
        return t, [], noise, lambda words, x0, noise: noise
    if not named or noise not in ("threefry", "counter"):
        raise ValueError(
            f"noise is {repr(noise) if named else 'an array'}: with key= it is 'threefry' or 'counter'; pass an array "
            "with t="
        )
    if noise == "counter" and x0.size > 2**32:
        raise ValueError(f"noise = 'counter' has 2**32 draws for a key, and x0 {x0.size} entries: use 'threefry'")
    implementation = jax.random.key_impl(key)

    def draw(words, x0, index):
        own = jax.random.wrap_key_data(words[0], impl=implementation)
        if noise == "counter":
            return counter_normal(own, x0.shape, index[0] * np.uint32(x0[0].size), dtype=x0.dtype)
        keys = jax.vmap(partial(jax.random.fold_in, own))(index)
        return jax.vmap(lambda key: normal(key, x0.shape[1:], x0.dtype))(keys)

    words = [jax.random.key_data(stream(key, "noise"))]
    index = jnp.arange(batch, dtype=jnp.uint32)
    return draw_levels(stream(key, "levels"), batch, schedule, levels), words, index, draw

"""Flows y' = f(y) on a few vectors, by an adaptive embedded Runge-Kutta pair that compiles in a second."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

# the pair of Tsitouras (2011), table 1: row k makes stage k; the last row is the fifth-order step itself
STAGES = (
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
    (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
    (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
    (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
)
ERROR = (
    0.0017800110522257773,
    0.0008164344596567463,
    -0.007880878010261994,
    0.1447110071732629,
    -0.5823571654525552,
    0.45808210592918686,
    -0.015151515151515152,
)
# powers 1 to 4 of the share of the step: his interpolant, fourth order between the ends
BETWEEN = (
    (0.9999999999999998, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
    (0.0, 0.13169999999999998, -0.2234, 0.1017),
    (0.0, 3.930296236894751, -5.941033872131505, 2.490627285651253),
    (0.0, -12.411077166933676, 30.338188630282318, -16.548102889244902),
    (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
    (0.0, -27.896526289197286, 65.09189467479368, -34.87065786149661),
    (0.0, 1.5, -4.0, 2.5),
)
MAX_STEPS = 100_000


class Trajectory(NamedTuple):
    """A flow at the times that were asked for.

    **Arguments**: `y`, like the start with a leading axis of times, NaN from the first time that was not reached;
    `reached` (times,), bool; `steps` (), int32, the steps tried, six evaluations of the field each.

    **Source**: derived here; see `integrate`.
    """

    y: PyTree[Array]
    reached: Bool[Array, " times"]
    steps: Int[Array, ""]


class _Step(NamedTuple):
    """The last accepted step, from `start` over `length` with its stages, and the next one to try."""

    start: Array
    length: Array
    y: Array
    end: Array
    stages: Array
    following: Array
    tried: Array


def integrate(
    field: Callable[[PyTree, Any], PyTree],
    y0: PyTree[Array],
    ts: Float[Array, " times"],
    args: Any,
    *,
    rtol: ArrayLike,
    atol: ArrayLike,
    max_steps: int = MAX_STEPS,
) -> Trajectory:
    r"""The solution of $\dot y = f(y, \text{args})$, $y(0) = y_0$ at some times, to a tolerance.

    Steps follow the error estimate of the embedded fourth-order formula, in the root mean square of its entries over
    atol + rtol |y|; times within a step are interpolated. Differentiable forward, not in reverse; under `vmap` each
    lane has its own steps.

    **Arguments**: `field` f, from a pytree like y and `args` to a pytree like y; `y0`, a pytree of arrays of one
    floating dtype; `ts` (times,), rising from 0 on; `args`, a pytree of arrays; `rtol` and `atol`, (), not both 0;
    `max_steps`, how many steps may be tried.

    **Returns** a `Trajectory`.

    **Source**: Tsitouras (2011), Runge-Kutta pairs of order 5(4), checked against closed forms and SciPy.
    """
    y, shape = ravel_pytree(y0)
    dtype = y.dtype
    ts, relative, absolute = (jnp.asarray(value, dtype) for value in (ts, rtol, atol))

    def slope(y):
        # the barrier keeps XLA from computing a stage again in every sum that it enters
        return lax.optimization_barrier(ravel_pytree(field(shape(y), args))[0])

    # the stages in a loop, since six copies of the field take twice as long to compile
    rows = jnp.asarray([row + (0.0,) * (6 - len(row)) for row in STAGES], dtype)

    def trial(last):
        h = last.following

        def stage(k, carry):
            stages, _ = carry
            end = last.end + h * _combine(lax.dynamic_index_in_dim(rows, k, keepdims=False), stages[:-1])
            return lax.dynamic_update_index_in_dim(stages, slope(end), k + 1, 0), end

        stages = last.stages.at[0].set(last.stages[-1])
        stages, end = lax.fori_loop(0, 6, stage, (stages, last.end))
        # steps count as given: their own derivatives would be those of rounding
        size = lax.stop_gradient(_size(h * _combine(ERROR, stages), last.end, end, relative, absolute))
        accept = size <= 1
        # the fifth root of an estimate of order h^5; a NaN counts as far too large
        factor = jnp.where(size > 0, 0.9 * size**-0.2, 10.0)
        factor = jnp.clip(jnp.nan_to_num(factor, nan=0.2), min=0.2, max=jnp.where(accept, 10.0, 1.0).astype(dtype))
        taken = _Step(last.start + last.length, h, last.end, end, stages, h, last.tried)
        kept = jax.tree.map(lambda new, old: jnp.where(accept, new, old), taken, last)
        return kept._replace(following=h * factor, tried=last.tried + 1)

    def advance(last, t):
        def short(last):
            now = last.start + last.length
            # below this a step no longer moves the clock
            able = last.following > 4 * jnp.finfo(dtype).eps * jnp.abs(now)
            return (now < t) & able & (last.tried < max_steps)

        last = lax.while_loop(short, trial, last)
        share = jnp.where(last.length > 0, (t - last.start) / jnp.where(last.length > 0, last.length, 1), 0)
        weights = share ** jnp.arange(1, 5, dtype=dtype) @ jnp.asarray(BETWEEN, dtype).T
        y = last.y + last.length * _combine(weights, last.stages)
        reached = t <= last.start + last.length
        return last, (jnp.where(reached, y, jnp.nan), reached)

    zero, first = jnp.zeros((), dtype), slope(y)
    # a hundredth of the flow's own time; a poor guess costs a step or two, a better one half a second of compiling
    speed, scale = jnp.linalg.norm(first), jnp.linalg.norm(y)
    begin = lax.stop_gradient(
        jnp.where((speed > 0) & (scale > 0), 0.01 * scale / jnp.where(speed > 0, speed, 1), 1e-6).astype(dtype)
    )
    last = _Step(zero, zero, y, y, jnp.stack([first] * 7), begin, jnp.zeros((), jnp.int32))
    last, (ys, reached) = lax.scan(advance, last, ts)
    return Trajectory(jax.vmap(shape)(ys), reached, last.tried)


def check_times(ts: Any, rtol: Any, atol: Any, dtype: Any) -> None:
    """Errors where times do not rise from 0 on or tolerances cannot be met."""
    if not isinstance(ts, Tracer):
        values = np.asarray(ts)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"ts has the shape {values.shape}: pass (times,), at least one time")
        if not (np.all(np.isfinite(values)) and np.all(np.diff(values) >= 0) and values[0] >= 0):
            raise ValueError(f"ts = {values} must be finite and rise from 0, where the flow starts, on")
    least = 4 * float(jnp.finfo(dtype).eps)
    if not isinstance(rtol, Tracer) and not least <= rtol < np.inf:
        raise ValueError(f"rtol = {rtol} must lie above four roundings of {dtype}, {least:.1e}: 1e-6 is usual")
    if not isinstance(atol, Tracer) and not 0 <= atol < np.inf:
        raise ValueError(f"atol = {atol} must be finite and >= 0: 1e-9 is usual")


def _combine(weights, vectors):
    return sum(w * v for w, v in zip(weights, vectors, strict=True))


def _size(error, y, other, rtol, atol):
    allowed = atol + rtol * jnp.maximum(jnp.abs(y), jnp.abs(other))
    # with atol = 0, entries that stay at zero have no error and allow none
    return jnp.sqrt(jnp.mean((error / jnp.maximum(allowed, jnp.finfo(error.dtype).tiny)) ** 2))

"""Flows y' = f(y) at the times that are asked for, by diffrax, in a form that lowers for every device."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree


class Trajectory(NamedTuple):
    """A flow at the times that were asked for.

    **Arguments**: `y`, like the start with a leading axis of times, NaN from the first time that was not reached;
    `reached` (times,), bool; `steps` (), int32, the steps tried, six evaluations of the field each.

    **Source**: derived here; see `integrate`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> run = tl.numerics.integrate(lambda y, _: 0 * y, jnp.ones(2), jnp.ones(1), None, rtol=1e-3, atol=0.0)
        >>> run.y.tolist(), run.reached.tolist()
        ([[1.0, 1.0]], [True])
    """

    y: PyTree[Array]
    reached: Bool[Array, " times"]
    steps: Int[Array, ""]


def integrate(
    field: Callable[[PyTree, Any], PyTree],
    y0: PyTree[Array],
    ts: Float[Array, " times"],
    args: Any,
    *,
    rtol: ArrayLike,
    atol: ArrayLike,
    max_steps: int = 100_000,
) -> Trajectory:
    r"""The solution of $\dot y = f(y, \text{args})$, $y(0) = y_0$ at some times, to a tolerance.

    Diffrax's Tsit5 from each time to the next, with the error in the root mean square of its entries over atol + rtol
    |y|. Differentiable forward, not in reverse; under `vmap` each lane has its own steps.

    **Arguments**: `field` f, from a pytree like y and `args` to a pytree like y; `y0`, a pytree of arrays of one
    floating dtype; `ts` (times,), rising from 0 on; `args`, a pytree of arrays; `rtol` and `atol`, (), not both 0;
    `max_steps`, how many steps may be tried from one time to the next.

    **Returns** a `Trajectory`.

    **Source**: Tsitouras (2011), Runge-Kutta pairs of order 5(4), in diffrax; checked against closed forms and SciPy.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> ts, rate = jnp.asarray([0.0, jnp.log(2.0)]), jnp.asarray(1.0)
        >>> run = tl.numerics.integrate(lambda y, rate: rate * y, jnp.ones(()), ts, rate, rtol=1e-6, atol=0.0)
        >>> [round(float(y), 4) for y in run.y]
        [1.0, 2.0]
    """
    import diffrax

    dtype = jax.tree.leaves(y0)[0].dtype
    ts, relative, absolute = (jnp.asarray(value, dtype) for value in (ts, rtol, atol))
    # with atol = 0, entries that stay at zero have no error and allow none
    absolute = jnp.maximum(absolute, jnp.finfo(dtype).tiny)
    term = diffrax.ODETerm(lambda t, y, args: field(y, args))

    # each time is the end of a run of its own: `SaveAt(ts=...)` asks the host whether they rise, in every program
    def advance(last, t):
        start, y, reached = last
        end = jnp.where(reached, t, start)  # what has failed stands still
        # below this a step no longer moves the clock
        shortest = 4 * jnp.finfo(dtype).eps * jnp.maximum(end, end - start)
        run = diffrax.diffeqsolve(
            term,
            _tsit5(),
            start,
            end,
            None,
            y,
            args,
            saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=diffrax.PIDController(relative, absolute, dtmin=shortest, force_dtmin=False),
            adjoint=diffrax.ForwardMode(),
            max_steps=max_steps,
            throw=False,
        )
        found = jax.tree.map(lambda leaf: leaf[0], run.ys)
        finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(found)])
        reached = reached & jnp.all(finite) & (run.result == diffrax.RESULTS.successful)
        seen = jax.tree.map(lambda leaf: jnp.where(reached, leaf, jnp.nan), found)
        kept = jax.tree.map(lambda new, old: jnp.where(reached, new, old), found, y)
        return (end, kept, reached), (seen, reached, run.stats["num_steps"])

    first = jnp.zeros((), dtype), y0, jnp.asarray(True)
    if len(ts) == 1:  # over lanes of a loop of one turn XLA's simplifier runs in circles
        seen = jax.tree.map(lambda leaf: leaf[None], advance(first, ts[0])[1])
    else:
        seen = lax.scan(advance, first, ts)[1]
    ys, reached, steps = seen
    return Trajectory(ys, reached, jnp.sum(steps, dtype=jnp.int32))


@functools.cache
def _tsit5() -> Any:
    """Diffrax's Tsit5, whose stages are arrays of their own and not rows of a buffer.

    Under `vmap` a buffer of stages is copied at each of them: 64 lanes of 8,000 numbers took 70 ms a step beside the
    field, and take 5.
    """
    import diffrax

    class Tsit5(diffrax.Tsit5):
        def init(self, terms, t0, t1, y0, args):
            del t1
            return terms.vf(t0, y0, args)

        def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
            del made_jump  # a field that depends on y alone makes none
            tableau, control, slopes = self.tableau, terms.contr(t0, t1), [solver_state]

            def moved(weights):
                def combined(*leaves):
                    return sum(float(w) * leaf for w, leaf in zip(weights, leaves, strict=True))

                return terms.prod(jax.tree.map(combined, *slopes), control)

            for c, row in zip(tableau.c, tableau.a_lower, strict=True):
                y1 = jax.tree.map(jnp.add, y0, moved(row))
                slopes.append(terms.vf(t0 + float(c) * (t1 - t0), y1, args))
            k = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(terms.prod(slope, control) for slope in slopes))
            dense = {"y0": y0, "y1": y1, "k": k}
            return y1, moved(tableau.b_error), dense, slopes[-1], diffrax.RESULTS.successful

    return Tsit5()


def check_times(ts: Any, rtol: Any, atol: Any, dtype: Any) -> None:
    """Errors where times do not rise from 0 on or tolerances cannot be met.

    **Arguments**: `ts` (times,); `rtol` and `atol`, (); `dtype`, that of the flow. Traced ones pass.

    **Raises** `ValueError`.

    **Source**: derived here.

        >>> from theorylab.numerics.flow import check_times
        >>> check_times([1.0, 0.5], 1e-6, 0.0, "float32")
        Traceback (most recent call last):
        ValueError: ts = [1.  0.5] must be finite and rise from 0, where the flow starts, on
    """
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

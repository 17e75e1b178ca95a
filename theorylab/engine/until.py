"""When a lane may stop: rules that are tested at their own stride, so that the reported step depends on nothing
else."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8, PyTree

from ..numerics.checked import takes
from .status import CONVERGED, RUNNING, STALLED


def _as_stride(every: int | Array) -> Int[Array, ""]:
    if isinstance(every, int) and every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    return jnp.asarray(every, jnp.int32)


class Stop(eqx.Module):
    """A stopping rule on `fn(problem, state)`, tested every `every` steps and at the last.

    One's own: write `init(value) -> carry` and `update(carry, value, t) -> (carry, code)`, the code an `int8` of
    `theorylab.engine.status` (`RUNNING` to go on). Rules join by `|`; the first that speaks gives the status.

    **Arguments**: `fn(problem, state)`, a pytree of arrays; `every` >= 1, steps.

    **Source**: derived here.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> class negative(tl.engine.Stop):
        ...     def update(self, carry, value, t):
        ...         status = tl.engine.status
        ...         return carry, jnp.where(value < 0, jnp.int8(status.CONVERGED), jnp.int8(status.RUNNING))
        >>> class Down(tl.Method):
        ...     def init(self, problem, key, x0=None):
        ...         return tl.engine.State(tl.engine.start(problem, key, x0))
        ...     def step(self, problem, state, key):
        ...         return tl.engine.State(state.x - 1)
        >>> rule = negative(lambda problem, state: state.x, every=1)
        >>> int(tl.solve(Down(), None, jnp.asarray(2.5), key=jax.random.key(0), steps=9, until=rule).steps)
        3
    """

    fn: Callable[[Any, Any], PyTree]
    every: Int[Array, ""] = eqx.field(converter=_as_stride, default=10, kw_only=True)

    def init(self, value: PyTree) -> PyTree:
        """The carry before any value."""
        del value

    @abc.abstractmethod
    def update(self, carry: PyTree, value: PyTree, t: Int[Array, ""]) -> tuple[PyTree, Int8[Array, ""]]:
        """Take in the value of step `t` and say whether to stop."""

    def __or__(self, other: Any) -> "AnyOf":
        return AnyOf(as_stops(self) + as_stops(other))

    def __ror__(self, other: Any) -> "AnyOf":
        return AnyOf(as_stops(other) + as_stops(self))


class AnyOf(eqx.Module):
    """Several rules, each at its own stride."""

    stops: tuple[Stop, ...]

    def __or__(self, other: Any) -> "AnyOf":
        return AnyOf(self.stops + as_stops(other))

    def __ror__(self, other: Any) -> "AnyOf":
        return AnyOf(as_stops(other) + self.stops)


class below(Stop):
    """Converged once the scalar `fn(problem, state)` is at most `tol`.

    It proves that of the step where the lane stopped, and nothing of what `fn` stands for: a small step is not yet a
    small error. NaN is not below anything.

    **Arguments**: `fn(problem, state)`, (); `tol`, (), in its unit; `every`, steps from one test to the next.

    **Raises** `TypeError`, when the run is traced, for an `fn` that gives no scalar.

    **Source**: derived here; tested against the first step that a closed form gives.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> rule = tl.below(lambda problem, state: jnp.linalg.norm(state.x), 1e-8, every=20)
        >>> int(rule.every)
        20
    """

    tol: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def init(self, value):
        _check_scalar("below", value)

    def update(self, carry, value, t):
        # in the wider of the two types, since a rounded tolerance is another one
        wide = max(value.dtype, self.tol.dtype, key=lambda d: jnp.issubdtype(d, jnp.floating) * d.itemsize)
        return carry, _code(value.astype(wide) <= self.tol.astype(wide), CONVERGED)


class satisfied(Stop):
    """Converged once `fn(problem, state)` is true.

    A plain function given as `until` means this, tested at every step.

    **Arguments**: `fn(problem, state)`, a boolean (); `every`, steps from one test to the next.

    **Raises** `TypeError`, when the run is traced, for an `fn` that gives a number: any but zero would be true.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> rule = tl.satisfied(lambda problem, state: state.x[0] < 0.5, every=5)
        >>> int(rule.every)
        5
    """

    def init(self, value):
        _check_scalar("satisfied", value, jnp.bool_, "a truth, such as value < tol, or use below(fn, tol)")

    def update(self, carry, value, t):
        return carry, _code(value, CONVERGED)


class stalled(Stop):
    """Stalled once the scalar `fn(problem, state)` has not improved for `patience` steps.

    Its lowest value must fall by the share `rtol` of its size to count. It proves no more: a quantity at its minimum
    stalls as one does that the step size holds up.

    **Arguments**: `fn(problem, state)`, (); `rtol`, the relative fall that counts, (); `patience`, steps; `every`,
    steps from one test to the next.

    **Raises** `TypeError`, when the run is traced, for an `fn` that gives no floating scalar.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> rule = tl.stalled(lambda problem, state: jnp.linalg.norm(state.x), rtol=1e-2, patience=200)
        >>> int(rule.patience), int(rule.every)
        (200, 10)
    """

    rtol: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1e-3)
    patience: Int[Array, ""] = eqx.field(converter=lambda p: jnp.asarray(p, jnp.int32), default=50)

    def init(self, value):
        _check_scalar("stalled", value, jnp.floating, "one floating number")
        return jnp.full_like(value, jnp.inf), jnp.int32(0)

    def update(self, carry, value, t):
        best, since = carry
        fall = self.rtol.astype(value.dtype) * jnp.abs(best)  # of a negative value too
        better = jnp.where(jnp.isinf(best), value < best, value < best - fall)
        best, since = jnp.where(better, value, best), jnp.where(better, t, since)
        return (best, since), _code(t - since >= self.patience, STALLED)


def _check_scalar(name: str, value: Any, kind: Any = jnp.number, cure: str = "one number") -> None:
    """**Raises** `TypeError` for a watched value that is no scalar of this kind."""
    for leaf in jax.tree.leaves(value):
        if jax.tree.structure(value).num_nodes > 1 or leaf.shape != () or not jnp.issubdtype(leaf.dtype, kind):
            raise TypeError(f"until: the function of {name} gives {leaf.dtype}{list(leaf.shape)}: return {cure}")


def _code(stop: Array, code: int) -> Int8[Array, ""]:
    return jnp.where(stop, jnp.int8(code), jnp.int8(RUNNING))


def as_stops(until: Any) -> tuple[Stop, ...]:
    """The rules of a run as a tuple: from a rule, several joined by `|`, a plain function, or None."""
    if until is None:
        return ()
    if callable(until) and not isinstance(until, Stop | AnyOf):
        until = satisfied(until, every=1)
    if not isinstance(until, Stop | AnyOf):
        raise TypeError(f"until must be a rule such as below(fn, tol) or a function of (problem, state), got {until!r}")
    stops = until.stops if isinstance(until, AnyOf) else (until,)
    for stop in stops:
        takes("until", stop.fn, "problem", "state")
    return stops

"""What a run keeps: *when* is a schedule of steps, *what* are named functions of (problem, state) or streaming
reductions."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from ..numerics.checked import takes


class Schedule(eqx.Module):
    """A set of step counts; 0 is the starting point, before any step."""

    @abc.abstractmethod
    def times(self, steps: int) -> np.ndarray:
        """The sorted step counts within `0..steps`."""


class every(Schedule):
    """Every `stride` steps, from the starting point on: 0, stride, 2 stride, ...

    **Arguments**: `stride` >= 1, steps.

    **Raises** `ValueError` for a smaller one.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.every(100).times(250)
        array([  0, 100, 200])
    """

    stride: int = eqx.field(static=True)

    def __check_init__(self):
        if self.stride < 1:
            raise ValueError(f"every: the stride must be at least 1, got {self.stride}")

    def times(self, steps: int) -> np.ndarray:
        return np.arange(0, steps + 1, self.stride)


class at(Schedule):
    """At the given step counts.

    **Arguments**: `steps`, integers >= 0 in increasing order.

    **Raises** `ValueError` for others, and, by the run, for one that lies beyond its end.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.at([0, 10, 1000]).times(1000)
        array([   0,   10, 1000])
    """

    steps: tuple[int, ...] = eqx.field(static=True, converter=lambda ts: tuple(int(t) for t in np.ravel(ts)))

    def __check_init__(self):
        if not self.steps or min(self.steps) < 0 or list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"at: give increasing step counts >= 0, got {list(self.steps)}")

    def times(self, steps: int) -> np.ndarray:
        if self.steps[-1] > steps:
            raise ValueError(f"at: step {self.steps[-1]} lies beyond the run of steps={steps}; drop it or run longer")
        return np.asarray(self.steps)


class geometric(Schedule):
    """At the starting point and at step counts in geometric progression from 1 to the last, for logarithmic axes.

    **Arguments**: `count` >= 2, how many of them; fewer where rounding makes two equal.

    **Raises** `ValueError` for a smaller one.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.geometric(4).times(1000)
        array([   0,    1,   10,  100, 1000])
    """

    count: int = eqx.field(static=True)

    def __check_init__(self):
        if self.count < 2:
            raise ValueError(f"geometric: the count must be at least 2, got {self.count}")

    def times(self, steps: int) -> np.ndarray:
        return np.unique(np.concatenate([[0], np.rint(np.geomspace(1, steps, self.count)).astype(int)]))


class Reduction(eqx.Module):
    """A statistic of `fn(problem, state)` that streams over the record's times, from step `after` on.

    One's own: write `init(value) -> carry`, `update(carry, value, t) -> carry` and `result(carry)`.

    **Arguments**: `fn(problem, state)`, a pytree of arrays; `after`, the first step that counts.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> class Total(tl.engine.Reduction):
        ...     def init(self, value):
        ...         return jnp.zeros_like(value)
        ...     def update(self, carry, value, t):
        ...         return carry + value
        >>> record = tl.Record(tl.every(1), path=Total(lambda problem, state: jnp.linalg.norm(state.x), after=10))
        >>> int(record.reductions["path"].after)
        10
    """

    fn: Callable[[Any, Any], PyTree]
    after: Int[Array, ""] = eqx.field(converter=lambda t: jnp.asarray(t, jnp.int32), default=0)

    @abc.abstractmethod
    def init(self, value: PyTree) -> PyTree:
        """The carry before any value; `value` gives shapes and dtypes."""

    @abc.abstractmethod
    def update(self, carry: PyTree, value: PyTree, t: Int[Array, ""]) -> PyTree:
        """Take in the value of step `t`."""

    def result(self, carry: PyTree) -> PyTree:
        """What is reported."""
        return carry


def _floating(value: PyTree) -> PyTree:
    return jax.tree.map(
        lambda v: v if jnp.issubdtype(v.dtype, jnp.inexact) else v.astype(jnp.result_type(float)), value
    )


def _moments(value: PyTree, order: int) -> tuple[Array, list[PyTree]]:
    zeros = jax.tree.map(jnp.zeros_like, _floating(value))
    return jnp.int32(0), [zeros] * order


class Mean(Reduction):
    """The running mean; NaN before any value.

    **Arguments**: `fn(problem, state)`, a pytree of arrays; `after`, the first step that counts.

    **Source**: derived here; tested against NumPy's mean of the recorded rows.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mean = tl.Mean(lambda problem, state: state.x, after=1000)
        >>> carry = mean.init(jnp.zeros(()))
        >>> for t, x in [(1000, 1.0), (1001, 3.0)]:
        ...     carry = mean.update(carry, jnp.asarray(x), t)
        >>> float(mean.result(carry))
        2.0
    """

    def init(self, value):
        return _moments(value, 1)

    def update(self, carry, value, t):
        count, (mean,) = carry
        count = count + 1
        return count, [jax.tree.map(lambda m, v: m + (v - m) / count.astype(m.dtype), mean, _floating(value))]

    def result(self, carry):
        count, (mean,) = carry
        return jax.tree.map(lambda m: jnp.where(_lead(count, m) > 0, m, jnp.nan), mean)


class Welford(Reduction):
    """Running mean, unbiased variance and count, by Welford's update; NaN where too few values were seen.

    **Arguments**: `fn(problem, state)`, a pytree of arrays; `after`, the first step that counts.

    **Source**: Welford (1962), Note on a method for calculating corrected sums of squares and products; tested against
    NumPy on the recorded rows.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> spread = tl.Welford(lambda problem, state: state.x)
        >>> carry = spread.init(jnp.zeros(()))
        >>> for t, x in [(0, 1.0), (1, 3.0)]:
        ...     carry = spread.update(carry, jnp.asarray(x), t)
        >>> found = spread.result(carry)
        >>> float(found["mean"]), float(found["variance"]), int(found["count"])
        (2.0, 2.0, 2)
    """

    def init(self, value):
        return _moments(value, 2)

    def update(self, carry, value, t):
        count, (mean, m2) = carry
        count, value = count + 1, _floating(value)
        new = jax.tree.map(lambda m, v: m + (v - m) / count.astype(m.dtype), mean, value)
        m2 = jax.tree.map(lambda s, old, m, v: s + (v - old) * (v - m), m2, mean, new, value)
        return count, [new, m2]

    def result(self, carry):
        count, (mean, m2) = carry
        return {
            "mean": jax.tree.map(lambda m: jnp.where(_lead(count, m) > 0, m, jnp.nan), mean),
            "variance": jax.tree.map(
                lambda s: jnp.where(
                    _lead(count, s) > 1, s / jnp.maximum(_lead(count, s) - 1, 1).astype(s.dtype), jnp.nan
                ),
                m2,
            ),
            "count": count,
        }


class Max(Reduction):
    """The running elementwise maximum.

    **Arguments**: `fn(problem, state)`, a pytree of arrays; `after`, the first step that counts.

    **Source**: derived here; tested against NumPy on the recorded rows.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> largest = tl.Max(lambda problem, state: state.x)
        >>> float(largest.update(largest.init(jnp.zeros(())), jnp.asarray(-3.0), 0))
        -3.0
    """

    def init(self, value):
        return jax.tree.map(
            lambda v: jnp.full_like(v, -jnp.inf if jnp.issubdtype(v.dtype, jnp.inexact) else jnp.iinfo(v.dtype).min),
            value,
        )

    def update(self, carry, value, t):
        return jax.tree.map(jnp.maximum, carry, value)


class Last(Reduction):
    """The latest value.

    **Arguments**: `fn(problem, state)`, a pytree of arrays; `after`, the first step that counts.

    **Source**: derived here; tested against the recorded rows.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> last = tl.Last(lambda problem, state: state.x)
        >>> float(last.update(last.init(jnp.zeros(())), jnp.asarray(5.0), 0))
        5.0
    """

    def init(self, value):
        return jax.tree.map(jnp.zeros_like, value)

    def update(self, carry, value, t):
        return value


def _lead(count: Array, like: Array) -> Array:
    return jnp.expand_dims(count, tuple(range(count.ndim, like.ndim)))


class Record(eqx.Module):
    """Named quantities of a run, kept at the steps of one schedule.

    **Arguments**: `when`, a schedule (`every`, `at`, `geometric`); then names: a function of `(problem, state)` that
    returns a pytree of arrays, kept at every time of the schedule, or a reduction (`Mean`, `Last`, `Max`, `Welford`),
    which streams over them. Memory is that of the record, whatever the number of steps.

    **Raises** `TypeError` for what is no schedule, function or reduction, `ValueError` for no name or a taken one.

    **Source**: derived here; tested against a Python loop that keeps everything.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> record = tl.Record(tl.every(10), error=lambda problem, state: jnp.linalg.norm(state.x))
        >>> list(record.series)
        ['error']
    """

    when: Schedule
    what: dict[str, Callable[[Any, Any], PyTree] | Reduction]

    def __init__(self, when: Schedule | int, /, **what: Callable[[Any, Any], PyTree] | Reduction):
        if not isinstance(when, Schedule):
            raise TypeError(f"Record: the first argument says when: every(k), at([...]) or geometric(n), got {when!r}")
        reserved = {"value", "status", "steps", "step", "seed", "completed"} & set(what)
        if not what or reserved:
            raise ValueError(
                f"Record: the names {sorted(reserved)} are taken by the result itself; choose others"
                if reserved
                else "Record: name at least one quantity, such as error=lambda problem, state: ..."
            )
        for name, fn in what.items():
            if not callable(fn) and not isinstance(fn, Reduction):
                raise TypeError(f"Record: {name} must be a function of (problem, state) or a reduction, got {fn!r}")
            takes(f"Record: {name}", fn.fn if isinstance(fn, Reduction) else fn, "problem", "state")
        self.when, self.what = when, dict(what)

    @property
    def series(self) -> dict[str, Callable[[Any, Any], PyTree]]:
        return {name: fn for name, fn in self.what.items() if not isinstance(fn, Reduction)}

    @property
    def reductions(self) -> dict[str, Reduction]:
        return {name: fn for name, fn in self.what.items() if isinstance(fn, Reduction)}


def as_records(record: Record | Sequence[Record] | None) -> tuple[Record, ...]:
    """The records of a run as a tuple, with their names checked to be distinct."""
    records = () if record is None else tuple(record) if isinstance(record, Sequence) else (record,)
    for one in records:
        if not isinstance(one, Record):
            raise TypeError(
                f"record must be a tl.Record or several, got {one!r}: say when and what, as in"
                " tl.Record(tl.every(100), error=lambda problem, state: ...)"
            )
    names = [name for one in records for name in one.what]
    if len(set(names)) != len(names):
        raise ValueError(
            f"record: the names {sorted({n for n in names if names.count(n) > 1})} stand twice; rename one"
        )
    return records

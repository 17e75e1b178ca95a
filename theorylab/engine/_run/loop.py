"""The pure loop: from a starting carry to the carry at a later step, for all lanes at once, with no host in it.

What a step's index decides (records, stopping rules, health) happens at *events*; between events the loop does nothing
but step. An event belongs to the chunk that starts at it or passes it, and a chunk border is none by itself, so that
the length of a chunk changes no result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int8, Int32, PRNGKeyArray, PyTree

from ...numerics.arrays import check_kept
from ..keys import stream
from ..status import DIVERGED, INVALID, MAX_STEPS, NONFINITE, RUNNING
from .levels import Kind, Levels, batched, one_by_one
from .system import Rebuild, System, Tables
from .traces import Kept

HEALTH_STRIDE = 16  # steps between tests for divergence: cheap beside 16 steps, and 1e12 is far below overflow
GROWTH = 1e12


class Lane(NamedTuple):
    """What the driver knows of one lane beside its state."""

    code: Int8[Array, "*lanes"]
    steps: Int32[Array, "*lanes"]
    value: PyTree[Array]
    bound: Float32[Array, "*lanes"]
    stops: tuple[PyTree[Array], ...]
    reductions: tuple[dict[str, PyTree[Array]], ...]


class Carry(NamedTuple):
    """Everything that changes: the states, the lanes' records of themselves, and the records' rows."""

    state: PyTree[Array]
    lane: Lane
    rows: tuple[dict[str, PyTree[Array]], ...]


@dataclass(frozen=True)
class Loop:
    """The code of a run: how arrays become a `System`, and how functions of one lane are mapped over lanes."""

    rebuild: Rebuild
    warm: bool = False  # x0 is a state
    kept: Kept = field(default_factory=lambda: Kept(False), compare=False)  # of what `rebuild` makes
    levels: Levels = field(default_factory=Levels)

    def system(self, arrays: Sequence[Any]) -> System:
        """What runs, with these arrays in it."""
        return self.rebuild(arrays)

    # -- one lane ------------------------------------------------------------------------------------------------------

    def first_state(self, arrays: list[Array], key: PRNGKeyArray) -> PyTree[Array]:
        system = self.system(arrays)
        if self.warm:
            return _strong(system.x0)
        return _strong(system.method.init(system.problem, stream(key, "init"), system.x0))

    def next_state(
        self, arrays: list[Array], step_stream: PRNGKeyArray, state: PyTree[Array], t: Array
    ) -> PyTree[Array]:
        system = self.system(arrays)
        return _strong(system.method.step(system.problem, state, jax.random.fold_in(step_stream, t)))

    def value(self, arrays: list[Array], state: PyTree[Array]) -> PyTree[Array]:
        system = self.system(arrays)
        return _strong(system.method.readout(system.problem, state))

    def first_lane(self, arrays: list[Array], state: PyTree[Array], t: Array) -> Lane:
        system = self.system(arrays)
        problem, value = system.problem, self.value(arrays, state)
        valid = jnp.asarray(True)
        for truth in system.method.requires().values():
            valid &= jnp.all(jnp.asarray(truth))
        return Lane(
            jnp.where(valid, jnp.int8(RUNNING), jnp.int8(INVALID)),
            t,
            jax.tree.map(lambda x: jnp.where(valid, x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.inexact) else x, value),
            GROWTH * jnp.maximum(1, _magnitude(value)),
            tuple(stop.init(_strong(stop.fn(problem, state))) for stop in system.stops),
            tuple(
                {n: r.init(_strong(r.fn(problem, state))) for n, r in one.reductions.items()} for one in system.records
            ),
        )

    def row(self, arrays: list[Array], state: PyTree[Array], which: int) -> dict[str, PyTree[Array]]:
        system = self.system(arrays)
        return {name: _strong(fn(system.problem, state)) for name, fn in system.records[which].series.items()}

    def reduce(
        self, arrays: list[Array], state: PyTree[Array], lane: Lane, t: Array, which: int
    ) -> dict[str, PyTree[Array]]:
        system = self.system(arrays)

        def update(reduction, carry):
            new = reduction.update(carry, _strong(reduction.fn(system.problem, state)), t)
            take = (lane.code == RUNNING) & (t >= reduction.after)
            return jax.tree.map(lambda a, b: jnp.where(take, a, b), new, carry)

        return {name: update(r, lane.reductions[which][name]) for name, r in system.records[which].reductions.items()}

    def ask(self, arrays: list[Array], state: PyTree[Array], lane: Lane, t: Array, which: int) -> tuple[PyTree, Array]:
        system = self.system(arrays)
        stop = system.stops[which]
        return stop.update(lane.stops[which], _strong(stop.fn(system.problem, state)), t)

    def health(self, arrays: list[Array], state: PyTree[Array], lane: Lane) -> Int8[Array, ""]:
        # the readout and not the state: an optimiser's state may hold an infinity in good health
        system = self.system(arrays)
        value = system.method.readout(system.problem, state)
        finite = jnp.asarray(True)
        for leaf in _floats(value):
            finite &= jnp.all(jnp.isfinite(leaf))
        far = _magnitude(value) > lane.bound
        return jnp.where(finite, jnp.where(far, jnp.int8(DIVERGED), jnp.int8(RUNNING)), jnp.int8(NONFINITE))

    def finish(self, arrays: list[Array], state: PyTree[Array], lane: Lane, found: Array, t: Array) -> Lane:
        ends = (lane.code == RUNNING) & (found != RUNNING)
        value = self.value(arrays, state)
        return lane._replace(
            code=jnp.where(ends, found, lane.code),
            steps=jnp.where(ends, t, lane.steps),
            value=jax.tree.map(lambda new, old: jnp.where(ends, new, old), value, lane.value),
        )

    # -- all lanes -----------------------------------------------------------------------------------------------------

    def so_far(self, arrays: list[Array], state: PyTree[Array], lane: Lane, t: Array) -> Lane:
        """The lanes at step `t`, with the present readout and step of those that run."""
        kinds: tuple[Kind, ...] = ("system", "state", "lane", "lane", "shared")
        ended = self.levels.each(self.finish, *kinds)(arrays, state, lane, jnp.full_like(lane.code, MAX_STEPS), t)
        return ended._replace(code=lane.code)

    def begin(self, arrays: list[Array], keys: Array, t0: Array, tables: Tables) -> Carry:
        """The carry at the starting point, before anything is observed."""

        def run(arrays, keys):
            state = self.levels.each(self.first_state, "system", "key", result="state")(arrays, keys)
            lane = self.levels.each(self.first_lane, "system", "state", "shared")(arrays, state, t0)
            rows = []
            for r, times in enumerate(tables.times):
                row = jax.eval_shape(self._rows(r), arrays, state)
                rows.append(jax.tree.map(partial(_empty_rows, max(len(times) - 1, 1)), row))
            return Carry(state, lane, tuple(rows))

        return self._around(run, arrays, keys)

    def advance(
        self,
        arrays: list[Array],
        streams: Array,
        t0: Array,
        positions: tuple[Array, ...],
        t1: Array,
        tables: Tables,
        carry: Carry,
    ) -> Carry:
        """The carry at step `t1`, or where the last lane stopped; `positions` counts the rows of steps before `t0`."""

        def run(arrays, streams, carry):
            stops = self.system(arrays).stops

            step = self.levels.each(self.next_state, "system", "key", "state", "shared", result="state")

            def alive(carry):
                return jnp.any(carry.lane.code == RUNNING)

            def body(going):
                t, positions, carry = going
                carry, positions = self.observe(arrays, carry, t, positions, tables)
                event = jnp.minimum(t1, (t // HEALTH_STRIDE + 1) * HEALTH_STRIDE)
                for times, position in zip(tables.times, positions, strict=True):
                    event = jnp.minimum(event, times[position])
                for stop in stops:
                    event = jnp.minimum(event, (t // stop.every + 1) * stop.every)
                event = jnp.where(alive(carry), event, t)
                t, state = lax.while_loop(
                    lambda c: c[0] < event, lambda c: (c[0] + 1, step(arrays, streams, c[1], c[0])), (t, carry.state)
                )
                return t, positions, carry._replace(state=state)

            def unfinished(going):
                t, _, carry = going
                return alive(carry) & ((t < t1) | (t == tables.steps))

            return lax.while_loop(unfinished, body, (t0, positions, carry))[2]

        return self._around(run, arrays, streams, carry)

    def unrolled(
        self, arrays: list[Array], streams: PRNGKeyArray, t0: Array, tables: Tables, carry: Carry, length: int
    ) -> Carry:
        """`advance` to the end as one `scan`, which reverse-mode differentiation goes through."""

        def body(going, i):
            t, positions, carry = going
            state = self.next_state(arrays, streams, carry.state, t)
            t = t + 1
            carry, positions = self.observe(arrays, carry._replace(state=state), t, positions, tables)
            return (t, positions, carry), None

        carry, positions = self.observe(arrays, carry, t0, tuple(jnp.int32(0) for _ in tables.times), tables)
        return lax.scan(body, (t0, positions, carry), None, length=length)[0][2]

    def observe(
        self, arrays: list[Array], carry: Carry, t: Array, positions: tuple[Array, ...], tables: Tables
    ) -> tuple[Carry, tuple[Array, ...]]:
        """What is due at step `t`: rows and reductions first, then the rules, then the end of lanes."""
        state, lane, rows = carry
        each, rows, after = self.levels.each, list(rows), []
        for r, times in enumerate(tables.times):
            position, reductions = positions[r], lane.reductions[r]
            due = times[position] == t
            place = jnp.minimum(position, max(len(times) - 2, 0))
            old = jax.tree.map(lambda buffer, place=place: lax.dynamic_index_in_dim(buffer, place, 0, False), rows[r])
            reduce = each(partial(self.reduce, which=r), "system", "state", "lane", "shared")
            row, reductions = lax.cond(
                due,
                lambda lane, old, r=r, reduce=reduce: (self._rows(r)(arrays, state), reduce(arrays, state, lane, t)),
                lambda lane, old, r=r: (old, lane.reductions[r]),
                lane,
                old,
            )
            rows[r] = jax.tree.map(
                lambda buffer, x, place=place: lax.dynamic_update_index_in_dim(buffer, x, place, 0), rows[r], row
            )
            lane = lane._replace(reductions=(*lane.reductions[:r], reductions, *lane.reductions[r + 1 :]))
            after.append(position + due.astype(jnp.int32))

        last = t == tables.steps
        due = (t % HEALTH_STRIDE == 0) | last
        found = lax.cond(
            due,
            lambda lane: each(self.health, "system", "state", "lane")(arrays, state, lane),
            lambda lane: jnp.full_like(lane.code, RUNNING),
            lane,
        )
        for s, stop in enumerate(self.system(arrays).stops):
            ask = each(partial(self.ask, which=s), "system", "state", "lane", "shared")
            memory, code = lax.cond(
                (t % stop.every == 0) | last,
                lambda lane, ask=ask: ask(arrays, state, lane, t),
                lambda lane, s=s: (lane.stops[s], jnp.full_like(lane.code, RUNNING)),
                lane,
            )
            lane = lane._replace(stops=(*lane.stops[:s], memory, *lane.stops[s + 1 :]))
            found = jnp.where(found == RUNNING, code, found)
        found = jnp.where((found == RUNNING) & last, jnp.int8(MAX_STEPS), found)
        lane = lax.cond(
            jnp.any((lane.code == RUNNING) & (found != RUNNING)),
            lambda lane: each(self.finish, "system", "state", "lane", "lane", "shared")(arrays, state, lane, found, t),
            lambda lane: lane,
            lane,
        )
        return Carry(state, lane, tuple(rows)), tuple(after)

    def _rows(self, which: int) -> Callable:
        return self.levels.each(lambda arrays, state: self.row(arrays, state, which), "system", "state")

    def _around(self, run: Callable, *args: Any) -> Any:
        """`run` once for each outer lane, one after the other, where the outer level lies around the loop."""
        if self.levels.outer != "around":
            return run(*args)
        flat, structure = jax.tree.flatten(args)
        axes = [0 if outer else None for outer, _ in self.levels.system] + [0] * (len(flat) - len(self.levels.system))
        trees = []

        def function(flat):
            out, tree = jax.tree.flatten(run(*jax.tree.unflatten(structure, flat)))
            trees.append(tree)
            return out

        out = one_by_one(function, axes)(flat)
        return jax.tree.unflatten(trees[-1], out)


def _empty_rows(count: int, x: jax.ShapeDtypeStruct) -> Array:
    return jnp.zeros((count, *x.shape), x.dtype)


def checked(loop: Loop, arrays: list[Any], key: Any) -> PyTree[jax.ShapeDtypeStruct]:
    """The shapes of one lane's state, after a look that `step` keeps them.

    **Raises** `TypeError` that names the first leaf that drifts.
    """

    def look() -> PyTree[jax.ShapeDtypeStruct]:
        before = jax.eval_shape(loop.first_state, arrays, key)
        after = jax.eval_shape(loop.next_state, arrays, key, before, jax.ShapeDtypeStruct((), jnp.int32))
        check_kept(f"{type(loop.system(arrays).method).__name__}.step", before, after)
        return before

    return loop.kept.get("state", (arrays, key), look)


def inner_dependence(loop: Loop, arrays: list[Any], key: Any, flags: Sequence[bool], own_keys: bool) -> list[bool]:
    """For each leaf of the state, whether it differs between inner lanes: the least fixed point of `init` and `step`.

    `arrays` are the shapes of one outer lane, `flags` say which of them have the inner axis.
    """
    axes = [0 if flag else None for flag in flags]
    own = batched(loop.first_state, (axes, 0 if own_keys else None), arrays, key)
    t = jax.ShapeDtypeStruct((), jnp.int32)
    single = [
        x if a is None else jax.ShapeDtypeStruct(x.shape[1:], x.dtype, weak_type=getattr(x, "weak_type", False))
        for x, a in zip(arrays, axes, strict=True)
    ]
    lane_key = jax.ShapeDtypeStruct((), key.dtype)
    shapes, structure = jax.tree.flatten(jax.eval_shape(loop.first_state, single, lane_key))
    width = next((x.shape[0] for x, a in zip(arrays, axes, strict=True) if a == 0), key.shape[0] if own_keys else 0)
    while True:
        state = [jax.ShapeDtypeStruct((width, *x.shape), x.dtype) if o else x for x, o in zip(shapes, own, strict=True)]
        new = batched(
            lambda arrays, key, state, t: loop.next_state(arrays, key, jax.tree.unflatten(structure, state), t),
            (axes, 0 if own_keys else None, [0 if o else None for o in own], None),
            arrays,
            key,
            state,
            t,
        )
        new = [a or b for a, b in zip(own, new, strict=True)]
        if new == own:
            return own
        own = new


def _strong(tree: PyTree) -> PyTree[Array]:
    """Arrays without weak types, so that a step cannot change what promotion makes of them."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)) if not _is_key(x) else x, tree)


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _floats(tree: PyTree[Array]) -> list[Array]:
    return [
        lax.stop_gradient(x) for x in jax.tree.leaves(tree) if not _is_key(x) and jnp.issubdtype(x.dtype, jnp.inexact)
    ]


def _magnitude(tree: PyTree[Array]) -> Float32[Array, ""]:
    sizes = [jnp.max(jnp.abs(x), initial=0).astype(jnp.float32) for x in _floats(tree)]
    return jnp.max(jnp.stack(sizes)) if sizes else jnp.float32(0)

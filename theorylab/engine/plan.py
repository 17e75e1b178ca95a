"""What a sweep runs at once: the lanes of one combination of static values, their levels, their keys, their blocks."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from .axes import SEED
from .block import FEWEST, Block, tables
from .dataset import columns, describe
from .keys import build_key, seed_key, stream
from .lanes import Axis, Levels, Places, build_lanes, dependence, first_lane, lane_shapes, product, sizes
from .lanes import split as split_arrays
from .loop import Carry, Task, checked, inner_dependence
from .mesh import split
from .method import Method
from .modules import placed
from .record import Record
from .store import fingerprint
from .traces import kept

PLENTY = 256  # times what a lane carries: below that, a look at the compiled program, whose scratch nobody guesses


class Draws:
    """The keys of the seeds, as data on the host: taking some out of an array of keys would compile each time."""

    def __init__(self, key: PRNGKeyArray, seeds: np.ndarray):
        self.seeds, self._impl = seeds, jax.random.key_impl(key)
        self.own, self.build, self.steps = (np.asarray(data) for data in _seed_data(key, seeds))

    def wrap(self, data: Any) -> Array:
        return jax.random.wrap_key_data(data, impl=self._impl)

    def lanes(self, data: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and step streams of (outer, inner) lanes of their own, from their seeds' keys and their index' parts."""
        own, steps = _lane_data(self.wrap(data), outer, inner)
        return np.asarray(own), np.asarray(steps)


@jax.jit
def _seed_data(key, seeds):
    own = jax.vmap(lambda s: seed_key(key, s))(seeds)
    return tuple(jax.random.key_data(keys) for keys in (own, jax.vmap(build_key)(own), _streams(own)))


@jax.jit
def _lane_data(keys, outer, inner):
    def draw(k, o):
        return jax.vmap(lambda i: jax.random.fold_in(stream(k, "lane"), o + i))(inner)

    own = jax.vmap(draw)(keys, outer)
    return jax.random.key_data(own), jax.random.key_data(jax.vmap(_streams)(own))


def _streams(keys):
    return jax.vmap(lambda k: stream(k, "step"))(keys)


class Plan:
    """The lanes of one combination of static values: levels, shapes, and how a block of them is made and run."""

    def __init__(self, build, static, moving, draws: Draws, rules, *, lanes, coupling, mesh, when):
        self.static, self.when, self.coupling, self.mesh, self.draws = static, when, coupling, mesh, draws

        axes = {n: x if isinstance(x, Axis) else Axis((n,), x) for n, x in moving.items()}
        axes[SEED] = Axis((SEED,), draws.build)

        def system(values: Mapping[str, PyTree]):
            whole = {n: axes[n].whole(x) for n, x in values.items()}
            made = build(draws.wrap(whole.pop(SEED)), **static, **whole)
            if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], Method):
                raise TypeError(
                    f"build must return (method, problem) or (method, problem, x0), got {type(made).__name__}: {made!r}"
                )
            method, problem, x0 = (*made, *[None] * (3 - len(made)))
            return (method, *placed(problem, x0), *rules)

        self.system, self.axes, self.sizes = system, axes, sizes(axes)
        made_of = {n: axis.values for n, axis in axes.items()}
        known = kept(rules, build, static, {n: axis.rest for n, axis in axes.items()})
        name = ("dependence", tuple(axis.dims for axis in axes.values()))
        depends = known.get(name, made_of, lambda: dependence(system, axes))
        self.first = lambda: first_lane(system, axes)[0]
        one, self.single = _looked_at(system, axes, draws.wrap(draws.own[0]))
        self.method, problem, *_ = _placeholder(one.rebuild, self.single)
        begin = len(split_arrays(self.method)[0])
        end = begin + len(split_arrays(problem)[0])
        outer = set().union(*depends[begin:end]) if coupling == "all" else {SEED}.union(*depends[begin:end])
        if coupling != "independent" and not (set(self.sizes) - outer) & set().union(*depends):
            outer = set(self.sizes)  # lanes that nothing tells apart have no inner level to share
        self.outer = [n for n in self.sizes if n in outer]
        self.inner = [n for n in self.sizes if n not in outer]
        self.depends = [(bool(d & outer), bool(d - outer)) for d in depends]
        self.outer_places = product({n: self.sizes[n] for n in self.outer}) if self.outer else {}
        self.inner_places = product({n: self.sizes[n] for n in self.inner}) if self.inner else {}
        self.own_keys = coupling == "independent" and bool(self.inner)
        self.keys, self.streams = self._lane_keys()
        self.key = draws.wrap(draws.own[0])
        self.shape = (len(self.keys), len(next(iter(self.inner_places.values()))) if self.inner else 1)

        mode = "none" if not self.inner else self.method.lanes if lanes == "auto" else lanes
        around = lanes == "map" or (lanes == "auto" and jax.default_backend() == "cpu")
        flags = [i for _, i in self.depends]
        wide = [
            jax.ShapeDtypeStruct((self.shape[1], *x.shape), x.dtype, weak_type=x.weak_type) if f else x
            for x, f in zip(self.single, flags, strict=True)
        ]
        key = jax.ShapeDtypeStruct(self.keys.shape[1:-1], self.key.dtype)
        if mode == "none":
            state = [False] * len(jax.tree.leaves(jax.eval_shape(one.first_state, self.single, self.key)))
        elif mode == "map":
            state = [True] * len(jax.tree.leaves(jax.eval_shape(one.first_state, self.single, self.key)))
        else:
            name = ("inner", *flags, self.own_keys)
            state = one.kept.get(name, (wide, key), lambda: inner_dependence(one, wide, key, flags, self.own_keys))
        levels = Levels(tuple(self.depends), tuple(state), mode, "around" if around else "inside", self.own_keys)
        self.task = replace(one, levels=levels)

    def _lane_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """The data of each outer lane's key and step stream, or of each lane's where lanes draw on their own."""
        if self.coupling == "all":
            count = len(next(iter(self.outer_places.values()))) if self.outer else 1
            return np.repeat(self.draws.own[:1], count, axis=0), np.repeat(self.draws.steps[:1], count, axis=0)
        own, steps = (data[self.outer_places[SEED]] for data in (self.draws.own, self.draws.steps))
        if self.coupling == "seed":
            return own, steps
        names = [n for n in self.sizes if n != SEED]
        strides = {n: int(np.prod([self.sizes[m] for m in names[i + 1 :]], dtype=int)) for i, n in enumerate(names)}

        def share(places: Places) -> np.ndarray:
            zero = np.zeros(len(next(iter(places.values()))) if places else 1, int)
            return sum((places[n] * strides.get(n, 0) for n in places), zero).astype(np.uint32)

        own, steps = self.draws.lanes(own, share(self.outer_places), share(self.inner_places))
        return (own, steps) if self.inner else (own[:, 0], steps[:, 0])

    # -- shapes --------------------------------------------------------------------------------------------------------

    def layout(self, records: Sequence[Record]) -> dict[str, Any]:
        """What the result will hold, from shapes alone."""
        times, carry = self.when[0], self._carry()
        lane = jax.tree.map(lambda x: np.zeros((1, 1, *x.shape), x.dtype), carry.lane._replace(stops=()))
        rows = jax.tree.map(lambda x: np.zeros((1, 1, *x.shape), x.dtype), carry.rows)
        return describe(columns((lane, rows), records, times), records, times)

    def _carry(self) -> Carry:
        """The shapes of what one lane carries."""
        task = replace(self.task, levels=Levels())
        args = self.single, self.key, np.int32(0), tables(*self.when)
        return task.kept.get("carry", args, lambda: jax.eval_shape(task.begin, *args))

    def fingerprint(self) -> dict[str, str]:
        return fingerprint(replace(self.task, levels=Levels()), self.first(), self.key)

    def width(self, memory_limit: int | None, fewest: int = 1) -> tuple[int, int]:
        """How many outer and inner lanes a block has, so that it fits, and that there are `fewest` blocks if possible.

        The width is guessed from the size of what a lane carries, and then halved until the compiled program, with its
        scratch, fits; that look is spared where the guess leaves room in plenty.
        """
        if memory_limit is not None and memory_limit <= 0:
            raise ValueError(f"memory_limit must be a positive number of bytes, got {memory_limit}")
        outer, inner = self.shape
        most, deepest = -(-outer // fewest), inner
        if outer < fewest:
            # not below what a matrix product wants
            deepest = max(min(FEWEST, inner), -(-inner // -(-fewest // outer)))
        limit = free_memory() if memory_limit is None else memory_limit
        if limit is None:
            return most, deepest
        width, depth, guess = self._guess(limit)
        width, depth = min(width, most), min(depth, deepest)
        while True:
            small = PLENTY * guess < limit or (width, depth) == (1, 1)
            if small or self.begin([0, width, 0, depth], (width, depth)).program()[1].bytes <= limit:
                return width, depth
            width, depth = (width // 2, depth) if width > 1 else (1, depth // 2)

    def blocks(self, width: int, depth: int) -> list[list[int]]:
        """All lanes in blocks of `width` outer and `depth` inner ones."""
        outer, inner = self.shape
        return [
            [o, min(o + width, outer), i, min(i + depth, inner)]
            for o in range(0, outer, width)
            for i in range(0, inner, depth)
        ]

    def _guess(self, limit: int) -> tuple[int, int, int]:
        """How many outer and inner lanes fit into `limit` bytes, and what they take, from the sizes of arrays alone."""
        outer, inner = self.shape
        lane = 2 * sum(
            _bytes(x) for x in jax.tree.leaves(self._carry())
        )  # donated: one copy moves, one is being written
        own = {flags: 0 for flags in ((False, False), (False, True), (True, False), (True, True))}
        for x, flags in zip(self.single, self.depends, strict=True):
            own[flags] += _bytes(x)
        devices = split(self.mesh, outer, inner).devices if jax.default_backend() != "cpu" else 1
        shared = own[False, False] + inner * own[False, True]
        per_outer = own[True, False] + inner * (own[True, True] + lane)
        width = max(1, min(outer, int(max(limit - shared, 0) // max(per_outer, 1)) * devices))
        depth = inner
        if width == 1 and per_outer + shared > limit:
            room = limit - own[False, False] - own[True, False]
            depth = max(1, min(inner, int(max(room, 0) // max(own[False, True] + own[True, True] + lane, 1))))
        return width, depth, shared + -(-width // devices) * per_outer

    # -- running -------------------------------------------------------------------------------------------------------

    def begin(self, block: list[int], width: tuple[int, int]) -> Block:
        """The lanes of a block at their starting points, padded to the width that all blocks share."""
        o0, o1, i0, i1 = block
        times, steps = self.when
        spread = split(self.mesh, *width)
        grain = {"outer": 1, "inner": 1} | {spread.level: spread.devices}
        outer = _padded(o0, o1, -(-width[0] // grain["outer"]) * grain["outer"])
        inner = _padded(i0, i1, -(-width[1] // grain["inner"]) * grain["inner"])
        leaves, rebuild = build_lanes(
            self.system,
            self.axes,
            {n: places[outer] for n, places in self.outer_places.items()},
            {n: places[inner] for n, places in self.inner_places.items()},
            self.depends,
        )
        keys, streams = (
            self.draws.wrap(data[outer][:, inner] if self.own_keys else data[outer])
            for data in (self.keys, self.streams)
        )
        task = replace(self.task, rebuild=rebuild)
        return Block.begin(task, leaves, keys, streams, tables(times, steps), spread, 0)


def _looked_at(system: Callable, axes: Mapping[str, Axis], key: PRNGKeyArray) -> tuple[Task, list[Any]]:
    """The code of one lane and its shapes, after a look that its step keeps them."""
    escaped = jax.errors.UnexpectedTracerError

    def look(found: tuple[list[Any], Callable]) -> Task:
        shapes, rebuild = found
        task = Task(rebuild, kept=kept(_placeholder(rebuild, shapes)))
        checked(task, shapes, key)
        return task

    try:
        found = lane_shapes(system, axes)
        return look(found), found[0]
    except escaped:
        # a function that `build` made holds an array that it made too: concrete, if no axis touches it, in a real run
        found = first_lane(system, axes)
        try:
            task = look(found)
        except escaped as error:
            raise TypeError(
                "build: a function that it returns closes over a value of an axis. Pass that value as an array that the"
                " problem or the method holds (for instance data=...), so that each lane has its own."
            ) from error
        return task, [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in found[0]]


def _placeholder(rebuild: Callable, shapes: Sequence[Any]) -> tuple:
    """Method, problem and the rest with numbers in the place of their arrays."""
    return rebuild([np.float64(0)] * len(shapes))


def _padded(start: int, stop: int, width: int) -> np.ndarray:
    """The places `start..stop`, the last repeated to `width`."""
    return np.minimum(np.arange(start, start + width), stop - 1)


def _bytes(x: Any) -> int:
    return int(np.prod(x.shape, dtype=int)) * x.dtype.itemsize


def free_memory() -> int | None:
    """Four fifths of what is free on one device, or of the machine's on CPU; None where nobody says."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        found = device.memory_stats() or {}
        return int(0.8 * (found["bytes_limit"] - found.get("bytes_in_use", 0))) if "bytes_limit" in found else None
    try:
        return int(0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return None

"""Lanes of one program: their levels, their keys and shapes, how many fit, and how a block of them is made."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from .._disk.dataset import describe
from .._disk.grid import Part, Rectangle
from .._disk.store import fingerprint
from .._run.block import FEWEST, Block
from .._run.levels import Levels
from .._run.loop import Carry, Loop, checked, inner_dependence
from .._run.mesh import split as dealt
from .._run.system import Rebuild, System, split
from .._run.traces import kept
from ..method import Method
from ..modules import placed
from .axes import SEED
from .lanes import Axis, Places, build_lanes, dependence, first_lane, lane_shapes, product, sizes
from .request import Draws, Request

PLENTY = 256  # times what a lane carries: below that, a look at the compiled program, whose scratch nobody guesses


class Group:
    """The lanes of a sweep at one place of its static dimensions."""

    def __init__(self, request: Request, draws: Draws, places: Mapping[str, int], mesh: Any = None):
        self.request, self.draws, self.mesh = request, draws, mesh
        static, moving = request.axes.at(places)
        self.axes = axes = {**moving, SEED: Axis((SEED,), draws.build)}

        def system(values: Mapping[str, PyTree]) -> System:
            given = {name: axes[name].whole(x) for name, x in values.items()}
            made = request.build(draws.wrap(given.pop(SEED)), **static, **given)
            if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], Method):
                raise TypeError(
                    f"build must return (method, problem) or (method, problem, x0), got {type(made).__name__}: {made!r}"
                )
            problem, x0 = placed(made[1], made[2] if len(made) == 3 else None)
            return System(made[0], problem, x0, request.timetable.records, request.stops)

        self.system = system
        depends = self._dependence(static)
        one, self.single = _looked_at(system, axes, draws.wrap(draws.own[0]))
        example = _placeholder(one.rebuild, self.single)
        self.method, self.key = example.method, draws.wrap(draws.own[0])
        dims = sizes(axes)
        outer = _outer(depends, example, dims, request.coupling)
        self.part = Part(
            {dim: request.axes.words[dim][i] for dim, i in places.items()},
            [dim for dim in dims if dim in outer],
            [dim for dim in dims if dim not in outer],
        )
        self.depends = [(bool(d & outer), bool(d - outer)) for d in depends]
        self.outer_places, self.inner_places = (
            product({dim: dims[dim] for dim in level}) if level else {} for level in (self.part.outer, self.part.inner)
        )
        self.own_keys = request.coupling == "independent" and bool(self.part.inner)
        self.keys, self.streams = self._lane_keys(dims)
        self.shape = len(self.keys), _count(self.inner_places)
        self.loop = replace(one, levels=self._levels(one))

    def _dependence(self, static: Mapping[str, Any]) -> list[set[str]]:
        rules = self.request.timetable.records, self.request.stops
        known = kept(rules, self.request.build, static, {name: axis.rest for name, axis in self.axes.items()})
        name = "dependence", tuple(axis.dims for axis in self.axes.values())
        values = {name: axis.values for name, axis in self.axes.items()}
        return known.get(name, values, lambda: dependence(self.system, self.axes))

    def _levels(self, one: Loop) -> Levels:
        """How lanes are mapped: the inner level as the method says, the outer one in the way of the device."""
        lanes = self.request.lanes
        mode = "none" if not self.part.inner else self.method.lanes if lanes == "auto" else lanes
        around = lanes == "map" or (lanes == "auto" and jax.default_backend() == "cpu")
        if mode == "vmap":
            flags = [inner for _, inner in self.depends]
            wide = [
                jax.ShapeDtypeStruct((self.shape[1], *x.shape), x.dtype, weak_type=x.weak_type) if flag else x
                for x, flag in zip(self.single, flags, strict=True)
            ]
            key = jax.ShapeDtypeStruct(self.keys.shape[1:-1], self.key.dtype)
            name = ("inner", *flags, self.own_keys)
            state = one.kept.get(name, (wide, key), lambda: inner_dependence(one, wide, key, flags, self.own_keys))
        else:
            count = len(jax.tree.leaves(jax.eval_shape(one.first_state, self.single, self.key)))
            state = [mode == "map"] * count
        return Levels(tuple(self.depends), tuple(state), mode, "around" if around else "inside", self.own_keys)

    def _lane_keys(self, dims: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """The data of each outer lane's key and step stream, or of each lane's where lanes draw on their own."""
        if self.request.coupling == "all":
            count = _count(self.outer_places)
            return np.repeat(self.draws.own[:1], count, axis=0), np.repeat(self.draws.steps[:1], count, axis=0)
        own, steps = (data[self.outer_places[SEED]] for data in (self.draws.own, self.draws.steps))
        if self.request.coupling == "seed":
            return own, steps
        names = [n for n in dims if n != SEED]
        strides = {n: int(np.prod([dims[m] for m in names[i + 1 :]], dtype=int)) for i, n in enumerate(names)}

        def share(places: Places) -> np.ndarray:
            zero = np.zeros(_count(places), int)
            return sum((places[n] * strides.get(n, 0) for n in places), zero).astype(np.uint32)

        own, steps = self.draws.lanes(own, share(self.outer_places), share(self.inner_places))
        return (own, steps) if self.part.inner else (own[:, 0], steps[:, 0])

    # -- shapes --------------------------------------------------------------------------------------------------------

    def layout(self) -> dict[str, Any]:
        """What the result will hold, from shapes alone."""
        return describe(self._carry(), self.request.timetable)

    def _carry(self) -> Carry:
        """The shapes of what one lane carries."""
        loop = replace(self.loop, levels=Levels())
        args = self.single, self.key, np.int32(0), self.request.timetable.tables
        return loop.kept.get("carry", args, lambda: jax.eval_shape(loop.begin, *args))

    def fingerprint(self) -> dict[str, str]:
        arrays, _ = first_lane(self.system, self.axes)
        return fingerprint(replace(self.loop, levels=Levels()), arrays, self.key)

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
            if small or self.begin(Rectangle(0, width, 0, depth), (width, depth)).program()[1].bytes <= limit:
                return width, depth
            width, depth = (width // 2, depth) if width > 1 else (1, depth // 2)

    def cut(self, width: tuple[int, int]) -> Part:
        """All lanes in blocks of so many outer and inner ones."""
        outer, inner = self.shape
        return replace(self.part, blocks=Rectangle(0, outer, 0, inner).tiles(width))

    def _guess(self, limit: int) -> tuple[int, int, int]:
        """How many outer and inner lanes fit into `limit` bytes, and what they take, from the sizes of arrays alone."""
        outer, inner = self.shape
        lane = 2 * sum(
            _bytes(x) for x in jax.tree.leaves(self._carry())
        )  # donated: one copy moves, one is being written
        own = {flags: 0 for flags in ((False, False), (False, True), (True, False), (True, True))}
        for x, flags in zip(self.single, self.depends, strict=True):
            own[flags] += _bytes(x)
        devices = dealt(self.mesh, outer, inner).devices if jax.default_backend() != "cpu" else 1
        shared = own[False, False] + inner * own[False, True]
        per_outer = own[True, False] + inner * (own[True, True] + lane)
        width = max(1, min(outer, int(max(limit - shared, 0) // max(per_outer, 1)) * devices))
        depth = inner
        if width == 1 and per_outer + shared > limit:
            room = limit - own[False, False] - own[True, False]
            depth = max(1, min(inner, int(max(room, 0) // max(own[False, True] + own[True, True] + lane, 1))))
        return width, depth, shared + -(-width // devices) * per_outer

    # -- running -------------------------------------------------------------------------------------------------------

    def begin(self, block: Rectangle, width: tuple[int, int]) -> Block:
        """The lanes of a block at their starting points, padded to the width that all blocks share."""
        spread = dealt(self.mesh, *width)
        grain = {"outer": 1, "inner": 1} | {spread.level: spread.devices}
        outer = _padded(block.outer_start, block.outer_stop, -(-width[0] // grain["outer"]) * grain["outer"])
        inner = _padded(block.inner_start, block.inner_stop, -(-width[1] // grain["inner"]) * grain["inner"])
        arrays, rebuild = build_lanes(
            self.system,
            self.axes,
            {dim: places[outer] for dim, places in self.outer_places.items()},
            {dim: places[inner] for dim, places in self.inner_places.items()},
            self.depends,
        )
        keys, streams = (
            self.draws.wrap(data[outer][:, inner] if self.own_keys else data[outer])
            for data in (self.keys, self.streams)
        )
        loop = replace(self.loop, rebuild=rebuild)
        return Block.begin(loop, arrays, keys, streams, self.request.timetable.tables, spread, 0)


def _outer(depends: Sequence[set[str]], example: System, dims: Mapping[str, int], coupling: str) -> set[str]:
    """The dimensions of the outer level: those that an array of the problem or of the start depends on, and the seed
    where seeds draw on their own."""
    begin = len(split(example.method)[0])
    end = begin + len(split(example.problem)[0])
    outer = set().union(*depends[begin:end]) if coupling == "all" else {SEED}.union(*depends[begin:end])
    if coupling != "independent" and not (set(dims) - outer) & set().union(*depends):
        return set(dims)  # lanes that nothing tells apart have no inner level to share
    return outer


def _count(places: Places) -> int:
    """How many lanes there are at some places; one where no dimension moves."""
    return len(next(iter(places.values()))) if places else 1


def _looked_at(system: Callable, axes: Mapping[str, Axis], key: PRNGKeyArray) -> tuple[Loop, list[Any]]:
    """The code of one lane and its shapes, after a look that its step keeps them."""
    escaped = jax.errors.UnexpectedTracerError

    def look(found: tuple[list[Any], Rebuild]) -> Loop:
        shapes, rebuild = found
        loop = Loop(rebuild, kept=kept(tuple(_placeholder(rebuild, shapes))))
        checked(loop, shapes, key)
        return loop

    try:
        found = lane_shapes(system, axes)
        return look(found), found[0]
    except escaped:
        # a function that `build` made holds an array that it made too: concrete, if no axis touches it, in a real run
        found = first_lane(system, axes)
        try:
            loop = look(found)
        except escaped as error:
            raise TypeError(
                "build: a function that it returns closes over a value of an axis. Pass that value as an array that the"
                " problem or the method holds (for instance data=...), so that each lane has its own."
            ) from error
        return loop, [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in found[0]]


def _placeholder(rebuild: Rebuild, shapes: Sequence[Any]) -> System:
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

"""Some lanes on their way: their arrays on the devices, the two programs that move them, and their results on the
host."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..program import Traced, call, compiled, trace
from ..status import RUNNING
from .levels import Kind
from .loop import Carry, Lane, Loop
from .mesh import Split
from .system import Tables

FEWEST = 4  # lanes: below this a matrix product is no faster, and its last bits differ most
SHRINK = 2  # compaction waits until this factor is to be had


@dataclass
class Block:
    """Lanes that run together: `outer` and `inner` say which of the block's lanes are still carried."""

    loop: Loop
    arrays: list[Array]
    streams: Array
    tables: Tables
    split: Split
    carry: Carry
    t: int
    outer: np.ndarray
    inner: np.ndarray
    results: Any = None
    compile_seconds: float = 0.0

    @classmethod
    def begin(
        cls, loop: Loop, arrays: list[Array], keys: Array, streams: Array, when: Tables, split: Split, t0: int
    ) -> "Block":
        """Lanes at their starting points."""
        outer, inner = _width(loop, arrays, keys, "outer"), _width(loop, arrays, keys, "inner")
        arrays, keys, streams = _put(loop, split, arrays, keys, streams)
        start = np.asarray(t0, np.int32)
        args = (arrays, keys, start, when)
        traced = loop.kept.get(
            ("begin", split, loop.levels),
            args,
            lambda: trace(loop.begin, *_local(loop, split, arrays, keys, (start, when))),
        )
        carry_axes = _carry_axes(loop, jax.tree.unflatten(traced.tree, range(traced.tree.num_leaves)), split.level)
        wrap = split.wrap(_in_axes(loop, split, arrays, keys, (start, when)), carry_axes)
        run, program, new = compiled(traced, args, (), wrap, layout=split)
        carry = run(args, ())
        cost = program.compile_seconds if new else 0.0
        return cls(loop, arrays, streams, when, split, carry, t0, np.arange(outer), np.arange(inner), None, cost)

    def advance(self, t1: int) -> None:
        """Run to step `t1`, or until no lane is left."""
        run, _ = self.program()
        self.carry = run(self._args(t1), self.carry)
        jax.block_until_ready(self.carry.lane.code)
        self.t = t1

    def program(self) -> tuple[Any, Any]:
        """The program that advances the lanes as they are laid out now, compiled at its first use."""
        if self._program is None:
            loop, split, args = self.loop, self.split, self._args(self.t)
            shared = args[2:]
            axes = _carry_axes(loop, self.carry, split.level)

            def look() -> Traced:
                local = _local(loop, split, self.arrays, self.streams, shared)
                carry = [split.local(x, axis) for x, axis in zip(jax.tree.leaves(self.carry), axes, strict=True)]
                return trace(loop.advance, *local, jax.tree.unflatten(jax.tree.structure(self.carry), carry))

            name = ("advance", split, loop.levels)
            traced = loop.kept.get(name, (*args, self.carry), look)
            wrap = split.wrap([*_in_axes(loop, split, self.arrays, self.streams, shared), *axes], axes)
            run, program, new = compiled(traced, args, self.carry, wrap, layout=split)
            self.compile_seconds += program.compile_seconds if new else 0.0
            self._program = run, program
        return self._program

    _program: Any = None

    def _args(self, t1: int) -> tuple:
        positions = tuple(np.asarray(np.searchsorted(times, self.t), np.int32) for times in self.tables.times)
        return self.arrays, self.streams, np.asarray(self.t, np.int32), positions, np.asarray(t1, np.int32), self.tables

    # -- the host's view -----------------------------------------------------------------------------------------------

    def codes(self) -> np.ndarray:
        """The status codes of the lanes that are carried, (outer, inner)."""
        return self._lanes(self.carry.lane.code)

    @property
    def alive(self) -> bool:
        return bool((self.codes() == RUNNING).any())

    def _lanes(self, x: Any) -> np.ndarray:
        x, levels = np.asarray(x), self.loop.levels
        x = x if levels.outer != "none" else x[None]
        return x if levels.inner != "none" else np.expand_dims(x, 1)

    def so_far(self) -> tuple[Lane, tuple]:
        """`harvest` with the present step and readout of the lanes that run, whose code says that they do."""
        levels = self.loop.levels
        loop = replace(self.loop, levels=replace(levels, outer="none" if levels.outer == "none" else "inside"))
        return self.harvest(call(loop.so_far, self.arrays, self.carry.state, self.carry.lane, jnp.int32(self.t)))

    def harvest(self, lane: Lane | None = None) -> tuple[Lane, tuple]:
        """What the lanes have to show, as NumPy arrays (outer, inner, ...) over all lanes of the block."""
        levels = self.loop.levels
        lanes = (self.carry.lane if lane is None else lane)._replace(stops=())

        def rows(buffer):
            buffer = np.asarray(buffer)
            places = [p for p in (levels.buffer_place("outer"), levels.buffer_place("inner")) if p is not None]
            return self._lanes(np.moveaxis(buffer, places, range(len(places))))

        now = (jax.tree.map(self._lanes, lanes), jax.tree.map(rows, self.carry.rows))
        if self.results is None:
            return now
        kept = np.ix_(self.outer, self.inner)
        jax.tree.map(lambda whole, part: whole.__setitem__(kept, part), self.results, now)
        return self.results

    # -- fewer lanes ---------------------------------------------------------------------------------------------------

    def narrower(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The lanes to keep if the ones that stopped were dropped: a smaller grid, or None if that would not be
        worth it."""
        alive = self.codes() == RUNNING
        outer, inner = alive.any(1), alive.any(0)
        keep_outer, keep_inner = np.arange(len(outer)), np.arange(len(inner))
        if self.loop.levels.outer == "inside":
            keep_outer = _fill(outer, 1)
        if self.loop.levels.inner != "none":
            keep_inner = _fill(inner, FEWEST)
        shape = {"outer": keep_outer, "inner": keep_inner}
        if len(shape[self.split.level]) % self.split.devices:
            return None
        if alive.size < SHRINK * len(keep_outer) * len(keep_inner):
            return None
        return keep_outer, keep_inner

    def keep(self, outer: np.ndarray, inner: np.ndarray) -> None:
        """Drop all lanes but these, after harvesting everything."""
        self.results = jax.tree.map(np.array, self.harvest())
        levels = self.loop.levels
        at = {"outer": outer, "inner": inner}

        def take(x, axes):
            for level, axis in axes.items():
                if axis is not None and len(at[level]) != x.shape[axis]:
                    x = jnp.take(x, at[level], axis=axis)
            return x

        def axes(kind: Kind, i: int):
            return {level: levels.place(kind, i, level) for level in ("outer", "inner")}

        arrays = [take(x, axes("system", i)) for i, x in enumerate(self.arrays)]
        streams = take(self.streams, axes("key", 0))
        places = [_carry_axes(self.loop, self.carry, level) for level in ("outer", "inner")]
        leaves, structure = jax.tree.flatten(self.carry)
        leaves = [take(x, {"outer": o, "inner": i}) for x, o, i in zip(leaves, *places, strict=True)]
        self.arrays, _, self.streams = _put(self.loop, self.split, arrays, streams, streams)
        self.carry = jax.tree.unflatten(
            structure,
            [
                self.split.put(x, a)
                for x, a in zip(leaves, _carry_axes(self.loop, self.carry, self.split.level), strict=True)
            ],
        )
        self.outer, self.inner, self._program = self.outer[outer], self.inner[inner], None


def _fill(alive: np.ndarray, fewest: int) -> np.ndarray:
    """The places of the lanes alive, filled with others to a power of two, so that the widths of programs are few."""
    width = min(len(alive), max(fewest, 1 << (max(int(alive.sum()), 1) - 1).bit_length()))
    order = np.argsort(~alive, kind="stable")
    return np.sort(order[:width])


def _width(loop: Loop, arrays: list[Array], keys: Array, level: Any) -> int:
    for i, x in enumerate(arrays):
        axis = loop.levels.place("system", i, level)
        if axis is not None:
            return x.shape[axis]
    axis = loop.levels.place("key", 0, level)
    return 1 if axis is None else keys.shape[axis]


def _in_axes(loop: Loop, split: Split, arrays: list[Array], keys: Array, shared: PyTree) -> list[int | None]:
    place = loop.levels.place
    own = [place("system", i, split.level) for i in range(len(arrays))]
    return [*own, place("key", 0, split.level), *[None] * len(jax.tree.leaves(shared))]


def _carry_axes(loop: Loop, carry: Carry, level: Any) -> list[int | None]:
    levels = loop.levels
    state = [levels.place("state", i, level) for i in range(len(jax.tree.leaves(carry.state)))]
    lane = [levels.place("lane", 0, level)] * len(jax.tree.leaves(carry.lane))
    return [*state, *lane, *[levels.buffer_place(level)] * len(jax.tree.leaves(carry.rows))]


def _local(loop: Loop, split: Split, arrays: list[Array], keys: Array, shared: tuple) -> tuple:
    axes = _in_axes(loop, split, arrays, keys, ())
    own = [split.local(x, axis) for x, axis in zip([*arrays, keys], axes, strict=True)]
    return (own[:-1], own[-1], *shared)


def _put(
    loop: Loop, split: Split, arrays: list[Array], keys: Array, streams: Array
) -> tuple[list[Array], Array, Array]:
    axes = _in_axes(loop, split, arrays, keys, ())
    own = [split.put(x, axis) for x, axis in zip([*arrays, keys], axes, strict=True)]
    return own[:-1], own[-1], split.put(streams, axes[-1])

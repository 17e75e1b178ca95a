"""Which array depends on which axis of a sweep, found exactly, and functions of one lane mapped over many.

A sweep has two levels. *Outer*: the seed and every dimension that an array of the problem (or the starting point)
depends on. *Inner*: the dimensions that touch the method alone; lanes that differ only there share their problem, and
their matrix-vector products become one matrix product.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree

_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.TracerBoolConversionError,
)


def split(tree: PyTree) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """The array leaves of a pytree, and the function that puts others in their places.

    NumPy arrays and Python floats count as arrays; integers, strings and functions are part of the code.
    """
    arrays, rest = eqx.partition(tree, _is_data)
    leaves, structure = jax.tree.flatten(arrays)
    return [jnp.asarray(leaf) for leaf in leaves], lambda new: eqx.combine(jax.tree.unflatten(structure, new), rest)


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)


def _marker(note: Callable[[int], None]) -> Callable[[Array], Array]:
    """The identity, which tells `note` the size of each `vmap` around it that batches its argument."""

    @custom_vmap
    def identity(x):
        return x

    @identity.def_vmap
    def _(axis_size, in_batched, x):
        if in_batched[0]:
            note(axis_size)
        return x, in_batched[0]

    return identity


def batched(fn: Callable[..., PyTree], in_axes: Any, *args: PyTree) -> list[bool]:
    """For each array leaf of `fn(*args)`, whether it depends on the axis that `in_axes` maps; nothing is computed
    for shapes."""
    seen: set[int] = set()

    def marked(*args):
        leaves = jax.tree.leaves(fn(*args))
        count.append(len(leaves))
        return [_marker(lambda size, i=i: seen.add(i))(leaf) for i, leaf in enumerate(leaves)]

    count: list[int] = []
    jax.eval_shape(jax.vmap(marked, in_axes), *args)
    return [i in seen for i in range(count[-1])]


@dataclass(frozen=True)
class Axis:
    """What one keyword of `build` receives: arrays whose leading axes are dimensions of the sweep, and what of them no
    dimension touches."""

    dims: tuple[str, ...]
    values: PyTree
    rest: PyTree = None

    def at(self, places: Mapping[str, Any]) -> PyTree:
        """The arrays at places of each dimension, whose shapes broadcast; on the host, which compiles nothing."""
        index = tuple(places[dim] for dim in self.dims)
        return jax.tree.map(lambda x: x[index], self.values)

    def fixed(self, places: Mapping[str, int]) -> "Axis":
        """The axis over what is left of its dimensions at one place of some."""
        left = tuple(dim for dim in self.dims if dim not in places)
        return Axis(left, self.at({dim: slice(None) for dim in left} | dict(places)), self.rest)

    def whole(self, values: PyTree) -> PyTree:
        """The values of a lane with what all lanes share."""
        return values if self.rest is None else eqx.combine(values, self.rest)

    @property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.dims, jax.tree.leaves(self.values)[0].shape, strict=False))


def sizes(axes: Mapping[str, Axis]) -> dict[str, int]:
    """The dimensions of several axes, in order of first appearance."""
    found: dict[str, int] = {}
    for axis in axes.values():
        found |= axis.sizes
    return found


Places = Mapping[str, np.ndarray]  # of equally many lanes, by dimension


def _over(
    fn: Callable[[Mapping[str, PyTree]], PyTree],
    axes: Mapping[str, Axis],
    outer: Places,
    inner: Places,
    results: tuple[Any, Any] = (0, 0),
) -> tuple[Callable[[Mapping[str, PyTree]], PyTree], dict[str, PyTree]]:
    """`fn` of the values of one lane over the lanes at these places, inner ones within outer ones, and the values to
    give it; what has no such dimension is shared, at its first place."""
    first = {dim: 0 for axis in axes.values() for dim in axis.dims}
    places, own = {**first, **inner, **outer}, {}
    for name, axis in axes.items():
        levels = [any(dim in level for dim in axis.dims) for level in (outer, inner)]
        at = {d: np.expand_dims(places[d], 1) if d in outer and levels[1] else places[d] for d in axis.dims}
        own[name] = axis.at(at), levels
    for level in (1, 0):
        if (outer, inner)[level]:
            fn = jax.vmap(
                fn, ({name: 0 if levels[level] else None for name, (_, levels) in own.items()},), results[level]
            )
    return fn, {name: value for name, (value, _) in own.items()}


def first_lane(
    build: Callable[[Mapping[str, PyTree]], PyTree], axes: Mapping[str, Axis]
) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """`split` of what `build` returns at the first place of every dimension, built under `vmap`, so that no value is
    looked at."""
    rebuild: list[Callable] = []

    def one(values):
        leaves, combine = split(build(values))
        rebuild.append(combine)
        return leaves

    mapped, values = _over(one, axes, {dim: np.zeros(1, int) for dim in sizes(axes)}, {})
    return [lax.squeeze(leaf, (0,)) for leaf in mapped(values)], rebuild[-1]


def lane_shapes(
    build: Callable[[Mapping[str, PyTree]], PyTree], axes: Mapping[str, Axis]
) -> tuple[list[jax.ShapeDtypeStruct], Callable[[Sequence[Any]], PyTree]]:
    """The shapes of `first_lane`, and its function that rebuilds."""
    rebuild: list[Callable] = []

    def one():
        leaves, combine = first_lane(build, axes)
        rebuild.append(combine)
        return leaves

    leaves = _traced_or_run(one)
    return [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=_weak(x)) for x in leaves], rebuild[-1]


def _weak(x: Any) -> bool:
    return x.weak_type if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x).weak_type


def _traced_or_run(fn: Callable, *args: Any) -> Any:
    """`fn` for its shapes and side effects: traced, which compiles nothing, or run where it asks for a number."""
    try:
        return jax.eval_shape(fn, *args)
    except _CONCRETE:
        return fn(*args)


def dependence(build: Callable[[Mapping[str, PyTree]], PyTree], axes: Mapping[str, Any]) -> list[set[str]]:
    """For each array leaf of what `build` returns, the dimensions that it depends on; an array that is no `Axis` has
    one dimension, of its own name.

    `build` runs under one `vmap` of size 2 for the dimension in question and one of size 1 for all others: traced, or,
    where it asks for the value of something, eagerly, so that what no axis touches is concrete.

    **Raises** `TypeError`, naming the axis, when `build` turns a lane's value into a Python number or branches on it.
    """
    axes = {name: axis if isinstance(axis, Axis) else Axis((name,), axis) for name, axis in axes.items()}
    found: list[set[str]] = []

    def probe(dim, values):
        leaves, _ = split(build(values))
        found.extend(set() for _ in leaves[len(found) :])
        if len(leaves) != len(found):
            raise TypeError(f"build: the number of arrays that it returns depends on {dim!r}; it must not")

        def note(size, i):
            if size == 2:
                found[i].add(dim)

        return [_marker(lambda size, i=i: note(size, i))(leaf) for i, leaf in enumerate(leaves)]

    dims = sizes(axes)
    for dim in dims:
        others = {other: np.zeros(1, int) for other in dims if other != dim}
        mapped, values = _over(partial(probe, dim), axes, others, {dim: np.zeros(2, int)})
        try:
            _traced_or_run(mapped, values)
        except _CONCRETE as error:
            raise TypeError(
                f"build: it turns a value of the axis {_culprit(build, axes)!r} into a Python number or branches on it,"
                " but all values of an axis run at once. Use jnp.where, or give the axis as"
                " np.array(values, dtype=object) to run its values one after the other."
            ) from error
    return found


def _culprit(build: Callable, axes: Mapping[str, Axis]) -> str:
    """The first axis whose value alone, traced, makes `build` fail."""
    first = {name: axis.at(dict.fromkeys(axis.dims, 0)) for name, axis in axes.items()}
    for name, axis in axes.items():
        lane = {name: Axis(axis.dims[:1], jax.tree.map(lambda x: x[None], first[name]))} if axis.dims else {}
        mapped, values = _over(
            lambda own: split(build({**first, **own}))[0], lane, {}, dict.fromkeys(axis.dims[:1], np.zeros(1, int))
        )
        try:
            mapped(values)
        except _CONCRETE:
            return name
    return ", ".join(axes)


def product(counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The places of all lanes over some dimensions, the last one running fastest."""
    shape = tuple(counts.values())
    return dict(zip(counts, np.indices(shape).reshape(len(shape), -1), strict=True))


def build_lanes(
    build: Callable[[Mapping[str, PyTree]], PyTree],
    axes: Mapping[str, Axis],
    outer: Places,
    inner: Places,
    depends: Sequence[tuple[bool, bool]],
) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """The arrays of all lanes, each with just the levels it depends on (outer first), and the function that rebuilds
    one lane."""
    rebuild: list[Callable] = []

    def arrays(values):
        leaves, combine = split(build(values))
        rebuild.append(combine)
        return leaves

    results = [0 if o else None for o, _ in depends], [0 if i else None for _, i in depends]
    mapped, values = _over(arrays, axes, outer, inner, results)
    return [jnp.asarray(leaf) for leaf in mapped(values)], rebuild[-1]


Kind = Literal["system", "state", "lane", "key", "shared"]


@dataclass(frozen=True)
class Levels:
    """How functions of one lane are mapped: over the inner level, and over the outer one where it lies inside the loop.

    Each argument has a kind: `system` (the arrays of method, problem, ...: each leaf by its own dependence), `state`
    (always per outer lane, each leaf by its own inner dependence), `lane` (per lane), `key` and `shared`.
    """

    system: tuple[tuple[bool, bool], ...] = ()
    state: tuple[bool, ...] = ()
    inner: Literal["none", "vmap", "map"] = "none"
    outer: Literal["none", "inside", "around"] = "none"
    own_keys: bool = False

    def place(self, kind: Kind, leaf: int, level: Literal["outer", "inner"]) -> int | None:
        """The axis of a level in a leaf as it is stored, None where it has none."""
        outer, inner = self._has(kind, leaf)
        outer, inner = outer and self.outer != "none", inner and self.inner != "none"
        if level == "outer":
            return 0 if outer else None
        return int(outer) if inner else None

    def _has(self, kind: Kind, leaf: int) -> tuple[bool, bool]:
        match kind:
            case "system":
                return self.system[leaf] if self.system else (False, False)
            case "state":
                return True, bool(self.state) and self.state[leaf]
            case "lane":
                return True, True
            case "key":
                return True, self.own_keys
            case "shared":
                return False, False

    def buffer_place(self, level: Literal["outer", "inner"]) -> int | None:
        """The axis of a level in a record's buffer, whose rows stand inside the outer level if that lies around the
        loop."""
        if level == "outer":
            return {"none": None, "around": 0, "inside": 1}[self.outer]
        return None if self.inner == "none" else 1 + (self.outer != "none")

    def each(self, fn: Callable[..., PyTree], *kinds: Kind, result: Literal["lane", "state"] = "lane") -> Callable:
        """`fn` of one lane as a function of all lanes inside the loop; the kinds are those of its arguments."""

        def mapped(*args):
            flat, structure = jax.tree.flatten(args)
            leaves: list[tuple[Kind, int]] = [
                (kind, i) for kind, arg in zip(kinds, args, strict=True) for i in range(len(jax.tree.leaves(arg)))
            ]
            trees = []

            def one(flat):
                out, tree = jax.tree.flatten(fn(*jax.tree.unflatten(structure, flat)))
                trees.append(tree)
                return out

            function: Callable = one
            if self.inner != "none":
                # the outer level is mapped first, so that an inner axis stands first in what is left
                axes = [None if self.place(kind, i, "inner") is None else 0 for kind, i in leaves]
                out = [0 if own else None for own in self.state] if result == "state" else 0
                function = jax.vmap(function, (axes,), out) if self.inner == "vmap" else _one_by_one(function, axes)
            if self.outer == "inside":
                axes = [self.place(kind, i, "outer") for kind, i in leaves]
                function = jax.vmap(function, (axes,))
            out = function(flat)
            return jax.tree.unflatten(trees[-1], out)

        return mapped


def _one_by_one(function: Callable[[list], list], axes: list[int | None]) -> Callable[[list], list]:
    def mapped(flat):
        def one(moving):
            moving = iter(moving)
            return function([x if axis is None else next(moving) for x, axis in zip(flat, axes, strict=True)])

        return lax.map(one, [x for x, axis in zip(flat, axes, strict=True) if axis is not None])

    return mapped
